"""All plans of a decoder by number, their shapes, and their tables for the compiled interpreter.

Work that is done per template in Python is done per shape: templates that order the same fields differently, and the
same template of many exporters, share one. A plan is compiled when it is first needed: a stranger can name more
templates than have data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csirt.decode.netflow import fill
from csirt.decode.netflow.alike import arranged, reordered
from csirt.decode.netflow.elements import ElementTable
from csirt.decode.netflow.layout import Layout
from csirt.decode.netflow.plan import Plan, Shape, compile_plan, fixed_signature
from csirt.decode.netflow.templates import Signature
from csirt.model.batch import Array

LAYOUTS = 64  # that are kept
Kind = tuple[int, bool, bytes]  # version, options data, sorted fields


@dataclass(frozen=True, slots=True)
class Tables:
    """`slot`: of a plan by its number, -1 for one that is not compiled. By slot: `size` of a record (0: it varies),
    `shape`, and where in `reads` (see `fill`) and `sizes` a plan's operations and fields begin (one entry more)."""

    slot: Array
    size: Array
    shape: Array
    first_read: Array
    first_field: Array
    reads: Array
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
        self._alike: dict[Kind, tuple[Plan, int, Array]] = {}  # one, its shape, and where its sorted fields lie
        self._tables: Tables | None = None
        self._options = np.empty(0, bool)
        self._widths = np.empty(0, np.int64)
        self._layouts: dict[bytes, Layout] = {}
        self.signatures: list[Signature] = []
        self.shapes: list[Shape] = []
        for version in sorted(table.fixed):
            self.number(fixed_signature(version, table))
        self[0]  # so that the tables are never empty

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, number: int) -> Plan:
        if self._plans[number] is None:
            self._compile([number])
        plan = self._plans[number]
        assert plan is not None
        return plan

    def _compile(self, numbers: list[int]) -> None:
        """Make the plans that are not there."""
        missing: dict[tuple[int, bool, int], list[int]] = {}
        for number in numbers:
            if self._plans[number] is None:
                one = self.signatures[number]
                missing.setdefault((one.version, one.options, one.count), []).append(number)
        for (version, options, _), some in missing.items():
            signatures = [self.signatures[number] for number in some]
            fields, places, free = arranged(signatures)
            waiting: dict[Kind, list[int]] = {}
            for place, number in enumerate(some):
                kind = (version, options, fields[place].tobytes()) if free[place] else None
                if kind in self._alike:
                    waiting.setdefault(kind, []).append(place)
                    continue
                plan = compile_plan(signatures[place], self._table)
                shape = self._shape_numbers.setdefault(plan.shape, len(self.shapes))
                if shape == len(self.shapes):
                    self.shapes.append(plan.shape)
                self._keep(number, plan, shape)
                if kind is not None and not plan.ordered:
                    self._alike[kind] = plan, shape, places[place]
            for kind, others in waiting.items():
                plan, shape, own = self._alike[kind]
                made = reordered(plan, own, [signatures[place] for place in others], places[others])
                for place, plan in zip(others, made, strict=True):
                    self._keep(some[place], plan, shape)

    def _keep(self, number: int, plan: Plan, shape: int) -> None:
        self._plans[number] = plan
        self._compiled.append(number)
        self._shape_of.append(shape)
        self._tables = None

    def number(self, signature: Signature) -> int:
        """The number of a signature's plan."""
        number = self._by_id.get(id(signature))
        if number is None:
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
            self._widths = np.array([signature.count for signature in self.signatures], np.int64)
        return self._widths

    def layout(self, shapes: Array) -> Layout:
        """How the columns of these shapes, given by number, lie in memory."""
        key = shapes.tobytes()
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= LAYOUTS:
                self._layouts.clear()
            found = self._layouts[key] = Layout([self.shapes[number] for number in shapes.tolist()])
        return found

    def tables(self, numbers: Array) -> Tables:
        """The plans as arrays, those of these numbers compiled."""
        tables = self._tables
        if (
            tables is not None
            and len(tables.slot) == len(self)
            and (not len(numbers) or tables.slot[numbers].min() >= 0)
        ):
            return tables
        self._compile(np.flatnonzero(np.bincount(numbers, minlength=1)).tolist())
        plans = [plan for number in self._compiled if (plan := self._plans[number]) is not None]
        slot = np.full(len(self), -1, np.int64)
        slot[self._compiled] = np.arange(len(plans))
        size = np.array([plan.size for plan in plans], np.int64)
        first_read, first_field = (
            _firsts([len(plan.ops) for plan in plans]),
            _firsts([len(plan.sizes) for plan in plans]),
        )
        sizes = _joined([plan.sizes for plan in plans])
        of = np.repeat(np.arange(len(plans)), np.diff(first_read))  # whose each operation is
        starts = _joined([plan.starts for plan in plans])
        self._tables = Tables(
            slot=slot,
            size=size,
            shape=np.array(self._shape_of, np.int64),
            first_read=first_read,
            first_field=first_field,
            reads=_reads(_joined([plan.ops for plan in plans]), first_field[of], size[of] > 0, starts, sizes),
            sizes=sizes,
        )
        return self._tables


def _reads(ops: Array, first: Array, fixed: Array, starts: Array, sizes: Array) -> Array:
    """Operations as the kernels take them. `first`: where the fields of each one's plan begin in `starts` and `sizes`;
    `fixed`: whether its records are all of one length."""
    reads = np.full((len(ops), fill.READ_WIDTH), fill.NONE, np.uint16)
    place = first + ops[:, 1]
    reads[:, 0], reads[:, 1] = ops[:, 0], sizes[place]
    reads[:, 2] = np.where(fixed, starts[place], ops[:, 1])
    for column in (2, 3):
        some = np.flatnonzero(ops[:, column] >= 0)
        field = ops[some, column]
        reads[some, column + 1] = np.where(fixed[some], starts[first[some] + field], field)
    return reads


def _firsts(counts: list[int]) -> Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays)
