"""Windows against the oracle, whatever the cuts, orders and restarts; state; bounds."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.load import Ruleset
from csirt.detect.windows import Windows
from csirt.errors import CsirtError
from csirt.model.hits import HITS
from tests.detect import oracle
from tests.detect.oracle import Hit

SECOND = 1_000_000
RULES = """
title: Plain
id: plain
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 1}, condition: s}
csirt: {timespan: 5s}
---
title: Base
id: base
name: base
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 2}, condition: s}
---
title: Answer
id: answer
name: answer
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 3}, condition: s}
---
title: Events
id: events
correlation: {type: event_count, rules: [base], group-by: [source.ip], timespan: 5s, condition: {gte: 3}}
---
title: Events in a range
id: range
correlation: {type: event_count, rules: [base], group-by: [source.ip], timespan: 5s, condition: {gt: 1, lte: 3}}
---
title: Few events
id: few
correlation: {type: event_count, rules: [base], timespan: 3s, condition: {lt: 2}}
---
title: Values
id: values
correlation:
  type: value_count
  rules: [base]
  group-by: [source.ip]
  timespan: 5s
  condition: {gte: 3, field: destination.ip}
---
title: Overdue
id: overdue
correlation: {type: absence, rules: [base, answer], group-by: [source.port], timespan: 4s}
csirt: {timespan: 3s, group-by: [source.ip]}
"""
NAMES = ("plain", "base", "answer", "events", "range", "few", "values", "overdue")
IDS = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in NAMES}


def with_ids(text: str) -> str:
    """The rules with a UUID for each id."""
    for name, rule_id in IDS.items():
        text = text.replace(f"id: {name}\n", f"id: {rule_id}\n")
    return text


def named(rule_id: str) -> str:
    """The name of a rule id."""
    return next(name for name, known in IDS.items() if known == rule_id)


RULESET = Ruleset.parse(with_ids(RULES))
BOUNDS = {"events": [("gte", 3)], "range": [("gt", 1), ("lte", 3)], "few": [("lt", 2)], "values": [("gte", 3)]}
SPANS = {"events": 5, "range": 5, "few": 3, "values": 5}


def table(rows: list[tuple[str, Hit]]) -> pa.Table:
    """Hits as the detector hands them on: a row per value."""
    flat = [(stream, hit, value) for stream, hit in rows for value in (hit.values or (None,))]
    columns: dict[str, list[Any]] = {name: [None] * len(flat) for name in HITS.names}
    streams = ["/".join(IDS.get(part, part) for part in stream.split("/")) for stream, _, _ in flat]
    columns["stream"] = streams
    columns["rule"] = [stream.rpartition("/")[2] for stream in streams]
    columns["time"] = [hit.time for _, hit, _ in flat]
    columns["event"] = [hit.event for _, hit, _ in flat]
    columns["group"] = [hit.group for _, hit, _ in flat]
    columns["value"] = [value for _, _, value in flat]
    columns["source"] = [f"host:{hit.event[-1]}" for _, hit, _ in flat]
    columns["source_member"] = [f"m{hit.event[-1]}" for _, hit, _ in flat]
    columns["facts"] = ["{}"] * len(flat)
    return pa.table(columns, schema=HITS)


def plain_form(alert: Any) -> dict[str, Any]:
    """The part of an alert that the oracle also says."""
    return {name: getattr(alert, name) for name in ("id", "group", "first", "last", "count", "events")}


def run(rows: list[tuple[str, Hit]], cuts: list[int], *, restart: bool = False) -> dict[str, list[Any]]:
    """All alerts as they last stood, by rule, after advancing to each of the cuts."""
    windows = Windows(RULESET)
    latest: dict[str, Any] = {}
    before = -1
    for until in cuts:
        part = [row for row in rows if before < row[1].time <= until]
        random.Random(until).shuffle(part)
        for change in windows.advance(table(part), until):
            assert change.opened == (change.alert.id not in latest)
            latest[change.alert.id] = change.alert
        before = until
        if restart:
            windows = Windows(RULESET, windows.state())
    result: dict[str, list[Any]] = {}
    for alert in sorted(latest.values(), key=lambda item: item.id):
        result.setdefault(named(alert.rule_id), []).append(alert)
    return result


HITS_STRATEGY = st.lists(
    st.builds(
        lambda time, event, group, value, stream: (
            stream,
            Hit(time * SECOND // 2, f"{event:032x}", f'{{"source.ip":"10.0.0.{group}"}}', value),
        ),
        st.integers(0, 60),
        st.integers(0, 2**64),
        st.integers(0, 2),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=2, unique=True).map(tuple),
        st.sampled_from(["plain", "base", "answer"]),
    ),
    max_size=60,
    unique_by=lambda row: row[1].event,
)


def routed(rows: list[tuple[str, Hit]]) -> tuple[list[tuple[str, Hit]], dict[str, list[Hit]]]:
    """The rows for every stream, and what each oracle sees."""
    sent: list[tuple[str, Hit]] = []
    seen: dict[str, list[Hit]] = {"plain": [], "base": [], "few": [], "sent": [], "answer": []}
    for name, hit in rows:
        one = Hit(hit.time, hit.event, hit.group, hit.values[:1])
        if name == "plain":
            sent.append(("plain", Hit(hit.time, hit.event, hit.group)))
            seen["plain"].append(hit)
        elif name == "base":
            no_value = Hit(hit.time, hit.event, hit.group)
            sent += [("events/base", no_value), ("range/base", no_value), ("values/base", hit)]
            sent += [("few/base", Hit(hit.time, hit.event)), ("overdue/base", one)]
            seen["base"].append(hit)
            seen["few"].append(Hit(hit.time, hit.event))
            seen["sent"].append(one)
        else:
            sent.append(("overdue/answer", one))
            seen["answer"].append(one)
    return sent, seen


@settings(max_examples=150, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12), st.booleans())
def test_any_cuts_order_and_restart_give_what_the_oracle_says(
    rows: list[tuple[str, Hit]], cuts: list[int], restart: bool
) -> None:
    """Alerts equal a brute-force reading of the documentation for every partition of the time axis."""
    assert not RULESET.problems
    end = 31 * SECOND
    sent, seen = routed(rows)
    found = run(sent, sorted({*cuts, end}), restart=restart)
    shown = {rule: [plain_form(alert) for alert in alerts] for rule, alerts in found.items()}
    expected = {"plain": oracle.plain(IDS["plain"], seen["plain"], 5 * SECOND) if seen["plain"] else []}
    for rule, bounds in BOUNDS.items():
        hits = seen["few"] if rule == "few" else seen["base"]
        expected[rule] = oracle.counted(IDS[rule], hits, SPANS[rule] * SECOND, bounds, rule == "values")
    until = max(*cuts, end) if cuts else end
    expected["overdue"] = oracle.absent(IDS["overdue"], seen["sent"], seen["answer"], 4 * SECOND, 3 * SECOND, until)
    assert shown == {rule: alerts for rule, alerts in expected.items() if alerts}


@settings(max_examples=50, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12), st.booleans())
def test_whole_alerts_do_not_depend_on_the_cuts(rows: list[tuple[str, Hit]], cuts: list[int], restart: bool) -> None:
    """Entities in their order, members and facts too are the same for one step as for many, with restarts between."""
    sent, _ = routed(rows)
    end = 32 * SECOND
    assert run(sent, sorted({*cuts, end}), restart=restart) == run(sent, [end])


def test_a_restart_keeps_entities_in_order_of_appearance() -> None:
    """What came first stays first when the state was written and read between two hits."""
    hits = [("plain", Hit(second * SECOND, f"{10 - second:032x}")) for second in (1, 2, 3)]
    whole = run(hits, [4 * SECOND])["plain"]
    assert [entity.value for entity in whole[0].entities] == ["9", "8", "7"]
    assert run(hits, [2 * SECOND, 4 * SECOND], restart=True)["plain"] == whole


def test_changes_are_ordered_and_an_alert_changes_once_a_step() -> None:
    """Changes come by (at, alert id); a correlation's `at` is when it fired, an overdue event's its deadline."""
    hits = [("events/base", Hit(second * SECOND, f"{second:032x}")) for second in (1, 2, 3, 4)]
    hits += [("overdue/base", Hit(1 * SECOND, f"{9:032x}", "{}", ("k",)))]
    changes = Windows(RULESET).advance(table(hits), 10 * SECOND)
    assert [(change.at // SECOND, named(change.alert.rule_id), change.opened) for change in changes] == [
        (3, "events", True),
        (5, "overdue", True),
    ]
    assert (changes[0].alert.first, changes[0].alert.last, changes[0].alert.count) == (1 * SECOND, 4 * SECOND, 4)


def test_an_overdue_event_is_announced_before_it_fires() -> None:
    """`next_time` says when an advance without hits would find something, so that silence can be reported in time."""
    windows = Windows(RULESET)
    assert windows.next_time() is None
    assert windows.advance(table([("overdue/base", Hit(SECOND, "e" * 32, "{}", ("k",)))]), SECOND) == []
    assert windows.next_time() == 5 * SECOND
    assert [named(change.alert.rule_id) for change in windows.advance(table([]), 5 * SECOND)] == ["overdue"]


def test_samples_are_bounded_and_the_count_is_not() -> None:
    """An alert over many events keeps the first hundred ids and all of the count, in one step or in many."""
    hits = [("plain", Hit(i * 1000, f"{i:032x}")) for i in range(1000)]
    whole = run(hits, [SECOND])["plain"][0]
    assert (whole.count, len(whole.events), whole.events[-1]) == (1000, 100, f"{99:032x}")
    assert run(hits, list(range(0, SECOND + 1, 50_000))) == {"plain": [whole]}


def test_the_state_is_the_same_bytes_for_the_same_steps() -> None:
    """A state restored and written again is byte for byte the state."""
    windows = Windows(RULESET)
    windows.advance(table([(name, Hit(5, "a" * 32, "{}", ("k",))) for name in ("plain", "values/base")]), 10)
    state = windows.state()
    assert Windows(RULESET, state).state() == state


def test_an_unreadable_state_is_an_error_with_a_next_step() -> None:
    """Damaged state is never taken for an empty one."""
    with pytest.raises(CsirtError, match="restore"):
        Windows(RULESET, b"\0\0\0\0\0\0\0\5hello")


def test_hits_after_the_closed_time_are_refused() -> None:
    """Folding the future early would make alerts depend on how time was cut."""
    with pytest.raises(ValueError, match="after the time"):
        Windows(RULESET).advance(table([("plain", Hit(11, "a" * 32))]), 10)


def test_groups_above_the_bound_leave_stalest_first_and_are_counted() -> None:
    """A flood of groups costs memory only up to the bound, and what it cost is counted."""
    windows = Windows(RULESET, max_groups=10, max_held=15)
    hits = [("plain", Hit(i, f"{i:032x}", f'{{"source.ip":"{i}"}}')) for i in range(30)]
    hits += [("events/base", Hit(i, f"{i:032x}", f'{{"source.ip":"{i}"}}')) for i in range(30)]
    assert len(windows.advance(table(hits), 30)) == 30
    assert windows.dropped == {"groups": 25, "hits": 15, "late": 0, "gone": 0}
    again = windows.advance(table([("plain", Hit(40, "f" * 32, '{"source.ip":"29"}'))]), 40)
    assert [change.opened for change in again] == [False]


def test_late_hits_are_counted_and_still_fold() -> None:
    """An event after its time was closed is not lost: it counts where it can, and is counted as late."""
    windows = Windows(RULESET)
    windows.advance(table([("plain", Hit(10 * SECOND, "b" * 32))]), 12 * SECOND)
    change = windows.advance(table([("plain", Hit(9 * SECOND, "a" * 32))]), 13 * SECOND)[0]
    assert (change.opened, change.alert.first, change.alert.last, change.alert.count) == (
        False,
        9 * SECOND,
        10 * SECOND,
        2,
    )
    assert windows.dropped["late"] == 1


def test_hits_of_a_rule_that_is_gone_are_counted() -> None:
    """After a reload without a rule, its hits are dropped and counted, never an error."""
    windows = Windows(RULESET)
    assert windows.advance(table([("removed", Hit(1, "a" * 32))]), 10) == []
    assert windows.dropped["gone"] == 1
