"""What other routers said of the flow that a record is of."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import HOUR, iso
from csirt.model import ecs
from csirt.model.batch import Batch, event_ids
from csirt.stores.embedded.store import EmbeddedStore

NEAR = 2 * HOUR  # around a record, where others of the same flow are looked for
_SEEN = ("observer.ip", "observer.name", "network.bytes", "network.packets")


def observations(store: EmbeddedStore, batch: Batch) -> list[dict[str, Any]]:
    """The other records of what the first row is of: the one that counts (`counts` true), then its duplicates by id,
    with who exported them, when they ended by that exporter's clock, and what they counted."""
    if batch.dataset != "flow":
        return []
    mine = str(event_ids(batch.table)[0])
    named = batch.table.column(ecs.DUPLICATE)[0].as_py() if ecs.DUPLICATE in batch.table.column_names else None
    counting = named or mine
    time = batch.table.column("@timestamp")[0].cast(pa.int64()).as_py()
    found: dict[str, dict[str, Any]] = {}
    for item in store.events(
        "flow", since=time - NEAR, until=time + NEAR, columns=["@timestamp", *_SEEN, ecs.DUPLICATE]
    ):
        found |= _others(item.table, counting)
    found.pop(mine, None)
    return sorted(found.values(), key=lambda said: (not said["counts"], said["id"]))


def _others(table: pa.Table, counting: str) -> dict[str, dict[str, Any]]:
    """The rows that are the record that counts, or name it."""
    ids = event_ids(table)
    wanted = pc.equal(ids, counting)
    if ecs.DUPLICATE in table.column_names:
        wanted = pc.or_(wanted, pc.fill_null(pc.equal(table.column(ecs.DUPLICATE), counting), False))
    if not pc.any(wanted).as_py():
        return {}
    rows = table.append_column("id", ids).filter(wanted)
    times = rows.column("@timestamp").cast(pa.int64()).to_pylist()
    names = [name for name in _SEEN if name in rows.column_names]
    return {
        row["id"]: {"id": row["id"], "@timestamp": iso(at), "counts": row["id"] == counting}
        | {name: row[name] for name in names if row[name] is not None}
        for row, at in zip(rows.select(["id", *names]).to_pylist(), times, strict=True)
    }
