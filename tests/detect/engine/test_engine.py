"""The engine against an evaluation row by row, over random conditions and events."""

from __future__ import annotations

import gc
import ipaddress
import weakref
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import And, Atom, Leaf, Node, Not, Or, leaves, plans, simplify
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.detect.columns.tables import from_table
from csirt.detect.engine import engine, verdicts
from csirt.detect.engine.engine import Program
from tests.detect.loops import compiled

FIELDS = ("text", "port", "flag", "ip", "list")
ATOMS = st.one_of(
    st.builds(Atom, st.sampled_from(("text", "list")), st.just("eq"), st.sampled_from(["a", "ab", "7", "true", ""])),
    st.builds(Atom, st.sampled_from(("text", "list")), st.just("contains"), st.sampled_from(["a", "ab", "b7"])),
    st.builds(Atom, st.sampled_from(FIELDS), st.sampled_from(["null", "exists"])),
    st.builds(Atom, st.sampled_from(("text", "port", "list")), st.just("number"), st.sampled_from([7, 80, 445])),
    st.builds(
        Atom,
        st.just("port"),
        st.just("compare"),
        st.tuples(st.sampled_from(["lt", "lte", "gt", "gte"]), st.sampled_from([7, 80, 79.5])),
    ),
    st.builds(Atom, st.just("flag"), st.just("eq"), st.sampled_from(["true", "false"])),
    st.builds(Atom, st.just("ip"), st.just("cidr"), st.sampled_from([(4, 167772160, 184549375), (6, 0, 2**128 - 1)])),
    st.builds(Atom, st.just("ip"), st.just("eq"), st.sampled_from(["10.0.0.1", "::1"])),
    st.builds(Atom, st.just("text"), st.just("field"), st.tuples(st.just("list"), st.just("eq"))),
)
NODES = st.recursive(
    st.builds(Leaf, ATOMS),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.sampled_from(["a", "AB", "xab7", "7", "true", ""]),
            "port": st.sampled_from([7, 80, 445]),
            "flag": st.booleans(),
            "ip": st.sampled_from(["10.0.0.1", "11.0.0.1", "::1"]),
            "list": st.lists(st.sampled_from(["a", "ab", "7"]), max_size=2),
        },
    ),
    min_size=1,
    max_size=8,
)


def holds(node: Node, event: dict[str, Any]) -> bool:
    """The condition on one event, as plainly as it can be said."""
    if isinstance(node, And):
        return all(holds(child, event) for child in node.children)
    if isinstance(node, Or):
        return any(holds(child, event) for child in node.children)
    if isinstance(node, Not):
        return not holds(node.child, event)
    atom = node.atom
    if atom.kind == "exists":
        return atom.field in event
    if atom.kind == "null":
        return event.get(atom.field or "") is None
    return any(test(atom, value, event) for value in members(event.get(atom.field or "")))


def members(value: Any) -> list[Any]:
    """A list's members, or the one value there is."""
    return [] if value is None else value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """A value as text, folded."""
    return str(value).lower()


def test(atom: Atom, value: Any, event: dict[str, Any]) -> bool:
    """One atom on one value."""
    if atom.kind == "field":
        return any(text(value) == text(other) for other in members(event.get(atom.argument[0])))
    if atom.kind == "number":
        return text(value) == str(atom.argument)
    if atom.kind == "compare":
        operator, number = atom.argument
        return {"lt": value < number, "lte": value <= number, "gt": value > number, "gte": value >= number}[operator]
    if atom.kind == "cidr":
        address = ipaddress.ip_address(value)
        return address.version == atom.argument[0] and atom.argument[1] <= int(address) <= atom.argument[2]
    return text(value) == atom.argument if atom.kind == "eq" else atom.argument in text(value)


test.__test__ = False  # type: ignore[attr-defined]


def typed(events: list[dict[str, Any]]) -> RawFrame:
    """The same events as typed columns, where null means absent."""
    kinds = {
        "text": pa.string(),
        "port": pa.uint16(),
        "flag": pa.bool_(),
        "ip": pa.string(),
        "list": pa.list_(pa.string()),
    }
    arrays = {name: pa.array([e.get(name) for e in events], kind) for name, kind in kinds.items()}
    texts = pa.array([*dict.fromkeys(arrays["text"].drop_null().to_pylist()), "ab"])  # the last one stands in no row
    arrays["text"] = pa.DictionaryArray.from_arrays(pc.index_in(arrays["text"], texts), texts)
    return from_table(pa.table(arrays))


@settings(max_examples=300, deadline=None)
@given(st.lists(NODES, min_size=1, max_size=6), EVENTS, st.booleans(), st.booleans())
def test_the_engine_is_the_evaluation_row_by_row(
    nodes: list[Node], events: list[dict[str, Any]], learn: bool, loops: bool
) -> None:
    """Any conditions compiled together find what each finds on each event, in objects and in columns, by whatever
    witnesses, in compiled loops or without."""
    expected = [[row for row, event in enumerate(events) if holds(node, event)] for node in nodes]
    program = Program(nodes)
    for frame in (from_events(events), typed(events)):
        if learn:
            with patch.object(engine, "HEAVY_ROWS", -1), patch.object(engine, "HEAVY_SHARE", 1 << 40):
                program.run(frame)
        with compiled(loops):
            found = program.run(frame)
        assert [list(found.get(index, [])) for index in range(len(nodes))] == expected


