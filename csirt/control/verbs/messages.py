"""`messages.*`: what became of an EDI message, and what lacks its receipt. Envelopes only, never content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from csirt.clock import DAY, iso
from csirt.control.verbs import Context, verb
from csirt.errors import NotFound, Usage

if TYPE_CHECKING:
    import polars as pl

# Longest time a handler keeps trying (CPA PersistDuration P4D) and a margin.
WINDOW = 7 * DAY


@verb("messages.trace", right="read", access=True)
def trace(
    context: Context, id: str = "", her: str = "", since: str = "", until: str = "", limit: int | None = None
) -> dict[str, Any]:
    """Messages hop by hop (csirt.messages-trace/1), oldest first.

    `id`: any id of a message or its receipt: ebMS message id, conversation id, MIME id, queue id. `her`: messages from
    or to that HER-id. Without either: all since. Raises NotFound, Usage when nothing is asked for.
    """
    from csirt.control import tracing

    if not (id or her or since):
        raise Usage("which message? give an id, --her HER-ID or --since TIME")
    start, end = _window(context, since, until)
    edi, mail = _rows(context, "edi", start, end), _rows(context, "mail", start, end)
    chosen = edi
    if id:
        chosen = tracing.related(edi, _ids(context, id))
        if chosen.is_empty():
            chosen = _by_relay(edi, mail, _ids(context, id))
    items = tracing.messages(chosen)
    if her:
        items = [item for item in items if her in (item["from"]["her"], item["to"]["her"])]
    if id and not items:
        items = tracing.relay_only(mail, _ids(context, id))
    if id and not items:
        raise NotFound(f"no message with the id {id!r} since {iso(start)}; --since reaches further back")
    found = len(items)
    normals = tracing.normals(edi)
    for item in items[:limit]:
        item["normal_s"] = normals.get(item["to"]["her"] or "")
        item.setdefault("hops", tracing.hops(edi, mail, item["message_id"]))
    shown = items[:limit]
    return {"schema": "csirt.messages-trace/1", "count": len(shown), "truncated": len(shown) < found, "items": shown}


@verb("messages.pending", right="read", access=True)
def pending(context: Context, her: str = "", since: str = "", limit: int | None = None) -> dict[str, Any]:
    """Messages without an application receipt (csirt.messages-pending/1): by receiver, the longest waiting first, and
    one by one, oldest first. Messages their handler gave up are listed too: nobody answers them."""
    from csirt.control import tracing

    start, end = _window(context, since, "")
    edi = _rows(context, "edi", start, end)
    normals = tracing.normals(edi)
    items = [item for item in tracing.messages(edi) if item["times"]["application_receipt"] is None]
    if her:
        items = [item for item in items if item["to"]["her"] == her]
    receivers: dict[str, dict[str, Any]] = {}
    for item in items:
        item["normal_s"] = normals.get(item["to"]["her"] or "")
        key = item["to"]["her"] or ""
        fresh = {"her": item["to"]["her"], "member": item["to"]["member"], "pending": 0, "oldest": item["first"],
                 "normal_s": item["normal_s"]}  # fmt: skip
        receivers.setdefault(key, fresh)["pending"] += 1
    shown = items[:limit]
    return {
        "schema": "csirt.messages-pending/1",
        "count": len(shown),
        "truncated": len(shown) < len(items),
        "receivers": list(receivers.values()),
        "items": shown,
    }


def _window(context: Context, since: str, until: str) -> tuple[int, int | None]:
    """Event times to look at: by default the last week the store knows of: an old replay shows what it holds."""
    from csirt.stores.hunt.when import moment

    now, zone = context.clock.now(), context.config.timezone
    start = moment(since, now, zone) if since else min(_latest(context), now) - WINDOW
    return start, moment(until, now, zone) if until else None


def _latest(context: Context) -> int:
    """The greatest event time any source has come to; now when there is none."""
    sources = {position.source for position in context.store.positions()}
    states = [context.store.state(f"time:{source}") for source in sources]
    return max((int(json.loads(state)["greatest"]) for state in states if state), default=context.clock.now())


def _rows(context: Context, dataset: str, since: int, until: int | None) -> pl.DataFrame:
    from csirt.control import tracing

    names = tracing.EDI if dataset == "edi" else tracing.MAIL
    columns = [name for name in names if name != "@timestamp"]
    return tracing.frame(context.store.events(dataset, since=since, until=until, columns=columns), names)


def _ids(context: Context, id: str) -> set[str]:
    """The id as it is stored: ids that may name a person are stored as pseudonyms."""
    clean = id.strip().strip("<>")
    found = {id, clean}
    path = context.config.path("pseudonym.key")
    if path.exists():
        from csirt.decode.privacy import Privacy
        from csirt.secrets import key_file

        decode = context.config.decode
        privacy = Privacy(key_file(path), decode.organisation_domains, decode.organisation_mailboxes)
        found |= {name for name in (privacy.message_id(clean),) if name}
    return found


def _by_relay(edi: pl.DataFrame, mail: pl.DataFrame, ids: set[str]) -> pl.DataFrame:
    """Handler rows of a message that only its relay knows by this id."""
    import polars as pl

    from csirt.control import tracing

    wanted = list(ids)
    rows = mail.filter(pl.col("mime").is_in(wanted).fill_null(False) | pl.col("queue").is_in(wanted).fill_null(False))
    names = {*rows["mime"].drop_nulls(), *rows["queue"].drop_nulls()}
    return tracing.related(edi, names) if names else edi.clear()
