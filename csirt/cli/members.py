"""`csirt members`: the address register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write_json, write_rows


@group()
def members() -> None:
    """The address register: who is who in the network.

    \b
    Examples:
      csirt members list kind:gp
      csirt members check register.yaml
    """


@members.command("list")
@click.argument("filter", required=False, default="", shell_complete=complete.member_filters)
@listing
@shared
def list_(settings: Settings, filter: str) -> None:
    """Members, by id; FILTER picks among them (kind, name, operator, her, …).

    \b
    Examples:
      csirt members list
      csirt members list 'kind:gp operator:ikt1'
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("members.list", filter=filter)
    columns = ("id", "name", "kind", "prefixes", "her", "phone")
    screen = ("id", "kind", "phone", "prefixes", "name")
    write_list(settings, document, columns, noun="members", screen=screen, empty="members.none")


@members.command()
@click.argument("what", shell_complete=complete.members)
@click.option("--vrf", default="", help="The VRF an address lies in.")
@shared
def show(settings: Settings, what: str, vrf: str) -> None:
    """One member, by id, address, HER-id, EDI address, mail domain or the beginning of its name.

    \b
    Examples:
      csirt members show m017
      csirt members show 10.37.0.25
    """
    document = settings.client().call("members.show", what=what, vrf=vrf)
    if settings.as_json:
        write_json(document)
    else:
        write_rows(_lines(document, settings.language()))


def _lines(document: dict[str, Any], lang: str) -> list[list[str]]:
    """The member as rows of label and value."""
    from csirt.messages import text

    def label(name: str) -> str:
        return text(f"members.{name}", lang)

    member, matched = document["member"], document["matched"]
    rows = [[member["id"], f"{member['name']} ({member['kind']})"]]
    if matched["by"] not in ("id", "name"):
        about = [str(matched[key]) for key in ("value", "network", "site", "role", "zone", "asset") if matched.get(key)]
        rows.append([label("found_by"), " ".join(about)])
    for name in ("language", "operator", "supplier", "open_hours"):
        if member[name]:
            rows.append([label(name), member[name]])
    if member["domains"]:
        rows.append([label("domains"), " ".join(member["domains"])])
    for contact in member["contacts"]:
        parts = [contact["name"], contact["role"], contact["phone"], contact["mail"]]
        parts.append(label("out_of_band") if contact["out_of_band"] else "")
        rows.append([label("contact"), ", ".join(part for part in parts if part)])
    for site in member["sites"]:
        where = f"{site['exporter']} interface {site['interface']}" if site["exporter"] else site["vrf"]
        parts = [site["id"], site["name"], site["zone"], "NAT" if site["nat"] else "", where, *site["prefixes"]]
        rows.append([label("site"), " ".join(part for part in parts if part)])
        for asset in site["assets"]:
            parts = [asset["network"], asset["role"], asset["name"]]
            rows.append([label("asset"), " ".join(part for part in parts if part)])
    for her in member["her"]:
        parts = [her["id"], her["service"], her["edi"], "" if her["active"] else label("inactive")]
        rows.append([label("party"), " ".join(part for part in parts if part)])
    return rows + _agreed(member, label("agreement"), label("window"))


def _agreed(member: dict[str, Any], agreement: str, window: str) -> list[list[str]]:
    rows = []
    for item in member["agreements"]:
        ports = ",".join(item["ports"])
        parts = [item["id"], f"{item['source']} -> {item['destination']}", item["service"], ports, item["until"] or ""]
        rows.append([agreement, " ".join(part for part in parts if part)])
    for item in member["supplier_windows"]:
        times = f"{item['since'] or ''} - {item['until'] or ''}" if item["since"] or item["until"] else ""
        parts = [f"{item['supplier']} -> {item['member']}", item["weekly"] or "", times]
        rows.append([window, " ".join(part for part in parts if part)])
    return rows


