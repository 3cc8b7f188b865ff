"""Windows against the oracle, whatever the cuts, orders and restarts; state; bounds."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.rules.load import parse_rules
from csirt.detect.windows import held, owed, payload, sliding
from csirt.detect.windows.state import KEY, seen
from csirt.detect.windows.windows import Windows
from csirt.errors import CsirtError
from csirt.ids import LAKE_ONLY
from csirt.model.hits import HITS
from tests.detect import oracle
from tests.detect.oracle import Hit

SECOND = 1_000_000
RULES = (Path(__file__).parent / "windows.yml").read_text()
NAMES = (
    *("plain", "base", "answer", "third", "events", "range", "few", "values", "overdue", "all_three", "two_of_three"),
    *("boolean", "ordered", "sum", "average", "percentile", "median", "ratio", "bursts", "chain", "beacon", "one"),
)
IDS = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in NAMES}


def with_ids(text: str) -> str:
    """The rules with a UUID for each id."""
    for name, rule_id in IDS.items():
        text = text.replace(f"id: {name}\n", f"id: {rule_id}\n")
    return text


def named(rule_id: str) -> str:
    """The name of a rule id."""
    return next(name for name, known in IDS.items() if known == rule_id)


RULESET = parse_rules(with_ids(RULES))
DIVIDED = next(item for item in RULESET.correlations if item.type == "ratio").stream(IDS["base"])
RULES_OF = {
    **dict.fromkeys(("events", "range", "few", "values", "average", "percentile", "median"), ("base",)),
    **dict.fromkeys(("all_three", "two_of_three", "boolean", "ordered"), ("base", "answer", "third")),
    **dict.fromkeys(("sum", "one"), ("base", "third")),
    "ratio": ("answer", "base"),
}
SPANS = {"few": 3, "all_three": 4, "two_of_three": 4, "boolean": 3, "ordered": 6}
TESTS: dict[str, Callable[[list[Hit]], bool]] = {
    "events": lambda window: oracle.event_count(window) >= 3,
    "one": bool,
    "range": lambda window: 1 < oracle.event_count(window) <= 3,
    "few": lambda window: oracle.event_count(window) < 2,
    "values": lambda window: oracle.value_count(window) >= 3,
    "all_three": lambda window: len(oracle.present(window)) >= 3,
    "two_of_three": lambda window: len(oracle.present(window)) >= 2,
    "boolean": lambda window: oracle.present(window) == {"base"},
    "ordered": lambda window: oracle.in_order(window, ["base", "answer", "third"]),
    "sum": lambda window: oracle.total(window) > 10.5,
    "average": lambda window: oracle.average(window) >= 4,
    "percentile": lambda window: oracle.quantile(window, 0.8) > 5.5,
    "median": lambda window: oracle.quantile(window, 0.5) < 3,
}


def _ratio(window: list[Hit], of: int) -> bool:
    return of > 0 and oracle.event_count(window) / of >= 0.6 and oracle.value_count(window) >= 2


def _beacons(hits: list[Hit]) -> list[dict[str, Any]]:
    """What the oracle says of the beacon."""
    known = oracle.speaking([(hit, target(hit), f"m{hit.event[-1]}") for hit in hits], 3, 16 * SECOND)
    since = min((hit.time for hit in hits), default=0) + 2 * SECOND

    def test(window: list[Hit]) -> bool:
        found = oracle.contacts(window, 3)
        return len(found) == 3 and oracle.even(found, 0.31, 0.91)

    def reach(window: list[Hit]) -> list[Hit]:
        return [hit for contact in oracle.contacts(window, 3) for hit in contact]

    hits = [hit for hit in hits if known[hit.event] <= 2 and hit.time >= since]
    return oracle.windowed(IDS["beacon"], hits, 12 * SECOND, test, reach=reach)[0]


def table(rows: list[tuple[str, Hit]]) -> pa.Table:
    """Hits as the detector hands them on: a row per value."""
    flat = [(stream, hit, value) for stream, hit in rows for value in (hit.values or (None,))]
    columns: dict[str, list[Any]] = {name: [None] * len(flat) for name in HITS.names}
    streams = ["/".join(IDS.get(part, part) for part in stream.split("/")) for stream, _, _ in flat]
    streams = [DIVIDED if stream == f"{IDS['ratio']}/{IDS['base']}" else stream for stream in streams]
    columns["rule"] = [stream.rpartition("/")[2] for stream in streams]
    columns["stream"] = [stream + LAKE_ONLY * stream.startswith(IDS["beacon"]) for stream in streams]
    columns["time"] = [hit.time for _, hit, _ in flat]
    columns["event"] = [hit.event for _, hit, _ in flat]
    columns["group"] = [hit.group for _, hit, _ in flat]
    columns["value"] = [value for _, _, value in flat]
    columns["number"] = [hit.number for _, hit, _ in flat]
    of_beacon = [stream.startswith(IDS["beacon"]) for stream in columns["stream"]]
    columns["target"] = [target(hit) if mine else None for mine, (_, hit, _) in zip(of_beacon, flat, strict=True)]
    columns["source"] = [f"host:{hit.event[-1]}" for _, hit, _ in flat]
    columns["source_member"] = [f"m{hit.event[-1]}" for _, hit, _ in flat]
    columns["facts"] = ["{}"] * len(flat)
    return pa.table(columns, schema=HITS)


def target(hit: Hit) -> str:
    """Whom the event of a beacon calls; a few are everybody's."""
    return f"host:{int(hit.event[-2], 16) % 5}"


