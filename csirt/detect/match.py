"""Rules over batches: which rows match, what exemptions leave of them, and the hits of the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.atoms import Node, leaves
from csirt.detect.columns.frame import BatchFrame, stored
from csirt.detect.engine.engine import Program
from csirt.detect.hits import condensed, counted, shared, together
from csirt.detect.rule import Meta, Rule
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.streams import Stream, streams
from csirt.model import ecs
from csirt.model.batch import Array, Batch, duplicates
from csirt.model.hits import ELSEWHERE, none


@dataclass(frozen=True, slots=True)
class Exempt:
    """Rows of the plain rule `base` that the rule or correlation `rule` leaves alone until `until`: where the condition
    of that `index` holds."""

    rule: str
    base: str
    until: int
    index: int


class Detector:
    """A ruleset ready for batches. Compiles each dataset's program when its first batch comes; not thread-safe.

    `budget`: CPU seconds that an expression of a rule may take of one batch; `overrun` is told of each rule that took
    more, once: it never matches again until rules are loaded anew. All other rules go on. `exempted` is told of each
    rule or correlation how many matches an exemption took away. `elsewhere`: rules and correlations that the cluster
    looks for: their hits say only which events that needs.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        *,
        engine: str = "auto",
        budget: float | None = None,
        overrun: Callable[[Meta], None] | None = None,
        exempted: Callable[[str, int], None] | None = None,
        elsewhere: Collection[str] = (),
    ) -> None:
        self._ruleset = ruleset
        self._engine = engine
        self._budget = budget
        self._overrun = overrun
        self._exempted = exempted
        self._elsewhere = elsewhere
        self._off: set[str] = set()
        self._programs: dict[str, tuple[list[Rule], Program, list[Exempt]]] = {}
        self._streams: dict[tuple[str, str], list[Stream]] = {}

    def match(self, batch: Batch) -> pa.Table:
        """The hits of a batch (`model.hits.HITS`), by rule, then in the batch's row order; last those of baselines, and
        of what a ratio divides by."""
        return self.hits(batch, *self.found(batch)) if batch.rows else none()

    def found(self, batch: Batch) -> tuple[BatchFrame, dict[int, Array]]:
        """The batch as a frame, and what `hits` makes hits of."""
        rules, program, _ = self._program(batch.dataset)
        frame = BatchFrame(batch)
        matched = program.run(frame)
        self._tell(rules, program)
        return frame, matched

    def hits(self, batch: Batch, frame: BatchFrame, matched: Mapping[int, Array]) -> pa.Table:
        """The hits of what was found in a batch."""
        rules, _, exempts = self._program(batch.dataset)
        twice = duplicates(batch.table)
        tables: list[pa.Table] = []
        plain: list[tuple[list[Stream], Array]] = []
        for index, found in sorted(matched.items()):
            if index >= len(rules):
                break
            rule = rules[index]
            # A flow that several routers saw happened once.
            rows = found if twice is None or names_duplicates(rule) else found[~twice[found]]
            consumers = self._consumers(rule, batch.dataset)
            for share, left in self._left(rule, consumers, rows, frame, exempts, matched):
                if not len(left):
                    continue
                alerting = [item for item in share if item.baseline is None and not item.counted]
                if alerting:
                    plain.append((alerting, left))
                tables += [condensed(frame, item, left) for item in share if item.baseline is not None]
                tables += counted(frame, [item for item in share if item.counted], left)
        tables = [*together(frame, plain), *tables]
        return pa.concat_tables(tables) if len(tables) > 1 else tables[0] if tables else none()

    def _left(
        self,
        rule: Rule,
        consumers: list[Stream],
        rows: Array,
        frame: BatchFrame,
        exempts: Sequence[Exempt],
        matched: Mapping[int, Array],
    ) -> list[tuple[list[Stream], Array]]:
        """The rows of a rule without those that are exempt, for the consumers each exemption is of."""
        mine = [item for item in exempts if item.base == rule.id and item.index in matched]
        if not mine or not len(rows):
            return [(consumers, rows)]
        gone: dict[str, Array] = {}
        for item in mine:
            found = np.intersect1d(rows, matched[item.index], assume_unique=True)
            found = found[frame.times(found) < item.until]
            gone[item.rule] = np.union1d(gone[item.rule], found) if item.rule in gone else found
        if self._exempted is not None:
            for name, lost in gone.items():
                self._exempted(name, len(lost))
        everywhere = gone.pop(rule.id, rows[:0])
        shares: list[tuple[list[Stream], Array]] = []
        for name in [rule.id, *gone]:
            share = [item for item in consumers if (item.owner if item.owner in gone else rule.id) == name]
            lost = np.union1d(everywhere, gone[name]) if name in gone else everywhere
            shares.append((share, np.setdiff1d(rows, lost, assume_unique=True)))
        return shares

    def rows(self, batch: Batch) -> dict[str, Array]:
        """Rule id -> rows that match, duplicates among them, without hits; for tests and hunting."""
        return self.by_id(batch, self.found(batch)[1])

    def by_id(self, batch: Batch, matched: Mapping[int, Array]) -> dict[str, Array]:
        """What was found, by rule id, duplicates among it."""
        rules, _, _ = self._program(batch.dataset)
        return {rules[index].id: rows for index, rows in matched.items() if index < len(rules)}

    def fields(self, dataset: str) -> set[str] | None:
        """The fields of a dataset's events that rules and their hits look at; None: all, for a keyword does."""
        rules, program, _ = self._program(dataset)
        atoms = {*program.numbered.atoms, *(atom for rule in rules for atom in leaves(rule.condition))}
        if any(atom.field is None for atom in atoms):
            return None
        names = {atom.field for atom in atoms} | {atom.argument[0] for atom in atoms if atom.kind == "field"}
        for rule in rules:
            for consumer in self._consumers(rule, dataset):
                names |= {field for _, field in consumer.group} | {*consumer.value, *consumer.facts, consumer.number}
        return stored({*filter(None, names), *shared(dataset), ecs.DUPLICATE})

    def _program(self, dataset: str) -> tuple[list[Rule], Program, list[Exempt]]:
        """The rules of a dataset, then what is exempt from them, as conditions of one program."""
        if dataset not in self._programs:
            rules = [rule for rule in self._ruleset.rules if dataset in rule.datasets]
            here = {rule.id for rule in rules}
            nodes: list[Node] = [rule.condition for rule in rules]
            exempts: list[Exempt] = []
            for item in self._ruleset.deployment.exemptions:
                for base, node in item.conditions:
                    if base in here:
                        exempts.append(Exempt(item.rule, base, item.until, len(nodes)))
                        nodes.append(node)
            self._programs[dataset] = rules, Program(nodes, engine=self._engine, budget=self._budget), exempts
        return self._programs[dataset]

    def _tell(self, rules: Sequence[Rule], program: Program) -> None:
        for index in sorted(program.overrun):
            if index < len(rules) and rules[index].id not in self._off:
                self._off.add(rules[index].id)
                if self._overrun is not None:
                    self._overrun(rules[index].meta)

    def _consumers(self, rule: Rule, dataset: str) -> list[Stream]:
        key = (rule.id, dataset)
        if key not in self._streams:
            self._streams[key] = [
                replace(item, mark=ELSEWHERE) if item.owner in self._elsewhere else item
                for item in streams(rule, self._ruleset.correlations, dataset)
            ]
        return self._streams[key]


def names_duplicates(rule: Rule) -> bool:
    """Whether a rule says itself what it wants of records that other routers' records count already."""
    return any(atom.field == ecs.DUPLICATE for atom in leaves(rule.condition))


def by_rule(table: pa.Table) -> dict[str, int]:
    """How many hits each stream has, for counters."""
    counts: dict[str, int] = defaultdict(int)
    for item in pc.value_counts(table.column("stream")).to_pylist():
        counts[item["values"]] += item["counts"]
    return dict(counts)
