"""The leaves and branches of a compiled condition, and which leaves wake a rule.

A leaf is an `Atom`: one test of one field. Equal atoms of different rules are the same value, so an engine that keeps
its results by atom evaluates each of them once per batch. Logic is two-valued: a test of an absent field is false, and
`not` of it is true (so `neq` holds on an absent field, as the negation it is).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

# What an atom's argument is, by kind:
#   eq contains startswith endswith   str, folded unless `cased`
#   wild      (RE2 pattern over the folded text, its longest literal)
#   re        RE2 pattern with its flags in front
#   text      None: any value at all
#   number    int or float
#   compare   (lt|lte|gt|gte, int or float)
#   part      (minute|hour|day|week|month|year, eq|lt|lte|gt|gte, int)
#   cidr      (4|6, first address, last address) as integers
#   field     (other field, eq|startswith|endswith|contains)
#   null exists   None
STRING_KINDS = frozenset({"eq", "contains", "startswith", "endswith", "wild", "re", "text"})


@dataclass(frozen=True, slots=True)
class Atom:
    """One test. `field` None: any field of the event (a keyword)."""

    field: str | None
    kind: str
    argument: Any = None
    cased: bool = False
    _hash: int = dataclass_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Results are kept by atom: hashing the parts again for every look-up would cost more than the tests.
        object.__setattr__(self, "_hash", hash((self.field, self.kind, self.argument, self.cased)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Leaf:
    """The atom holds."""

    atom: Atom


@dataclass(frozen=True, slots=True)
class And:
    """All children hold."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the children holds."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The child does not hold."""

    child: Node


Node = Leaf | And | Or | Not


def leaves(node: Node) -> Iterator[Atom]:
    """Every atom below a node, left to right, repeats included."""
    if isinstance(node, Leaf):
        yield node.atom
    elif isinstance(node, Not):
        yield from leaves(node.child)
    else:
        for child in node.children:
            yield from leaves(child)


def simplify(node: Node) -> Node:
    """The same condition with nested branches of one sort merged, repeats dropped, cheap tests first."""
    if isinstance(node, Leaf):
        return node
    if isinstance(node, Not):
        child = simplify(node.child)
        return child.child if isinstance(child, Not) else Not(child)
    kind = type(node)
    flat: dict[Node, None] = {}
    for child in map(simplify, node.children):
        for part in child.children if isinstance(child, And | Or) and type(child) is kind else (child,):
            flat[part] = None
    if len(flat) == 1:
        return next(iter(flat))
    return kind(tuple(sorted(flat, key=_cost)))


# How many rows a test is expected to leave, and what it costs, in no unit: only the order matters.
_COSTS = {
    "cidr": 8.0,
    "number": 10.0,
    "wild": 12.0,
    "re": 15.0,
    "compare": 40.0,
    "part": 45.0,
    "exists": 60.0,
    "text": 60.0,
    "null": 60.0,
    "field": 80.0,
}


def _atom_cost(atom: Atom) -> float:
    if atom.field is None:  # found in any column: as likely as there are columns
        length = len(atom.argument[1] if atom.kind == "wild" else str(atom.argument or ""))
        return 70.0 + 1000.0 / max(length, 1)
    if atom.kind in ("eq", "contains", "startswith", "endswith"):
        if atom.argument in ("true", "false"):
            return 30.0
        return 1.0 + 40.0 / max(len(atom.argument), 1) ** 1.5 if atom.argument else 60.0
    return _COSTS[atom.kind]


def _cost(node: Node) -> float:
    if isinstance(node, Leaf):
        return _atom_cost(node.atom)
    if isinstance(node, Not):
        return 100.0 + _cost(node.child)
    return max(map(_cost, node.children)) + 0.1 * len(node.children)


# A witness must be cheap to find without looking at a candidate first.
_NO_WITNESS = frozenset({"null", "exists", "text", "field"})


@dataclass(frozen=True, slots=True)
class Plan:
    """How a rule is evaluated: rows where one of `witnesses` holds are the candidates, of which `rest` must hold.
    No witnesses: every row is a candidate. `rest` None: a candidate is a match."""

    witnesses: tuple[Atom, ...]
    rest: Node | None


# So many ways to look for a rule's candidates are tried out on real batches.
MAX_PLANS = 4


def plans(node: Node) -> list[Plan]:
    """Ways to evaluate a (simplified) condition, the one that looks cheapest first: sets of atoms of which one must
    hold for the condition to hold, and what is then left to test. Without such a set: one plan without witnesses."""
    parts = node.children if isinstance(node, And) else (node,)
    found = sorted((part for part in parts if _is_witness(part)), key=_cost)[:MAX_PLANS]
    return [_plan(parts, part) for part in found] or [Plan((), node)]


def _plan(parts: tuple[Node, ...], chosen: Node) -> Plan:
    rest = tuple(part for part in parts if part is not chosen)
    atoms = tuple(dict.fromkeys(leaves(chosen)))
    if not _is_plain(chosen):
        # The witness says where to look; the branch itself still has to hold.
        atoms = tuple(dict.fromkeys(_witnesses(chosen)))
        rest = (chosen, *rest)
    if not rest:
        return Plan(atoms, None)
    return Plan(atoms, rest[0] if len(rest) == 1 else And(rest))


def _is_plain(node: Node) -> bool:
    """A leaf, or an Or of leaves: where one of its atoms holds, the node holds."""
    return isinstance(node, Leaf) or (isinstance(node, Or) and all(isinstance(part, Leaf) for part in node.children))


def _is_witness(node: Node) -> bool:
    if isinstance(node, Leaf):
        return node.atom.kind not in _NO_WITNESS and node.atom.argument != ""
    if isinstance(node, Or):
        return all(map(_is_witness, node.children))
    if isinstance(node, And):
        return any(map(_is_witness, node.children))
    return False


def _witnesses(node: Node) -> Iterator[Atom]:
    """Atoms of which at least one holds wherever the node holds."""
    if isinstance(node, Leaf):
        yield node.atom
    elif isinstance(node, And):
        yield from _witnesses(min((part for part in node.children if _is_witness(part)), key=_cost))
    elif isinstance(node, Or):
        for part in node.children:
            yield from _witnesses(part)
