"""sFlow version 5: flow samples and counter samples, as sflow.org's "sFlow Version 5" (July 2004) lays them out.

In: `Datagrams` of one source that begin with the 32-bit version 5. Out: `flow` and `flow_counters` batches.
Drops: malformed, unlisted_exporter, too_many_exporters datagrams; in `Decoded.dropped`.
State: the expected sequence number per (sender, agent, sub-agent), in `Decoded.state`.
"""
