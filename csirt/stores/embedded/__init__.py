"""The embedded store: a SQLite catalogue with the documents and positions, and a lake of Parquet files.

In: commits. Out: documents, events, the canonical dump. Drops nothing: a commit is done, or refused with a reason.
State: `catalogue.sqlite` (WAL), `lake/<dataset>/<hour of receipt>/*.parquet`, `owner.lock`.
"""

from __future__ import annotations

from csirt.stores.embedded.store import EmbeddedStore, open_embedded

__all__ = ["EmbeddedStore", "open_embedded"]
