"""`absence` that counts open time: the receiver's own clock, any cuts and restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import DAY, HOUR
from csirt.detect.authors import check
from csirt.detect.rules import pack
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.streams import streams
from csirt.detect.windows.windows import Windows
from csirt.model import calendar, hours
from csirt.model.hits import HITS

SENT, RECEIPT, LATE = (f"00000000-0000-4000-8000-00000000000{letter}" for letter in "abc")
RULES = f"""\
title: Sent
id: {SENT}
level: low
logsource: {{product: csirt, service: edi}}
detection: {{s: {{event.action: sent}}, condition: s}}
---
title: Receipt
id: {RECEIPT}
level: low
logsource: {{product: csirt, service: edi}}
detection: {{s: {{event.action: application_receipt}}, condition: s}}
---
title: Overdue
id: {LATE}
level: low
correlation:
  type: absence
  rules: [{SENT}, {RECEIPT}]
  group-by: [message]
  aliases:
    message: {{{SENT}: csirt.edi.message_id, {RECEIPT}: csirt.edi.ref_to_id}}
  timespan: 4h
  open-hours: {{field: csirt.destination.open_hours, otherwise: mon-fri 08:00-15:30, holidays: norway}}
csirt:
  group-by: [csirt.edi.her_to]
  timespan: 24h
"""
MONDAY = 1_767_567_600_000_000  # 2026-01-05T00:00 in Oslo
FIELD = "csirt.destination.open_hours"


@pytest.fixture(scope="module")
def loaded() -> Ruleset:
    """The rules above."""
    found = parse_rules(RULES)
    assert not found.problems, [str(problem) for problem in found.problems]
    return found


def hits(rows: list[tuple[str, int, str, str, str | None]]) -> pa.Table:
    """Hits of (`sent` or `receipt`, time, message, receiver, open hours)."""
    made = []
    for number, (kind, time, message, to, said) in enumerate(rows):
        rule = SENT if kind == "sent" else RECEIPT
        group = f'{{"{FIELD}":"{said}","csirt.edi.her_to":"{to}"}}' if said else f'{{"csirt.edi.her_to":"{to}"}}'
        made.append(
            {"stream": f"{LATE}/{rule}", "rule": rule, "time": time, "event": f"{number:032x}", "group": group,
             "value": message, "facts": "{}"}
        )  # fmt: skip
    return pa.Table.from_pylist(made, HITS)


def test_an_alert_is_of_one_calendar(loaded: Ruleset) -> None:
    """The hours are part of the group, and survive the cache."""
    (item,) = loaded.correlations
    assert item.hours is not None and item.hours.holidays == "norway"
    (stream, *_) = [found for found in streams(loaded.rules[0], loaded.correlations, "edi") if "/" in found.name]
    assert [name for name, _ in stream.group] == ["csirt.edi.her_to", FIELD]
    again = Ruleset()
    raw = pack.encode(loaded)
    assert raw is not None and pack.decode(raw, again) and again.correlations == loaded.correlations
    assert not check.ruleset(loaded, [], tested=False)


def test_each_receiver_by_its_own_clock(loaded: Ruleset) -> None:
    """Who is always open is late in the night; who is closed only when it has been open long enough; hours that are
    none are the rule's."""
    evening = MONDAY + 20 * HOUR
    rows = [
        ("sent", evening, "a", "lab", "always"),
        ("sent", evening, "b", "gp", None),
        ("sent", evening, "c", "vakt", "mon-sun 22:00-06:00"),
        ("sent", evening, "d", "odd", "when it pleases them"),
        ("sent", evening, "e", "fine", None),
        ("receipt", evening + 15 * HOUR, "e", "fine", None),
    ]
    windows = Windows(loaded)
    table = hits(rows)
    late: dict[int, list[str]] = {}
    for hour in range(20, 48):
        until = MONDAY + hour * HOUR
        due = np.asarray(table.column("time").to_numpy()) == until
        for change in windows.advance(table.filter(pa.array(due)), until):
            late.setdefault(hour, []).append(change.alert.group["csirt.edi.her_to"])
    assert {hour: sorted(names) for hour, names in late.items()} == {24: ["lab"], 26: ["vakt"], 36: ["gp", "odd"]}


