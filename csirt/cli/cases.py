"""`csirt cases`: triage. The queue, one case on one screen, and every change with its undo."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, listing, say, shared, write_json

Function = Callable[..., Any]
LIMIT = 50


def show_list(settings: Settings, where: str = "", everything: bool = False, limit: int | None = None) -> None:
    """The queue, most urgent first. A terminal shows the first fifty unless more are asked for."""
    from csirt.cli.casescreen import say_more, write_queue

    asked = limit
    if limit is None and is_terminal() and not (settings.as_json or settings.jsonl):
        limit = LIMIT
    document = settings.client().call("cases.list", where=where, everything=everything, limit=limit or None)
    write_queue(settings, document)
    if asked is None and not settings.as_json:
        say_more(settings, document)


@group()
def cases() -> None:
    """Triage: the open cases and what people do to them.

    A case is named by its number (C-2026-0412, or 412), a unique beginning of number or id, @last (the one you looked
    at last), @mine, or - for names on stdin.

    \b
    Examples:
      csirt cases list
      csirt cases show @last
    """


@cases.command("list")
@click.argument("filter", required=False, default="", shell_complete=complete.filters)
@click.option(
    "--where",
    default="",
    metavar="FILTER",
    help="Only cases that pass; see `csirt help filters`.",
    shell_complete=complete.filters,
)
@click.option("--all", "everything", is_flag=True, help="Closed and merged cases too.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N; 0 for all.")
@listing
@shared
def list_(settings: Settings, filter: str, where: str, everything: bool, limit: int | None) -> None:
    """Cases, most urgent first; FILTER (or --where FILTER) picks among them.

    \b
    Examples:
      csirt cases list
      csirt cases list 'severity>=high member:dental not:ack'
    """
    both = f"({filter}) ({where})" if filter.strip() and where.strip() else filter or where
    show_list(settings, both, everything, limit)


@cases.command()
@click.argument("case", shell_complete=complete.cases)
@shared
def show(settings: Settings, case: str) -> None:
    """One case on one screen: what, who, since when, why, what is done, who is on call, what next.

    \b
    Examples:
      csirt cases show C-2026-0004
      csirt cases show @last --json
    """
    _show(settings, settings.client().call("cases.show", case=_one(settings, case)))


@cases.command("next")
@click.option(
    "--where", default="", metavar="FILTER", help="Only among cases that pass.", shell_complete=complete.filters
)
@shared
def next_(settings: Settings, where: str) -> None:
    """The one case to look at now, and why.

    \b
    Examples:
      csirt cases next
      csirt cases next --where 'is:clinical'
    """
    _show(settings, settings.client().call("cases.next", where=where))


def _show(settings: Settings, document: dict[str, Any]) -> None:
    from csirt.cli import caselast

    caselast.remember(settings, document["case"])
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.casescreen import write_case

    write_case(settings, document)


def changing(function: Function) -> Function:
    """Decorator: cases as arguments or --where, --yes, --dry-run, --version."""
    for option in (
        click.option("--version", type=int, metavar="N", help="Refuse if people changed the case since version N."),
        click.option("--dry-run", is_flag=True, help="Say what would change, change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask about several cases."),
        click.option(
            "--where",
            default="",
            metavar="FILTER",
            help="All open cases that pass, instead of names.",
            shell_complete=complete.filters,
        ),
        click.argument("names", nargs=-1, metavar="[CASE]...", shell_complete=complete.cases),
    ):
        function = option(function)
    return function


@cases.command()
@changing
@shared
def ack(settings: Settings, names: tuple[str, ...], **options: Any) -> int:
    """Take notice of cases; a case without an owner becomes yours.

    \b
    Examples:
      csirt cases ack C-2026-0004
      csirt cases ack --where 'rule:*dns* severity<=low' --yes
    """
    return _change(settings, "cases.ack", names, options)


@cases.command()
@changing
@click.option("--to", "owner", default="", metavar="USER", help="Whom to give it to; without it, yourself.")
@shared
def assign(settings: Settings, names: tuple[str, ...], owner: str, **options: Any) -> int:
    """Give cases to somebody, or take them yourself.

    \b
    Examples:
      csirt cases assign C-2026-0004
      csirt cases assign C-2026-0004 --to kari
    """
    return _change(settings, "cases.assign", names, options, owner=owner)


@cases.command()
@changing
@click.option("-m", "--message", "text", default="", metavar="TEXT", help="The note; - reads stdin.")
@shared
def note(settings: Settings, names: tuple[str, ...], text: str, **options: Any) -> int:
    """Add a note. Never write a patient's name, identity number or message content.

    \b
    Examples:
      csirt cases note C-2026-0004 -m "Called the office, PC is unplugged."
      csirt cases note @last -m - < note.txt
    """
    options.pop("version")
    return _change(settings, "cases.note", names, options, text=_text(text))


@cases.command()
@changing
@click.option("--to", required=True, metavar="LEVEL", help="informational, low, medium, high or critical.")
@click.option("-m", "--message", "reason", default="", metavar="REASON", help="Why.")
@shared
def severity(settings: Settings, names: tuple[str, ...], to: str, reason: str, **options: Any) -> int:
    """Set the severity; evidence worse than now will take over again.

    \b
    Examples:
      csirt cases severity C-2026-0004 --to low -m "a printer"
      csirt cases severity @last --to critical -m "the relay is hit"
    """
    return _change(settings, "cases.severity", names, options, to=to, reason=_text(reason))


@cases.command()
@changing
@click.option("--verdict", required=True, type=click.Choice(["true", "false", "benign"]), help="What it was.")
@click.option("--rsit", required=True, metavar="CLASS", help="RSIT class, such as malicious-code/infected-system.")
@click.option("-m", "--message", "reason", required=True, metavar="REASON", help="Why; - reads stdin.")
@shared
def close(settings: Settings, names: tuple[str, ...], verdict: str, rsit: str, reason: str, **options: Any) -> int:
    """Judge cases and close them: a true alarm, a false one, or true but benign.

    \b
    Examples:
      csirt cases close C-2026-0004 --verdict true --rsit infected-system -m "PC reinstalled"
      csirt cases close --where 'rule:*dns* age>7d' --verdict benign --rsit other -m "lab list" --yes
    """
    return _change(settings, "cases.close", names, options, verdict=verdict, rsit=rsit, reason=_text(reason))


@cases.command()
@changing
@click.option("-m", "--message", "reason", default="", metavar="REASON", help="Why.")
@shared
def reopen(settings: Settings, names: tuple[str, ...], reason: str, **options: Any) -> int:
    """Take closed cases up again.

    \b
    Examples:
      csirt cases reopen C-2026-0004 -m "it is back"
      csirt cases reopen @last
    """
    return _change(settings, "cases.reopen", names, options, reason=_text(reason))


@cases.command()
@changing
@click.option("--into", required=True, metavar="CASE", shell_complete=complete, help="The case that goes on.")
@click.option("-m", "--message", "reason", required=True, metavar="REASON", help="Why they belong together.")
@shared
def merge(settings: Settings, names: tuple[str, ...], into: str, reason: str, **options: Any) -> int:
    """Put cases into another one.

    \b
    Examples:
      csirt cases merge C-2026-0005 --into C-2026-0004 -m "same campaign"
      csirt cases merge 5 6 --into 4 -m "same supplier" --yes
    """
    return _change(settings, "cases.merge", names, options, into=_one(settings, into), reason=_text(reason))


@cases.command()
@click.argument("case", shell_complete=complete.cases)
@click.argument("incident")
@click.option("-m", "--message", "reason", default="", metavar="REASON", help="Why they do not belong together.")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@shared
def split(settings: Settings, case: str, incident: str, reason: str, dry_run: bool) -> int:
    """Let one incident of a case go into a case of its own; `show --json` lists the incidents.

    \b
    Examples:
      csirt cases split C-2026-0004 3f9a -m "another machine"
      csirt cases split @last 3f9a --dry-run
    """
    name = _one(settings, case)
    document = settings.client().call("cases.split", case=name, incident=incident, reason=reason, dry_run=dry_run)
    return _report(settings, document)


@cases.command()
@changing
@shared
def undo(settings: Settings, names: tuple[str, ...], **options: Any) -> int:
    """Take back the last change of each case: your own, or as a lead anybody's.

    \b
    Examples:
      csirt cases undo C-2026-0004
      csirt cases undo @last --dry-run
    """
    return _change(settings, "cases.undo", names, options)


@cases.command()
@click.option("--since", default="8h", metavar="TIME", help="How long the shift was.")
@shared
def handover(settings: Settings, since: str) -> None:
    """What the next shift must know.

    \b
    Examples:
      csirt cases handover
      csirt cases handover --since 12h --json
    """
    document = settings.client().call("cases.handover", since=since)
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.casescreen import write_handover

    write_handover(settings, document)


@cases.command()
@click.option("--where", default="", metavar="FILTER", help="Only cases that pass.", shell_complete=complete.filters)
@shared
def watch(settings: Settings, where: str) -> None:
    """The queue, then every case as it changes; JSON lines with --json. Ends with Ctrl-C.

    \b
    Examples:
      csirt cases watch
      csirt cases watch --where 'severity>=high' --json
    """
    from csirt.cli.casescreen import write_queue

    for item in settings.client().stream("cases.watch", where=where):
        if "id" not in item:
            continue
        if settings.as_json:
            write_json(item)
        else:
            write_queue(settings, {"items": [item]})
        sys.stdout.flush()


def _one(settings: Settings, name: str) -> str:
    """One case as the daemon understands it: `@last` is known here, `-` is read from stdin."""
    return _names(settings, (name,))[0]


def _names(settings: Settings, names: tuple[str, ...]) -> list[str]:
    from csirt.cli import caselast
    from csirt.errors import Usage

    found: list[str] = []
    for name in names:
        if name == "-":
            found += [line.split()[0] for line in sys.stdin if line.split()]
        else:
            found.append(caselast.last(settings) if name == "@last" else name)
    if not found:
        raise Usage("no case given; name one (C-2026-0412, @last, @mine), or use --where FILTER")
    return found


def _text(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _change(settings: Settings, verb: str, names: tuple[str, ...], options: dict[str, Any], **fields: Any) -> int:
    from csirt.cli import caselast

    where, yes = options.pop("where"), options.pop("yes")
    client = settings.client()
    chosen = _matching(settings, client, where, names) if where else _names(settings, names)
    if not chosen:
        return 0
    if (len(chosen) > 1 or where) and not options["dry_run"]:
        _confirm(settings, chosen, yes)
    if len(chosen) == 1 and "version" in options and options["version"] is None:
        options["version"] = caselast.version(settings, chosen[0])
    return _report(settings, client.call(verb, cases=chosen, **options, **fields))


def _matching(settings: Settings, client: Any, where: str, names: tuple[str, ...]) -> list[str]:
    """The cases a filter chooses, shown with their number and a sample before anything happens."""
    from csirt.errors import Usage
    from csirt.messages import text

    if names:
        raise Usage("give either cases or --where FILTER, not both")
    items = client.call("cases.list", where=where)["items"]
    lang = settings.language()
    if not items:
        say(text("cases.bulk_none", lang, where=where))
        return []
    sample = "; ".join(f"{item['number']} {item['title']}" for item in items[:5]) + ("; ..." if len(items) > 5 else "")
    say(text("cases.bulk", lang, count=len(items), sample=sample))
    return [item["id"] for item in items]


def _confirm(settings: Settings, chosen: list[str], yes: bool) -> None:
    """Several cases at once need a yes: typed on a terminal, `--yes` anywhere else."""
    if yes:
        return
    from csirt.errors import Usage
    from csirt.messages import text

    lang = settings.language()
    if not (sys.stdin.isatty() and is_terminal()):
        raise Usage(text("cases.bulk_yes", lang, count=len(chosen)))
    click.confirm(text("cases.bulk_ask", lang, count=len(chosen)), abort=True, err=True)


def _report(settings: Settings, document: dict[str, Any]) -> int:
    """Say what changed and how to undo it; 7 when some of several cases were not changed."""
    from csirt.cli import caselast
    from csirt.cli.casescreen import say_changes

    for item in document["items"]:
        if not item["dry_run"]:
            caselast.remember(settings, item)
    if settings.as_json:
        write_json(document)
    else:
        say_changes(settings, document)
    return 7 if document["failed"] else 0
