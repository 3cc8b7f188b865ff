"""How cases look to people: the queue as lines, one case within 80 columns, what changed and how to undo it.

Every piece of text that came from outside passes `safety.terminal` before it is laid out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from csirt.cli.common import Settings, colour, is_terminal, say, width, write
from csirt.cli.lists import PAINT, PLAIN, cut, label, word, write_list
from csirt.cli.times import Times
from csirt.messages import text
from csirt.safety import terminal

LABEL = 10
EVIDENCE = 5  # alerts on the screen, two or three lines each; --json has all


COLUMNS = ("number", "state", "severity", "urgency.points", "first", "last", "owner", "members", "alerts", "title")


def write_queue(settings: Settings, document: dict[str, Any]) -> None:
    """Lines of the queue: aligned and cut on a terminal, tab-separated and whole elsewhere."""
    if not is_terminal() or settings.as_json or settings.jsonl or settings.fields:
        write_list(settings, document, COLUMNS, noun="cases")
        return
    lang, times, paint, columns = settings.language(), Times(settings), colour(settings), width()
    if not document["items"]:
        write(text("cases.none", lang))
    rows = [
        [item["priority"], terminal(item["number"] or item["id"][:12]), word("cases", "state", item["state"], lang),
         times.relative(item["first"]), cut(terminal(item["owner"] or "-"), 12),
         ("+" if item["news"] else "") + ("!" if item["clinical"] else "")]
        for item in document["items"]
    ]  # fmt: skip
    widths = [max((len(row[n]) for row in rows), default=0) for n in range(6)]
    for item, row in zip(document["items"], rows, strict=True):
        head = "".join(f"{cell:<{size}} " for cell, size in zip(row, widths, strict=True) if size)
        line = head + cut(terminal(item["title"]), max(columns - len(head), 20))
        mark = PAINT.get(item["severity"], "") if paint else ""
        write(f"{mark}{line}{PLAIN}" if mark else line)


def say_more(settings: Settings, document: dict[str, Any]) -> None:
    """That there are more cases than were shown."""
    if document["total"] > document["count"]:
        say(text("cases.more", settings.language(), shown=document["count"], total=document["total"]))


def write_case(settings: Settings, document: dict[str, Any]) -> None:
    """The screen of one case; nothing is cut, long lines are folded at 80 columns."""
    for line in _Screen(settings, document).lines():
        write(line)


class _Screen:
    def __init__(self, settings: Settings, document: dict[str, Any]) -> None:
        self._lang = settings.language()
        self._times = Times(settings)
        self._document = document
        self._case = document["case"]

    def lines(self) -> list[str]:
        """All lines, already safe."""
        return [
            *self._head(),
            *self._block("urgency", [", ".join(self._urgency())]),
            *self._block("since", self._since()),
            *self._block("who", self._who()),
            *self._block("why", self._why()),
            *self._block("evidence", self._evidence()),
            *self._block("sure", [self._sure()]),
            *self._block("against", [self._against()]),
            *self._block("done", self._done()),
            *self._block("plan", self._plans()),
            *self._block("oncall", self._on_call()),
            *self._commands(),
        ]

    def _say(self, key: str, **fields: Any) -> str:
        return text(f"cases.{key}", self._lang, **{name: terminal(value) for name, value in fields.items()})

    def _head(self) -> list[str]:
        case = self._case
        owner = self._say("owned", owner=case["owner"]) if case["owner"] else self._say("unowned")
        parts = [
            f"{case['priority']} {self._say('severity_' + case['severity'])}",
            terminal(case["number"] or case["id"]),
            f"{self._say('state_' + case['state'])}, {owner}",
            f"TLP:{terminal(case['tlp'])}",
            f"v{case['version']}",
        ]
        lines = fold("  ".join(parts), "", "") + fold(terminal(case["title"]), "", "")
        if case["verdict"]:
            verdict = self._say("verdict_" + case["verdict"])
            lines += self._block("closed_as", [f"{verdict}, {terminal(case['rsit'])}"])
        elif case["rsit"]:
            lines += fold(f"RSIT: {terminal(case['rsit'])}", "", "")
        return lines

    def _urgency(self) -> list[str]:
        urgency = self._case["urgency"]
        parts = []
        for item in urgency["reasons"]:
            value = item["value"]
            if item["reason"] == "severity":
                value = word("cases", "severity", value, self._lang)
            parts.append(f"{self._say('urgency_' + item['reason'], value=value)} {item['points']:+d}")
        return [f"{urgency['points']}: {parts[0]}", *parts[1:]]

    def _since(self) -> list[str]:
        first, last = self._times.both(self._case["first"]), self._times.both(self._case["last"])
        return [first, self._say("last_seen", last=last)]

    def _who(self) -> list[str]:
        lines = []
        for member in self._document["members"]:
            kind = member["kind"] if member["known"] else self._say("not_registered")
            lines.append(terminal(f"{member['name']} ({member['id']}, {kind})"))
            contacts = [
                " ".join(part for part in (c["name"], c["role"], c["phone"]) if part) for c in member["contacts"]
            ]
            said = "; ".join(terminal(contact) for contact in contacts[:3]) or self._say("no_contact")
            lines.append(f"  {said}")
        return lines or [self._say("no_member")]

    def _why(self) -> list[str]:
        names = {alert["id"]: alert["rule_name"] for alert in self._document["alerts"]}
        lines = []
        for incident in self._document["incidents"]:
            for link in incident["links"][:12]:
                rule = terminal(names.get(link["alert"], link["alert"][:12]))
                lines.append(f"{rule}: {self._say('link_' + link['reason'], value=link['value'])}")
            if len(incident["links"]) > 12:
                lines.append(f"+{len(incident['links']) - 12}")
        return lines

    def _evidence(self) -> list[str]:
        alerts = self._document["alerts"]
        lines = [line for alert in alerts[:EVIDENCE] for line in self._evidence_lines(alert)]
        if len(alerts) > EVIDENCE:
            incident = self._document["incidents"][0]["id"][:12] + "*"
            lines.append(self._say("more_evidence", count=len(alerts) - EVIDENCE, incident=incident))
        return lines

    def _evidence_lines(self, alert: dict[str, Any]) -> list[str]:
        actors = _hosts(alert, "actor")
        targets = _hosts(alert, "target")
        who = " -> ".join(part for part in (_few(actors), _few(targets)) if part)
        facts = ", ".join(
            f"{name.removeprefix('csirt.')} {_few(values)}" for name, values in sorted(alert["facts"].items())
        )
        head = f"{self._times.clock(alert['first'])}  x{alert['count']}  {alert['rule_name']}"
        return [terminal(head), *(f"  {terminal(part)}" for part in (who, facts) if part)]

    def _sure(self) -> str:
        known = self._document["confidence"]
        reasons = [self._say(f"for_{item['reason']}", value=item["value"]) for item in known["for"]]
        return f"{self._say('confidence_' + known['level'])}: {', '.join(reasons)}"

    def _against(self) -> str:
        reasons = [
            self._say(f"against_{item['reason']}", value=item["value"])
            for item in self._document["confidence"]["against"]
        ]
        return "; ".join(reasons) or self._say("nothing_against")

    def _done(self) -> list[str]:
        lines = []
        history = self._document["history"]
        for event in history if len(history) <= 12 else [history[0], *history[-11:]]:
            line = f"{self._times.clock(event['time'])}  {terminal(event['actor'])} {self._event(event)}"
            lines.append(f"{line} {self._say('taken_back')}" if event["taken_back"] else line)
        for item in self._document["notifications"][:6]:
            state = word("notify", "state", item["state"], self._lang)
            fields = {"channel": item["channel"], "recipient": item["recipient"], "state": state}
            lines.append(f"{self._times.clock(item['created'])}  {self._say('told', **fields)}")
        return lines

    def _event(self, event: dict[str, Any]) -> str:
        names = ("alerts", "owner", "text", "from", "severity", "reason", "verdict", "rsit", "kind")
        fields = {name: event["data"].get(name, "") for name in names}
        if "summary" in event["data"]:
            fields["alerts"] = event["data"]["summary"]["alerts"]
        if fields["verdict"]:
            fields["verdict"] = self._say(f"verdict_{fields['verdict']}")
        return self._say(f"event_{event['kind']}", **fields).rstrip(": ")

    def _plans(self) -> list[str]:
        lines = []
        for run in self._document["runs"]:
            name = terminal(run["number"] or run["id"][:12])
            lines.append(f"{name} {terminal(run['playbook'])}: {self._say('run_' + run['state'])}")
            for action in run["actions"]:
                if action["kind"] == "acl":
                    lines += [f"  {terminal(line)}" for line in action["parameters"]["lines"]]
                    if action["refused"]:
                        lines.append("  " + self._say("refused", reason=action["refused"]))
        return lines

    def _on_call(self) -> list[str]:
        lines = []
        for route in self._document["on_call"]:
            people = ", ".join(f"{one['name']} ({one['channel']})" for one in route["contacts"]) or "-"
            lines.append(terminal(f"{route['route']}: {people}"))
        return lines or [self._say("nobody_on_call")]

    def _commands(self) -> list[str]:
        """Commands are never folded: they are for copying."""
        label = self._say("label_next")
        return [
            f"{label if n == 0 else '':<{LABEL}}{terminal(command)}" for n, command in enumerate(self._document["next"])
        ]

    def _block(self, label: str, lines: Iterable[str]) -> list[str]:
        result: list[str] = []
        head = f"{self._say('label_' + label):<{LABEL}}"
        for line in lines:
            indent = " " * (LABEL + len(line) - len(line.lstrip()) + 2)
            result += fold(line, head if not result else " " * LABEL, indent)
        return result


def fold(line: str, first: str, rest: str) -> list[str]:
    """A line folded at 80 columns; already safe text stays as it is."""
    folded = textwrap.wrap(
        line, 80, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, drop_whitespace=True,
        replace_whitespace=False, expand_tabs=False,
    )  # fmt: skip
    return folded or [first.rstrip()]


def _hosts(alert: dict[str, Any], role: str) -> list[str]:
    """Who acts or is hit; a message's id only when nothing better is known."""
    mine = [one for one in alert["entities"] if one["role"] == role]
    for kinds in (("host", "her", "domain", "mailbox"), ("message",)):
        found = [one["value"] for one in mine if one["kind"] in kinds]
        if found:
            return list(dict.fromkeys(found))
    return []


