"""The compiled rules against the plain ones, in steps of any size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.biflow import layout as at
from csirt.biflow import pairing
from csirt.biflow.layout import KEY, RECORD, Limits, Open, Rows
from csirt.biflow.pairing import decide, from_bytes, to_bytes
from csirt.biflow.room import Room
from csirt.clock import SECOND
from tests.biflow.plain import Mark, Record, marks

ENDS = ("a", "b", "c")
LIMITS = Limits()

moments = st.integers(0, 40).map(lambda n: n * SECOND) | st.integers(0, 200 * SECOND)
records = st.builds(
    lambda source, target, due, length, slow, point, octets, packets, bits, fixed, ports: (
        source, target, due, min(length, due), slow, point, octets, packets, bits, fixed, ports
    ),
    st.sampled_from(ENDS), st.sampled_from(ENDS), moments,
    st.sampled_from([0, 0, SECOND // 2, 3 * SECOND, 20 * SECOND, 70 * SECOND]), st.sampled_from([0, 0, -7, SECOND]),
    st.integers(0, 2), st.integers(1, 99), st.integers(1, 9), st.integers(0, 63), st.sampled_from([0, 0, 0, 1, 2]),
    st.integers(-2, 2),
).filter(lambda item: item[0] != item[1])  # fmt: skip


def made(drawn: list[tuple[int, ...]]) -> list[Record]:
    """Records with ids in their order; the observation point's preference is the reverse of its number."""
    return [
        Record(
            id=number, source=str(source), target=str(target), due=due, begin=due - length, slow=slow,
            point=100 + point, rank=9 - point, bytes=octets, packets=packets, bits=bits, ports=ports,
            fixed=fixed or int(bits & at.OWN > 0),  # such records always say who opened the flow
        )
        for number, (source, target, due, length, slow, point, octets, packets, bits, fixed, ports) in enumerate(drawn)
    ]  # fmt: skip


def arrays(found: list[Record]) -> Rows:
    """Records as the kernels take them."""
    key = np.zeros((len(found), KEY), np.uint64)
    for row, record in enumerate(found):
        low, high = sorted((record.source, record.target))
        key[row, 0], key[row, 2], key[row, 5] = ord(low), ord(high), 7

    records = np.empty(len(found), RECORD)
    for name in RECORD.names or ():
        if name in Record.__dataclass_fields__:
            records[name] = [getattr(record, name) for record in found]
    records["way"] = [record.source > record.target for record in found]
    records["segment"], records["ordinal"] = 3, [record.id for record in found]
    return Rows(key, records)


def said(found: np.void) -> Mark:
    """A mark in the plain form."""
    return Mark(
        int(found["ordinal"]) if found["duplicate"] else None,
        int(found["begin"]) if found["begin"] != at.NEVER else None,
        (int(found["bytes"]), int(found["packets"])) if found["paired"] else None,
        None if found["answered"] < 0 else bool(found["answered"]),
        int(found["opener"]),
    )


def stepped(found: list[Record], cuts: list[int], limits: Limits) -> tuple[dict[int, Mark], int]:
    """Marks made in steps that end at these times, with the state written and read between them."""
    found = sorted(found, key=lambda record: (record.due, record.id))
    result: dict[int, Mark] = {}
    state, lost, before = Open.none(), 0, -1
    for until in [*sorted(set(cuts)), max((record.due for record in found), default=0)]:
        sight = [record for record in found if before < record.due <= until + limits.ahead]
        decided = [record for record in sight if record.due <= until]
        if decided:
            made_of, state, cost = decide(
                arrays(sight), np.arange(len(sight)), len(decided), from_bytes(to_bytes(state)), limits, Room()
            )
            lost += cost
            result |= {record.id: said(made_of[row]) for row, record in enumerate(decided)}
        before = max(before, until)
    return result, lost


@settings(max_examples=150, deadline=None)
@given(st.lists(records, max_size=30), st.lists(moments, max_size=4))
def test_kernels_and_steps_say_what_the_plain_rules_say(drawn: list[tuple[int, ...]], cuts: list[int]) -> None:
    """Every mark of every record is that of the plain rules, wherever steps end and the program is restarted."""
    found = made(drawn)
    assert stepped(found, cuts, LIMITS) == marks(found, LIMITS)


@settings(max_examples=100, deadline=None)
@given(st.lists(records, max_size=40), st.lists(moments, max_size=4), st.integers(0, 2))
def test_the_bound_does_not_depend_on_steps(drawn: list[tuple[int, ...]], cuts: list[int], pairs: int) -> None:
    """Above the bound the flows unused longest are closed and counted, at the same moments however steps are cut."""
    limits = Limits(pairs=pairs)
    found = made(drawn)
    assert stepped(found, cuts, limits) == marks(found, limits)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, max_size=30), st.integers(1, 4))
def test_records_decided_a_few_at_a_time_get_the_same_marks(drawn: list[tuple[int, ...]], size: int) -> None:
    """How many records of a step are decided at a time changes no mark, ties in time included."""
    found = made(drawn)
    before, pairing.SLICE = pairing.SLICE, size
    try:
        sliced = stepped(found, [], LIMITS)
    finally:
        pairing.SLICE = before
    assert sliced == marks(found, LIMITS)


def test_memory_of_a_step_is_taken_again_by_the_next() -> None:
    """An array asked for again under its name lies where it lay, and one that became far too large is let go."""
    room = Room()
    first = room.array("x", 1_000_000, np.int64)
    assert np.shares_memory(first, room.array("x", (1_000, 900), np.int64))
    assert not np.shares_memory(first, room.array("x", 10, np.int64))
