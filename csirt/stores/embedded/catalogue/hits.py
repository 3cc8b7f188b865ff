"""Hits that wait for their event time: blobs in the catalogue, each with its bounds."""

from __future__ import annotations

from typing import Any

import apsw
import numpy as np

from csirt.model.hits import conform, weights
from csirt.stores.base import PendingHits
from csirt.stores.embedded.lake.encode import from_ipc


def pending(connection: apsw.Connection, until: int, rows: int | None) -> list[PendingHits]:
    """Blobs with a hit at or before `until`, oldest commit first; see the store's contract for `rows`."""
    listed: list[Any] = connection.execute(
        "SELECT id, least, greatest FROM hits WHERE least <= ? ORDER BY least, id", (until,)
    ).fetchall()
    found: list[PendingHits] = []
    times = np.empty(0, np.int64)
    for number, least, greatest in listed:
        if rows is not None and np.count_nonzero(times < least) > rows:
            break
        data: Any = connection.execute("SELECT data FROM hits WHERE id = ?", (number,)).get
        found.append(PendingHits(number, least, greatest, conform(from_ipc(data))))
        if rows is not None:
            hits = found[-1].hits
            times = np.concatenate([times, np.repeat(np.asarray(hits.column("time").to_numpy()), weights(hits))])
    return sorted(found, key=lambda blob: blob.id)
