"""The bytes an event was made from: a log line, a datagram, a dissected packet, while its source still has them.

An event's id says which input (segment) and which record (ordinal: see the decoders). What is shown here was never
stored, and may hold what decoding drops; the verb that calls this needs the right to triage and is audited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from csirt import ids
from csirt.config import Config
from csirt.errors import CsirtError, NotFound
from csirt.model.chunk import Chunk, Datagrams, Lines, Position
from csirt.sources.base import Input, Source
from csirt.sources.build import open_source
from csirt.sources.files import open_file
from csirt.stores.base import Store

_DISSECTED = 1 << 63
_AT_ONCE = 20_000


def find(config: Config, store: Store, event: str, files: list[Path] | None = None) -> dict[str, Any]:
    """`{source, kind, …}`: a line with `offset` and `text`, a datagram with `frame` and `hex`, a packet with `frame`
    and `text`. `files`: where to look besides the configured sources, for stores made by a replay.

    Raises NotFound when no source has that content any more.
    """
    segment, ordinal = event[:16], int(event[16:], 16)
    for source in _sources(config, store, segment, files or []):
        try:
            item = _input(source, store, segment)
            found = None if item is None else _show(config, source, item, ordinal)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
        if found is not None:
            return found
    raise NotFound(
        "the bytes of this event are no longer there: the spool keeps them a short time only (`[collect.spool] keep`)"
        " and a file that was replayed must be named with --file"
    )


def _sources(config: Config, store: Store, segment: str, files: list[Path]) -> Iterator[Source]:
    """The configured sources, and the files as the source that committed this content."""
    names = [item.source for item in store.positions() if ids.segment(item.source, item.fingerprint) == segment]
    for section in config.sources:
        if not names or section.id in names:
            yield open_source(section, config)
    for path in files:
        for name in names:
            yield open_file(path, source_id=name, config=config)


def _input(source: Source, store: Store, segment: str) -> Input | None:
    """The input of a source that has this identity."""
    for item in source.inputs():
        if item.segment != segment:
            item.resolve(lambda fingerprint: store.position(source.id, fingerprint))
        if item.segment == segment:
            return item
    return None


def _show(config: Config, source: Source, item: Input, ordinal: int) -> dict[str, Any] | None:
    return _packet(config, source, item, ordinal) if source.kind == "capture" else _record(source, item, ordinal)


def _packet(config: Config, source: Source, item: Input, ordinal: int) -> dict[str, Any]:
    from csirt.decode.packets.show import dissection_text

    frame = (ordinal & ~_DISSECTED) >> 8 if ordinal & _DISSECTED else ordinal >> 16
    text = dissection_text(item.path, frame, tshark=config.decode.tshark)
    return {"source": source.id, "kind": "packet", "frame": frame, "text": text}


def _record(source: Source, item: Input, ordinal: int) -> dict[str, Any] | None:
    """The line or datagram of an ordinal, read as the pipeline read it."""
    for chunk in _chunks(item):
        data = chunk.data
        if isinstance(data, Lines):
            rows = np.flatnonzero(data.position == ordinal >> 8)
            if len(rows):
                text = _bytes(data, int(rows[0])).decode("utf-8", "replace")
                return {"source": source.id, "kind": "line", "offset": ordinal >> 8, "text": text}
        elif isinstance(data, Datagrams):
            rows = np.flatnonzero(data.frame == ordinal >> 16)
            if len(rows):
                raw = _bytes(data, int(rows[0])).hex()
                return {"source": source.id, "kind": "datagram", "frame": ordinal >> 16, "hex": raw}
    return None


def _chunks(item: Input) -> Iterator[Chunk]:
    position: Position | None = None
    while True:
        try:
            chunk = item.read(position, _AT_ONCE)
        except OSError as error:
            raise CsirtError(f"{item.path}: cannot be read: {error.strerror}") from error
        if chunk is None:
            return
        yield chunk
        if chunk.end_of_input:
            return
        position = Position(item.source, item.fingerprint, chunk.end, False, dict(chunk.extra))


def _bytes(data: Lines | Datagrams, row: int) -> bytes:
    start = int(data.offset[row])
    return data.buffer[start : start + int(data.length[row])].tobytes()
