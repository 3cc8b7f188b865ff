"""`csirt store recover`: a store folder made anew from what the cluster holds, where the folder was lost.

What comes back: every document, the audit chain, the positions. What does not: rows of events, what decoders and rules
remembered, hits that waited for their turn, and what the cluster had not been sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.clock import Clock
from csirt.config import Config, ElasticCluster
from csirt.errors import Conflict, CsirtError
from csirt.model.audit import AuditEntry
from csirt.stores.elastic import connect, layout, load, outbox
from csirt.stores.elastic.copy import KINDS as DUMPED
from csirt.stores.elastic.copy import digest
from csirt.stores.elastic.dump import of_cluster
from csirt.stores.elastic.head import ID
from csirt.stores.elastic.reader import Reader
from csirt.stores.embedded import dump as embedded
from csirt.stores.embedded.catalogue import chain
from csirt.stores.embedded.store import CATALOGUE, open_embedded

if TYPE_CHECKING:
    import apsw

SCHEMA = "csirt.store-recover/1"
LOST = ("events", "states", "hits", "unsent")
ABOVE = 1_000  # how far the folder's counter begins above every version seen: some may have been deleted just now


def rebuild(directory: Path, config: Config, *, dry_run: bool, clock: Clock) -> dict[str, Any]:
    """Make the folder of a daemon that has the cluster for itself: csirt.store-recover/1. All of it or none. Raises
    Conflict where a folder is, or the cluster holds nothing for it; Unreachable."""
    section = config.stores.elasticsearch
    _check_folder(directory)
    with connect.client(section) as client:
        connect.probe(client, section, older=True)
        try:
            head = _head(client, section)
            reader = Reader(client, section)
            reader.refresh()
            counts = _counts(client, section)
            equal = dry_run or _made(directory, config, client, head, clock)
        except CsirtError:
            raise
        except Exception as error:
            raise connect.failed(error, section) from error
    return {
        "schema": SCHEMA,
        "dry_run": dry_run,
        "state": "lost",
        "counts": counts,
        "only_here": {},
        "kept": "",
        "lost": list(LOST),
        "equal": equal,
    }


def _check_folder(directory: Path) -> None:
    lake = directory / "lake"
    if (directory / CATALOGUE).exists() or (lake.is_dir() and any(lake.iterdir())):
        raise Conflict(
            f"{directory} holds a store already, and a folder that can be opened has everything that the cluster has; "
            "where it cannot be read, move it away first and keep it: its lake/ holds the events, as Parquet"
        )


def _head(client: Any, section: ElasticCluster) -> dict[str, Any]:
    answer = client.options(ignore_status=404).get(index=layout.alias(section.prefix, layout.META), id=ID)
    if not answer.get("found"):
        raise Conflict(f"the indices {section.prefix}-* hold no store; check [stores.elasticsearch] prefix")
    head: dict[str, Any] = answer["_source"]
    if head["writer"] == "nodes":
        raise Conflict(
            "the cluster is shared by several nodes: name this one under [stores.elasticsearch] node, and an empty "
            "folder gets everything when its daemon starts"
        )
    return head


def _counts(client: Any, section: ElasticCluster) -> dict[str, int]:
    return {kind: int(client.count(index=layout.alias(section.prefix, kind))["count"]) for kind in layout.KINDS}


def _made(directory: Path, config: Config, client: Any, head: dict[str, Any], clock: Clock) -> bool:
    """Make the folder; whether it holds what the cluster does, by canonical dump."""
    section = config.stores.elasticsearch
    with open_embedded(directory, clock=clock, config=config.stores, retention=config.retention) as store:
        with store.database.transaction("rebuilding from the cluster") as connection:
            count, highest = load.load(connection, client, section.prefix, layout.KINDS)
            outbox.adopt(connection, head["store"], head["writer"], max(highest, int(head["step"])) + ABOVE)
            chain.append(connection, [_entry(connection, count, clock)])
        here, _ = digest(embedded.dump(store, DUMPED))
    there, _ = digest(line for kind in DUMPED for line in of_cluster(Reader(client, section), kind))
    return here == there


def _entry(connection: apsw.Connection, count: int, clock: Clock) -> AuditEntry:
    detail: dict[str, Any] = {"documents": count}
    base = chain.base(connection)
    if base.seq:
        detail["audit_base"] = str(base)
    return AuditEntry(time=clock.now(), actor="system", category="operation", action=chain.RECOVERED, detail=detail)
