"""The segments of a source's spool folder in the order they were received; also captures of exported datagrams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from csirt.clock import SYSTEM, Clock
from csirt.model import spool as form
from csirt.model.chunk import Chunk, Datagrams
from csirt.sources import pcap, udp
from csirt.sources.base import FileInput, Input
from csirt.sources.syslog import FramesInput
from csirt.sources.watch import Contents, Key, Watch, find, is_unfinished

CAPTURES = (".pcap", ".pcapng", ".cap", ".dmp")
RAW = ".dat"
MAX_DATAGRAM = 65_535


class DatagramInput(FileInput):
    """UDP payloads of a segment or capture file."""

    # Of a packet, as the last chunk had them and somewhat more: what is read for nothing costs.
    _octets = pcap.FULL_PACKET

    def take(
        self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], *, final: bool
    ) -> Chunk | None:
        """The UDP payloads of the next packets."""
        walker = pcap.Walker.resume(extra)
        found = walker.read(handle, offset, end, limit, final=final, octets=self._octets)
        if found.end == offset:
            return None
        if len(found.offset) == limit:
            self._octets = min((found.end - offset) // limit * 33 // 32 + 1, pcap.FULL_PACKET)
        else:
            self._octets = pcap.FULL_PACKET
        data, lost = udp.datagrams(found) if len(found.offset) else (None, {})
        if found.torn:
            lost["torn"] = 1
        if found.bad_interface:
            lost["bad_interface"] = found.bad_interface
        last = final and found.end >= end
        return self.chunk(offset, found.end, data, last=last, extra=walker.extra(), lost=lost)


class RawInput(FileInput):
    """A file that is one exported datagram; who sent it and when is not known."""

    def take(
        self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], *, final: bool
    ) -> Chunk | None:
        """The one datagram."""
        size = end - offset
        if size > MAX_DATAGRAM:
            return self.chunk(offset, end, None, last=True, lost={"malformed": 1})
        zero = np.zeros(1, np.int64)
        none = np.zeros(1, np.uint64)
        data = Datagrams(
            pcap.read_window(handle, offset, size), zero, np.full(1, size, np.int64), zero.copy(), zero.copy(),
            np.zeros(1, np.uint8), none, none.copy(), np.zeros(1, np.uint16),
        )  # fmt: skip
        return self.chunk(offset, end, data, last=True)


def datagram_input(source: str, path: Path, fingerprint: str) -> FileInput:
    """A finished file of exported datagrams: a capture, or one raw datagram."""
    if pcap.is_capture(form.read_head(path, 24)):
        return DatagramInput(source, fingerprint, path)
    return RawInput(source, fingerprint, path)


class SpoolSource:
    """A folder of segments, oldest first, the open ones last read up to what is synced.

    `path` may also be a file or a glob. Capture files of exported datagrams may lie in it; they are read when they
    have not changed for `settle` microseconds.
    """

    def __init__(self, id: str, kind: str, path: str, *, settle: int = 0, clock: Clock = SYSTEM) -> None:
        self.id = id
        self.kind = kind
        self.parser = ""  # of syslog lines
        self._path = path
        self._watch = Watch(settle, clock)
        self._contents = Contents()
        self._segments: dict[str, FileInput] = {}
        self._files: dict[tuple[Path, Key], FileInput] = {}

    def inputs(self) -> list[Input]:
        """Segments by name, then other files by name; without segments that are read and known to be committed."""
        suffix = form.FRAMES if self.kind == "syslog" else form.PCAPNG
        found = find(self._path)
        segments = {form.sealed_name(path.name): path for path in found if form.is_segment(path.name)}
        known: dict[str, FileInput] = {}
        listed: list[Input] = []
        for name in sorted(segments):
            item = self._segments.get(name) or (self._segment(segments[name]) if name.endswith(suffix) else None)
            if item is None:
                continue
            known[name] = item
            if not (item.ended and form.beside(item.path, form.COMMITTED).exists()):
                listed.append(item)
        self._segments = known
        return [*listed, *self._others(found)]

    def exhausted(self) -> bool:
        """False while a capture file settles."""
        return not self._watch.waiting

    def _fingerprint(self, path: Path, key: Key) -> str:
        """A segment under another name is still that segment; any other file is known by its content."""
        uuid = form.segment_uuid(form.read_head(path, form.PCAPNG_HEADER_SIZE))
        return uuid or self._contents.fingerprint(path, key)

    def _segment(self, path: Path) -> FileInput | None:
        try:
            fingerprint = form.segment_uuid(form.read_head(path, form.PCAPNG_HEADER_SIZE))
        except FileNotFoundError:  # sealed this moment: it has another name at the next look
            return None
        if fingerprint is None:  # a header torn by a power cut holds nothing; any other file is known by its content
            return None
        kind = FramesInput if self.kind == "syslog" else DatagramInput
        return kind(self.id, fingerprint, path, final=not path.name.endswith(form.OPEN))

    def _others(self, found: list[Path]) -> list[Input]:
        if self.kind == "syslog":
            return []
        others = [path for path in found if path.name.endswith((*CAPTURES, RAW)) or is_unfinished(path.name)]
        others = [path for path in others if form.sealed_name(path.name) not in self._segments]
        others = [path for path in others if not path.name.startswith(".") or path.name.endswith(CAPTURES)]
        files: dict[tuple[Path, Key], FileInput] = {}
        for path, key in self._watch.complete(others):
            item = self._files.get((path, key))
            try:
                item = item or datagram_input(self.id, path, self._fingerprint(path, key))
            except OSError:
                continue
            files[path, key] = item
        self._files = files
        unique = {item.fingerprint: item for item in reversed(list(files.values()))}
        return [item for item in files.values() if unique[item.fingerprint] is item]
