"""One contract (`base.py`), two homes: embedded (SQLite catalogue and Parquet lake), and that with an Elasticsearch
cluster that follows it.

In: commits: events, position, states, hits, documents, audit, all or nothing. Out: documents, events, counters, the
canonical dump.
Drops: nothing; what cannot be kept is refused as a whole (`Conflict`, disk full), what is over its time goes by
retention, with a report.
State: the store folder; see docs/store.md.
"""
