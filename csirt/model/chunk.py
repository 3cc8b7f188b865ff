"""What a source hands to a decoder: raw bytes with a position, columnar where there are many of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csirt.model.batch import Array


@dataclass(slots=True)
class Datagrams:
    """UDP payloads of one segment. All arrays have one entry per datagram; `buffer` holds the bytes.

    `offset`/`length`: the payload in `buffer` (int64). `frame`: its number in the file from 0 (int64). `time`: receive
    time in microseconds (int64). `family`, `high`, `low`: the exporter's address (uint8, uint64, uint64). `port`: the
    destination port (uint16).
    """

    buffer: Array
    offset: Array
    length: Array
    frame: Array
    time: Array
    family: Array
    high: Array
    low: Array
    port: Array

    def take(self, which: Array | slice) -> Datagrams:
        """Some of the datagrams, on the same bytes."""
        names = ("offset", "length", "frame", "time", "family", "high", "low", "port")
        return Datagrams(self.buffer, *(getattr(self, name)[which] for name in names))


@dataclass(slots=True)
class Packets:
    """Captured frames. `buffer` uint8; `offset`, `captured`, `original` (int64), `frame` (int64, from 0), `time`
    (int64, microseconds), `linktype` (uint16, the capture file's). `cut`: the packet-time boundary (microseconds) that
    closes this chunk, at which every flow in the table is ended; None when more packets of the same period follow."""

    buffer: Array
    offset: Array
    captured: Array
    original: Array
    frame: Array
    time: Array
    linktype: Array
    cut: int | None = None


@dataclass(slots=True)
class Dissection:
    """Lines tshark printed for one capture file: tab-separated fields as `parsers/tshark/` orders them, with frame
    numbers from 1 in the first field."""

    text: bytes


@dataclass(slots=True)
class Lines:
    """Complete log lines without their line ends. `offset`/`length`: the line in `buffer` (int64). `position`: its
    byte offset in the log (int64), the record ordinal. `time`: receive time in microseconds, or 0 when unknown.
    `host`: who sent it, or None. `path`: the log's name for people. Where the lines of a chunk come from several
    senders (syslog), `host` is None, `origin` (int32) is each line's index in `hosts`, the senders' addresses."""

    buffer: Array
    offset: Array
    length: Array
    position: Array
    time: Array
    host: str | None = None
    path: str = ""
    origin: Array | None = None
    hosts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Position:
    """How far one input's content has been committed. `done`: nothing more will come."""

    source: str
    fingerprint: str
    offset: int = 0
    done: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """A piece of one input, from committed offset `start` to `end` (a source's own unit: bytes of the file).

    `end_of_input`: this input is complete with this chunk (a sealed segment, a whole capture file). `lost`: units the
    source could not read (a torn block, an over-long line) by reason.
    """

    source: str
    fingerprint: str
    segment: str
    start: int
    end: int
    data: Datagrams | Packets | Dissection | Lines | None
    end_of_input: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """How many datagrams, packets or lines it holds."""
        if self.data is None or isinstance(self.data, Dissection):
            return 0
        return len(self.data.offset)
