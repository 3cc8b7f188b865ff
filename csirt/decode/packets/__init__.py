"""Captured packets become flows, and tshark's lines become `dns`, `tls` and `http` rows.

In: `Packets` and `Dissection` chunks of capture files. Out: batches of `flow`, `dns`, `tls`, `http`.
Drops: frames cut before the end of the IP header, not IP, malformed, of unknown link type, of impossible time; lines
tshark wrote that have the wrong number of fields. Counted by reason in `Decoded.dropped`.
State: the flow table, in memory from one cut to the next and never committed: `Decoded.held` says how many packets wait
in open flows, and a position is committed only when it is 0.
"""
