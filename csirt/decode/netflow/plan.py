"""From a template's field signature to a plan the compiled interpreter can run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from csirt.decode.netflow import reading
from csirt.decode.netflow.elements import VARIABLE, Element, ElementTable, unknown
from csirt.decode.netflow.templates import Signature
from csirt.model import ecs
from csirt.model.batch import Array

_UNSIGNED = {"unsigned8": 1, "unsigned16": 2, "unsigned32": 4, "unsigned64": 8}
_SIGNED = {"signed8": 1, "signed16": 2, "signed32": 4, "signed64": 8}
_FLOAT = {"float32": 4, "float64": 8}
_TIMES = {
    "dateTimeSeconds": reading.SECONDS,
    "dateTimeMilliseconds": reading.MILLIS,
    "dateTimeMicroseconds": reading.NTP,
    "dateTimeNanoseconds": reading.NTP,
}
_ADDRESS = {"ipv4Address": (reading.V4, 4), "ipv6Address": (reading.V6, 16)}
END, START = "@timestamp", "event.start"
OP_WIDTH = 4  # numbers of an operation, which fills a column: kind, field, second and third field (or -1)
# kinds of storage whose column is one array of the given width
WIDTHS = {"uint": 0, "sint": 0, "float": 0, "bool": 1, "time": 8, "mac": 8}


@dataclass(frozen=True, slots=True)
class Output:
    """One column a plan fills. `storage`: uint, sint, float, bool, time, mac, address, text, text:url, text:user, hex,
    cut:ip, cut:ethernet; `width` in octets for numbers and
    addresses. `field`, `second`, `third`: field numbers of the template."""

    column: str
    storage: str
    width: int
    kind: int
    field: int
    second: int = -1
    third: int = -1


@dataclass(frozen=True, slots=True)
class Shape:
    """What plans have in common that differ only in where their fields lie.

    `columns`: (column, storage, width) by column. `mapped`: (element, column, transform) of elements that live in an
    ECS column only. `named`: (element, column) for everything that has a column.
    """

    columns: tuple[tuple[str, str, int], ...]
    mapped: tuple[tuple[str, str, str], ...]
    named: tuple[tuple[str, str], ...]
    elements: str = field(init=False, compare=False)
    names: dict[str, str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """`elements`: `mapped` as the text of the `netflow.elements` column, `element=column` or
        `element=column|transform`. `names`: `named` for looking up."""
        texts = (f"{name}={column}{'|' + way if way else ''}" for name, column, way in self.mapped)
        object.__setattr__(self, "elements", " ".join(texts))
        object.__setattr__(self, "names", dict(self.named))


@dataclass(slots=True)
class Plan:
    """How to read records of one signature.

    `size`: octets of a record, 0 when it varies. `starts`, `sizes`: of its fields. `outputs`: one for each column of
    its shape, in the same order (none once reordered); `ops`: the same for the compiled interpreter. `ordered`: the
    order of the fields means something.
    """

    signature: Signature
    size: int
    least: int
    sizes: Array
    starts: Array
    outputs: list[Output]
    mapped: list[tuple[str, str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    shape: Shape = field(default_factory=lambda: Shape((), (), ()))
    ops: Array = field(default_factory=lambda: np.empty((0, OP_WIDTH), np.int64))
    ordered: bool = False

    def settle(self) -> None:
        """Derive `shape` and `ops` when all outputs are known."""
        self.outputs.sort(key=lambda output: output.column)
        columns = tuple((output.column, output.storage, output.width) for output in self.outputs)
        self.shape = Shape(columns, tuple(sorted(self.mapped)), tuple(sorted(self.names.items())))
        rows = [(output.kind, output.field, output.second, output.third) for output in self.outputs]
        self.ops = np.array(rows, np.int64).reshape(-1, OP_WIDTH)


def fixed_signature(version: int, table: ElementTable) -> Signature:
    """The signature of a version without templates; its fields are numbers into the version's layout."""
    return Signature(version, False, 0, tuple((0, i, length) for i, (_, length) in enumerate(table.fixed[version])))


def compile_plan(signature: Signature, table: ElementTable) -> Plan:
    """The plan of a signature. Every field gets a column, except padding, private elements and empty fields."""
    lengths, starts = _extents(signature)
    varies = bool((lengths == VARIABLE).any())
    plan = Plan(signature, 0 if varies else int(lengths.sum()), signature.least, lengths, starts, [])
    fields = _named(signature, table)
    taken = _ecs_outputs(plan, fields, table) if not signature.options else {}
    seen: dict[str, int] = {}
    plan.ordered = len({element.name for element, _ in fields}) < len(fields)
    for number, (element, length) in enumerate(fields):
        if not length or element.name in table.padding or element.name in table.private:
            continue
        seen[element.name] = copies = seen.get(element.name, 0) + 1
        if number in taken:
            continue
        column = f"netflow.{element.name}" + (f"_{copies}" if copies > 1 else "")
        plan.outputs.append(_own(column, element, number, length, table))
        plan.names.setdefault(element.name, column)
    plan.settle()
    return plan


def _extents(signature: Signature) -> tuple[Array, Array]:
    """The lengths of a signature's fields, and where they start, unless one varies."""
    sizes = np.array([length for _, _, length in signature.fields], np.int64)
    starts = np.zeros(len(sizes), np.int64)
    if not (sizes == VARIABLE).any():
        starts[1:] = np.cumsum(sizes)[:-1]
    return sizes, starts


