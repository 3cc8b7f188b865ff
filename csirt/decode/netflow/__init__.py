"""NetFlow v5, v7, v9 and IPFIX.

In: `Datagrams` of one source. Out: `flow` and `flow_options` batches, one of each per chunk.
Drops: malformed, unknown_version, unlisted_exporter, expired datagrams; in `Decoded.dropped`.
State: templates, samplers, sequence numbers and held sets per (exporter, version, domain), in `Decoded.state`.
"""
