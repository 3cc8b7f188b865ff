"""`audit.*`: who did what, and whether the chain is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from csirt.clock import iso
from csirt.control.verbs import Context, verb
from csirt.control.verbs.store import note
from csirt.model.filter import Filter
from csirt.stores.embedded.store import as_embedded
from csirt.stores.hunt.when import moment

FIELDS = ("seq", "id", "time", "actor", "uid", "on_behalf", "category", "action", "subject")


@verb("audit.list", right="audit", access=True, stream=True)
def list_(
    context: Context,
    where: str = "",
    since: str = "",
    until: str = "",
    after: int = 0,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Entries in order. `where`: the filter grammar over the entry's fields; `after`: a sequence number; `limit`: at
    most so many, the oldest first."""
    now, zone = context.clock.now(), context.config.timezone
    chosen = Filter.parse(where, now, FIELDS) if where else None
    first = moment(since, now, zone) if since else None
    last = moment(until, now, zone) if until else None
    return _entries(context, chosen, first, last, after, limit)


def _entries(
    context: Context, chosen: Filter | None, since: int | None, until: int | None, after: int, limit: int | None
) -> Iterator[dict[str, Any]]:
    given = 0
    for entry in context.store.audit(after):
        if (since is not None and entry.time < since) or (until is not None and entry.time >= until):
            continue
        document = asdict(entry)
        if chosen is not None and not chosen.matches(document):
            continue
        document["time"] = iso(entry.time)
        if limit is not None and given >= limit:
            return
        given += 1
        yield document


@verb("audit.verify", right="audit")
def verify(context: Context, heads: list[str] | None = None) -> dict[str, Any]:
    """Walk the chain (csirt.audit-verify/1); `heads`: `SEQ:HASH` as they were sealed."""
    verdict = as_embedded(context.store).verify_audit(heads or ())
    document: dict[str, Any] = {
        "schema": "csirt.audit-verify/1",
        "whole": verdict.first_bad is None,
        "entries": verdict.entries,
        "first": verdict.first,
        "head": str(verdict.head),
        "first_bad": verdict.first_bad,
        "reason": verdict.reason,
    }
    note(context, "operation", "audit.verify", {"whole": document["whole"], "first_bad": verdict.first_bad})
    return document


@verb("audit.seal", right="audit")
def seal(context: Context) -> dict[str, Any]:
    """The chain's head, recorded and given out to be kept elsewhere (csirt.audit-seal/1)."""
    store = as_embedded(context.store)
    note(context, "operation", "audit.seal", {})
    head = store.seal_audit()
    return {
        "schema": "csirt.audit-seal/1",
        "head": str(head),
        "seq": head.seq,
        "hash": head.hash,
        "time": iso(context.clock.now()),
    }
