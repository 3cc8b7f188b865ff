"""Receive, never parse: every byte that arrives goes to a segment of the spool (decision 1).

In: datagrams and TCP streams. Out: segments in `<spool>/<source id>/` (form: `model/spool.py`).
Drops: at the spool's limit or on a full disk, counted by reason in `stats.json`, the metrics and `csirt status`;
what the kernel dropped is read from it and counted beside them.
State: none but the segments and the counters in `stats.json`.
"""