def _named(signature: Signature, table: ElementTable) -> list[tuple[Element, int]]:
    """Each field's element and length; an element whose length does not fit its type becomes an unknown one."""
    fields: list[tuple[Element, int]] = []
    for index, (pen, number, length) in enumerate(signature.fields):
        if signature.version in table.fixed:
            element = table.fixed[signature.version][number][0]
        elif signature.version == 9 and index < signature.scopes:
            element = table.scope(number)
        else:
            element = table.find(signature.version, pen, number)
        fields.append((element if _fits(element.type, length) else unknown(pen, number), length))
    return fields


def _fits(kind: str, length: int) -> bool:
    if length == 0:
        return True
    if kind in _UNSIGNED or kind in _SIGNED or kind in ("dateTimeSeconds", "dateTimeMilliseconds"):
        return length <= 8
    if kind in _FLOAT:
        return length in (4, 8)
    if kind in _ADDRESS:
        return length == _ADDRESS[kind][1]
    exact = {"boolean": 1, "macAddress": 6, "dateTimeMicroseconds": 8, "dateTimeNanoseconds": 8}
    return kind not in exact or length == exact[kind]


def _own(column: str, element: Element, number: int, length: int, table: ElementTable) -> Output:
    """The element's own `netflow.*` column, typed by the registry; wider only where the wire is wider."""
    kind = element.type
    if kind in _UNSIGNED or kind in _SIGNED:
        sign = kind in _SIGNED
        width = max(_SIGNED[kind] if sign else _UNSIGNED[kind], next(w for w in (1, 2, 4, 8) if w >= length))
        return Output(column, "sint" if sign else "uint", width, reading.SINT if sign else reading.UINT, number)
    if kind in _FLOAT:
        return Output(column, "float", max(_FLOAT[kind], length), reading.FLOAT, number)
    if kind in _TIMES:
        return Output(column, "time", 8, _TIMES[kind], number)
    if kind in _ADDRESS:
        return Output(column, "address", _ADDRESS[kind][1], _ADDRESS[kind][0], number)
    if kind == "boolean":
        return Output(column, "bool", 1, reading.UINT, number)
    if kind == "macAddress":
        return Output(column, "mac", 8, reading.UINT, number)
    if kind == "string":
        care = table.care.get(element.name)
        return Output(column, f"text:{care}" if care else "text", 0, reading.TEXT, number)
    cut = table.headers.get(element.name)
    return Output(column, f"cut:{cut}" if cut else "hex", 0, reading.SPAN, number)


def _ecs_outputs(plan: Plan, fields: list[tuple[Element, int]], table: ElementTable) -> dict[int, str]:
    """Outputs to ECS columns; the field numbers that need no column of their own, with the column they live in."""
    first: dict[str, int] = {}
    for number, (element, length) in enumerate(fields):
        if length and element.name not in table.private:
            first.setdefault(element.name, number)
    taken: dict[int, str] = {}

    def take(number: int, column: str, output: Output, transform: str = "") -> None:
        plan.outputs.append(output)
        taken[number] = column
        name = fields[number][0].name
        plan.mapped.append((name, column, transform))
        plan.names.setdefault(name, column)

    for column, names in table.roles.columns.items():
        there = [first[name] for name in names if name in first]
        if column in ecs.ADDRESSES and len(there) > 1:
            for number in there:  # both families: each keeps its own column too, `normalise` chooses
                kind, width = _ADDRESS[fields[number][0].type]
                plan.outputs.append(
                    Output(f"{column}/{4 if kind == reading.V4 else 6}", "address", width, kind, number)
                )
            continue
        for number in there:
            output = _shared(column, fields[number], number)
            if output is not None:
                take(number, column, output, "mac" if output.storage == "mac" else "")
                break
    _time_outputs(plan, fields, first, table, take)
    return taken


def _shared(column: str, field: tuple[Element, int], number: int) -> Output | None:
    """The output of an element into an ECS column, or None where the wire is wider than the column."""
    element, length = field
    if element.type in _ADDRESS:
        kind, width = _ADDRESS[element.type]
        return Output(column, "address", width, kind, number)
    if element.type == "macAddress":
        return Output(column, "mac", 8, reading.UINT, number)
    if element.type == "string":
        return Output(column, "text", 0, reading.TEXT, number)
    width = ecs.FLOW[column].bit_width // 8
    if element.type not in _UNSIGNED or length > width:
        return None
    return Output(column, "uint", width, reading.UINT, number)


def _time_outputs(
    plan: Plan, fields: list[tuple[Element, int]], first: dict[str, int], table: ElementTable, take: object
) -> None:
    times = table.roles.times
    boot = next((first[name] for name in times["boot"] if name in first and fields[first[name]][1] == 8), -1)
    ends = [first[name] for name in times["end"] if name in first]
    for column, names in ((END, times["end"]), (START, times["start"])):
        number = next((first[name] for name in names if name in first), None)
        if number is None:
            continue
        element = fields[number][0]
        if element.name in times["delta"]:
            kind, transform = reading.DELTA, None
        elif element.name in times["uptime"]:
            if fields[number][1] != 4:
                continue
            kind, transform = reading.UPTIME, "uptime" if plan.signature.version < 10 else None
        else:
            kind, transform = _TIMES[element.type], ""
        paired = next((n for n in ends if fields[n][0].name in times["uptime"] and fields[n][1] == 4), number)
        second = boot if kind == reading.UPTIME and plan.signature.version == 10 else -1
        output = Output(column, "time", 8, kind, number, second, paired)
        if transform is None:  # it cannot be told from the time any more: the raw number keeps its own column
            plan.outputs.append(output)
        else:
            take(number, column, output, transform)  # type: ignore[operator]
