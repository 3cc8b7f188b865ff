"""`csirt notify`: routes, who is on call, acknowledgements, silences."""

from __future__ import annotations

from typing import Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write_json, write_rows


@group()
def notify() -> None:
    """Routes, on call, acknowledgements, silences.

    \b
    Examples:
      csirt notify oncall
      csirt notify ack C-2026-0412
    """


@notify.command()
@click.option("--case", metavar="CASE", default="", help="Only the routes that take this case.")
@click.option("--at", metavar="TIME", default="", help="As it would be then: 2h from now, or 2026-11-23T04:00Z.")
@listing
@shared
def routes(settings: Settings, case: str, at: str) -> int:
    """Every route with its filter and who it tells, in order; problems of the routes on stderr.

    \b
    Examples:
      csirt notify routes
      csirt notify routes --case C-2026-0412 --at 2026-12-24T23:00+01:00
    """
    from csirt.cli import caselast
    from csirt.cli.lists import write_list

    document = settings.client().call("notify.routes", case=caselast.named(settings, case), at=at)
    columns = ("id", "match", "contacts")
    cells = {"match": lambda value: value or "*", "contacts": lambda value: ", ".join(value) or _nobody(settings)}
    write_list(settings, document, columns, noun="notify", cells=cells, empty="notify.none_routed")
    if not settings.as_json and not settings.jsonl:
        for problem in document["problems"]:
            say(problem)
    return 1 if document["problems"] else 0


@notify.command()
@click.argument("route", default="", shell_complete=complete.routes)
@click.option("--at", metavar="TIME", default="", help="As it is then: 2h from now, or 2026-11-23T04:00Z.")
@listing
@shared
def oncall(settings: Settings, route: str, at: str) -> None:
    """Who is on call, in the order of escalation, and who is next.

    \b
    Examples:
      csirt notify oncall
      csirt notify oncall night --at 8h
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("notify.oncall", route=route, at=at)
    if not settings.as_json and not settings.jsonl:
        people = [{**item, "contacts": item["contacts"] or [_nobody(settings)]} for item in document["items"]]
        document["items"] = [{**item, "next": _next(settings, item["next"])} for item in people]
    write_list(settings, document, ("id", "contacts", "next"), noun="notify", empty="notify.none_routed")


@notify.command()
@click.argument("target", shell_complete=complete.routes)
@shared
def test(settings: Settings, target: str) -> int:
    """Send a test to a contact, or to everybody on call for a route. Exit 6 when nobody could be told, 7 when some.

    \b
    Examples:
      csirt notify test duty
      csirt notify test night
    """
    document = settings.client().call("notify.test", target=target)
    if settings.as_json:
        write_json(document)
    else:
        write_rows([item["text"]] for item in document["items"])
    return 0 if all(item["sent"] for item in document["items"]) else 7


@notify.command()
@click.argument("case", shell_complete=complete.cases)
@shared
def ack(settings: Settings, case: str) -> None:
    """Say that you have it: nobody else is woken for the case.

    \b
    Examples:
      csirt notify ack C-2026-0412
      csirt notify ack c-2026-0412 --json
    """
    from csirt.cli import caselast

    document = settings.client().call("notify.ack", case=caselast.named(settings, case))
    if settings.as_json:
        write_json(document)
    else:
        write_rows([[document["text"]]])


@notify.command()
@click.argument("filter_text", metavar="[FILTER]", default="", shell_complete=complete.filters)
@click.option("--until", metavar="TIME", default="", help="2h, or 2026-11-23T04:00Z; at most 31 days ahead.")
@click.option("-m", "--message", metavar="REASON", default="", help="Why; required.")
@click.option("--owner", metavar="NAME", default="", help="Who answers for it; default: you.")
@click.option("--end", metavar="ID", default="", help="End this silence now.", shell_complete=complete.silences)
@click.option("--dry-run", is_flag=True, help="Only say what it would have hidden of the open cases.")
@shared
def silence(
    settings: Settings, filter_text: str, until: str, message: str, owner: str, end: str, dry_run: bool
) -> None:
    """Do not tell what matches FILTER until a time. What it hides is kept, counted and told at its end if still open.

    \b
    Examples:
      csirt notify silence 'member:dental rule:net-05' --until 2h -m 'their scanner, agreed with Kari'
      csirt notify silence --end S-1a2b3c -m 'work is done'
    """
    document = settings.client().call(
        "notify.silence",
        filter=filter_text, until=until, message=message, owner=owner, end=end, dry_run=dry_run,
    )  # fmt: skip
    if settings.as_json:
        write_json(document)
    else:
        write_rows([[document["text"]]])


@notify.command()
@click.option("--all", "everything", is_flag=True, help="Ended ones too, with what they hid.")
@listing
@shared
def silences(settings: Settings, everything: bool) -> None:
    """Silences that hold: id, until, owner, how many they have hidden, filter, reason.

    \b
    Examples:
      csirt notify silences
      csirt notify silences --all --json
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("notify.silences", everything=everything)
    columns = ("id", "until", "owner", "hidden", "filter", "reason")
    write_list(settings, document, columns, noun="notify", empty="notify.none_silenced")


def _nobody(settings: Settings) -> str:
    from csirt.messages import text

    return text("notify.nobody_on_call", settings.language())


def _next(settings: Settings, change: dict[str, Any] | None) -> str:
    from csirt.messages import text

    if change is None:
        return text("notify.no_change", settings.language())
    people = ", ".join(change["contacts"]) or _nobody(settings)
    return text("notify.next_change", settings.language(), time=change["local"], contacts=people)
