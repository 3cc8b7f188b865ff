"""Growing log files: rotated by rename or copytruncate, with partial last lines, known by content and not by name.

A log's fingerprint is the hash of its first complete line and a generation. Beside the offset a position keeps a hash
of the bytes before it: where they differ, another log begins with the same line, and that is the next generation.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from csirt.clock import SYSTEM, Clock
from csirt.model.batch import Array
from csirt.model.chunk import Chunk, Lines, Position
from csirt.sources.base import LOG, Input, Lookup
from csirt.sources.pcap import read_window
from csirt.sources.watch import find, is_unfinished

HEAD = 4096
TAIL = 4096
MAX_LINE = 64 * 1024
WINDOW = 8 << 20
ORPHAN = 60.0  # seconds a log that was moved away is still followed
MAX_HANDLES = 256
_ROTATED = re.compile(r"[.-]\d[\d.T:-]*")
_GENERATIONS = 10_000
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


def first_line(head: bytes, *, final: bool) -> bytes | None:
    """What names a log: its first complete line, or its first 4,096 bytes. None while that is not there yet."""
    end = head.find(b"\n")
    if end >= 0:
        return head[:end]
    if len(head) >= HEAD:
        return head[:HEAD]
    return head if final and head else None


def fingerprint(line: bytes, generation: int) -> str:
    """The identity of a log generation, 32 hex digits."""
    return hashlib.blake2b(line + b"\n" + str(generation).encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class _Split:
    """Lines found in a window; `used`: bytes of it that are done with; `skipping`: inside the cut end of a line."""

    offset: Array
    length: Array
    used: int
    cut: int
    skipping: bool


def split(buffer: Array, limit: int, *, skipping: bool, whole: bool) -> _Split:
    """Complete lines in a window: at most `limit`, without LF or CR LF, cut at MAX_LINE.

    `skipping`: the window begins inside a line that was cut. `whole`: an incomplete last line is complete too.
    """
    begin = 0
    ends = np.flatnonzero(buffer == 10)
    if skipping:
        if not len(ends):
            return _Split(ends, ends, len(buffer), 0, True)
        begin, ends = int(ends[0]) + 1, ends[1:]
    ends = ends[:limit]
    starts = np.concatenate((np.array([begin], np.int64), ends[:-1] + 1)) if len(ends) else ends
    used, skip = (int(ends[-1]) + 1 if len(ends) else begin), False
    rest = len(buffer) - used
    if len(ends) < limit and rest and (whole or rest > MAX_LINE + 1):  # + 1: it may end in CR
        starts, ends = np.append(starts, used), np.append(ends, len(buffer))
        skip = not whole
        used = len(buffer)
    length = ends - starts
    returns = length > 0
    returns[returns] = buffer[ends[returns] - 1] == 13
    length = length - returns
    long = length > MAX_LINE
    return _Split(starts, np.minimum(length, MAX_LINE), used, int(long.sum()), skip)


class LogInput(Input):
    """One generation of a log, held open so that a rename does not lose its end."""

    def __init__(
        self, source: str, line: bytes, path: Path, open_handle: Callable[[], int], *, final: bool, name: str
    ) -> None:
        super().__init__(source, fingerprint(line, 0), path, growing=True)
        self.line = line
        self.generation = 0
        self.final = final
        self.name = name
        self.bumped = False
        self.handle = open_handle

    def read(self, position: Position | None, limit: int) -> Chunk | None:
        """The next complete lines; None when there are none, or when `position` is of another generation."""
        handle = self.handle()
        if not self.same(handle):
            return None
        if position is not None and not self._continues(handle, position):
            self.bump()
            self.bumped = True
            return None
        size = os.fstat(handle).st_size
        offset = position.offset if position else 0
        if offset >= size:
            return None
        skipping = bool(position.extra.get("skipping")) if position else False
        window = min(max(limit * 400, 4 * MAX_LINE), WINDOW, size - offset)
        buffer = read_window(handle, offset, window)
        if not self.same(handle):  # truncated while we read
            return None
        whole = self.final and offset + len(buffer) >= size
        found = split(buffer, max(limit, 1), skipping=skipping, whole=whole)
        if not found.used:
            return None
        return self._chunk(handle, offset, buffer, found, size)

    def resolve(self, lookup: Lookup) -> Position | None:
        """Find the generation whose committed bytes are this file's, else the first that is free."""
        handle = self.handle()
        if handle < 0:
            return lookup(self.fingerprint)
        for generation in range(_GENERATIONS):
            position = lookup(fingerprint(self.line, generation))
            if position is None or self._continues(handle, position):
                if generation != self.generation:
                    self.generation = generation
                    self.identify(fingerprint(self.line, generation))
                return position
        return None

    def finished(self, position: Position | None) -> bool:
        """Whether all complete lines that are here now are committed."""
        if position is None:
            return False
        handle = self.handle()
        if handle < 0 or not self._continues(handle, position):
            return False
        return position.offset >= os.fstat(handle).st_size

    def _chunk(self, handle: int, offset: int, buffer: Array, found: _Split, size: int) -> Chunk:
        end = offset + found.used
        count = len(found.offset)
        lines = None
        if count:
            start = found.offset.astype(np.int64)
            lines = Lines(
                buffer, start, found.length.astype(np.int64), start + offset, np.zeros(count, np.int64), path=self.name
            )
        extra: dict[str, Any] = {"tail": _tail(handle, end)}
        if found.skipping:
            extra["skipping"] = 1
        lost = {"line_cut": found.cut} if found.cut else {}
        return self.chunk(offset, end, lines, last=self.final and end >= size, extra=extra, lost=lost)

    def same(self, handle: int) -> bool:
        """Whether the file still begins as it did: it does not after copytruncate."""
        if handle < 0:
            return False
        head = os.pread(handle, HEAD, 0)
        return head[: len(self.line)] == self.line and first_line(head, final=self.final) == self.line

    def _continues(self, handle: int, position: Position) -> bool:
        """Whether the committed bytes are this file's."""
        if position.offset == 0:
            return True
        if position.offset > os.fstat(handle).st_size:
            return False
        return bool(_tail(handle, position.offset) == position.extra.get("tail"))

    def bump(self) -> None:
        """Another log has this first line: be its next generation."""
        self.generation += 1
        self.identify(fingerprint(self.line, self.generation))


