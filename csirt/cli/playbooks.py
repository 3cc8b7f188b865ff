"""`csirt playbooks`: what would be done about a case, and the approvals that set it free."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, listing, say, shared, write_json, write_rows


@group()
def playbooks() -> None:
    """Playbooks: plans, approvals, runs. Nothing here touches a network by itself.

    A run is named by its number (R-2026-0007, or 7) or a unique beginning of number or id.

    \b
    Examples:
      csirt playbooks runs --state awaiting_approval
      csirt playbooks show R-2026-0007
    """


@playbooks.command("list")
@listing
@shared
def list_(settings: Settings) -> None:
    """The playbooks there are.

    \b
    Examples:
      csirt playbooks list
      csirt playbooks list --json
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("playbooks.list")
    lang = settings.language()
    columns = ("name", "title", "steps", "containment")
    screen = ("name", "steps", "containment", "title")
    if not settings.as_json and not settings.jsonl:
        document["items"] = [{**item, "title": item["title"][lang]} for item in document["items"]]
    write_list(settings, document, columns, noun="playbooks", screen=screen, empty="playbooks.none_loaded")


@playbooks.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@shared
def check(settings: Settings, folders: tuple[Path, ...]) -> int:
    """Every problem of playbooks with its line; exit 1 if there is one. Without FOLDERS: shipped and configured ones.

    \b
    Examples:
      csirt playbooks check
      csirt playbooks check my-playbooks/ --json
    """
    from csirt.content import folder
    from csirt.messages import text
    from csirt.respond.folders import load_playbooks

    respond = settings.raw_config().get("respond", {})
    shipped = [folder("playbooks")] if respond.get("shipped", True) else []
    chosen = list(folders) or [*shipped, *(Path(name) for name in respond.get("playbooks", []))]
    found, problems = load_playbooks(chosen)
    if settings.as_json:
        items = [problem.as_dict() for problem in problems]
        write_json({"schema": "csirt.playbooks-check/1", "count": len(items), "playbooks": len(found), "items": items})
    else:
        write_rows([problem] for problem in problems)
        key, count = ("invalid", len(problems)) if problems else ("valid", len(found))
        say(text(f"playbooks.{key}", settings.language(), count=count))
    return 1 if problems else 0


@playbooks.command()
@click.argument("case", shell_complete=complete.cases)
@click.argument("playbook", default="", shell_complete=complete.playbooks)
@shared
def plan(settings: Settings, case: str, playbook: str) -> None:
    """What the playbooks of a case would do, or the one named; nothing is stored.

    \b
    Examples:
      csirt playbooks plan C-2026-0004
      csirt playbooks plan @last PB-LATERAL --json
    """
    document = settings.client().call("playbooks.plan", case=_case(settings, case), playbook=playbook)
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.playbookscreen import write_run
    from csirt.messages import text

    if not document["items"]:
        say(text("playbooks.no_plan", settings.language()))
    for item in document["items"]:
        write_run(settings, item)


@playbooks.command()
@click.argument("playbook", shell_complete=complete.playbooks)
@click.argument("case", shell_complete=complete.cases)
@click.option("--incident", default="", metavar="ID", help="Which incident of the case; without it, the worst.")
@click.option("--dry-run", is_flag=True, help="Show the plan, store nothing.")
@shared
def run(settings: Settings, playbook: str, case: str, incident: str, dry_run: bool) -> None:
    """Ask for a playbook on a case; somebody else approves its containment.

    \b
    Examples:
      csirt playbooks run PB-LATERAL C-2026-0004
      csirt playbooks run PB-WORM @last --dry-run
    """
    name = _case(settings, case)
    client = settings.client()
    document = client.call("playbooks.run", playbook=playbook, case=name, incident=incident, dry_run=dry_run)
    _done(settings, document, "run")


@playbooks.command()
@click.option("--case", default="", metavar="CASE", help="Only of this case.", shell_complete=complete.cases)
@click.option("--state", default="", metavar="STATE", help="Only in this state, such as awaiting_approval.")
@listing
@shared
def runs(settings: Settings, case: str, state: str) -> None:
    """Runs, newest first.

    \b
    Examples:
      csirt playbooks runs
      csirt playbooks runs --state awaiting_approval --json
    """
    from csirt.cli.lists import write_list

    name = _case(settings, case) if case else ""
    document = settings.client().call("playbooks.runs", case=name, state=state)
    if not settings.as_json and not settings.jsonl:
        document["items"] = [{**item, "containment": _containment(item)} for item in document["items"]]
    columns = ("number", "state", "playbook", "case_number", "requested_by", "containment")
    write_list(settings, document, columns, noun="playbooks", empty="playbooks.none")