@settings(max_examples=200, deadline=None)
@given(NODES, EVENTS)
def test_simplifying_and_planning_change_nothing(node: Node, events: list[dict[str, Any]]) -> None:
    """A simplified condition holds where the condition holds, and every plan's witnesses cover all of it."""
    simple = simplify(node)
    for event in events:
        assert holds(simple, event) == holds(node, event)
        for plan in plans(simple):
            witnessed = not plan.witnesses or any(holds(Leaf(atom), event) for atom in plan.witnesses)
            rest = plan.rest is None or holds(plan.rest, event)
            assert (witnessed and rest) == holds(node, event)


def test_equal_atoms_are_one() -> None:
    """Two rules that ask the same ask once."""
    program = Program([Leaf(Atom("a", "eq", "x")), And((Leaf(Atom("a", "eq", "x")), Leaf(Atom("b", "eq", "y"))))])
    assert {field: len(atoms) for field, atoms in program.texts.items()} == {"a": 1, "b": 1}
    assert len(set(leaves(Or((Leaf(Atom("a", "eq", "x")), Leaf(Atom("a", "eq", "x"))))))) == 1


def test_a_text_that_stands_in_no_row_wakes_nobody() -> None:
    """A dictionary may have more texts than rows use: rules of such a text match nowhere, and the others what is
    theirs."""
    texts = pa.DictionaryArray.from_arrays(
        pa.array([1, 2, 1], pa.int32()), pa.array(["gone", "here", "there", "nowhere"])
    )
    nodes: list[Node] = [Leaf(Atom("a", "eq", text)) for text in ("gone", "here", "nowhere", "there")]
    program = Program([And((node, Leaf(Atom("b", "null")))) for node in nodes])
    for loops in (False, True):
        with compiled(loops):
            found = program.run(from_table(pa.table({"a": texts})))
        assert {index: where.tolist() for index, where in found.items()} == {1: [0, 2], 3: [1]}


def test_a_frame_goes_when_it_was_looked_at() -> None:
    """Nothing keeps a frame and its columns until garbage is looked for, which analysis puts off."""
    program = Program([Leaf(Atom("a", "contains", "x")), Not(Leaf(Atom("b", "eq", "y")))])
    gc.disable()
    try:
        for rows in (3, 300):
            frame = from_table(pa.table({"a": ["x", "y", "z"] * (rows // 3)}))
            gone = weakref.ref(frame)
            assert program.run(frame)
            del frame
            assert gone() is None
    finally:
        gc.enable()


def test_more_candidates_than_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions are decided some at a time; what they find does not depend on how many."""
    table = pa.table({"a": [f"n{number % 7}" for number in range(400)], "b": [number % 3 for number in range(400)]})
    nodes: list[Node] = [
        And((Leaf(Atom("a", "eq", f"n{number}")), Leaf(Atom("b", "number", number % 3)))) for number in range(7)
    ] + [Not(Leaf(Atom("a", "eq", "n1")))]
    found = []
    for pairs in (1, 60, 100, 1 << 20):
        monkeypatch.setattr(verdicts, "PAIRS", pairs)
        found.append({index: where.tolist() for index, where in Program(nodes).run(from_table(table)).items()})
    assert found[0] == found[1] == found[2] == found[3] and len(found[0]) == 8
    assert found[0][2] == [row for row in range(400) if row % 7 == 2 and row % 3 == 2]


@pytest.mark.parametrize("empty", [True, False])
def test_rows_that_have_none_of_a_conditions_fields_are_alike(empty: bool) -> None:
    """A negation holds on all of them, a test that a field has no value too; a field that is there and null is one
    that is there."""
    events: list[dict[str, Any]] = [{"other": str(row)} for row in range(9)] if empty else []
    events += [{"a": "x"}, {"b": "y", "a": "z"}, {"a": None}, {"other": "z"}, {"b": None}]
    conditions: list[Node] = [
        Not(Leaf(Atom("a", "eq", "x"))),
        And((Leaf(Atom("a", "null")), Not(Leaf(Atom("b", "eq", "y"))))),
        Not(Leaf(Atom("a", "exists"))),
        And((Not(Leaf(Atom("a", "eq", "x"))), Not(Leaf(Atom("b", "null"))))),
    ]
    with compiled():
        found = Program(conditions).run(from_events(events))
    expected = {
        0: [row for row, event in enumerate(events) if event.get("a") != "x"],
        1: [row for row, event in enumerate(events) if event.get("a") is None and event.get("b") != "y"],
        2: [row for row, event in enumerate(events) if "a" not in event],
        3: [row for row, event in enumerate(events) if event.get("a") != "x" and event.get("b") is not None],
    }
    assert {index: rows.tolist() for index, rows in found.items()} == expected
