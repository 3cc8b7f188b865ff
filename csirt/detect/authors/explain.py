"""Why a rule matches an event or does not: selection by selection, field by field, and what would have to change.

Every truth here is the engine's: the atoms, the tests, the selections and the whole condition are run as conditions of
one program over a frame of one row.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from csirt.detect.atoms import Atom, Leaf, Node, Not, leaves
from csirt.detect.authors import wording
from csirt.detect.authors.selections import Branch, Part, Test, Written, tests, written
from csirt.detect.columns.frame import fields
from csirt.detect.columns.raw import RawFrame
from csirt.detect.engine.engine import Program
from csirt.detect.engine.views import fold
from csirt.detect.rule import Rule
from csirt.detect.rules.ruleset import Ruleset

# So many atoms of a test are looked at for what nearly matched.
NEAR_ATOMS = 200
# So many values of a list are shown.
SHOWN_VALUES = 20


def explain(loaded: Ruleset, rule: Rule, frame: RawFrame, dataset: str | None) -> dict[str, Any]:
    """The rule against the one row of the frame. `dataset`: whose event it is, None: routing is not looked at."""
    item = _Explained(written(loaded, rule), rule, frame)
    routing = _routing(rule, dataset)
    selections = [item.selection(name, branch) for name, branch in item.rule.selections.items()]
    return {
        "id": rule.id,
        "title": rule.meta.title,
        "level": rule.meta.level,
        "file": rule.meta.file,
        "line": rule.meta.line,
        "matches": item.holds(rule.condition) and routing["seen"],
        "routing": routing,
        "condition": {"text": item.rule.condition, "holds": item.holds(rule.condition)},
        "selections": selections,
        "nearest": item.nearest(),
    }


def _routing(rule: Rule, dataset: str | None) -> dict[str, Any]:
    datasets = sorted(rule.datasets)
    if dataset is None:
        return {"datasets": datasets, "event": None, "seen": True, "reason": ""}
    reason = ""
    if not datasets:
        reason = f"this rule never looks at any event: {rule.unrouted}"
    elif dataset not in datasets:
        reason = f"this rule never looks at {dataset} events, only at {', '.join(datasets)}"
    return {"datasets": datasets, "event": dataset, "seen": not reason, "reason": reason}


@dataclass(frozen=True, slots=True)
class _Change:
    selection: str
    test: Test
    needed: bool


class _Explained:
    """A rule and the truths of everything in it for one event."""

    def __init__(self, rule: Written, whole: Rule, frame: RawFrame) -> None:
        self.rule = rule
        self._frame = frame
        self._known = {name for dataset in whole.datasets for name in fields(dataset)}
        self._used = {id(item) for item in tests(rule.whole)}
        self._names = {id(item): name for name, branch in rule.selections.items() for item in tests(branch)}
        nodes: dict[Node, None] = {whole.condition: None}
        for branch in rule.selections.values():
            for item in tests(branch):
                nodes[item.node] = None
                for atom in list(leaves(item.node))[:NEAR_ATOMS]:
                    nodes.update(dict.fromkeys(Leaf(near) for near, _ in [(atom, ""), *_relaxed(atom)]))
        found = Program(list(nodes)).run(frame)
        self._truth = {node: index in found for index, node in enumerate(nodes)}

    def holds(self, item: Node | Part) -> bool:
        """The truth of a node, a test or a branch."""
        if isinstance(item, Test):
            return self._truth[item.node]
        if isinstance(item, Branch):
            values = [self.holds(child) for child in item.parts]
            return not values[0] if item.op == "not" else all(values) if item.op == "and" else any(values)
        return self._truth[item]

    def selection(self, name: str, branch: Branch) -> dict[str, Any]:
        """One selection with its tests; alternatives (a list of maps) are groups."""
        groups = branch.parts if branch.op == "or" else (branch,)
        return {
            "name": name,
            "used": any(id(item) in self._used for item in tests(branch)),
            "holds": self.holds(branch),
            "alternatives": [
                {"holds": self.holds(group), "tests": [self._test(item) for item in tests(group)]} for group in groups
            ],
        }

    def _test(self, item: Test) -> dict[str, Any]:
        holds = self.holds(item)
        state, seen, count = self._seen(item.field)
        return {
            "field": item.field,
            "wanted": wording.node(item.node),
            "holds": holds,
            "state": state,
            "seen": seen,
            "seen_count": count,
            "why": self._why(item, holds, state),
        }

    def _seen(self, name: str | None) -> tuple[str, list[str], int]:
        """(absent, null, value or anywhere; the values as text; how many)."""
        if name is None:
            return "anywhere", [], 0
        column = self._frame.column(name)
        if column is None or not column.present()[0]:
            return "absent", [], 0
        if column.null()[0]:
            return "null", [], 0
        values = column.lists(np.array([0]))[0]
        return "value", values[:SHOWN_VALUES], len(values)

    def _why(self, item: Test, holds: bool, state: str) -> str:
        """In words why a test does not hold, as far as more can be said than what was seen."""
        if holds:
            return self._held(item)
        if state == "absent":
            return self._absent(str(item.field))
        if state == "null":
            return "the field is there and null"
        if isinstance(item.node, Not):
            return f"it is {self._held(Test(item.node.child)) or wording.node(item.node.child)}"
        near = [
            said
            for atom in list(leaves(item.node))[:NEAR_ATOMS]
            for relaxed, said in _relaxed(atom)
            if self._truth[Leaf(relaxed)]
        ]
        return near[0] if near else self._closest(item)

    def _held(self, item: Test) -> str:
        """Which of several values a test holds for."""
        known = [atom for atom in list(leaves(item.node))[:NEAR_ATOMS] if self._truth.get(Leaf(atom))]
        return wording.atom(known[0]) if known and not isinstance(item.node, Leaf | Not) else ""

    def _absent(self, name: str) -> str:
        have = [other for other in self._frame.names() if other]
        near = difflib.get_close_matches(name, have, 1, 0.8)
        if self._known and name not in self._known and not name.startswith("netflow."):
            return "no source fills this field" + (f"; did you mean {near[0]}?" if near else "")
        return "the event does not have the field"

    def _closest(self, item: Test) -> str:
        """Of many wanted texts the one most like what was seen."""
        wanted = [atom.argument for atom in leaves(item.node) if atom.kind == "eq"][:NEAR_ATOMS]
        if len(wanted) < 2 or item.field is None:
            return ""
        seen = self._seen(item.field)[1]
        near = next((found for text in seen for found in difflib.get_close_matches(fold(text), wanted, 1, 0.7)), "")
        return f"nearest: '{near}'" if near else ""

    def nearest(self) -> list[dict[str, Any]]:
        """The fewest tests that would have to come out otherwise for the condition to hold; empty when it does."""
        return [
            {
                "selection": change.selection,
                "field": change.test.field,
                "wanted": wording.node(change.test.node),
                "needed": change.needed,
            }
            for change in self._changes(self.rule.whole, True)
        ]

    def _changes(self, item: Part, wanted: bool) -> list[_Change]:
        if self.holds(item) == wanted:
            return []
        if isinstance(item, Test):
            return [_Change(self._names[id(item)], item, wanted)]
        if item.op == "not":
            return self._changes(item.parts[0], not wanted)
        options = [self._changes(child, wanted) for child in item.parts]
        if (item.op == "and") == wanted:  # all that are wrong must change
            return list(dict.fromkeys(change for option in options for change in option))
        return min(options, key=len)


def _relaxed(atom: Atom) -> list[tuple[Atom, str]]:
    """Easier tests than this one, and what is wrong where they hold and it does not."""
    if atom.kind not in ("eq", "contains", "startswith", "endswith") or not atom.argument:
        return []
    easier: list[tuple[Atom, str]] = []
    text = f"'{atom.argument}'"
    if atom.cased:
        easier.append((Atom(atom.field, atom.kind, fold(atom.argument)), f"{text} differs in case only"))
    if atom.field is not None and atom.kind != "contains":
        places = {
            "eq": "the whole value is wanted",
            "startswith": "it is wanted at the start",
            "endswith": "it is wanted at the end",
        }
        easier.append(
            (Atom(atom.field, "contains", atom.argument, atom.cased), f"it contains {text}; {places[atom.kind]}")
        )
    return easier
