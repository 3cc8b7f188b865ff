"""Baselines against a brute-force reading of their documentation, whatever the cuts, orders and restarts."""

from __future__ import annotations

import itertools
import json
import random
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.match import Detector
from csirt.detect.rules import buckets
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows import bucket
from csirt.detect.windows.baseline import NEVER
from csirt.detect.windows.condense import condense
from csirt.detect.windows.state import KEY, seen
from csirt.detect.windows.windows import Windows
from csirt.model.batch import Batch
from csirt.model.hits import HITS
from tests.detect.oracle import Hit
from tests.detect.windows.test_windows import table

HOUR, DAY = buckets.HOUR, buckets.DAY
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
BASE = "logsource: {product: csirt, service: flow}\ndetection: {s: {destination.port: 1}, condition: s}\n"
ONE, TWO, RULE = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))


def ruleset(condition: str, timespan: str = "6h", rules: str = "one", group: str = "source.ip") -> Ruleset:
    """One baseline with this condition."""
    return parse_rules(
        f"title: One\nid: {ONE}\nname: one\n{BASE}---\ntitle: Two\nid: {TWO}\nname: two\n{BASE}---\n"
        f"title: Baseline\nid: {RULE}\n"
        f"correlation: {{type: baseline, rules: [{rules}], group-by: [{group}], timespan: {timespan}, "
        f"condition: {{{condition}}}}}\ncsirt: {{timespan: 1h}}\n"
    )


def measured(measure: str, hits: list[Hit]) -> float:
    """What a bucket's hits come to."""
    first = [hit for hit in hits if hit.rule == ONE]
    if measure == "sum":
        return sum(hit.number for hit in first)
    if measure == "distinct":
        return len({value for hit in first for value in hit.values})
    if measure == "ratio":
        second = len(hits) - len(first)
        return len(first) / second if second else 0
    if measure == "ratio of sums":
        divisor = sum(hit.number for hit in hits if hit.rule != ONE)
        return sum(hit.number for hit in first) / divisor if divisor else 0
    return len(first)


