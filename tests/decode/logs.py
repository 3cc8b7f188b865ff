"""Helpers of the log tests: lines to chunks, decoders with the shipped parsers, rows as dictionaries."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from csirt.clock import parse_iso
from csirt.content import folder
from csirt.decode.parser import Parser
from csirt.decode.parser_files import load_parsers
from csirt.decode.privacy import Privacy
from csirt.decode.textlog import LogDecoder
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Lines

SEGMENT = "00000000000000aa"
REFERENCE = parse_iso("2026-11-01T00:00:00Z")


def lines(texts: list[str | bytes], *, start: int = 0, received: int = 0, host: str | None = None) -> Lines:
    """Complete lines of a log that begins at byte `start`."""
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    buffer = np.frombuffer(b"".join(line + b"\n" for line in raw), np.uint8)
    length = np.array([len(line) for line in raw], np.int64)
    offset = np.concatenate([[0], np.cumsum(length + 1)[:-1]]).astype(np.int64) if raw else np.empty(0, np.int64)
    return Lines(buffer, offset, length, offset + start, np.full(len(raw), received, np.int64), host)


def chunk(texts: list[str | bytes], *, start: int = 0, received: int = 0, segment: str = SEGMENT) -> Chunk:
    """One chunk of lines."""
    data = lines(texts, start=start, received=received)
    return Chunk("relay", "f" * 32, segment, start, start + len(data.buffer), data)


@cache
def parser(name: str) -> Parser:
    """A shipped parser."""
    parsers, problems = load_parsers(folder("parsers"))
    assert not problems, [str(problem) for problem in problems]
    return parsers[name]


def decoder(name: str = "postfix", *, timezone: str = "Europe/Oslo", reference: int = REFERENCE) -> LogDecoder:
    """A fresh decoder with a shipped parser."""
    privacy = Privacy(b"k" * 32, ["edi.helsenett.example"])
    return LogDecoder("relay", parser(name), timezone=timezone, observer="", privacy=privacy, reference_us=reference)


def rows(*decoded: Decoded) -> list[dict[str, Any]]:
    """All rows of some results in (segment, ordinal) order, without null values."""
    found = [row for item in decoded for batch in item.batches for row in batch.table.to_pylist()]
    found.sort(key=lambda row: (row["csirt.segment"], row["csirt.ordinal"]))
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def run(texts: list[str | bytes], name: str = "postfix", **options: Any) -> list[dict[str, Any]]:
    """Rows of a whole log, end of input included."""
    decode = decoder(name, **options)
    return rows(decode.decode(chunk(texts)), decode.finish())


def balanced(decoded: Decoded) -> bool:
    """entered = left + dropped."""
    return decoded.entered == decoded.left + sum(decoded.dropped.values())
