"""What a ratio divides by: events packed many to a row, counted as if each were looked at."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import SECOND, TICK
from csirt.detect.columns.arrow import from_arrow
from csirt.detect.columns.columns import AddressColumn
from csirt.detect.rules.load import parse_rules
from csirt.detect.windows.divided import Divisor, packed
from csirt.detect.windows.payload import decode, encode
from csirt.detect.windows.state import KEY
from csirt.detect.windows.windows import Windows
from csirt.model.batch import Array
from csirt.model.hits import HITS, sizes, weights
from tests.detect.oracle import Hit
from tests.detect.windows.test_windows import RULES, RULESET, table, with_ids

EVENTS = st.lists(st.tuples(st.integers(0, 12 * TICK), st.integers(0, 4)), max_size=60)


def text(group: int) -> str:
    """A group's text."""
    return f'{{"source.ip":"10.0.0.{group}"}}'


def rows(events: list[tuple[int, int]]) -> pa.Table:
    """Events, each a time and a group, as the detector packs them."""
    times, groups = (np.array(part, np.int64) for part in (zip(*events, strict=True) if events else ([], [])))
    low = groups.astype(np.uint64) + np.uint64(10 << 24)
    column = AddressColumn(np.full(len(low), 4, np.uint8), np.zeros(len(low), np.uint64), low)
    made = packed([column], np.arange(len(low)), times, lambda some: pa.array([text(groups[row]) for row in some]))
    assert made is not None
    return hits(made)


def hits(columns: dict[str, pa.Array]) -> pa.Table:
    """Columns of hits as a table of them."""
    count = len(columns["time"])
    arrays = [columns[one.name] if one.name in columns else pa.nulls(count, one.type) for one in HITS]
    return pa.table(arrays, schema=HITS)


def plain(events: list[tuple[int, int]]) -> pa.Table:
    """The events, a row each, as where a group is a list."""
    return hits({"time": pa.array([t for t, _ in events], pa.int64()), "group": pa.array([text(g) for _, g in events])})