def quantile(values: list[float], share: float) -> float:
    """Interpolated between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    return low + (high - low) * (place - int(place))


def oracle(hits: list[Hit], measure: str, condition: dict[str, Any], until: int) -> dict[tuple[str, int], float]:
    """(group, beginning of bucket) -> value of every bucket out of its ordinary. Buckets of six local hours, alike when
    they begin at the same hour of the day; three days of history wanted, six kept."""
    zone = ZoneInfo("Europe/Oslo")
    edges = sorted(
        {int(buckets.starts(np.array([time]), 6 * HOUR, "Europe/Oslo")[0]) for time in range(START, until + 1, HOUR)}
    )
    ends = dict(itertools.pairwise(edges))
    hour_of = {edge: datetime.fromtimestamp(edge / 1e6, zone).hour for edge in edges}
    inside: dict[tuple[str, int], list[Hit]] = {}
    for hit in hits:
        edge = max(edge for edge in edges if edge <= hit.time)
        inside.setdefault((hit.group, edge), []).append(hit)
    found = {}
    for group in {hit.group for hit in hits}:
        had = sorted(edge for name, edge in inside if name == group)
        if "value" in condition.get("above", condition.get("below", {})):
            found |= fixed(inside, group, edges, ends, until, measure, condition)
            continue
        for edge in edges:
            before = [other for other in had if other < edge]
            if edge not in ends or ends[edge] > until or not before:
                continue
            since = before[0]
            for early, late in zip(before, [*before[1:], edge], strict=True):
                if late - early > 6 * DAY:  # forgotten in between, and known again since
                    since = late
            if since + 3 * DAY > edge or since == edge:
                continue
            past = [
                measured(measure, inside.get((group, other), []))
                for other in edges
                if max(since, edge - 6 * DAY) <= other < edge and hour_of[other] == hour_of[edge]
            ]
            value = measured(measure, inside.get((group, edge), []))
            middle = statistics.median(past)
            if "above" in condition:
                limit = quantile(past, condition["above"]["quantile"]) * condition["above"].get("times", 1)
                if value > limit and value >= condition.get("at-least", 0) and value > 0:
                    found[group, edge] = value
            else:
                spread = statistics.median([abs(one - middle) for one in past])
                if value < middle - condition["below"]["deviations"] * spread and middle >= condition["expected"]:
                    found[group, edge] = value
    return found


def fixed(
    inside: dict[tuple[str, int], list[Hit]],
    group: str,
    edges: list[int],
    ends: dict[int, int],
    until: int,
    measure: str,
    condition: dict[str, Any],
) -> dict[tuple[str, int], float]:
    """The same for a limit that is a value: every bucket that has something is judged by it alone."""
    found = {}
    for edge in edges:
        had = inside.get((group, edge), [])
        if not had or edge not in ends or ends[edge] > until:
            continue
        value = measured(measure, had)
        if sum(hit.number for hit in had if hit.rule == ONE) < condition.get("enough", 0):
            continue
        if "above" in condition and value > condition["above"]["value"]:
            found[group, edge] = value
        if "below" in condition and value < condition["below"]["value"]:
            found[group, edge] = value
    return found


def in_a_row(found: dict[tuple[str, int], float], edges: dict[int, int], wanted: int) -> set[tuple[str, int]]:
    """Those of the buckets that are in a run of so many that follow each other."""
    runs: list[list[tuple[str, int]]] = []
    for group, edge in sorted(found):
        if runs and runs[-1][-1][0] == group and edges[runs[-1][-1][1]] == edge:
            runs[-1].append((group, edge))
        else:
            runs.append([(group, edge)])
    return {one for run in runs if len(run) >= wanted for one in run}


HITS_STRATEGY = st.lists(
    st.builds(
        lambda time, event, group, values, number, rule: Hit(
            START + time * HOUR, f"{event:032x}", f'{{"source.ip":"10.0.0.{group}"}}', values, rule, number
        ),
        st.integers(0, 16 * 24),
        st.integers(0, 2**64),
        st.integers(0, 1),
        st.sampled_from([("a",), ("b",), ("c",)]),
        st.sampled_from([0.25, 1.0, 3.0, 40.0]),
        st.sampled_from([ONE, ONE, TWO]),
    ),
    min_size=20,
    max_size=90,
    unique_by=lambda hit: hit.event,
)
CONDITIONS = {
    "count": {"above": {"quantile": 0.9, "times": 1.5}, "at-least": 2},
    "sum": {"above": {"quantile": 0.5}},
    "distinct": {"above": {"quantile": 0.75}, "at-least": 1},
    "ratio": {"above": {"quantile": 0.8}},
    "silence": {"below": {"deviations": 1}, "expected": 1},
    "sum in a row": {"above": {"value": 2}, "in-a-row": 2},
    "few in a row": {"below": {"value": 2}, "in-a-row": 3},
    "busy in a row": {"above": {"quantile": 0.5}, "in-a-row": 2},
    "ratio of sums": {"above": {"value": 1.5}, "enough": 3},
}
MEASURES = {"silence": "count", "sum in a row": "sum", "few in a row": "count", "busy in a row": "count"}


def condensed(table: pa.Table, item: Any) -> pa.Table:
    """The hits as the detector condenses a batch of them."""
    if not table.num_rows:
        return table
    starts = buckets.starts(np.asarray(table["time"].to_numpy()), item.timespan, item.baseline.timezone).tolist()
    keys = [str(key) for key in zip(starts, table["group"].to_pylist(), table["value"].to_pylist(), strict=True)]
    codes = np.unique(keys, return_inverse=True)[1].reshape(-1)
    numbers = np.asarray(table["number"].to_numpy()) if item.numeric else np.zeros(len(codes))
    times = np.asarray(table["time"].to_numpy())
    places, counts, totals = condense(codes, numbers, times, lambda some: table["event"].take(pa.array(some)))
    kept = table.take(pa.array(places))
    kept = kept.set_column(HITS.names.index("count"), "count", pa.array(counts))
    return kept.set_column(HITS.names.index("total"), "total", pa.array(totals)).cast(HITS)


def played(
    rules: Ruleset, hits: list[Hit], cuts: list[int], restart: bool, early: bool = False
) -> tuple[dict[tuple[str, int], Any], Windows]:
    """The buckets alerts hold, by (group, when the alert last ended), after advancing to each of the cuts. `early`: all
    hits are there at once, and taken in before the first."""
    windows, stored, before = Windows(rules), {}, -1
    item = rules.correlations[0]
    if early:
        whole = table([(f"{RULE}/{hit.rule}", hit) for hit in hits if hit.time <= max(cuts)])
        pieces = [condensed(whole.filter(pc.equal(whole["rule"], rule)), item) for rule in (ONE, TWO)]
        assert windows.quiet(pa.concat_tables(pieces)).num_rows == 0
        hits = []
    found: dict[tuple[str, int], Any] = {}
    for until in cuts:
        part = [(f"{RULE}/{hit.rule}", hit) for hit in hits if before < hit.time <= until]
        random.Random(until).shuffle(part)
        # As the detector hands them on: batch by batch, each condensed.
        batches = [table(part[start : start + 7]) for start in range(0, len(part), 7)] or [table([])]
        pieces = [condensed(one.filter(pc.equal(one["rule"], rule)), item) for one in batches for rule in (ONE, TWO)]
        for change in windows.advance(pa.concat_tables(pieces), until):
            found[json.dumps(change.alert.group, separators=(",", ":")), change.alert.first] = change.alert
        before = until
        if restart:
            stored |= windows.states()
            windows = Windows(rules, stored.get)
    return found, windows


@settings(max_examples=60, deadline=None)
@given(
    HITS_STRATEGY,
    st.sampled_from(sorted(CONDITIONS)),
    st.lists(st.integers(0, 16 * 24), max_size=10),
    st.booleans(),
    st.booleans(),
)
def test_any_cuts_order_and_restart_give_what_the_oracle_says(
    hits: list[Hit], name: str, cuts: list[int], restart: bool, early: bool
) -> None:
    """Every measure, over a change to summer time or not, hits as they come or taken in at once: the buckets an author
    can work out by hand."""
    condition, measure = CONDITIONS[name], MEASURES.get(name, name)
    number = ", field: network.bytes"
    field = {"sum": number, "ratio of sums": number, "distinct": ", field: destination.ip"}.get(measure, "")
    limit: Any = condition.get("above", condition.get("below"))
    past = "" if "value" in limit else "season: day, history: 3d, keep: 6d, "
    text = f"measure: {measure.split()[0]}{field}, {past}" + json.dumps(condition)[1:-1]
    rules = ruleset(text, rules="one, two" if "ratio" in measure else "one")
    assert not rules.problems
    if "ratio" not in measure:
        hits = [hit for hit in hits if hit.rule == ONE]
    until = START + 17 * DAY
    steps = sorted({*(START + cut * HOUR for cut in cuts), until})
    found, _ = played(rules, hits, steps, restart, early)
    found_out = oracle(hits, measure, condition, until)
    ends = {edge: buckets.end(edge, 6 * HOUR, "Europe/Oslo") for _, edge in found_out}
    expected = in_a_row(found_out, ends, condition.get("in-a-row", 1))
    # Buckets that follow each other are one alert: each alert begins and ends with an expected bucket.
    joined: dict[tuple[str, int], int] = {}
    for group, edge in sorted(expected):
        last = next((key for key, end in joined.items() if key[0] == group and end == edge), None)
        joined[last or (group, edge)] = ends[edge]
    assert {key: alert.last + 1 for key, alert in found.items()} == joined


def hit(time: int, number: int, group: str = "a", value: str = "v") -> Hit:
    """A hit of the first rule with a number of its own."""
    return Hit(time, f"{number:032x}", f'{{"source.ip":"{group}"}}', (value,), ONE, float(number % 7))


def weekly(weeks: int, each: int) -> list[Hit]:
    """So many hits on one hour of every week."""
    return [hit(START + week * 7 * DAY + n * 1000, week * 100 + n) for week in range(weeks) for n in range(each)]


def test_a_burst_is_seen_once_there_is_enough_history_and_says_its_numbers() -> None:
    """Four weeks are learned in silence, the fifth week's burst is one alert with value, median and limit."""
    text = "measure: count, above: {quantile: 0.9, times: 2}, at-least: 5, history: 28d, keep: 56d"
    for weeks, alerts in ((3, 0), (4, 1)):
        burst = [hit(START + weeks * 7 * DAY + n * 1000, 9000 + n) for n in range(30)]
        found, windows = played(ruleset(text, "1h"), weekly(weeks, 4) + burst, [START + 60 * DAY], False)
        assert len(found) == alerts
        assert bool(windows.learning()) is False
    alert = next(iter(found.values()))
    assert (alert.count, alert.first, alert.last + 1 - alert.first) == (30, START + 28 * DAY, HOUR)
    facts = {name.rpartition(".")[2]: known for name, known in alert.facts.items()}
    assert facts == {"value": ["30"], "expected": ["4"], "limit": ["8"]}
    assert alert.events == [f"{max(range(9000, 9030), key=lambda n: (n % 7, -n)):032x}"]


