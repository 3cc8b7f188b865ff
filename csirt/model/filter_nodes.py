"""What a filter is made of once it is read."""

from __future__ import annotations

from dataclasses import dataclass

from csirt.model.literal import Literal


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; without parts, always true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


@dataclass(frozen=True, slots=True)
class Compare:
    """One of `fields` stands in relation `op` (`=`, `<`, `<=`, `>`, `>=`) to one of `values`."""

    fields: tuple[str, ...]
    op: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """One of `fields` is set: true, not zero, not empty."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Some text of the document contains the value, without regard to case."""

    value: Literal


Node = AllOf | AnyOf | Not | Compare | Flag | Text
