"""`store.*`: what the store holds, the canonical dump, checks, backup, retention."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.control.verbs import Context, verb
from csirt.errors import Usage
from csirt.model.audit import AuditEntry
from csirt.stores.embedded.store import as_embedded

if TYPE_CHECKING:
    from csirt.stores.base import Store

_BLOCK = 256 * 1024


@verb("store.info", right="status")
def info(context: Context) -> dict[str, Any]:
    """Sizes, counts, oldest and newest per dataset, versions (csirt.store/1)."""
    from csirt.stores.embedded.info import info as gather

    return gather(as_embedded(context.store))


@verb("store.dump", right="operate", stream=True)
def dump(context: Context, kinds: list[str] | None = None) -> Iterator[str]:
    """The canonical dump as text, in blocks of whole lines; leaves one access entry with the number of lines."""
    lines = context.store.dump(kinds)
    return _blocks(context, lines, kinds)


def _blocks(context: Context, lines: Iterator[bytes], kinds: list[str] | None) -> Iterator[str]:
    rows = size = 0
    block: list[bytes] = []
    try:
        for line in lines:
            block.append(line)
            rows += 1
            size += len(line)
            if size >= _BLOCK:
                yield b"".join(block).decode()
                block, size = [], 0
        if block:
            yield b"".join(block).decode()
    finally:
        note(context, "access", "store.dump", {"arguments": {"kinds": kinds}, "rows": rows})


@verb("store.dump_counts", right="status")
def dump_counts(context: Context, kinds: list[str] | None = None) -> dict[str, Any]:
    """How many items of each kind the dump has, and the SHA-256 of its bytes (csirt.dump/1)."""
    from csirt.stores.embedded.dump import DUMP_KINDS

    counts = dict.fromkeys(kinds or DUMP_KINDS, 0)
    digest = hashlib.sha256()
    for kind in sorted(counts):
        for line in context.store.dump([kind]):
            counts[kind] += 1
            digest.update(line)
    return {"schema": "csirt.dump/1", "counts": counts, "sha256": digest.hexdigest()}


@verb("store.fsck", right="operate")
def fsck(context: Context, checksums: bool = True) -> dict[str, Any]:
    """Everything the catalogue promises tried against the disk (csirt.fsck/1)."""
    from csirt.cases.fold import fold
    from csirt.stores.embedded.fsck import fsck as check

    findings = check(as_embedded(context.store), checksums=checksums, fold=fold)
    note(context, "operation", "store.fsck", {"findings": len(findings)})
    return {"schema": "csirt.fsck/1", "count": len(findings), "findings": findings}


@verb("store.backup", right="operate")
def backup(context: Context, target: str, copy: bool = False) -> dict[str, Any]:
    """A consistent copy into a new folder while the store runs (csirt.backup-report/1)."""
    from csirt.stores.embedded.backup import backup as write

    path = Path(target)
    if not path.is_absolute():
        raise Usage(f"{target}: name the folder with its whole path")
    report = write(as_embedded(context.store), path, copy=copy)
    note(context, "operation", "store.backup", {"files": report["files"], "rows": report["rows"]})
    return report


@verb("store.retention", right="operate")
def retention(context: Context, dry_run: bool = False) -> dict[str, Any]:
    """Delete what is over its time, or say what would be (csirt.retention/1)."""
    from csirt.stores.embedded.retention import apply

    store = as_embedded(context.store)
    return apply(store, context.config.retention, context.clock.now(), dry_run=dry_run, by=context.principal)


@verb("store.reports", right="operate")
def reports(context: Context, limit: int | None = None) -> dict[str, Any]:
    """The deletion reports that are kept, newest first (csirt.retention-reports/1)."""
    from csirt.stores.embedded.retention import reports as kept

    items = kept(as_embedded(context.store), limit)
    return {"schema": "csirt.retention-reports/1", "count": len(items), "items": items}


@verb("store.dead_letters", right="operate")
def dead_letters(context: Context, retry: bool = False) -> dict[str, Any]:
    """What the cluster refused, oldest first; with `retry` it is sent again (csirt.dead-letters/1)."""
    from csirt.clock import iso
    from csirt.stores.elastic import outbox

    store = as_embedded(context.store)
    with store.database.reading() as connection:
        found = outbox.dead_letters(connection) if outbox.joined(connection) else []
    if retry and found:
        with store.database.transaction("sending dead letters again") as connection:
            outbox.retry(connection)
        note(context, "operation", "store.dead_letters", {"sent_again": len(found)})
    items = [{**item, "time": iso(item["time"])} for item in found]
    return {"schema": "csirt.dead-letters/1", "count": len(items), "items": items}


def note(context: Context, category: Any, action: str, detail: dict[str, Any]) -> None:
    """One audit entry of the caller."""
    who = context.principal
    store: Store = context.store
    store.append_audit(
        [
            AuditEntry(
                time=context.clock.now(),
                actor=who.name,
                uid=who.uid,
                on_behalf=who.delegate,
                category=category,
                action=action,
                detail=detail,
            )
        ]
    )
