"""Bytes to columns: pure, without I/O, clock or logging; the same bytes in any chunking give the same rows.

In: chunks of one source in order: datagrams, packets, dissections, log lines.
Out: batches of flow, flow_options, dns, tls, http, mail, edi, scrubbed of everything that may not be stored.
Drops: units that cannot be decoded or tell nothing, each counted by reason; entered = left + dropped + held.
State: templates and held datagrams, the flow table, waiting mail transactions; committed with the position.
"""
