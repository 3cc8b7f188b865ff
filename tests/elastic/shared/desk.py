"""Several stores on one cluster whose turns the test takes, so that every interleaving can be had again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csirt.clock import SECOND, Frozen
from csirt.model.records import Case, CaseEvent, Notification
from csirt.stores.elastic.shared import lease
from csirt.stores.elastic.shared.store import NodeStore, open_node
from tests.elastic import desk
from tests.stores import build


def node(folder: Path, url: str, prefix: str, name: str, clock: Frozen, **more: Any) -> NodeStore:
    """The store of a node, none of its threads running but the shipper's."""
    config = desk.settings(url, prefix, node=name, **more)
    return open_node(folder / name, clock=clock, config=config, threads=False)


@contextmanager
def nodes(folder: Path, url: str, prefix: str, names: str, **more: Any) -> Iterator[list[NodeStore]]:
    """Stores of nodes with these names, on one clock; the first leads."""
    clock = Frozen(build.START)
    found: list[NodeStore] = []
    try:
        for name in names:
            found.append(node(folder, url, prefix, name, clock, **more))
            found[-1].tail.turn()
        turn(*found)
        yield found
    finally:
        for store in found:
            store.close()


def turn(*stores: NodeStore) -> None:
    """One turn of everything, of each in order; time passes."""
    for store in stores:
        store.present.turn()
        store.tail.turn()
    stores[0].clock.time += int(lease.RENEW * SECOND)  # type: ignore[attr-defined]


def documents(store: NodeStore) -> list[bytes]:
    """The canonical lines of what nodes share, from the folder."""
    from csirt.stores.embedded.dump import dump

    return list(dump(store, ["alert", "incident", "case", "run", "receipt", "notification", "audit"]))


def noted(case: dict[str, Any], events: list[dict[str, Any]], text: str) -> tuple[Case, CaseEvent]:
    """The case with a note more, and the note."""
    record = Case.model_validate(case)
    event = CaseEvent(
        case=record.id, seq=len(events) + 1, time=build.START, actor="kari", kind="noted", data={"text": text}
    )
    return record.model_copy(update={"version": record.version + 1, "notes": record.notes + 1}), event


def renewed(document: dict[str, Any], **changes: Any) -> Notification:
    """A notification, changed."""
    return Notification.model_validate({**document, **changes})
