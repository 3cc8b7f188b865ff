"""All plans of a decoder by number, their shapes, and their tables for the compiled interpreter.

Work that is done per template in Python is done per shape: templates that order the same fields differently, and the
same template of many exporters, share one. A plan is compiled when it is first needed: a stranger can name more
templates than have data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csirt.decode.netflow.elements import ElementTable
from csirt.decode.netflow.plan import Plan, Shape, compile_plan, fixed_signature, reorder, same_fields
from csirt.decode.netflow.templates import Signature
from csirt.model.batch import Array


@dataclass(frozen=True, slots=True)
class Tables:
    """`slot`: of a plan by its number, -1 for one that is not compiled. By slot: `size` of a record (0: it varies),
    `shape`, and where in `ops`, `starts` and `sizes` a plan's operations and fields begin (one entry more)."""

    slot: Array
    size: Array
    shape: Array
    first_op: Array
    first_field: Array
    ops: Array
    starts: Array
    sizes: Array


class Plans:
    """The plans, numbered in the order in which their signatures were first seen; those of the versions without
    templates come first."""

    def __init__(self, table: ElementTable) -> None:
        self._table = table
        self._numbers: dict[Signature, int] = {}
        self._by_id: dict[int, int] = {}  # of the signatures in `signatures`, which live as long as this does
        self._plans: list[Plan | None] = []
        self._compiled: list[int] = []
        self._shape_of: list[int] = []  # of the compiled ones
        self._shape_numbers: dict[Shape, int] = {}
        self._alike: dict[tuple[object, ...], tuple[Plan, int]] = {}  # by their fields in any order: one, its shape
        self._tables: Tables | None = None
        self._options = np.empty(0, bool)
        self._widths = np.empty(0, np.int64)
        self.signatures: list[Signature] = []
        self.shapes: list[Shape] = []
        for version in sorted(table.fixed):
            self.number(fixed_signature(version, table))
        self[0]  # so that the tables are never empty

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, number: int) -> Plan:
        plan = self._plans[number]
        if plan is None:
            plan, shape = self._made(self.signatures[number])
            self._plans[number] = plan
            self._compiled.append(number)
            self._shape_of.append(shape)
            self._tables = None
        return plan

    def _made(self, signature: Signature) -> tuple[Plan, int]:
        """A plan and the number of its shape."""
        fields = same_fields(signature)
        known = self._alike.get(fields) if fields is not None else None
        if known is not None:
            return reorder(known[0], signature), known[1]
        plan = compile_plan(signature, self._table)
        shape = self._shape_numbers.setdefault(plan.shape, len(self.shapes))
        if shape == len(self.shapes):
            self.shapes.append(plan.shape)
        if fields is not None and not plan.ordered:
            self._alike[fields] = plan, shape
        return plan, shape

    def number(self, signature: Signature) -> int:
        """The number of a signature's plan."""
        number = self._numbers.get(signature)
        if number is None:
            number = self._numbers[signature] = len(self._plans)
            self._plans.append(None)
            self.signatures.append(signature)
            self._by_id[id(signature)] = number
        return number

    def numbers(self, signatures: list[Signature | None], absent: int) -> list[int]:
        """The numbers of their plans, `absent` for None: of most, known by where they are in memory."""
        known = self._by_id
        return [
            absent if one is None else self.number(one) if (number := known.get(id(one))) is None else number
            for one in signatures
        ]

    @property
    def options(self) -> Array:
        """Whether a plan's records are options data, by number."""
        if len(self._options) != len(self):
            self._options = np.array([signature.options for signature in self.signatures], bool)
        return self._options

    @property
    def widths(self) -> Array:
        """How many fields a plan has, by number."""
        if len(self._widths) != len(self):
            self._widths = np.array([len(signature.fields) for signature in self.signatures], np.int64)
        return self._widths

    def tables(self, numbers: Array) -> Tables:
        """The plans as arrays, those of these numbers compiled."""
        tables = self._tables
        if (
            tables is not None
            and len(tables.slot) == len(self)
            and (not len(numbers) or tables.slot[numbers].min() >= 0)
        ):
            return tables
        for number in np.flatnonzero(np.bincount(numbers, minlength=1)).tolist():
            self[number]  # compiles it
        plans = [self[number] for number in self._compiled]
        slot = np.full(len(self), -1, np.int64)
        slot[self._compiled] = np.arange(len(plans))
        self._tables = Tables(
            slot=slot,
            size=np.array([plan.size for plan in plans], np.int64),
            shape=np.array(self._shape_of, np.int64),
            first_op=_firsts([len(plan.ops) for plan in plans]),
            first_field=_firsts([len(plan.sizes) for plan in plans]),
            ops=_joined([plan.ops for plan in plans]),
            starts=_joined([plan.starts for plan in plans]),
            sizes=_joined([plan.sizes for plan in plans]),
        )
        return self._tables


def _firsts(counts: list[int]) -> Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays)
