"""A rule as its author wrote it: the condition over named selections, each with one test per field.

The engine's own conditions do not know selections. Here the same document is read again, with the same reader, filters
and compiler, and kept in the author's shape; the nodes of the tests are those the engine evaluates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigma.conditions import ConditionAND, ConditionIdentifier, ConditionNOT, ConditionOR, ConditionSelector

from csirt.detect.atoms import And, Atom, Leaf, Node, Not, Or, leaves
from csirt.detect.engine import compile as compiler
from csirt.detect.rule import Rule
from csirt.detect.rules.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class Test:
    """One question about one field (None: a keyword): a value, one of several values, or not."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    node: Node

    @property
    def field(self) -> str | None:
        """The field it looks at."""
        return next(leaves(self.node)).field


@dataclass(frozen=True, slots=True)
class Branch:
    """`op`: and, or, not. `name`: the selection it is, empty for what stands between selections."""

    op: str
    parts: tuple[Part, ...]
    name: str = ""


Part = Test | Branch
# What pySigma puts before the name of a filter's selection: random, so nothing to show.
_OF_FILTER = re.compile(r"_filt_[A-Za-z]+_")


@dataclass(frozen=True, slots=True)
class Written:
    """`condition`: the text; `whole`: its tree down to tests; `selections`: all by name, unused ones too."""

    condition: str
    whole: Part
    selections: Mapping[str, Branch]


def written(loaded: Ruleset, rule: Rule) -> Written:
    """The rule in its author's shape."""
    parsed = loaded.parsed(rule)
    detections = parsed.detection
    selections: dict[str, Branch] = {}
    for name, detection in detections.detections.items():
        try:
            node = compiler.condition([detection.postprocess(detections)], loaded.placeholders)
        except compiler.Refused:
            continue  # no part of the condition, or the rule would not have been loaded
        found = part(node)
        selections[name] = Branch(found.op, found.parts, name) if isinstance(found, Branch) else _named(name, found)
    shown = {name: _OF_FILTER.sub("filter:", name) for name in selections}
    trees = [_tree(item.parse(False), detections, selections) for item in detections.parsed_condition]
    text = " | ".join(item.condition for item in detections.parsed_condition)
    whole = trees[0] if len(trees) == 1 else Branch("or", tuple(trees))
    return Written(_OF_FILTER.sub("filter:", text), whole, {shown[name]: item for name, item in selections.items()})


def _named(name: str, test: Test) -> Branch:
    return Branch("and", (test,), name)


def _tree(item: Any, detections: Any, selections: Mapping[str, Branch]) -> Part:
    if isinstance(item, ConditionIdentifier):
        return selections[item.identifier]
    if isinstance(item, ConditionSelector):
        names = [found.identifier for found in item.resolve_referenced_detections(detections)]
        op = "and" if item.cond_class is ConditionAND else "or"
        return Branch(op, tuple(selections[name] for name in names if name in selections))
    op = {ConditionAND: "and", ConditionOR: "or", ConditionNOT: "not"}[type(item)]
    return Branch(op, tuple(_tree(child, detections, selections) for child in item.args))


def part(node: Node) -> Part:
    """A compiled node as tests and branches: what must hold together are tests apart, alternatives for a field one."""
    if _one_question(node):
        return Test(node)
    if isinstance(node, Not):
        return Branch("not", (part(node.child),))
    assert isinstance(node, And | Or)
    return Branch("and" if isinstance(node, And) else "or", tuple(map(part, node.children)))


def _one_question(node: Node) -> bool:
    if isinstance(node, Leaf):
        return True
    if isinstance(node, Not):
        return _one_question(node.child)
    if isinstance(node, And):
        return False
    return all(map(_one_question, node.children)) and len({atom.field for atom in leaves(node)}) == 1


def tests(item: Part) -> Iterator[Test]:
    """Every test below a part, left to right."""
    if isinstance(item, Test):
        yield item
    else:
        for child in item.parts:
            yield from tests(child)


def atoms(items: Sequence[Test]) -> dict[Atom, None]:
    """The atoms of these tests, each once, in order."""
    return dict.fromkeys(atom for item in items for atom in leaves(item.node))
