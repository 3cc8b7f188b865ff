"""Sections of the configuration: dataclasses that are read from plain data, every fault found at once.

Kinds are those TOML has: text, whole numbers, booleans, lists, tables, and tables that are sections themselves;
`Annotated[kind, check]` also calls `check`, which raises ValueError for a value that will not do. Written here because
every command reads the configuration, and a validation library takes longer to import than they take to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from csirt.errors import Usage

_PLAIN = {str: "text in quotes", int: "a whole number", bool: "true or false", list: "a list in brackets"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: keys and indices from the top."""

    path: tuple[str, ...]
    message: str
    unknown: bool = False  # it is the key that is wrong

    def __str__(self) -> str:
        where = ".".join(self.path)
        return f"unknown key {where!r}{self.message}" if self.unknown else f"{where}: {self.message}"


class Section:
    """Base of dataclasses that `read` makes. A field whose name in the file is another one has it as `key` in its
    metadata."""

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        """The section of plain data. Raises Usage with every fault."""
        made, faults = read(cls, data)
        if made is None:
            raise Usage("\n".join(map(str, faults)))
        return made


S = TypeVar("S", bound=Section)


def read(kind: type[S], data: dict[str, Any]) -> tuple[S | None, list[Fault]]:
    """A section of plain data, or None and all that is wrong with it."""
    faults: list[Fault] = []
    made = _value(kind, data, (), faults)
    return (None if faults else made), faults


def _value(kind: Any, value: Any, path: tuple[str, ...], faults: list[Fault]) -> Any:
    """The value as that kind; what does not fit goes to `faults`."""
    form, inner = get_origin(kind) or kind, get_args(kind)
    if form is Annotated:
        return _checked(inner[0], inner[1], value, path, faults)
    if form is list and isinstance(value, list):
        return [_value(inner[0], item, (*path, str(index)), faults) for index, item in enumerate(value)]
    if form is dict and isinstance(value, dict):
        return {key: _value(inner[1], item, (*path, key), faults) for key, item in value.items()}
    if isinstance(form, type) and issubclass(form, Section) and isinstance(value, dict):
        return _section(form, value, path, faults)
    if form is Literal:
        if value not in inner:
            faults.append(Fault(path, f"{value!r} will not do{nearest(str(value), inner)}"))
    elif form in (list, dict) or type(value) not in (inner or (form,)):
        wanted = (form,) if form in (list, dict) else inner or (form,)
        faults.append(Fault(path, f"must be {' or '.join(_PLAIN.get(one, 'a table') for one in wanted)}"))
    return value


def _checked(kind: Any, check: Callable[[Any], object], value: Any, path: tuple[str, ...], faults: list[Fault]) -> Any:
    before = len(faults)
    made = _value(kind, value, path, faults)
    if len(faults) == before:
        try:
            check(made)
        except ValueError as error:
            faults.append(Fault(path, str(error)))
    return made


def _section(kind: type[Section], data: dict[str, Any], path: tuple[str, ...], faults: list[Fault]) -> Section | None:
    known = {field.metadata.get("key", field.name): field for field in fields(kind)}  # type: ignore[arg-type]
    kinds = get_type_hints(kind, include_extras=True)
    before = len(faults)
    given: dict[str, Any] = {}
    for key, item in data.items():
        if key in known:
            name = known[key].name
            given[name] = _value(kinds[name], item, (*path, key), faults)
        else:
            faults.append(Fault((*path, key), nearest(key, known), unknown=True))
    for key, field in known.items():
        if key not in data and field.default is MISSING and field.default_factory is MISSING:
            faults.append(Fault((*path, key), "is missing"))
    return kind(**given) if len(faults) == before else None


def between(least: int, most: int) -> Callable[[int], None]:
    """A check that a number is neither less nor more."""

    def check(number: int) -> None:
        if not least <= number <= most:
            raise ValueError(f"{number} is not between {least} and {most}")

    return check


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, else all of them."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(known))}"
