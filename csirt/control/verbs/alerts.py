"""What rules found: list, show, follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from csirt.clock import iso
from csirt.control.verbs import Context, verb
from csirt.errors import NotFound, Usage

TIMES = ("first", "last", "created")
POLL = 1.0


@verb("alerts.list", right="read", access=True)
def list_(context: Context, filter: str = "", limit: int | None = None) -> dict[str, Any]:
    """`csirt.alerts/1`: alerts by time, the newest first; `filter` in the filter grammar."""
    items = _found(context, filter)
    if limit is not None:
        items = items[: max(limit, 0)]
    return {"schema": "csirt.alerts/1", "count": len(items), "items": [_shown(item) for item in items]}


@verb("alerts.show", right="read", access=True)
def show(context: Context, id: str) -> dict[str, Any]:
    """`csirt.alert/1`: one alert by its id or the beginning of it. Raises NotFound, or Usage with the candidates."""
    name = id.strip().lower()
    document = context.store.get("alert", name)
    if document is None:
        known = context.store.resolve("alert", name)
        if len(known) > 1:
            raise Usage(f"{id} is the beginning of several alerts: {', '.join(known)}", candidates=known)
        document = context.store.get("alert", known[0]) if known else None
    if document is None:
        raise NotFound(f"no alert {id}; `csirt alerts list` shows them")
    return {"schema": "csirt.alert/1", "alert": _shown(document)}


@verb("alerts.follow", right="read", access=True, stream=True)
def follow(context: Context, filter: str = "") -> Iterator[dict[str, Any]]:
    """Alerts as they open or are extended, from those there now; without a daemon, those there now and the end."""
    return _follow(context, filter)


def _follow(context: Context, text: str) -> Iterator[dict[str, Any]]:
    seen: dict[str, tuple[int, int]] = {}
    while True:
        for item in reversed(_found(context, text)):
            state = (item["count"], item["last"])
            if seen.get(item["id"]) != state:
                seen[item["id"]] = state
                yield _shown(item)
        if not context.live:
            return
        context.clock.sleep(POLL)


def _found(context: Context, text: str) -> list[dict[str, Any]]:
    from csirt.model.filter import Filter

    wanted = Filter.parse(text, context.clock.now()) if text.strip() else None
    items = context.store.find("alert", order="last", descending=True)
    return [item for item in items if wanted is None or wanted.matches(item)]


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its times as text."""
    return {name: iso(value) if name in TIMES and value else value for name, value in document.items()}
