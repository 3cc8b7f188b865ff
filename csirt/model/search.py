"""What a cluster is asked for one rule or correlation: a question that finds at least the events its alerts are of.

A search leaves out only what cannot matter. The exact engine looks at what it finds, so it decides what is an alert.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z_@][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Part:
    """One plain rule of it. `condition`: ES|QL that is true of every event that the rule matches, and of others; empty:
    of every event. `datasets`: whose events those are."""

    rule: str
    condition: str
    datasets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Search:
    """`id`: of the rule or correlation. `group`: the fields that make a group, none of them with several values.

    `measure` and `least`: what the events of a window of `timespan` (microseconds) come to at least where an alert may
    be: `rows` (any event may), `events` (so many), `values` (so many distinct ones of `fields`), `sum` (of the numbers
    above zero in the one of `fields`), `greatest` (of those numbers), `rules` (so many of `parts` have one). Each grows
    with more events and never falls, which is what the proof in `csirt.stores.elastic.sector.query` rests on."""

    id: str
    parts: tuple[Part, ...]
    group: tuple[str, ...] = ()
    timespan: int = 0
    measure: str = "rows"
    least: float = 1.0
    fields: tuple[str, ...] = ()

    @property
    def datasets(self) -> frozenset[str]:
        """Of all parts."""
        return frozenset().union(*(part.datasets for part in self.parts))


def quoted(name: str) -> str:
    """A field's name in ES|QL."""
    return ".".join(part if _PLAIN.fullmatch(part) else f"`{part}`" for part in name.split("."))