@members.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@shared
def check(settings: Settings, file: Path | None) -> int:
    """Every problem of a register file with its line; exit 1 if there is one. Without FILE: the configured one.

    \b
    Examples:
      csirt members check register.yaml
      csirt members check --json
    """
    from csirt.enrich.register import Register
    from csirt.messages import text

    path = file or _configured(settings)
    _exists(path)
    register, problems = Register.load(path)
    everyone = register.members() if register else []
    counts = {
        "members": len(everyone),
        "prefixes": sum(len(site.prefixes) for member in everyone for site in member.sites),
        "her": sum(len(member.her) for member in everyone),
    }
    if settings.as_json:
        items = [problem.as_dict() for problem in problems]
        write_json(
            {"schema": "csirt.members-check/1", "file": str(path), "count": len(items), "items": items, **counts}
        )
    else:
        write_rows([[problem] for problem in problems])
        if problems:
            say(text("members.invalid", settings.language(), file=path, count=len(problems)))
        else:
            say(text("members.valid", settings.language(), file=path, **counts))
    return 1 if problems else 0


@members.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@shared
def diff(settings: Settings, old: Path, new: Path | None) -> int:
    """What differs between two register files. With one FILE: what it would change in the configured one.

    \b
    Examples:
      csirt members diff register.yaml new.yaml
      csirt members diff new.yaml
    """
    from csirt.enrich.describe import diff as compare
    from csirt.messages import text

    first, second = (old, new) if new else (_configured(settings), old)
    change = compare(_load(first), _load(second))
    if settings.as_json:
        write_json({"schema": "csirt.members-diff/1", **change})
        return 0
    rows = _changes(change, settings.language())
    write_rows(rows)
    if not rows:
        say(text("members.same", settings.language()))
    return 0


def _changes(change: dict[str, Any], lang: str) -> list[list[object]]:
    from csirt.messages import text

    rows: list[list[object]] = []
    for how in ("added", "removed"):
        word = text(f"members.{how}", lang)
        rows += [[word, item["id"], item["name"], item["kind"]] for item in change[how]]
    word = text("members.changed", lang)
    for item in change["changed"]:
        rows += [[word, item["id"], f["field"], _short(f["old"]), _short(f["new"])] for f in item["fields"]]
    for what in ("agreements", "supplier_windows", "domains", "resolvers"):
        for how in ("added", "removed"):
            rows += [[text(f"members.{how}", lang), what, _short(value)] for value in change[what][how]]
    return rows


def _short(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@members.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-m", "reason", required=True, metavar="REASON", help="Why; it goes into the audit.")
@click.option("--dry-run", is_flag=True, help="Check and compare, change nothing.")
@shared
def import_(settings: Settings, file: Path, reason: str, dry_run: bool) -> int:
    """Check FILE, put it in place of the configured register and let the daemon read it.

    \b
    Examples:
      csirt members import new.yaml -m "two new GP offices"
      csirt members import new.yaml -m "quarterly" --dry-run
    """
    from csirt.errors import Usage
    from csirt.messages import text

    _exists(file)
    try:
        content = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file}: cannot be read as UTF-8 text: {error}") from error
    client = settings.client()
    document = client.call("members.import", text=content, name=file.name, reason=reason, dry_run=dry_run)
    if settings.as_json:
        write_json(document)
        return 1 if document["problems"] else 0
    lang, change = settings.language(), document["change"]
    counts = {key: len(change[key]) for key in ("added", "removed", "changed")}
    if change["old"] == change["new"]:
        say(text("members.same", lang))
        return 0
    say(text("members.would_import" if dry_run else "members.imported", lang, file=document["file"], **counts))
    write_rows(_changes(change, lang))
    if dry_run:
        return 0
    if document["previous"]:
        say(text("members.undo", lang, previous=document["previous"]))
    reasons = "; ".join(document["problems"]) or text("members.no_daemon", lang)
    say(text("members.reloaded", lang) if document["reloaded"] else text("members.not_reloaded", lang, reason=reasons))
    return 1 if document["problems"] else 0


def _configured(settings: Settings) -> Path:
    from csirt.errors import Usage
    from csirt.messages import text

    name = str(settings.raw_config().get("enrich", {}).get("register", ""))
    if not name:
        raise Usage(text("members.not_configured", settings.language()))
    return Path(name)


def _exists(path: Path) -> None:
    from csirt.errors import NotFound

    if not path.exists():
        raise NotFound(f"{path}: no such file")


def _load(path: Path) -> Any:
    from csirt.enrich.register import Register
    from csirt.errors import CsirtError

    _exists(path)
    register, problems = Register.load(path)
    if register is None:
        raise CsirtError("\n".join(str(problem) for problem in problems))
    return register