Rows = st.lists(
    st.tuples(
        st.sampled_from(["sent", "sent", "receipt"]),
        st.integers(0, 9 * 24).map(lambda hour: MONDAY - 4 * DAY + hour * HOUR),
        st.sampled_from("abcdef"),
        st.sampled_from(["x", "y"]),
        st.sampled_from([None, "always", "mon-fri 10:00-12:00", "sat,sun 22:00-03:00"]),
    ),
    max_size=25,
)


def expected(rows: list[tuple[str, int, str, str, str | None]], until: int) -> dict[tuple[str, str | None], int]:
    """By receiver and hours, how many were overdue: written for clarity."""
    counts: dict[tuple[str, str | None], int] = {}
    for kind, time, message, to, said in rows:
        if kind != "sent":
            continue
        weekly = hours.parse(said or "mon-fri 08:00-15:30")
        (end,) = calendar.due(np.array([time]), 4 * HOUR, weekly, "norway").tolist()
        answered = any(k == "receipt" and m == message and time <= at <= end for k, at, m, _, _ in rows)
        if end <= until and not answered:
            counts[to, said] = counts.get((to, said), 0) + 1
    return counts


def found(loaded: Ruleset, rows: list[Any], ends: list[int], restart: bool) -> dict[str, Any]:
    """The alerts as they last were, by id."""
    table = hits(rows)
    windows, states, alerts, before = Windows(loaded), dict[str, bytes | None](), {}, -(1 << 62)
    for until in ends:
        times = np.asarray(table.column("time").to_numpy()) if table.num_rows else np.zeros(0)
        part = table.filter(pa.array((times > before) & (times <= until)))
        for change in windows.advance(part, until):
            alerts[change.alert.id] = change.alert
        before = until
        if restart:
            states |= windows.states()
            windows = Windows(loaded, states.get)
    return alerts


@settings(max_examples=60, deadline=None)
@given(Rows, st.lists(st.integers(0, 14 * 24), max_size=6), st.booleans())
def test_cuts_and_restarts_change_nothing(rows: list[Any], cuts: list[int], restart: bool) -> None:
    """The same alerts, with the same ids and counts, and as many overdue as there are."""
    loaded = parse_rules(RULES)
    end = MONDAY + 12 * DAY
    whole = found(loaded, rows, [end], False)
    ends = sorted({MONDAY - 4 * DAY + cut * HOUR for cut in cuts} | {end})
    pieces = found(loaded, rows, ends, restart)
    assert {name: (alert.count, alert.first, alert.last, alert.events) for name, alert in whole.items()} == {
        name: (alert.count, alert.first, alert.last, alert.events) for name, alert in pieces.items()
    }
    counts: dict[tuple[str, str | None], int] = {}
    for alert in whole.values():
        key = (alert.group["csirt.edi.her_to"], alert.group.get(FIELD))
        counts[key] = counts.get(key, 0) + alert.count
    assert counts == expected(rows, end)


def test_when_it_looks_next(loaded: Ruleset) -> None:
    """At the earliest overdue time of all that wait, not of the oldest."""
    windows = Windows(loaded)
    evening = MONDAY + 20 * HOUR
    windows.advance(
        hits([("sent", evening, "b", "gp", None), ("sent", evening + 1, "a", "lab", "always")]), evening + 1
    )
    assert windows.next_time() == evening + 1 + 4 * HOUR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open-hours: mon-fri", "must be a mapping"),
        ("open-hours: {}", "open-hours of nobody"),
        ("open-hours: {fields: x, otherwise: always}", "unknown key 'fields'"),
        ("open-hours: {otherwise: weekdays}", "are no hours"),
        ("open-hours: {otherwise: always, holidays: sweden}", "there is `norway`"),
    ],
)
def test_what_is_wrong_with_open_hours_is_said(text: str, said: str) -> None:
    """With the line."""
    line = next(row for row in RULES.splitlines() if "open-hours" in row).strip()
    (problem,) = parse_rules(RULES.replace(line, text)).problems
    assert said in str(problem) and problem.line == RULES.splitlines().index(f"  {line}") + 1


def test_open_hours_are_for_absence() -> None:
    """Refused elsewhere."""
    text = RULES.replace("type: absence", "type: event_count\n  condition: {gte: 1}")
    assert any("is for absence" in str(problem) for problem in parse_rules(text).problems)