def unpacked(found: pa.Table) -> list[tuple[int, str]]:
    """The events of packed rows."""
    packed_ = found.filter(pc.is_valid(found.column("counted"))).to_pylist()
    return [
        (row["time"] - event["before"], row["values"][event["group"]]) for row in packed_ for event in row["counted"]
    ]


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_packed_rows_have_every_event_once_and_none_leaves_its_step(events: list[tuple[int, int]]) -> None:
    """A row is of one step of event time, and dated by its last event; a group's text is in it once."""
    found = rows(events)
    assert sorted(unpacked(found)) == sorted((time, text(group)) for time, group in events)
    steps = [{-((event["before"] - row["time"]) // TICK) for event in row["counted"]} for row in found.to_pylist()]
    assert all(len(step) == 1 for step in steps) and len(steps) == len({-(-time // TICK) for time, _ in events})
    for row in found.to_pylist():
        assert min(event["before"] for event in row["counted"]) == 0
        assert len(set(row["values"])) == len(row["values"])
    assert sizes(found).sum() == len(events)


def test_a_group_of_a_list_is_not_packed() -> None:
    """An event that is in several groups is a row of each."""
    lists = from_arrow(pa.chunked_array([pa.array([["a", "b"], ["a"]], pa.list_(pa.string()))]))
    assert lists is not None and lists.many
    assert packed([lists], np.arange(2), np.zeros(2, np.int64), lambda _: pa.array([], pa.string())) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.booleans()), max_size=4), EVENTS.filter(bool), st.integers(1, 3 * TICK), st.data())
def test_counts_are_those_of_looking_at_every_event(
    steps: list[tuple[list[tuple[int, int]], bool]], asked: list[tuple[int, int]], span: int, data: st.DataObject
) -> None:
    """Whatever came packed or not, in which step, over a restart in between."""
    divisor = Divisor(1 << 40)
    for events, together in steps:
        divisor.add(rows(events) if together else plain(events), -1)
        if data.draw(st.booleans()):
            restored = Divisor(1 << 40)
            for piece in divisor.payload.pieces:
                data_ = encode(piece.batch)
                assert decode(data_).num_rows == piece.batch.num_rows
                restored.payload.restore(piece.number, piece.base, piece.level, data_)
            divisor = restored
    every = [event for events, _ in steps for event in events]
    names = [text(group) for group in range(5)]
    times, whose = (np.array(part, np.int64) for part in zip(*asked, strict=True))
    wanted = [sum(g == group and now - span <= t <= now for t, g in every) for now, group in asked]
    assert divisor.count(names, whose, times, span).tolist() == wanted
    far = np.append(times, 1 << 61)
    assert divisor.count(names, np.append(whose, 0), far, span).tolist() == [*wanted, 0]


def test_what_is_out_of_reach_leaves_and_the_oldest_leave_above_the_bound() -> None:
    """Nothing is held longer than windows reach; what the bound costs is said, and an event weighs little."""
    divisor = Divisor(250)
    lost = [divisor.add(rows([(second * SECOND + n, n % 5) for n in range(100)]), -1) for second in (1, 2, 3, 4)]
    assert lost == [0, 0, 100, 100]
    count = divisor.count([text(0)], np.zeros(1, np.int64), np.array([9 * SECOND]), 9 * SECOND)
    assert count.tolist() == [40]
    divisor.add(rows([]), 4 * SECOND - 1)
    assert divisor.payload.pieces == [] or divisor.payload.pieces[0].last > 4 * SECOND - 1
    assert weights(rows([(SECOND, 0)] * 160)).tolist() == [10] and weights(plain([(1, 1)])).tolist() == [1]


def ratio(kind: str, second: int, *, values: tuple[str, ...] = ()) -> tuple[str, Hit]:
    """A hit of the ratio of test rules."""
    return f"ratio/{kind}", Hit(second * SECOND, f"{random.getrandbits(100):032x}", text(1), values, kind)


def test_a_state_of_a_program_that_held_what_a_ratio_divides_by_as_hits_goes_on() -> None:
    """Those hits are divided by as before, and not twice after the next restart."""
    windows = Windows(RULESET)
    windows.advance(table([ratio("answer", 1, values=("a",)), *(ratio("base", 1) for _ in range(4))]), 2 * SECOND)
    written: dict[str, Any] = dict(windows.states())
    (divided,) = (key for key in written if ":divisor:" in key)
    (held,) = (key for key in written if ":held:" in key)
    whole = pa.concat_tables([decode(written[held]), decode(written.pop(divided))])
    written[held] = encode(whole.combine_chunks().to_batches()[0])
    written[KEY] = orjson.dumps({name: part for name, part in orjson.loads(written[KEY]).items() if name != "divisor"})
    for _ in range(2):
        windows = Windows(RULESET, written.get)
        written |= windows.states()
    # 2 of 4 are fewer than 0.6 of them; with one more it is 3 of 4.
    assert windows.advance(table([ratio("answer", 3, values=("b",))]), 3 * SECOND) == []
    (change,) = windows.advance(table([ratio("answer", 4, values=("c",))]), 4 * SECOND)
    assert change.alert.count == 3


def test_what_is_divided_by_is_small_in_the_state() -> None:
    """A million events of a thousand groups in five minutes take two dozen octets each at most, and one group's are
    found among all of them."""
    rng = np.random.default_rng(7)
    times = np.sort(rng.integers(0, 300 * SECOND, 100_000))
    groups = rng.integers(0, 1000, 100_000)
    found = rows(list(zip(times.tolist(), groups.tolist(), strict=True)))
    assert found.num_rows == 30 and found.nbytes < 24 * 100_000
    divisor = Divisor(1 << 40)
    divisor.add(found, -1)
    own: Array = np.array([300 * SECOND])
    whole = divisor.count([text(7)], np.zeros(1, np.int64), own, 300 * SECOND)
    assert whole.tolist() == [np.count_nonzero(groups == 7)]


@pytest.mark.parametrize("condition", ["gte: 0.5", "gt: 0.4, at-least: 3"])
def test_a_ratio_without_values_counts_events(condition: str) -> None:
    """`at-least` is then of what it divides by."""
    text_ = RULES.replace("condition: {gte: 0.6, field: destination.ip, at-least: 2}", f"condition: {{{condition}}}")
    assert text_ != RULES
    loaded = parse_rules(with_ids(text_))
    assert not loaded.problems
    windows = Windows(loaded)
    few = windows.advance(table([ratio("answer", 1), ratio("base", 1), ratio("base", 1)]), SECOND)
    assert len(few) == ("at-least" not in condition)
    more = windows.advance(table([ratio("answer", 2), ratio("base", 2)]), 2 * SECOND)
    assert [change.alert.count for change in more] == [2]
    assert pc.sum(table([ratio("base", 1)]).column("time")).as_py() == SECOND