def packed(hits: pa.Table) -> pa.Table:
    """The hits, of one step, with half of the events that a ratio divides by in one row, as the detector has them."""
    which = [stream == DIVIDED for stream in hits.column("stream").to_pylist()]
    mine = hits.filter(pa.array(which, pa.bool_())).to_pylist()
    mine = mine[: len(mine) // 2]
    if not mine:
        return hits
    names = sorted({row["group"] for row in mine})
    last = max(row["time"] for row in mine)
    counted = [{"group": names.index(row["group"]), "before": last - row["time"]} for row in mine]
    row = {"stream": mine[0]["stream"], "rule": mine[0]["rule"], "time": last, "values": names, "counted": counted}
    numbers = [number for number, found in enumerate(which) if found][: len(mine)]
    rest = [number for number in range(len(which)) if number not in numbers]
    return pa.concat_tables([hits.take(pa.array(rest, pa.int64())), pa.Table.from_pylist([row], HITS)])


def plain_form(alert: Any) -> dict[str, Any]:
    """The part of an alert that the oracle also says."""
    return {name: getattr(alert, name) for name in ("id", "group", "first", "last", "count", "events")}


def run(rows: list[tuple[str, Hit]], cuts: list[int], *, restart: bool = False) -> dict[str, list[Any]]:
    """All alerts as they last stood, by rule, after advancing to each of the cuts."""
    windows = Windows(RULESET)
    written: dict[str, bytes | None] = {}
    latest: dict[str, Any] = {}
    before = -1
    for until in cuts:
        part = [row for row in rows if before < row[1].time <= until]
        random.Random(until).shuffle(part)
        for change in windows.advance(packed(table(part)), until):
            assert change.opened == (change.alert.id not in latest)
            latest[change.alert.id] = change.alert
        before = until
        if restart:
            written |= windows.states()
            windows = Windows(RULESET, written.get)
    result: dict[str, list[Any]] = {}
    for alert in sorted(latest.values(), key=lambda item: item.id):
        result.setdefault(named(alert.rule_id), []).append(alert)
    return result


HITS_STRATEGY = st.lists(
    st.builds(
        lambda time, event, group, values, number, rule: Hit(
            time * SECOND // 2, f"{event:032x}", f'{{"source.ip":"10.0.0.{group}"}}', values, rule, number
        ),
        st.integers(0, 60),
        st.integers(0, 2**64),
        st.integers(0, 2),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=2, unique=True).map(tuple),
        st.sampled_from([0.0, 0.25, 1.0, 3.0, 5.5, 8.0, -2.0]),
        st.sampled_from(["plain", "base", "answer", "third"]),
    ),
    max_size=60,
    unique_by=lambda hit: hit.event,
)