def _tail(handle: int, offset: int) -> str:
    """Hash of up to 4,096 bytes before an offset."""
    start = max(offset - TAIL, 0)
    return hashlib.blake2b(os.pread(handle, offset - start, start), digest_size=8).hexdigest()


@dataclass
class _File:
    key: tuple[int, int]  # device, inode
    handle: int
    item: LogInput
    gone: float | None = None


class LogSource:
    """A log, a glob of logs, or a folder of them, with their rotated copies (`NAME.1`, `NAME-20261123`; compressed ones
    are left out: they were read before)."""

    kind = "log"

    def __init__(self, id: str, path: str, *, parser: str = "", clock: Clock = SYSTEM, final: bool = False) -> None:
        self.id = id
        self.parser = parser
        self._path = path
        self._final = final
        self._clock = clock
        self._files: dict[tuple[int, int], _File] = {}

    def inputs(self) -> list[Input]:
        """Every log that has a first line, rotated ones first, each content once."""
        now = self._clock.monotonic()
        seen: dict[tuple[int, int], _File] = {}
        listed: list[LogInput] = []
        for path in self._paths():
            file = self._look(path)
            if file is not None:
                key, entry = file
                if key not in seen:
                    seen[key] = entry
                    listed.append(entry.item)
        orphans: list[LogInput] = []
        for key, entry in self._files.items():
            if key in seen:
                continue
            entry.gone = now if entry.gone is None else entry.gone
            if entry.handle >= 0 and now - entry.gone < ORPHAN:
                seen[key] = entry
                orphans.append(entry.item)
            elif entry.handle >= 0:
                os.close(entry.handle)
        self._files = seen
        return self._once([*orphans, *listed])

    def exhausted(self) -> bool:
        """False while a generation was found that has not been listed."""
        return not any(entry.item.bumped for entry in self._files.values())

    def close(self) -> None:
        """Let go of every file."""
        for entry in self._files.values():
            if entry.handle >= 0:
                os.close(entry.handle)
        self._files = {}

    def _paths(self) -> list[Path]:
        """Logs and their rotated copies: the copies first, the oldest of them first."""
        found = find(self._path)
        if self._final:
            return found
        found = [path for path in found if not is_unfinished(path.name) and not path.name.endswith(COMPRESSED)]
        every: dict[Path, None] = {}
        named = Path(self._path)  # its copies are looked for even while it is away in the middle of a rotation
        for path in found if found or glob.has_magic(self._path) else [named]:
            try:
                names = [entry.name for entry in path.parent.iterdir()]
            except OSError:
                names = []
            rest = [name for name in names if name.startswith(path.name) and _ROTATED.fullmatch(name[len(path.name) :])]
            every.update(dict.fromkeys(path.parent / name for name in rest))
            if path in found:
                every[path] = None
        names_of = {path.name for path in every} | {named.name}
        rotated = [path for path in every if _base(path.name) in names_of and _base(path.name) != path.name]
        return [*sorted(rotated, key=_age), *sorted(path for path in every if path not in set(rotated))]

    def _look(self, path: Path) -> tuple[tuple[int, int], _File] | None:
        """The open file behind a path; a new one when the path means another file, or another content, than before."""
        try:
            found = path.stat()
        except OSError:
            return None
        key = (found.st_dev, found.st_ino)
        entry = self._files.get(key)
        if entry is not None and entry.item.same(self._handle(entry, path)):
            entry.gone, entry.item.path, entry.item.bumped = None, path, False
            return key, entry
        return self._open(key, path, entry)

    def _open(self, key: tuple[int, int], path: Path, before: _File | None) -> tuple[tuple[int, int], _File] | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            LOG.debug("%s: %s", path.name, error.strerror)
            return None
        line = first_line(os.pread(handle, HEAD, 0), final=self._final)
        if before is not None and before.handle >= 0:
            os.close(before.handle)
        if line is None:
            os.close(handle)
            self._files.pop(key, None)
            return None
        self._evict()
        entry = _File(key, handle, LogInput(self.id, line, path, lambda: -1, final=self._final, name=path.name))
        entry.item.handle = lambda: self._handle(entry, entry.item.path)
        self._files[key] = entry
        return key, entry

    def _handle(self, entry: _File, path: Path) -> int:
        """The descriptor, opened again when there were too many to keep; -1 when the path means another file now."""
        if entry.handle < 0:
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                return -1
            found = os.fstat(handle)
            if (found.st_dev, found.st_ino) != entry.key:
                os.close(handle)
                return -1
            self._evict()
            entry.handle = handle
        return entry.handle

    def _evict(self) -> None:
        """Close descriptors so that one more may be open; those logs are found again by name."""
        held = [entry for entry in self._files.values() if entry.handle >= 0]
        for entry in held[: max(len(held) - MAX_HANDLES + 1, 0)]:
            os.close(entry.handle)
            entry.handle = -1

    def _once(self, items: list[LogInput]) -> list[Input]:
        """Of several files that claim one identity the longest has it; the beginnings of it among the others are
        copies and left out, and what is no beginning of it is another generation."""
        claims: dict[str, list[tuple[int, LogInput]]] = {}
        for item in items:
            try:
                claims.setdefault(item.fingerprint, []).append((os.fstat(item.handle()).st_size, item))
            except OSError:
                continue
        chosen: set[int] = set()
        for claim in claims.values():
            (size, longest), *others = sorted(claim, key=lambda pair: -pair[0])
            chosen.add(id(longest))
            for size, item in others:
                if _tail(item.handle(), size) != _tail(longest.handle(), size):
                    item.bump()
                    chosen.add(id(item))
        return [item for item in items if id(item) in chosen]


def _base(name: str) -> str:
    """A rotated copy's name without its suffix."""
    match = re.fullmatch(r"(.+?)" + _ROTATED.pattern, name)
    return match[1] if match else name


def _age(path: Path) -> tuple[str, int, str]:
    """Sorts the oldest copy first: `.2` before `.1`, earlier dates before later ones."""
    base = _base(path.name)
    suffix = path.name[len(base) + 1 :]
    number = int(suffix) if suffix.isdigit() and len(suffix) < 5 else 0
    return str(path.with_name(base)), -number, suffix
