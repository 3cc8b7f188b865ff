"""Lists, the same everywhere: a table cut to the screen for people, whole tab-separated records for pipes, JSON
documents and JSON lines for programs; `--fields` chooses, `--header` names the columns off a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from csirt.cli.common import Settings, colour, is_terminal, say, width, write, write_json, write_rows
from csirt.errors import Usage
from csirt.messages import known, text
from csirt.safety import terminal

Item = Mapping[str, Any]
TIMES = frozenset(
    ("first", "last", "time", "issued", "oldest", "newest", "until", "created", "received_from", "received_until")
)
LONG = 40  # no column but the last takes more of a screen
RED, YELLOW, PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"
PAINT = {"critical": RED, "high": YELLOW}


def write_list(
    settings: Settings,
    document: Item,
    columns: Sequence[str],
    *,
    noun: str,
    screen: Sequence[str] = (),
    cells: Mapping[str, Callable[[Any], object]] | None = None,
    empty: str = "",
) -> None:
    """`document["items"]` as asked for. `columns`: what a pipe gets, in order; `screen`: what a terminal gets, the last
    one cut to fit. `cells`: how a field's value looks to people. Raises Usage for a field that no item has."""
    items: list[Item] = list(document["items"])
    chosen = [name.strip() for name in settings.fields.split(",") if name.strip()]
    _check(chosen, columns, items)
    if settings.as_json or settings.jsonl:
        picked = [{name: field(item, name) for name in chosen} for item in items] if chosen else items
        if settings.jsonl:
            for item in picked:
                write(json.dumps(item, sort_keys=True, ensure_ascii=False))
        else:
            write_json({**document, "items": picked})
        return
    if is_terminal():
        if items:
            table(settings, items, chosen or list(screen or columns), noun, cells or {})
        elif empty:
            write(text(empty, settings.language()))
        return
    names = chosen or list(columns)
    if settings.header:
        write_rows([names])
    write_rows([plain(field(item, name)) for name in names] for item in items)
    if empty and not items:
        say(text(empty, settings.language()))


def _check(chosen: list[str], columns: Sequence[str], items: list[Item]) -> None:
    there = sorted(set(columns).union(*(item.keys() for item in items)))
    for name in chosen:
        if name.partition(".")[0] in there or name in there:
            continue
        import difflib

        near = difflib.get_close_matches(name, there, 1)
        raise Usage(f"no field {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"fields: {', '.join(there)}"))


def field(item: Item, name: str) -> Any:
    """A field by its name, or by the dotted way to it."""
    node: Any = item
    if name in item:
        return item[name]
    for key in name.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node


def plain(value: Any) -> object:
    """A value in one cell of a record, whole."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={plain(part)}" for key, part in sorted(value.items()))
    if isinstance(value, list):
        return ",".join(str(plain(part)) for part in value)
    return "" if value is None else value


def word(noun: str, name: str, value: Any, lang: str) -> str:
    """An enumerated value in the reader's language; one the catalogue does not know stays as it is."""
    for key in (f"{noun}.{name}_{value}", f"words.{name}_{value}"):
        if known(key):
            return text(key, lang)
    return str(plain(value))


def label(noun: str, name: str, lang: str) -> str:
    """A column's heading."""
    for key in (f"{noun}.column_{name}", f"words.column_{name}"):
        if known(key):
            return text(key, lang)
    return name.upper()


def table(
    settings: Settings,
    items: Sequence[Item],
    names: Sequence[str],
    noun: str,
    cells: Mapping[str, Callable[[Any], object]],
) -> None:
    """Aligned columns under a heading, one line per item, cut to the width of the screen."""
    from csirt.cli.times import Times

    lang, times, paint = settings.language(), Times(settings), colour(settings)

    def cell(item: Item, name: str) -> str:
        value = field(item, name)
        if name in cells:
            value = cells[name](value)
        elif name in TIMES and isinstance(value, str):
            value = times.cell(value)
        elif isinstance(value, str):
            value = word(noun, name, value, lang)
        elif value is None or value == []:
            value = "-"
        elif isinstance(value, list):
            value = ", ".join(str(plain(part)) for part in value)
        return terminal(plain(value)) or "-"

    rows = [[cell(item, name) for name in names] for item in items]
    heads = [label(noun, name, lang) for name in names]
    widths = [min(max(len(row[n]) for row in [heads, *rows]), LONG) for n in range(len(names))]
    room = width() - sum(widths[:-1]) - 2 * (len(names) - 1)
    while room < min(widths[-1], 16) and max(widths[:-1], default=0) > 8:
        widest = widths.index(max(widths[:-1]))
        widths[widest] -= 1
        room += 1
    widths[-1] = max(room, 8)
    write(_line(heads, widths))
    for item, row in zip(items, rows, strict=True):
        mark = PAINT.get(str(item.get("severity", "")), "") if paint else ""
        line = _line(row, widths)
        write(f"{mark}{line}{PLAIN}" if mark else line)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cut(value, size):<{size}}" for value, size in zip(row, widths, strict=True)).rstrip()


def cut(value: str, size: int) -> str:
    """At most `size` characters; what is cut ends in three dots."""
    return value if len(value) <= size else value[: max(size - 3, 1)] + "..."