def doubled(hits: list[Hit]) -> list[Hit]:
    """Some of the events found by a second rule too."""
    return [*hits, *(replace(hit, rule="third") for hit in hits if hit.rule == "base" and int(hit.event, 16) % 5 == 0)]


def routed(hits: list[Hit]) -> tuple[list[tuple[str, Hit]], dict[str, list[Hit]]]:
    """The rows for every stream, and what the oracle of each rule sees."""
    seen: dict[str, list[Hit]] = {name: [] for name in ("plain", "overdue", "answers", "beacon", *RULES_OF)}
    sent: list[tuple[str, Hit]] = []
    for hit in hits:
        if hit.rule == "plain":
            seen["plain"].append(hit)
            sent.append(("plain", replace(hit, values=())))
        one = replace(hit, values=hit.values[:1])
        if hit.rule in ("base", "answer"):
            seen["overdue" if hit.rule == "base" else "answers"].append(one)
            sent.append((f"overdue/{hit.rule}", one))
        if hit.rule == "base":
            seen["beacon"].append(one)
            sent.append(("beacon/base", one))
        for name, rules in RULES_OF.items():
            if hit.rule in rules:
                mine = hit if name in ("values", "ratio") else replace(hit, values=())
                mine = replace(mine, group="{}") if name == "few" else mine
                mine = replace(mine, values=()) if (name, hit.rule) == ("ratio", "base") else mine  # counted only
                seen[name].append(mine)
                sent.append((f"{name}/{hit.rule}", mine))
    return sent, seen


def expected(seen: dict[str, list[Hit]], until: int) -> dict[str, list[dict[str, Any]]]:
    """What the oracle says of every rule that finds something."""
    found = {"plain": oracle.plain(IDS["plain"], seen["plain"], 5 * SECOND) if seen["plain"] else []}
    opened: dict[str, list[Hit]] = {}
    for name, test in TESTS.items():
        span = SPANS.get(name, 5) * SECOND
        found[name], opened[name] = oracle.windowed(IDS[name], seen[name], span, test, moments=name == "ordered")
    counted, of = ([hit for hit in seen["ratio"] if hit.rule == rule] for rule in RULES_OF["ratio"])
    found["ratio"], opened["ratio"] = oracle.share(IDS["ratio"], counted, of, 5 * SECOND, _ratio)
    found["beacon"] = _beacons(seen["beacon"])
    found["overdue"] = oracle.absent(IDS["overdue"], seen["overdue"], seen["answers"], 4 * SECOND, 3 * SECOND, until)
    inner = [replace(hit, rule=name) for name in ("events", "average") for hit in opened[name]]
    # Two alerts that one event opened are two events for what is built on them.
    told_apart = [replace(hit, event=hit.event + hit.rule) for hit in inner]
    found["bursts"], _ = oracle.windowed(
        IDS["bursts"], told_apart, 20 * SECOND, lambda window: oracle.event_count(window) >= 2
    )
    steps = [replace(hit, rule=name) for name in ("median", "all_three") for hit in opened[name]]
    found["chain"], _ = oracle.windowed(
        IDS["chain"],
        [replace(hit, event=hit.event + hit.rule) for hit in steps],
        10 * SECOND,
        lambda window: oracle.in_order(window, ["median", "all_three"]),
        moments=True,
    )
    return {rule: alerts for rule, alerts in found.items() if alerts}