def _few(values: list[str]) -> str:
    return ", ".join(values[:3]) + (f" +{len(values) - 3}" if len(values) > 3 else "")


def say_changes(settings: Settings, document: dict[str, Any]) -> None:
    """What changed and how to undo it, a line for each case; what failed, and why."""
    lang = settings.language()
    for item in document["items"]:
        moved = "; ".join(
            f"{label('cases', key, lang).lower()} {word('cases', key, old or '-', lang)}"
            f" -> {word('cases', key, new or '-', lang)}"
            for key, (old, new) in sorted(item["moved"].items())
            if key != "version"
        )
        fields = {"number": item["number"], "moved": f" ({moved})" if moved else "", "into": item.get("into", "")}
        what = text(f"cases.did_{item['kind']}", lang)
        if not item["changed"]:
            say(text("cases.unchanged", lang, **fields))
        elif item["dry_run"]:
            say(text("cases.would", lang, what=what, **fields))
        elif item["kind"] in ("merge", "undo"):
            say(text(f"cases.changed_{item['kind']}", lang, undid=item.get("undid", ""), **fields))
        else:
            say(text("cases.changed", lang, what=what, **fields))
        for run in item.get("waiting", []):
            say(text("cases.waiting", lang, number=item["number"], run=run))
    for item in document["failed"]:
        say(f"{item['case']}: {item['message']}")
    if document["failed"]:
        count = len(document["failed"]) + len(document["items"])
        say(text("cases.partly", lang, failed=len(document["failed"]), count=count))


def write_handover(settings: Settings, document: dict[str, Any]) -> None:
    """The hand-over of a shift, section by section, within 80 columns."""
    lang, times = settings.language(), Times(settings)

    def said(section: str, item: dict[str, Any]) -> str:
        if section == "plans":
            state = word("cases", "run", item["state"], lang)
            return f"{item['number'] or item['id'][:12]}  {item['playbook']}: {state}, {times.both(item['updated'])}"
        if section == "unsent":
            return f"{item['recipient']}: {word('notify', 'state', item['state'], lang)}"
        return "  ".join([item["priority"], item["number"] or item["id"][:12], item["owner"] or "-", item["title"]])

    for section in ("waiting", "in_work", "closed", "plans", "unsent"):
        write(text(f"cases.handover_{section}", lang))
        if not document[section]:
            write(f"  {text('cases.handover_none', lang)}")
        for item in document[section]:
            for line in fold(terminal(said(section, item)), "  ", "    "):
                write(line)
