"""`indicators.*`: lists of what others call bad."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.clock import iso
from csirt.config import duration
from csirt.control.verbs import Context, verb
from csirt.errors import NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.filter import Filter

if TYPE_CHECKING:
    from csirt.enrich.indicators.values import Indicator

FIELDS = ("list", "kind", "value", "confidence", "tlp", "added", "expires", "source", "reference")
SHOWN = 20  # values that an audit entry names


def book_file(context: Context) -> Path:
    """Where the book is."""
    return context.config.path("indicators.json")


@verb("indicators.list", right="read", access=True)
def list_(context: Context, filter: str = "", of: str = "") -> dict[str, Any]:
    """`csirt.indicators/1`: by list and value; `filter` in the filter grammar."""
    from csirt.enrich.indicators.book import Book

    wanted = Filter.parse(filter, context.clock.now(), FIELDS) if filter.strip() else None
    items = [
        item
        for _, item in sorted(Book.load(book_file(context)).items.items())
        if (not of or item.list == of) and (wanted is None or wanted.matches(_document(item)))
    ]
    return {"schema": "csirt.indicators/1", "count": len(items), "items": [_shown(item) for item in items]}


@verb("indicators.import", right="rules")
def import_(
    context: Context,
    text: str,
    name: str,
    into: str,
    reason: str,
    format: str = "auto",
    confidence: int = 50,
    tlp: str = "AMBER",
    ttl: str = "30d",
    dry_run: bool = False,
) -> dict[str, Any]:
    """`csirt.indicators-import/1`: take the indicators of a document into a list; what cannot be used is told."""
    from csirt.enrich.indicators.book import change
    from csirt.enrich.indicators.document import FORMATS, Defaults, parse
    from csirt.enrich.indicators.values import NAME
    from csirt.model import tlp as labels

    if not NAME.fullmatch(into):
        raise Usage(f"{into[:40]!r} is no name of a list: lower-case letters, digits and _, 32 at most")
    if not reason.strip() or format not in FORMATS or not 0 <= confidence <= 100:
        raise Usage("an import needs a reason (-m), a format and a confidence from 0 to 100")
    longest = duration(context.config.enrich.indicator_ttl)
    try:
        life, label = duration(ttl), labels.level(tlp)
    except ValueError as error:
        raise Usage(str(error)) from error
    if life <= 0:
        raise Usage("--ttl must be longer than nothing")
    defaults = Defaults(into, context.clock.now(), min(life, longest), longest, name[:100], confidence, label)
    parsed = parse(text, name, format, defaults)
    counts = {"added": 0, "updated": 0, "full": 0}
    if parsed.items:
        work = lambda book: book.merged(parsed.items.values())  # noqa: E731
        counts = change(book_file(context), work, dry_run=dry_run)
    if counts["full"]:
        parsed.refused["full"] += counts["full"]
    document = {
        "schema": "csirt.indicators-import/1",
        "list": into,
        "format": parsed.format,
        "dry_run": dry_run,
        "added": counts["added"],
        "updated": counts["updated"],
        "repeated": parsed.repeated,
        "refused": dict(sorted(parsed.refused.items())),
        "problems": parsed.problems,
        "reload": [],
    }
    if not dry_run and counts["added"] + counts["updated"]:
        detail = {key: document[key] for key in ("list", "format", "added", "updated", "refused")}
        _record(context, "indicators.import", into, {**detail, "source": name[:100], "reason": reason.strip()})
        document["reload"] = _reload(context)
    return document


@verb("indicators.expire", right="rules")
def expire(
    context: Context, reason: str, values: list[str] | None = None, of: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """`csirt.indicators-expire/1`: end the life of values, of a list, or of values in a list."""
    from csirt.enrich.indicators.book import change
    from csirt.enrich.indicators.values import Refused, canonical

    if not reason.strip() or not (values or of):
        raise Usage("name values, or --list; and a reason: -m REASON")
    wanted = set()
    for value in values or ():
        try:
            wanted.add(canonical(value)[1])
        except Refused as error:
            raise Usage(str(error)) from error

    def over(item: Indicator) -> bool:
        return (not of or item.list == of) and (not wanted or item.value in wanted)

    gone: list[Indicator] = change(book_file(context), lambda book: book.without(over), dry_run=dry_run)
    if not gone:
        raise NotFound("no indicator is that; csirt indicators list")
    document = {
        "schema": "csirt.indicators-expire/1",
        "count": len(gone),
        "dry_run": dry_run,
        "items": [_shown(item) for item in sorted(gone, key=lambda item: item.key)],
        "reload": [],
    }
    if not dry_run:
        detail = {"count": len(gone), "values": sorted(item.value for item in gone)[:SHOWN], "reason": reason.strip()}
        _record(context, "indicators.expire", of, detail)
        document["reload"] = _reload(context)
    return document


def _reload(context: Context) -> list[str]:
    daemon = context.part("daemon")
    return daemon.reload() if daemon else []


def _record(context: Context, action: str, subject: str, detail: dict[str, Any]) -> None:
    who = context.principal
    entry = AuditEntry(
        time=context.clock.now(),
        actor=who.name,
        uid=who.uid,
        on_behalf=who.delegate,
        category="operation",
        action=action,
        subject=subject,
        detail=detail,
    )
    context.store.append_audit([entry])


def _document(item: Indicator) -> dict[str, Any]:
    return {name: getattr(item, name) for name in FIELDS}


def _shown(item: Indicator) -> dict[str, Any]:
    return _document(item) | {"added": iso(item.added), "expires": iso(item.expires)}