def compared(alerts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Alerts as far as both sides say them in the same words: events of a chain have names of their own."""
    numbers = ("group", "first", "last", "count")
    return {
        rule: sorted(str([item[key] for key in numbers]) for item in items) if rule in ("bursts", "chain") else items
        for rule, items in alerts.items()
    }


@settings(max_examples=80, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12), st.booleans())
def test_any_cuts_order_and_restart_give_what_the_oracle_says(hits: list[Hit], cuts: list[int], restart: bool) -> None:
    """Alerts of every type equal a brute-force reading of the documentation for every partition of the time axis."""
    assert not RULESET.problems
    until = max([*cuts, 31 * SECOND])
    sent, seen = routed(doubled(hits))
    found = run(sent, sorted({*cuts, until}), restart=restart)
    shown = {rule: [plain_form(alert) for alert in alerts] for rule, alerts in found.items()}
    assert compared(shown) == compared(expected(seen, until))


@settings(max_examples=25, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12), st.booleans())
def test_whole_alerts_do_not_depend_on_the_cuts(hits: list[Hit], cuts: list[int], restart: bool) -> None:
    """Entities in their order, members and facts too are the same for one step as for many, with restarts between."""
    sent, _ = routed(doubled(hits))
    end = 32 * SECOND
    assert run(sent, sorted({*cuts, end}), restart=restart) == run(sent, [end])


@pytest.mark.parametrize("seed", [4, 5, 6, 7])
def test_compiled_kernels_find_what_the_interpreted_ones_find(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Machine code and interpreter give the same alerts of every type, steps, restarts and all, and so does one that
    becomes the other on the way."""
    rng = random.Random(seed)
    hits = [
        Hit(
            rng.randrange(400 * SECOND),
            f"{number:032x}",
            f'{{"source.ip":"10.0.0.{rng.randrange(4)}"}}',
            tuple(rng.sample("abcdef", 2)),
            rng.choice(["plain", "base", "answer", "third"]),
            rng.choice([0.25, 1.0, 5.5, 8.0, -2.0]),
        )
        for number in range(1000)
    ]
    sent, _ = routed(doubled(hits))
    cuts = list(range(0, 401 * SECOND, 40 * SECOND))
    monkeypatch.setattr(sliding, "LOADED_FROM", 1)
    monkeypatch.setattr(sliding.KERNELS, "_walked", -(1 << 60))
    interpreted = run(sent, cuts)
    for walked, restart, patience in ((-20_000, False, held.PATIENCE), (1, False, 0), (1, True, -1)):
        monkeypatch.setattr(sliding.KERNELS, "_walked", walked)
        monkeypatch.setattr(held, "PATIENCE", patience)  # from here on rows are sorted
        assert run(sent, cuts, restart=restart) == interpreted


@settings(max_examples=25, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12), st.integers(-1, 1), st.data())
def test_changes_say_the_same_whenever_they_are_taken(
    hits: list[Hit], cuts: list[int], patience: int, data: st.DataObject
) -> None:
    """A change taken many steps later has the alert as it stood, though rows have left since and others were let go;
    where none was, what the changes call new is all they have."""
    sent, _ = routed(doubled(hits))
    one, other = Windows(RULESET), Windows(RULESET)
    at_once, later = [], []
    before = -1
    with patch.multiple(payload, PIECE=10), patch.multiple(owed, MOST=40), patch.multiple(held, PATIENCE=patience):
        for until in sorted({*cuts, 32 * SECOND}):
            part = table([row for row in sent if before < row[1].time <= until])
            before = until
            at_once += [(change.alert, change.opened, change.at) for change in one.advance(part, until)]
            later += other.advance(part, until)
    kept = [data.draw(st.booleans()) for _ in later]
    wanted = [item for item, keep in zip(at_once, kept, strict=True) if keep]
    changes = [change for change, keep in zip(later, kept, strict=True) if keep]
    gaps = {change.id for change, keep in zip(later, kept, strict=True) if not keep}
    later.clear()
    for change in data.draw(st.permutations(changes)):
        assert change.alert.id == change.id
        assert change.numbers == (change.alert.first, change.alert.last, change.alert.count)
    assert [(change.alert, change.opened, change.at) for change in changes] == wanted
    entities: dict[str, set[Any]] = {}
    for change in changes:
        known = entities.setdefault(change.id, set())
        assert change.fresh is not None
        known |= {tuple(vars(entity).items()) for entity in change.fresh}
        every = {tuple(vars(entity).items()) for entity in change.alert.entities}
        assert known == every or (change.id in gaps and known <= every)


