"""What every source is, and what files have in common."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from csirt import ids
from csirt.model import spool as form
from csirt.model.chunk import Chunk, Datagrams, Dissection, Lines, Packets, Position

LOG = logging.getLogger("csirt.sources")

Lookup = Callable[[str], "Position | None"]


class Input(ABC):
    """One spool segment, capture file or log generation: content with an identity, whatever its name is today."""

    source: str
    fingerprint: str
    segment: str
    path: Path
    growing: bool

    def __init__(self, source: str, fingerprint: str, path: Path, *, growing: bool = False) -> None:
        self.source = source
        self.path = path
        self.growing = growing
        self.identify(fingerprint)

    def identify(self, fingerprint: str) -> None:
        """Take an identity; `segment` follows from it."""
        self.fingerprint = fingerprint
        self.segment = ids.segment(self.source, fingerprint)

    @abstractmethod
    def read(self, position: Position | None, limit: int) -> Chunk | None:
        """The next chunk after the committed position: at most `limit` datagrams, packets or lines.

        None when nothing more is there now. Raises OSError when the file cannot be read.
        """

    def resolve(self, lookup: Lookup) -> Position | None:
        """The committed position of this content, from the store's `lookup` by fingerprint.

        A log whose first line is that of another one finds out here which generation it is, and changes its
        fingerprint accordingly: ask before the first `read`.
        """
        return lookup(self.fingerprint)

    def finished(self, position: Position | None) -> bool:
        """Whether everything that is here now is committed, and what is committed is what is here."""
        return position is not None and position.done

    def chunk(
        self,
        start: int,
        end: int,
        data: Datagrams | Packets | Dissection | Lines | None,
        *,
        last: bool = False,
        extra: dict[str, Any] | None = None,
        lost: dict[str, int] | None = None,
    ) -> Chunk:
        """A chunk of this input."""
        return Chunk(self.source, self.fingerprint, self.segment, start, end, data, last, extra or {}, lost or {})


class Source(Protocol):
    """A configured input, or a file that was named.

    `kind`: netflow, capture, log or syslog: what its chunks hold, and so which decoder they need.
    """

    id: str
    kind: str

    def inputs(self) -> list[Input]:
        """What is there now, in a deterministic order, complete files only. The same content is the same object."""

    def exhausted(self) -> bool:
        """Whether reading every input until it gives None has given everything that is here: False while a file
        settles, a dissection runs or a new generation of a log was found."""


class FileInput(Input):
    """An input that lies in one file. `final`: the file grows no more, its end is the end."""

    def __init__(self, source: str, fingerprint: str, path: Path, *, final: bool = True) -> None:
        super().__init__(source, fingerprint, path, growing=not final)
        self.ended = False  # the last chunk was handed out, or is known to be committed

    def finished(self, position: Position | None) -> bool:
        """Whether all of it is committed."""
        self.ended = self.ended or super().finished(position)
        return super().finished(position)

    @contextmanager
    def opened(self) -> Iterator[tuple[int, int, bool] | None]:
        """(descriptor, readable end, whether it is final); None when the file is gone.

        An open spool segment is readable up to its synced length. It may be sealed between two calls.
        """
        if self.growing and form.is_segment(self.path.name):
            sealed = self.path.with_name(form.sealed_name(self.path.name))
            if sealed.exists():
                self.path, self.growing = sealed, False
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            end = os.fstat(handle).st_size
            if self.growing:
                end = min(end, form.read_mark(form.beside(self.path, form.SYNCED)) or 0)
            yield handle, end, not self.growing
        finally:
            os.close(handle)

    def read(self, position: Position | None, limit: int) -> Chunk | None:
        """The next chunk; an empty last one when a segment was sealed after all of it had been read."""
        if position is not None and position.done:
            return None
        offset = position.offset if position else 0
        extra = dict(position.extra) if position else {}
        with self.opened() as file:
            if file is None:
                return None
            handle, end, final = file
            chunk = self._next(handle, offset, end, max(limit, 1), extra, final)
        if chunk is not None:
            self.ended = chunk.end_of_input
        return chunk

    def _next(self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], final: bool) -> Chunk | None:
        if offset >= end:
            return self.chunk(offset, offset, None, last=True, extra=extra) if final else None
        return self.take(handle, offset, end, limit, extra, final=final)

    @abstractmethod
    def take(
        self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], *, final: bool
    ) -> Chunk | None:
        """A chunk from `offset`, which lies before `end`; None when less than one unit is there."""
