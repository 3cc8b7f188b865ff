"""Hits of which nothing comes, taken in at once, against all of them step by step."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.windows.windows import Windows
from csirt.model.hits import HITS
from tests.detect.oracle import Hit
from tests.detect.windows.test_windows import HITS_STRATEGY, RULESET, SECOND, doubled, routed, table

END = 32


def stepped(rows: list[tuple[str, Hit]], stretches: list[int], *, quiet: bool, restart: bool) -> list[Any]:
    """What each step of two seconds changes. The hits up to the end of each stretch are there at once."""
    windows, written, said = Windows(RULESET), {}, []
    before = -1
    for until in [*sorted(set(stretches) - {END}), END]:
        hits = table([row for row in rows if before < row[1].time <= until * SECOND])
        hits = windows.quiet(hits) if quiet else hits
        for end in [*range(before // SECOND + 1, until, 2), until]:
            times = hits.column("time").to_pylist()
            mine = [index for index, time in enumerate(times) if before < time <= end * SECOND]
            part = hits.take(pa.array(mine, pa.int64())) if mine else HITS.empty_table()
            said += [
                (change.at, change.opened, change.alert.model_dump()) for change in windows.advance(part, end * SECOND)
            ]
            before = max(before, end * SECOND)
        if restart:
            written |= windows.states()
            windows = Windows(RULESET, written.get)
    assert not any(windows.dropped.values())
    return said


@settings(max_examples=30, deadline=None)
@given(HITS_STRATEGY, st.lists(st.integers(1, END), max_size=3), st.booleans())
def test_what_is_quiet_can_be_taken_in_at_once(hits: list[Hit], stretches: list[int], restart: bool) -> None:
    """Every change of every step is the same, for all kinds of correlations, chains among them, in stretches that
    follow each other and after restarts."""
    rows, _ = routed(doubled(hits))
    whole = stepped(rows, stretches, quiet=False, restart=restart)
    assert stepped(rows, stretches, quiet=True, restart=restart) == whole


def test_most_hits_of_a_quiet_stretch_need_no_step() -> None:
    """A group in which a condition holds keeps its hits for the steps; the hits of the others are gone."""
    loud = [Hit(n * SECOND, f"{n:032x}", '{"source.ip":"10.0.0.1"}', (), "base", 0.0) for n in range(4)]
    low = [Hit(8 * n * SECOND, f"{n + 9:032x}", '{"source.ip":"10.0.0.2"}', (), "base", 0.0) for n in range(4)]
    rest = Windows(RULESET).quiet(table([("events/base", hit) for hit in [*loud, *low]]))
    assert rest.column("group").unique().to_pylist() == ['{"source.ip":"10.0.0.1"}'] and rest.num_rows == 4


def test_hits_that_come_late_are_left_to_the_steps() -> None:
    """They are counted as late where they are taken in."""
    windows = Windows(RULESET)
    windows.advance(table([]), 10 * SECOND)
    hits = table([("events/base", Hit(time * SECOND, f"{time:032x}", "{}", (), "base", 0.0)) for time in (9, 12)])
    assert windows.quiet(hits).num_rows == 2