def test_a_new_member_is_being_learned_and_that_is_said() -> None:
    """Until its history is long enough a group is counted as learning."""
    windows = Windows(ruleset("measure: count, above: {quantile: 0.9}, history: 28d"))
    windows.advance(table([(f"{RULE}/{ONE}", hit(START, 1))]), START + 27 * DAY)
    assert windows.learning() == seen(windows.states()[KEY])["learning"] == {RULE: 1}
    windows.advance(table([]), START + 29 * DAY)
    assert windows.learning() == {}


def test_silence_is_an_alert_without_events() -> None:
    """A group that always had something and has nothing is found at the end of the bucket, and dated as it began."""
    text = "measure: count, below: {quantile: 0.1, times: 0.5}, expected: 3, history: 14d"
    found, _ = played(ruleset(text, "1h"), weekly(4, 4), [START + 28 * DAY + n * HOUR for n in range(3)], True)
    assert [(alert.first, alert.count, alert.events) for alert in found.values()] == [(START + 28 * DAY, 0, [])]
    later, _ = played(ruleset(text, "1h"), weekly(4, 4), [START + 29 * DAY], False)
    assert [alert.id for alert in later.values()] == [alert.id for alert in found.values()]


def test_new_is_what_a_known_parent_never_had_within_what_is_kept() -> None:
    """The first days of a parent are all new and no alert; a pair that comes after them is one, and so is one that was
    away for longer than history is kept."""
    text = "measure: count, new: source.ip, history: 7d, keep: 14d"
    rules = ruleset(text, "24h", group="source.ip, destination.ip")

    def pair(day: int, target: str) -> tuple[str, Hit]:
        group = json.dumps({"destination.ip": target, "source.ip": "a"}, separators=(",", ":"))
        return f"{RULE}/{ONE}", Hit(START + day * DAY + HOUR, f"{day * 10 + ord(target):032x}", group, (), ONE)

    rows = [pair(day, "b") for day in range(0, 40, 2)] + [pair(3, "c"), pair(9, "d"), pair(11, "d"), pair(30, "d")]
    changes = Windows(rules).advance(table(rows), START + 45 * DAY)
    days = sorted(((change.alert.first - START) // DAY, change.alert.group["destination.ip"]) for change in changes)
    assert days == [(8, "d"), (29, "d")]


def test_what_is_new_stays_so_as_long_as_the_rule_says() -> None:
    """`new-for`: a service that few use on its first day and many on its third is found then, not one that is older."""
    text = "measure: distinct, field: destination.mac, at-least: 3, new: source.ip, new-for: 3d, history: 7d, keep: 30d"
    rules = ruleset(text, "24h", group="source.ip, destination.ip")
    rows = []
    for target, day, users in (("old", 0, 1), ("a", 9, 1), ("a", 11, 3), ("b", 9, 1), ("b", 13, 5), ("c", 12, 2)):
        group = json.dumps({"destination.ip": target, "source.ip": "s"}, separators=(",", ":"))
        for user in range(users):
            name = f"{day * 1000 + ord(target[0]) * 10 + user:032x}"
            rows.append((f"{RULE}/{ONE}", Hit(START + day * DAY + HOUR, name, group, (str(user),), ONE)))
    changes = Windows(rules).advance(table(rows), START + 45 * DAY)
    assert [(change.alert.group["destination.ip"], change.alert.count) for change in changes] == [("a", 3)]


def test_hits_after_their_bucket_was_closed_are_counted_as_that() -> None:
    """A bucket is judged once; what comes later is not lost without a word."""
    windows = Windows(ruleset("measure: count, above: {quantile: 0.9}"))
    windows.advance(table([(f"{RULE}/{ONE}", hit(START, 1))]), START + DAY)
    windows.advance(table([(f"{RULE}/{ONE}", hit(START + HOUR, 2))]), START + 2 * DAY)
    assert (windows.dropped["late"], windows.dropped["closed"]) == (1, 1)


def test_groups_above_the_bound_are_forgotten_stalest_first() -> None:
    """A flood of groups costs memory only up to the bound, its codes are given anew, and what it cost is counted."""
    rules = ruleset("measure: count, above: {quantile: 0.9, times: 2}, history: 1d, keep: 10d, season: day", "1h")
    windows, stored = Windows(rules, max_groups=5), {}
    flood = [hit(START + n * 1000, n, f"g{n}") for n in range(1200)]
    steady = [hit(START + day * DAY, 5000 + day, "steady") for day in range(8)]
    last = [hit(START + 8 * DAY + n, 6000 + n, "steady") for n in range(9)]
    found = []
    for day in range(10):
        part = [one for one in flood + steady + last if START + (day - 1) * DAY < one.time <= START + day * DAY]
        found += windows.advance(table([(f"{RULE}/{ONE}", one) for one in part]), START + day * DAY)
        stored |= windows.states()
        windows = Windows(rules, stored.get, max_groups=5)
    found += windows.advance(table([(f"{RULE}/{ONE}", one) for one in last]), START + 9 * DAY)
    assert windows.dropped["groups"] >= 1196
    assert {change.alert.group["source.ip"] for change in found} == {"steady"}


def test_a_little_more_costs_little_however_much_a_bucket_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many groups, a few in each step: each row is merged, and its state written, a handful of times and not once a
    step."""
    merged, written = 0, 0
    original = bucket._merged

    def counted(rows: pa.Table) -> pa.Table:
        nonlocal merged
        merged += rows.num_rows
        return original(rows)

    monkeypatch.setattr(bucket, "_merged", counted)
    windows = Windows(ruleset("measure: distinct, field: destination.ip, above: {quantile: 0.9}", "24h"))
    steps, each = 128, 50
    for step in range(steps):
        rows = [hit(START + step * 10_000_000 + n, step * each + n, f"g{step}.{n}") for n in range(each)]
        windows.advance(table([(f"{RULE}/{ONE}", one) for one in rows]), START + (step + 1) * 10_000_000)
        parts = [data for name, data in windows.states().items() if ":open:" in name and data is not None]
        written += sum(bucket.from_ipc(data).num_rows for data in parts)
    most = steps * each * (int(np.log2(steps)) + 2)
    assert steps * each <= written <= most and merged <= most


def test_a_bucket_of_an_older_program_is_read() -> None:
    """It wrote one part without a number, and no sums of a second rule: what it counted counts."""
    rules = ruleset("measure: ratio, above: {value: 1}, enough: 2", "24h", rules="one, two")
    windows, stored = Windows(rules), {}
    hits = [(f"{RULE}/{ONE}", hit(START + n, n)) for n in range(4)]
    two = replace(hit(START + 9, 9), rule=TWO)
    windows.advance(table([*hits, (f"{RULE}/{TWO}", two)]), START + HOUR)
    key = f"{KEY}:baseline:{RULE}:"
    for name, data in windows.states().items():
        old = re.sub(r"((open|pairs):[0-9]+):[0-9]+$", r"\1", name)
        if old.startswith(f"{key}open"):
            rows = bucket.from_ipc(data or b"")
            data = bucket.ipc(rows.drop_columns(["other_whole", "other_parts"]))
        elif name == key:
            header = json.loads(data or b"")
            times = {"names": [hits[0][1].group], "since": [NEVER], "seen": [NEVER], "parents": []}
            data = json.dumps({**header, **times, "open": [start for start, _ in header["open"]]}).encode()
        stored[old] = data
    again = Windows(rules, stored.get)
    changes = again.advance(table([]), START + 2 * DAY)
    assert [(change.alert.count, change.alert.facts["csirt.baseline.value"]) for change in changes] == [(5, ["4"])]
    assert f"{key}open:{int(buckets.starts(np.array([START]), DAY, 'Europe/Oslo')[0])}" in again.states()


def test_buckets_follow_local_time_over_both_changes() -> None:
    """The hour that comes twice is two buckets of one hour of the week; days have 23 and 25 hours and no gap."""
    for first, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        zone = ZoneInfo("Europe/Oslo")
        midnight = int(datetime.fromisoformat(first).replace(tzinfo=zone).timestamp()) * 1_000_000
        assert buckets.starts(np.array([midnight + 5 * HOUR]), DAY, "Europe/Oslo").tolist() == [midnight]
        assert buckets.end(midnight, DAY, "Europe/Oslo") - midnight == hours * HOUR
        begins = midnight + np.arange(hours) * HOUR
        slots = buckets.slots(begins, HOUR, "Europe/Oslo", "day").tolist()
        expected = [0, 1, *range(3, 24)] if hours == 23 else [0, 1, 2, 2, *range(3, 24)]
        assert slots == expected
        for span in (2 * HOUR, 6 * HOUR, 12 * HOUR):
            edge = midnight
            for _ in range(40):
                after = buckets.end(edge, span, "Europe/Oslo")
                inside = buckets.starts(np.array([edge, after - 1, after]), span, "Europe/Oslo")
                assert inside.tolist() == [edge, edge, after]
                edge = after


@pytest.mark.parametrize(
    ("condition", "timespan", "wanted"),
    [
        ("measure: mean, above: {quantile: 0.9}", "1h", "the measure is one of"),
        ("measure: sum, above: {quantile: 0.9}", "1h", "needs a field"),
        ("measure: count, field: a, above: {quantile: 0.9}", "1h", "has no field"),
        ("measure: ratio, above: {quantile: 0.9}", "1h", "has 2 rules"),
        ("measure: count", "1h", "neither above, below nor new"),
        ("measure: count, above: {quantile: 2}", "1h", "from 0 to 1"),
        ("measure: count, above: {quantile: 0.9, deviations: 3}", "1h", "either a quantile"),
        ("measure: count, above: 3", "1h", "each a number"),
        ("measure: count, above: {quantile: 0.9}, season: year", "1h", "season is one of"),
        ("measure: count, above: {quantile: 0.9}, timezone: Mars", "1h", "is no time zone"),
        ("measure: count, above: {quantile: 0.9}, history: soon", "1h", "is a duration"),
        ("measure: count, above: {quantile: 0.9}, history: 60d", "1h", "more history is wanted"),
        ("measure: count, above: {quantile: 0.9}", "7h", "divides the hour or the day"),
        ("measure: count, above: {quantile: 0.9}", "1m", "a history of more than"),
        ("measure: count, above: {quantile: 0.9}, gte: 3", "1h", "unknown key 'gte'"),
        ("measure: count, new: destination.ip", "1h", "one of the group-by fields"),
        ("measure: count, above: {value: 3}, history: 7d", "1h", "history says nothing"),
        ("measure: count, above: {value: 3, times: 2}", "1h", "a value stands alone"),
        ("measure: count, above: {value: 3, quantile: 1}", "1h", "or a value"),
        ("measure: count, above: {quantile: 0.9}, enough: 3", "1h", "enough is of a ratio"),
        ("measure: count, above: {quantile: 0.9}, new-for: 3d", "1h", "of what is new"),
        ("measure: count, above: {quantile: 0.9}, in-a-row: 0", "1h", "whole number from 1"),
    ],
)
def test_a_wrong_condition_is_named(condition: str, timespan: str, wanted: str) -> None:
    """Every fault with what would be right; the rule does not run."""
    loaded = ruleset(condition, timespan)
    assert wanted in "\n".join(map(str, loaded.problems))
    assert not loaded.correlations


def test_a_batch_hands_on_a_row_per_group_and_bucket(batch: Callable[..., Batch]) -> None:
    """Ten thousand flows of two hosts are a row each an hour, with how many it stands for and their sum."""
    rows = [
        {
            "@timestamp": START + n * 720_000,
            "source.ip": f"10.0.0.{n % 2}",
            "destination.ip": f"10.1.0.{n % 5}",
            "destination.port": 1,
            "network.bytes": 100 + n % 7,
        }
        for n in range(10_000)
    ]
    sums = [sum(row["network.bytes"] for row in rows if row["source.ip"] == f"10.0.0.{end}") for end in (0, 1)]
    text = "measure: sum, field: network.bytes, above: {quantile: 0.9}"
    found = Detector(ruleset(text, "1h")).match(batch("flow", rows)).to_pylist()
    found = [row for row in found if row["stream"] == f"{RULE}/{ONE}"]  # the other rule alerts by itself
    assert len(found) == 4
    totals = [sum(row["total"] for row in found if row["group"] == f'{{"source.ip":"10.0.0.{end}"}}') for end in (0, 1)]
    assert totals == sums
    assert sum(row["count"] for row in found) == 10_000
    assert {row["number"] for row in found} == {106.0}
    assert [row["event"][-4:] for row in found][:1] == [f"{6:04x}"]
    values = Detector(ruleset("measure: distinct, field: destination.ip, above: {quantile: 0.9}", "1h"))
    found = [row for row in values.match(batch("flow", rows)).to_pylist() if row["stream"] == f"{RULE}/{ONE}"]
    assert len(found) == 2 * 2
    assert all(sorted(row["values"]) == [f"10.1.0.{n}" for n in range(5)] for row in found)
    assert sum(row["count"] for row in found) == 10_000