def test_where_one_event_is_enough_only_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worm's hits are not held for all of the window: memory and state do not grow with them, its alert does."""
    monkeypatch.setattr(held, "GARBAGE", 20)
    only = [item for item in RULESET.correlations if item.id == IDS["one"]]
    windows = Windows(replace(RULESET, rules=[], correlations=only))
    written: dict[str, bytes | None] = {}
    for number in range(500):
        hit = Hit(number * SECOND // 100, f"{number:032x}", '{"source.ip":"10.0.0.1"}', (), "base", 1.0)
        found = windows.advance(table([("one/base", hit)]), hit.time)
        assert [change.numbers[2] for change in found] == [number + 1]
        written |= windows.states()
    kept = [data for key, data in written.items() if data is not None and ":held:" in key]
    assert 1 <= sum(payload.decode(data).num_rows for data in kept) <= 2 + 20 + 1


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
    state = windows.states()
    again = Windows(RULESET, state.get)
    assert again.states() == {"windows": state["windows"]}
    again.advance(table([]), 10)
    assert again.states() == {"windows": state["windows"]}


@settings(max_examples=30, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(0, 32 * SECOND), max_size=12))
def test_only_what_changed_is_written_and_nothing_is_left_behind(hits: list[Hit], cuts: list[int]) -> None:
    """The pieces that were written and not taken back are those a restart reads, and in the end there are none."""
    sent, _ = routed(hits)
    windows = Windows(RULESET)
    stored: dict[str, bytes] = {}
    before = -1
    for until in sorted({*cuts, 31 * SECOND, 1000 * SECOND}):
        windows.advance(table([row for row in sent if before < row[1].time <= until]), until)
        before = until
        for key, data in windows.states().items():
            if data is None:
                stored.pop(key, None)
            else:
                stored[key] = data
        asked: list[str] = []
        Windows(RULESET, lambda key: asked.append(key) or stored.get(key))  # noqa: B023
        assert sorted(asked) == sorted(stored)
    assert list(stored) == ["windows"]


def test_an_unreadable_state_is_an_error_with_a_next_step() -> None:
    """Damaged state is never taken for an empty one."""
    with pytest.raises(CsirtError, match="restore"):
        Windows(RULESET, {"windows": b"\0\0\0\0\0\0\0\5hello"}.get)
    windows = Windows(RULESET)
    windows.advance(table([("values/base", Hit(5, "a" * 32, "{}", ("k",)))]), 10)
    with pytest.raises(CsirtError, match="lacks windows:held"):
        Windows(RULESET, {"windows": windows.states()["windows"]}.get)


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
    assert windows.dropped == {"groups": 20 + 5, "hits": 16, "late": 0, "gone": 0, "closed": 0}
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


def test_what_a_state_says_for_people() -> None:
    """Drops and learning baselines are read from the committed header; none, and states of older programs, say
    nothing."""
    assert seen(None) == seen(b"ARROW1") == {"dropped": {}, "learning": {}}
    windows = Windows(RULESET)
    windows.dropped["groups"] = 7
    states = windows.states()
    raw = states[KEY]
    assert seen(raw)["dropped"]["groups"] == 7 and seen(raw)["learning"] == {}
