"""`csirt store`: its verbs; those of a cluster are in `storecluster.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, say, shared, write_json, write_rows
from csirt.cli.storecluster import copy, dead_letters, init, migrate, recover, roles

KINDS = ("alert", "audit", "case", "event", "incident", "notification", "position", "receipt", "run")


@group()
def store() -> None:
    """The store: what it holds, its dump, checks, backup, retention, its cluster.

    \b
    Examples:
      csirt store info
      csirt store dump --canonical --counts --store /srv/case-17
    """


@store.command()
@shared
def info(settings: Settings) -> int:
    """Sizes, counts, oldest and newest event per dataset, versions.

    \b
    Examples:
      csirt store info
      csirt store info --json --store /srv/case-17
    """
    document = settings.client().call("store.info")
    if settings.as_json:
        write_json(document)
        return 0
    names = ("dataset", "rows", "rows_waiting", "files", "bytes", "oldest", "newest")
    if is_terminal():
        from csirt.cli.lists import table

        table(settings, document["datasets"], (*names[:5], "newest"), "store", {})
    else:
        write_rows([item[name] for name in names] for item in document["datasets"])
    write_rows([[kind, number] for kind, number in document["documents"].items()])
    audit = document["audit"]
    write_rows(
        [
            ["audit", audit["entries"]],
            ["inputs", document["inputs"]],
            ["catalogue_bytes", document["catalogue_bytes"]],
            ["disk_free_bytes", document["disk_free_bytes"]],
            ["schema_version", document["schema_version"]],
            ["sqlite", document["sqlite"]],
        ]
    )
    return 0


@store.command()
@click.option("--canonical", is_flag=True, help="The canonical form, which is the only one.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be repeated.")
@click.option("--counts", is_flag=True, help="How many of each kind, and the SHA-256 of the dump.")
@shared
def dump(settings: Settings, canonical: bool, kinds: tuple[str, ...], counts: bool) -> int:
    """Everything in the store as JSON lines, sorted by kind and id; the same content gives the same bytes.

    \b
    Examples:
      csirt store dump --canonical | sha256sum
      csirt store dump --canonical --kind case --store /srv/case-17
    """
    client = settings.client()
    chosen = list(kinds) or None
    if counts:
        write_json(client.call("store.dump_counts", kinds=chosen))
        return 0
    for block in client.stream("store.dump", kinds=chosen):
        write_text(block)
    return 0


def write_text(block: str) -> None:
    """Whole lines of JSON to stdout as they are; on a terminal every line is made safe."""
    if is_terminal():
        from csirt.safety import terminal

        block = "".join(f"{terminal(line)}\n" for line in block.splitlines())
    sys.stdout.flush()
    sys.stdout.buffer.write(block.encode("utf-8", "backslashreplace"))


@store.command()
@click.option("--quick", is_flag=True, help="Sizes and row counts only; event files are not read wholly.")
@shared
def fsck(settings: Settings, quick: bool) -> int:
    """Try everything the catalogue promises against the disk; exit 1 when something is wrong.

    \b
    Examples:
      csirt store fsck
      csirt store fsck --quick --json
    """
    document = settings.client().call("store.fsck", checksums=not quick)
    if settings.as_json:
        write_json(document)
    else:
        write_rows([[item["check"], item["subject"], item["message"]] for item in document["findings"]])
        _say(settings, "store.fsck_bad" if document["count"] else "store.fsck_good", count=document["count"])
    return 1 if document["count"] else 0


@store.command()
@click.argument("target", metavar="FOLDER")
@click.option("--copy", is_flag=True, help="Copy event files even where hard links would do.")
@shared
def backup(settings: Settings, target: str, copy: bool) -> int:
    """A consistent copy of the store in a new FOLDER, while it runs. The spool is no part of it.

    \b
    Examples:
      csirt store backup /backup/csirt-2026-11-23
      csirt store backup /mnt/nas/csirt --copy
    """
    report = settings.client().call("store.backup", target=str(Path(target).absolute()), copy=copy)
    if settings.as_json:
        write_json(report)
    else:
        _say(settings, "store.backed_up", target=target, **report)
    return 0


@store.command()
@click.argument("source", metavar="BACKUP")
@click.argument("target", metavar="FOLDER")
@shared
def restore(settings: Settings, source: str, target: str) -> int:
    """Check a BACKUP and make a store of it in a new FOLDER. Needs no daemon.

    \b
    Examples:
      csirt store restore /backup/csirt-2026-11-23 /var/lib/csirt/store
      csirt store restore /backup/csirt-2026-11-23 /srv/look --json
    """
    import pwd

    from csirt.clock import SYSTEM
    from csirt.stores.embedded.backup import restore as bring_back

    try:
        actor = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        actor = f"uid-{os.getuid()}"
    report = bring_back(Path(source), Path(target), SYSTEM, actor=actor)
    if settings.as_json:
        write_json(report)
    else:
        write_rows([[item["check"], item["subject"], item["message"]] for item in report["findings"]])
        _say(settings, "store.restored", target=target, **report)
    return 1 if report["findings"] else 0


@store.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--reports", is_flag=True, help="The deletion reports that are kept, newest first.")
@shared
def retention(settings: Settings, dry_run: bool, reports: bool) -> int:
    """Delete what has been kept as long as [retention] says; the daemon does so every hour by itself.

    \b
    Examples:
      csirt store retention --dry-run
      csirt store retention --reports --json
    """
    client = settings.client()
    if reports:
        document = client.call("store.reports")
        if settings.as_json:
            write_json(document)
        else:
            for item in document["items"]:
                _show_retention(item)
        return 0
    report = client.call("store.retention", dry_run=dry_run)
    if settings.as_json:
        write_json(report)
        return 0
    _show_retention(report)
    _say(settings, "store.would_delete" if dry_run else "store.deleted", rows=_rows(report))
    if report["open_cases_kept"]:
        _say(settings, "store.open_cases", count=report["open_cases_kept"])
    return 0


def _rows(report: dict[str, Any]) -> int:
    events = sum(int(item["rows"]) for item in report["events"])
    return events + sum(map(int, report["documents"].values())) + int(report["audit"])


def _show_retention(report: dict[str, Any]) -> None:
    time = report["time"]
    write_rows(
        [
            [time, item["dataset"], item["rows"], item["bytes"], item["received_from"], item["received_until"]]
            for item in report["events"]
        ]
    )
    write_rows([[time, kind, number] for kind, number in sorted(report["documents"].items())])
    if report["audit"]:
        write_rows([[time, "audit", report["audit"]]])


def _say(settings: Settings, key: str, **fields: Any) -> None:
    from csirt.messages import text

    say(text(key, settings.language(), **fields))


for verb in (init, copy, dead_letters, migrate, recover, roles):
    store.add_command(verb)