def _containment(run: dict[str, Any]) -> int:
    """How many access lists a run would put in place."""
    return sum(bool(action["containment"] and not action["refused"]) for action in run["actions"])


@playbooks.command()
@click.argument("name", metavar="RUN", shell_complete=complete.runs)
@shared
def show(settings: Settings, name: str) -> None:
    """One run: each action, what it will stop, its undo and its end; what came of it.

    \b
    Examples:
      csirt playbooks show R-2026-0007
      csirt playbooks show 7 --json
    """
    document = settings.client().call("playbooks.show", run=name)
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.playbookscreen import write_run

    write_run(settings, document)


@playbooks.command()
@click.argument("name", metavar="RUN", shell_complete=complete.runs)
@click.option("--hash", "plan_hash", default="", metavar="HASH", help="The plan you read; another one is refused.")
@click.option("--yes", is_flag=True, help="Do not ask; the plan as it is now.")
@click.option("--dry-run", is_flag=True, help="Ask the guard, approve nothing.")
@shared
def approve(settings: Settings, name: str, plan_hash: str, yes: bool, dry_run: bool) -> None:
    """Approve a plan that somebody else asked for: its access lists go to the outbox for a person to apply.

    \b
    Examples:
      csirt playbooks approve R-2026-0007
      csirt playbooks approve R-2026-0007 --hash 3f9a01c2 --json
    """
    client = settings.client()
    if not dry_run and not plan_hash:
        plan_hash = _read_first(settings, client.call("playbooks.show", run=name), yes)
    _done(settings, client.call("playbooks.approve", run=name, plan_hash=plan_hash, dry_run=dry_run), "approve")


def _read_first(settings: Settings, document: dict[str, Any], yes: bool) -> str:
    """Show the plan and ask; the answer binds the hash of what was shown."""
    from csirt.cli.playbookscreen import write_run
    from csirt.errors import Usage
    from csirt.messages import text

    lang, plan_hash = settings.language(), str(document["plan_hash"])
    if yes:
        return plan_hash
    if not (sys.stdin.isatty() and is_terminal()):
        raise Usage(text("playbooks.ask_yes", lang))
    write_run(settings, document)
    click.confirm(text("playbooks.ask", lang, hash=plan_hash[:12]), abort=True, err=True)
    return plan_hash


@playbooks.command()
@click.argument("name", metavar="RUN", shell_complete=complete.runs)
@click.option("-m", "--message", "reason", required=True, metavar="REASON", help="Why not.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@shared
def reject(settings: Settings, name: str, reason: str, dry_run: bool) -> None:
    """Turn a plan down.

    \b
    Examples:
      csirt playbooks reject R-2026-0007 -m "it is the approved scanner"
      csirt playbooks reject 7 -m "wrong host" --json
    """
    _done(settings, settings.client().call("playbooks.reject", run=name, reason=reason, dry_run=dry_run), "reject")


@playbooks.command()
@click.argument("name", metavar="RUN", shell_complete=complete.runs)
@click.option("-m", "--message", "reason", default="", metavar="REASON", help="Why.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@shared
def undo(settings: Settings, name: str, reason: str, dry_run: bool) -> None:
    """Take containment back: the rollback lines go to the outbox for a person to apply.

    \b
    Examples:
      csirt playbooks undo R-2026-0007 -m "the PC is clean"
      csirt playbooks undo 7 --dry-run
    """
    _done(settings, settings.client().call("playbooks.undo", run=name, reason=reason, dry_run=dry_run), "undo")


def _case(settings: Settings, name: str) -> str:
    from csirt.cli import caselast

    return caselast.named(settings, name)


def _done(settings: Settings, document: dict[str, Any], what: str) -> None:
    """Say what changed and how to undo it."""
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.playbookscreen import say_done

    say_done(settings, document, what)
