"""`csirt rules explain`: why a rule matches an event, or what keeps it from matching."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csirt.cli import complete
from csirt.cli.command import command
from csirt.cli.common import Settings, is_terminal, shared, write, write_json, write_rows
from csirt.cli.ruleset import chosen, text
from csirt.errors import Usage

if TYPE_CHECKING:
    from csirt.detect.rule import Correlation, Rule
    from csirt.detect.rules.ruleset import Ruleset


@command()
@click.argument("rule", shell_complete=complete.rules)
@click.argument("event")
@click.option("--index", type=click.IntRange(0), metavar="N", help="Which event of a file with several, from 0.")
@click.option(
    "--fields",
    type=click.Choice(["raw", "mapped"]),
    default="mapped",
    show_default=True,
    help="raw: keys as given, no log source; mapped: our schema, the rule sees its log source.",
)
@shared
def explain(settings: Settings, rule: str, event: str, index: int | None, fields: str) -> int:
    """Selection by selection and field by field, why a rule matches an event or not, and the nearest miss.

    RULE is a file, or a loaded rule's id, name or title. EVENT is a file of JSON events, - for one on stdin, or the id
    of a stored event. Of a correlation, the rules it counts are explained.

    \b
    Examples:
      csirt rules explain net-01.yml event.json
      csirt rules explain 5d1c1f0e 4f1c09d2a7b3e8550000000000c80000 --store /srv/replay
    """
    from csirt.detect.authors.explain import explain as explained
    from csirt.detect.authors.runner import by_dataset, likeliest
    from csirt.detect.columns import raw

    loaded, found = chosen(settings, rule, mapped=fields == "mapped")
    place, document = _event(settings, event, index)
    frame = raw.from_events([document])
    dataset = next(iter(by_dataset(frame) or [likeliest(frame)])) if fields == "mapped" else None
    items = [explained(loaded, item, frame, dataset) for item in _plain(loaded, found)]
    if settings.as_json:
        name = frame.event_ids()[0]
        write_json({"schema": "csirt.rules-explain/1", "event": {"index": place, "id": name}, "rules": items})
        return 0
    for item in items:
        _write(settings, item)
    return 0


def _plain(loaded: Ruleset, found: list[Rule | Correlation]) -> list[Rule]:
    """The rules among these, and those that the correlations among them count."""
    inputs = {item.id: item.rules for item in loaded.correlations}
    wanted = {item.id for item in found}
    while more := {name for one in wanted for name in inputs.get(one, ())} - wanted:
        wanted |= more
    return [rule for rule in loaded.rules if rule.id in wanted]


def _event(settings: Settings, name: str, index: int | None) -> tuple[int, dict[str, Any]]:
    """(its place in the file, the event) of a file, stdin or the store."""
    if name != "-" and not Path(name).is_file():
        if Path(name).suffix in (".json", ".ndjson", ".jsonl"):
            raise Usage(f"{name}: no such file")
        if index is not None:
            raise Usage("--index is for files; an event id names one event")
        return 0, settings.client().call("events.show", id=name)["event"]
    from csirt.detect.columns.files import objects

    events = objects(Path(name))
    if not events:
        raise Usage(f"{name}: no event in it")
    if index is None and len(events) > 1:
        raise Usage(f"{name}: {len(events)} events; say which with --index N")
    if index is not None and index >= len(events):
        raise Usage(f"{name}: the last of {len(events)} events is --index {len(events) - 1}")
    return index or 0, events[index or 0]


def _write(settings: Settings, item: dict[str, Any]) -> None:
    """For people an outline, else a record per line whose first word says what it is."""
    if not is_terminal():
        write_rows(_records(item))
        return
    from csirt.safety import terminal

    for line in _outline(settings, item):
        write(terminal(line))


def _records(item: dict[str, Any]) -> list[list[object]]:
    condition, routing = item["condition"], item["routing"]
    rows: list[list[object]] = [
        ["rule", item["id"], _yes(item["matches"]), item["title"]],
        ["routing", item["id"], _yes(routing["seen"]), routing["reason"]],
        ["condition", item["id"], _yes(condition["holds"]), condition["text"]],
    ]
    for selection in item["selections"]:
        rows.append(["selection", selection["name"], _yes(selection["holds"])])
        for group in selection["alternatives"]:
            rows += [
                [
                    "test",
                    selection["name"],
                    _yes(test["holds"]),
                    test["field"],
                    test["wanted"],
                    _seen(test),
                    test["why"],
                ]
                for test in group["tests"]
            ]
    rows += [
        ["nearest", change["selection"], _yes(change["needed"]), change["field"], change["wanted"]]
        for change in item["nearest"]
    ]
    return rows


def _outline(settings: Settings, item: dict[str, Any]) -> list[str]:
    condition, routing = item["condition"], item["routing"]
    verdict = "explain_matches" if item["matches"] else "explain_no_match"
    lines = [text(settings, verdict, title=item["title"], id=item["id"][:8])]
    if routing["reason"]:
        lines.append(f"  {routing['reason']}")
    lines.append(text(settings, "explain_condition", text=condition["text"], holds=_word(settings, condition["holds"])))
    for selection in item["selections"]:
        unused = "" if selection["used"] else f"  ({text(settings, 'explain_unused')})"
        lines.append(f"  {_word(settings, selection['holds']):<4} {selection['name']}{unused}")
        for number, group in enumerate(selection["alternatives"]):
            if number:
                lines.append(f"         {text(settings, 'explain_or')}")
            for test in group["tests"]:
                name = test["field"] or text(settings, "explain_anywhere")
                lines.append(f"       {_word(settings, test['holds']):<4} {name}: {test['wanted']}")
                if _seen(test):
                    lines.append(f"            {text(settings, 'explain_saw', value=_seen(test))}")
                if test["why"]:
                    lines.append(f"            {test['why']}")
    if item["nearest"]:
        lines.append(text(settings, "explain_nearest", count=len(item["nearest"])))
        for change in item["nearest"]:
            name = change["field"] or text(settings, "explain_anywhere")
            key = "explain_must" if change["needed"] else "explain_must_not"
            lines.append("  " + text(settings, key, selection=change["selection"], field=name, wanted=change["wanted"]))
    return lines


def _seen(test: dict[str, Any]) -> str:
    if test["state"] != "value":
        return "" if test["state"] == "anywhere" else f"<{test['state']}>"
    more = test["seen_count"] - len(test["seen"])
    return ", ".join(test["seen"]) + (f", … {more}" if more else "")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _word(settings: Settings, value: bool) -> str:
    return text(settings, f"explain_{_yes(value)}")
