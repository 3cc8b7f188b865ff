"""What a store holds, in numbers: schema csirt.store/1."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import apsw

from csirt.clock import iso
from csirt.stores.embedded.catalogue import chain, documents, schema

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

_DATASETS = """
SELECT dataset, count(path), sum(coalesce(f.waiting, rows)),
       sum(CASE WHEN path IS NULL THEN coalesce(f.waiting, rows) ELSE 0 END), sum(bytes), min(p.least),
       max(p.greatest), min(received), max(received)
FROM part AS p LEFT JOIN fresh AS f ON f.part = p.id GROUP BY dataset ORDER BY dataset
"""


def info(store: EmbeddedStore) -> dict[str, Any]:
    """Sizes, counts, oldest and newest event and receipt per dataset, versions."""
    usage = shutil.disk_usage(store.directory)
    with store.database.reading() as connection:
        return {
            "schema": "csirt.store/1",
            "sqlite": apsw.sqlite_lib_version(),
            "schema_version": schema.version(connection),
            "catalogue_bytes": _catalogue_size(store),
            "disk_bytes": usage.total,
            "disk_free_bytes": usage.free,
            "datasets": [_dataset(row) for row in connection.execute(_DATASETS)],
            "documents": {name: documents.count(connection, kind, None) for name, kind in documents.KINDS.items()},
            "inputs": _number(connection, "SELECT count(*) FROM position"),
            "pending_hits": _number(connection, "SELECT coalesce(sum(rows), 0) FROM hits"),
            "deletion_reports": _number(connection, "SELECT count(*) FROM deletion_report"),
            "audit": {
                "entries": _number(connection, "SELECT count(*) FROM audit"),
                "last": chain.head(connection).seq,
                "sealed": _number(connection, "SELECT coalesce(max(seq), 0) FROM audit_seal"),
            },
        }


def _number(connection: apsw.Connection, query: str) -> int:
    return int(connection.execute(query).get)


def _catalogue_size(store: EmbeddedStore) -> int:
    files = (store.database.path, store.database.path.with_name(store.database.path.name + "-wal"))
    return sum(path.stat().st_size for path in files if path.exists())


def _dataset(row: tuple[Any, ...]) -> dict[str, Any]:
    name, files, rows, waiting, size, least, greatest, first, last = row
    return {
        "dataset": name,
        "files": files,
        "rows": rows,
        "rows_waiting": waiting,
        "bytes": size,
        "oldest": None if least is None else iso(least),
        "newest": None if greatest is None else iso(greatest),
        "received_from": iso(first),
        "received_until": iso(last),
    }
