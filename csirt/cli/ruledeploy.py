"""`csirt rules deploy`: a rule on trial, to work, or off, on evidence."""

from __future__ import annotations

import sys
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, is_terminal, say, shared, write_json, write_rows
from csirt.cli.ruleset import text

FACTS = ("since", "days", "alerts", "hits", "alerts_per_day", "members")


@command()
@click.argument("rule")
@click.option("--to", "state", required=True, type=click.Choice(["shadow", "on", "off"]), help="What it shall be.")
@click.option("-m", "--reason", required=True, metavar="REASON", help="Why; kept with the rule and in the audit.")
@click.option("--yes", is_flag=True, help="Do it although evidence is missing.")
@click.option("--dry-run", is_flag=True, help="Show the evidence, change nothing.")
@shared
def deploy(settings: Settings, rule: str, state: str, reason: str, yes: bool, dry_run: bool) -> int:
    """Put a rule in shadow (its alerts are recorded, nobody is told), to work, or off.

    What it found as it is deployed now is shown first: days, alerts, hits, members, verdicts of cases. A rule goes to
    work after 14 days in shadow with events to look at, at most 20 alerts a day, and no majority of false verdicts;
    with less you are asked, or it is refused off a terminal unless --yes says so. The daemon reads it at once.

    \b
    Examples:
      csirt rules deploy net-07 --to shadow -m "new threshold"
      csirt rules deploy net-07 --to on -m "14 days, 3 hits, all true"
    """
    client = settings.client()
    asked: dict[str, Any] = {"rule": rule, "state": state, "reason": reason}
    document = client.call("rules.deploy", **asked, yes=yes, dry_run=dry_run)
    refused = bool(document["lacks"]) and not document["changed"] and not dry_run and not yes
    if not settings.as_json:
        _show(settings, document)
    if refused and not settings.as_json and sys.stdin.isatty() and is_terminal():
        click.confirm(text(settings, "deploy_ask"), abort=True, err=True)
        document = client.call("rules.deploy", **asked, yes=True, dry_run=False)
        refused = False
    if settings.as_json:
        write_json(document)
    _tell(settings, document, refused, dry_run)
    return 1 if refused else 0


def _show(settings: Settings, document: dict[str, Any]) -> None:
    found = document["evidence"]
    write_rows([name, "" if found[name] is None else found[name]] for name in FACTS)
    write_rows(["verdict", name, number] for name, number in found["verdicts"].items())
    write_rows(["dataset", name, "events" if seen else "none"] for name, seen in found["datasets"].items())
    for reason in document["lacks"]:
        say(text(settings, "deploy_lacks", reason=reason))


def _tell(settings: Settings, document: dict[str, Any], refused: bool, dry_run: bool) -> None:
    names = {"title": document["title"], "before": document["before"], "after": document["after"]}
    if document["changed"]:
        say(text(settings, "deployed", **names))
        say(text(settings, "deploy_undo", rule=document["rule"], before=document["before"]))
    elif refused:
        say(text(settings, "deploy_yes"))
    elif dry_run:
        say(text(settings, "deploy_dry"))
    else:
        say(text(settings, "deploy_same", **names))
    for note in document["problems"]:
        say(note)
