"""Indicators as CSV: a column `value`, and where a header names them `confidence`, `tlp`, `until`, `reference`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from csirt.enrich.indicators.when import moment

COLUMNS = ("value", "confidence", "tlp", "until", "reference")
# What others call the columns.
ALSO = {
    "indicator": "value", "ioc": "value", "ip": "value", "domain": "value", "expires": "until",
    "valid_until": "until", "id": "reference", "uuid": "reference",
}  # fmt: skip
MAX_CELL = 4_000


def items(text: str, name: str) -> Iterator[Any]:
    """Keyword arguments of `Raw`, or (place, reason, message) for each row that is none; `#` begins a comment."""
    lines = text.removeprefix("\ufeff").splitlines()
    columns: list[str] = ["value"]
    first = True
    for number, line in enumerate(lines, 1):
        place = f"{name}:{number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if len(line) > MAX_CELL or "\0" in line:
            yield place, "row", f"longer than {MAX_CELL} characters, or with a zero byte"
            continue
        try:
            cells = next(csv.reader([line], delimiter=_delimiter(line), strict=True))
        except (csv.Error, StopIteration) as error:
            yield place, "row", f"not CSV: {error}"
            continue
        names = [ALSO.get(cell.strip().lower(), cell.strip().lower()) for cell in cells]
        if first and "value" in names:
            columns, first = names, False
            continue
        first = False
        yield _row(place, dict(zip(columns, cells, strict=False)))


def _delimiter(line: str) -> str:
    return next((mark for mark in ("\t", ";") if mark in line), ",")


def _row(place: str, cells: dict[str, str]) -> Any:
    said = {key: cells.get(key, "").strip() for key in COLUMNS}
    found: dict[str, Any] = {"place": place, "value": said["value"], "reference": said["reference"]}
    if said["confidence"]:
        if not said["confidence"].isascii() or not said["confidence"].isdigit() or len(said["confidence"]) > 3:
            return place, "confidence", f"the confidence {said['confidence'][:20]!r} is not from 0 to 100"
        found["confidence"] = int(said["confidence"])
    if said["until"]:
        found["until"] = moment(said["until"])
        if found["until"] is None:
            return place, "until", f"{said['until'][:40]!r} is no time"
    if said["tlp"]:
        found["tlp"] = said["tlp"]
    return found
