"""A node's folder whose log and the cluster's went different ways, made anew from the cluster's log.

Only what nodes share is made anew. The node's own stays: its events, positions, decoder states, audit chain, and the
hits that wait for the log. The catalogue as it was is kept beside the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from csirt.config import Config
from csirt.errors import Conflict, CsirtError, NotFound
from csirt.model.audit import AuditEntry
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.pages import pages
from csirt.stores.elastic.reader import PAGE, Reader
from csirt.stores.elastic.recover import SCHEMA
from csirt.stores.elastic.shared import folder, snapshot
from csirt.stores.elastic.shared.entry import Segment
from csirt.stores.elastic.shared.join import NAME, join
from csirt.stores.elastic.shared.log import Documents
from csirt.stores.elastic.shared.store import NodeStore, open_node
from csirt.stores.embedded.backup import copy_catalogue
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.store import CATALOGUE

if TYPE_CHECKING:
    from csirt.clock import Clock

LOST = ("only_here", "log_hits")


@dataclass
class Found:
    """What the cluster's log is, beside the folder. `state`: follows, behind, cut, diverged, other_log, empty."""

    log: str
    state: str = "diverged"
    entries: int = 0
    names: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in documents.KINDS})


def rebuild(directory: Path, config: Config, *, dry_run: bool, clock: Clock) -> dict[str, Any]:
    """Look whether the folder follows the cluster's log, and make it follow: csirt.store-recover/1. A folder that does
    is left as it is. Raises Conflict where the log is not whole, Unreachable; then nothing was changed."""
    if not (directory / CATALOGUE).is_file():
        raise NotFound(f"{directory}: no store here; start the daemon: a node without a folder reads the cluster's log")
    section = config.stores.elasticsearch
    with connect.client(section) as client:
        connect.probe(client, section, older=True)
    store = open_node(directory, clock=clock, config=config.stores, retention=config.retention, threads=False)
    with store:
        found = look(store)
        here = _names(store)
        only_here = {kind: len(names - found.names[kind]) for kind, names in here.items() if found.state in _MENDED}
        kept = ""
        if found.state in _MENDED and not dry_run:
            kept = str(_keep(store))
            _mend(store, found)
    return {
        "schema": SCHEMA,
        "dry_run": dry_run,
        "state": found.state,
        "counts": {kind: len(names) for kind, names in found.names.items()},
        "only_here": {kind: count for kind, count in only_here.items() if count},
        "kept": kept,
        "lost": [what for what in LOST if found.state in _MENDED and (what != "only_here" or any(only_here.values()))],
        "equal": found.state not in _MENDED or dry_run or kept != "",
    }


_MENDED = ("diverged", "other_log", "cut")


def look(store: NodeStore) -> Found:
    """Walk what is kept of the cluster's log."""
    shared, begins = _beginning(store)
    found, place = Found(shared["log"]), store.journal.place
    token, here, opened = "", "", begins.first > 1
    found.entries = begins.first - 1
    if opened:
        _find_documents(store, found)
    for entry in store.journal.log.walk(begins):
        if entry.after != token and (token or begins.first == 1):
            raise Conflict(
                f"entry {entry.number} of the cluster's log does not follow the one before it: the log itself is "
                "damaged; restore the cluster's snapshot from before that"
            )
        here = entry.after if entry.number == place.applied + 1 else here
        token, found.entries, opened = entry.token, entry.number, opened or entry.opens
        here = token if entry.number == place.applied else here
        for kind, texts in entry.documents.items():
            found.names[kind].update(orjson.loads(text)["id"] for text in texts)
        for kind, names in entry.gone.items():
            found.names[kind].difference_update(names)
    if not opened:
        raise Conflict(
            f"the cluster's log is not whole: the node {shared['node']} has begun to share its store and is not "
            "done; start that node first"
        )
    found.state = _state(store, found, begins.first, here)
    return found


def _state(store: NodeStore, found: Found, first: int, here: str) -> str:
    place = store.journal.place
    with store.database.reading() as connection:
        empty = not folder.has_documents(connection)
    if place.log != found.log:
        return "empty" if empty and not place.log else "other_log"
    if place.applied + 1 < first:
        return "cut"
    if place.applied <= found.entries and here == place.token:
        return "follows" if place.applied == found.entries else "behind"
    return "diverged"


def _beginning(store: NodeStore) -> tuple[dict[str, Any], Segment]:
    """What the nodes share, and the first segment of its log that is kept. Raises Conflict where there is none."""
    meta = Documents(lambda: store.shipper.client, store.config.elasticsearch, layout.META, store.clock)
    shared = meta.get(NAME)
    if shared is None:
        raise Conflict(
            "the cluster holds no log of nodes, so there is nothing to make this folder from; when the indices were "
            "lost, give the nodes a new [stores.elasticsearch] prefix: the first to start brings what it has"
        )
    kept, _ = snapshot.named(meta, shared[0]["log"])
    known = [Segment(1, shared[0]["segment"])]
    known += [Segment(*one) for taken in kept for one in taken.segments]
    there = set(store.journal.log.names(shared[0]["log"]))
    for one in sorted(known, key=lambda one: one.first):
        if one.name in there:
            return shared[0], one
    raise Conflict("the cluster holds nothing of the nodes' log any more; restore the cluster's snapshot")


def _find_documents(store: NodeStore, found: Found) -> None:
    """The names of what the cluster holds, where the log does not tell of all of it."""
    client, section = store.shipper.client, store.config.elasticsearch
    Reader(client, section).refresh()
    for kind in documents.KINDS:
        index = layout.alias(section.prefix, kind)
        for hits in pages(client, index, PAGE, ["_shard_doc"], source=False):
            found.names[kind].update(hit["_id"] for hit in hits)


def _names(store: NodeStore) -> dict[str, set[str]]:
    with store.database.reading() as connection:
        return {
            name: {str(id) for (id,) in connection.execute(f"SELECT id FROM {kind.table}")}  # noqa: S608
            for name, kind in documents.KINDS.items()
        }


def _keep(store: NodeStore) -> Path:
    """A copy of the catalogue as it is: what only this folder held can be read from it."""
    number = 1
    while (path := store.directory / f"catalogue-before-recover-{number}.sqlite").exists():
        number += 1
    copy_catalogue(store, path)
    return path


def _mend(store: NodeStore, found: Found) -> None:
    before = store.journal.place
    with store.database.transaction("rebuilding from the cluster's log") as connection:
        # What the chain has of these entries it has; entries of another log are all new to it.
        folder.begin_again(connection, found.log, before.applied if before.log == found.log else 0)
    store.journal.refresh()
    meta = Documents(lambda: store.shipper.client, store.config.elasticsearch, layout.META, store.clock)
    join(store.database, meta, store.journal, store.node)
    if store.journal.place.applied < found.entries:
        raise CsirtError("the cluster's log could not be read to its end; run the command again")
    detail = {"log": found.log, "entries": found.entries, "before": before.applied, "state": found.state}
    entry = AuditEntry(
        time=store.clock.now(), actor="system", category="operation", action=chain.RECOVERED, detail=detail
    )
    store.append_audit([entry])
