"""A named file as a source: what it is, seen by its content, for `replay` and `decode`."""

from __future__ import annotations

import os
from pathlib import Path

from csirt import config as settings
from csirt.clock import SYSTEM
from csirt.config import duration
from csirt.errors import NotFound, Usage
from csirt.model import spool as form
from csirt.sources import pcap, udp
from csirt.sources.base import FileInput, Input, Source
from csirt.sources.capture import CaptureInput
from csirt.sources.dissect import Dissector
from csirt.sources.logfile import LogSource
from csirt.sources.spool import MAX_DATAGRAM, DatagramInput, datagram_input
from csirt.sources.syslog import FramesInput
from csirt.sources.watch import content

KINDS = ("auto", "netflow", "packets", "log", "syslog")
SNIFF = 2_000  # packets looked at
_VERSIONS = (b"\0\5", b"\0\7", b"\0\x09", b"\0\x0a")
_SFLOW = b"\0\0\0\5"
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ": ("xz", "unxz -k"),
    b"PK\x03\x04": ("zip", "unzip"),
}


class FileSource:
    """One file of known kind that does not grow."""

    def __init__(self, id: str, kind: str, item: FileInput, parser: str = "") -> None:
        self.id = id
        self.kind = kind
        self.parser = parser
        self._item = item

    def inputs(self) -> list[Input]:
        """The file."""
        return [self._item]

    def exhausted(self) -> bool:
        """Always: nothing is added to it."""
        return True


def open_file(
    path: Path | str,
    *,
    source_id: str = "",
    kind: str = "auto",
    parser: str = "",
    config: settings.Config | None = None,
) -> Source:
    """A file as a source of its own; `kind` auto looks into it. The id does not depend on the path: it is `source_id`,
    or the kind, for lines with their parser, so that `decode` and `replay` give the same event ids. A parser that is
    not named is seen by the first byte: NDJSON or syslog text.

    Raises NotFound, and Usage with the next step for a file that cannot be one of these.
    """
    where = Path(path)
    if kind not in KINDS:
        raise Usage(f"unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    try:
        head = form.read_head(where)
        size = where.stat().st_size
    except FileNotFoundError as error:
        raise NotFound(f"{where}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise Usage(f"{where}: is a folder; name its files, such as {where}/*") from error
    except OSError as error:
        raise Usage(f"{where}: cannot be read: {os.strerror(error.errno or 0)}") from error
    if kind == "auto":
        kind = sniff(where, head, size, parser)
    if kind in ("log", "syslog"):
        parser = parser or ("msh" if head[:1] == b"{" else "postfix")
        source_id = source_id or f"{kind}-{parser}"
    if kind == "log":
        return LogSource(source_id, str(where), parser=parser, final=True)
    if kind == "syslog":
        uuid = form.segment_uuid(head)
        if uuid is None or not head.startswith(form.FRAMES_MAGIC):
            raise Usage(
                f"{where}: is no syslog segment of a spool; leave out the kind, and its lines are read as a log"
            )
        return FileSource(source_id, "syslog", FramesInput(source_id, uuid, where), parser)
    if kind == "netflow":
        return _netflow(where, head, source_id or "netflow")
    return _packets(where, head, source_id or "capture", config or settings.Config())


def sniff(path: Path, head: bytes, size: int, parser: str = "") -> str:
    """`netflow`, `packets`, `syslog` or `log`. Raises Usage with the next step for anything else."""
    for magic, (name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            raise Usage(f"{path}: is compressed ({name}); unpack it first: {command} {path}")
    if not size:
        raise Usage(f"{path}: is empty; there is nothing to read")
    if head.startswith(form.FRAMES_MAGIC):
        return "syslog"
    if pcap.is_capture(head):
        # A segment of the spool holds what came to a NetFlow port, whatever it was.
        spooled = form.segment_uuid(head) is not None
        return "netflow" if spooled or _carries_netflow(path) else "packets"
    if not parser and size <= MAX_DATAGRAM and plausible(path.read_bytes()):
        return "netflow"
    if b"\0" in head and not parser:
        if size <= MAX_DATAGRAM and (head[:2] in _VERSIONS or head.startswith(_SFLOW)):
            return "netflow"  # cut short or broken: what is wrong with it is the decoder's to say
        raise Usage(
            f"{path}: is no capture, no flow datagram and no text; if it is a log all the same, name its parser "
            "(`csirt parsers list`)"
        )
    return "log"


def _netflow(path: Path, head: bytes, source: str) -> FileSource:
    if pcap.is_capture(head):
        uuid = form.segment_uuid(head)
        return FileSource(source, "netflow", DatagramInput(source, uuid or content(path), path))
    if path.stat().st_size > MAX_DATAGRAM:
        raise Usage(
            f"{path}: is no capture, and too large for one datagram; flow datagrams are read from pcap, pcapng or .dat"
        )
    return FileSource(source, "netflow", datagram_input(source, path, content(path)))


def _packets(path: Path, head: bytes, source: str, config: settings.Config) -> FileSource:
    if not pcap.is_capture(head):
        raise Usage(f"{path}: is no pcap or pcapng file; `file {path}` tells what it is")
    dissector = Dissector(list(config.decode.dissect), config.decode.tshark, SYSTEM, config.path("spool"))
    period = duration(config.decode.flow_period)
    item = CaptureInput(source, content(path), path, period=period, dissector=dissector, patience=float("inf"))
    return FileSource(source, "capture", item)


def _carries_netflow(path: Path) -> bool:
    """Whether at least half of the first UDP payloads look like NetFlow or sFlow."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = pcap.Walker().read(handle, 0, os.fstat(handle).st_size, SNIFF, final=True)
    finally:
        os.close(handle)
    if not len(found.offset):
        return False
    payloads, _ = udp.datagrams(found)
    raw = found.buffer.tobytes()
    spans = zip(payloads.offset.tolist(), payloads.length.tolist(), strict=True)
    good = sum(plausible(raw[start : start + length]) for start, length in spans)
    return good > 0 and 2 * good >= len(payloads.offset)


def plausible(payload: bytes) -> bool:
    """Whether bytes have the frame of a NetFlow v5, v7, v9, IPFIX or sFlow v5 message; what is in them is not looked
    at.

    v5 and v7 header 24, records 48 and 52 bytes (Cisco); RFC 3954, 5.1 and 5.2; RFC 7011, 3.1 and 3.3.2; sFlow v5:
    an agent's address of 4 or 16 bytes behind the version, and the head of a sample if there are any.
    """
    size = len(payload)
    if size < 16:
        return False
    version, second = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
    if version in (5, 7):
        record = 48 if version == 5 else 52
        return size >= 24 and (0 < second <= (size - 24) // record or (size > 24 and (size - 24) % record == 0))
    if version == 9:
        return size >= 24 and _set(payload, 20, (0, 1))
    if version == 10:
        return second >= 16 and (size == 16 or _set(payload, 16, (2, 3)))
    return payload.startswith(_SFLOW) and _sflow(payload)


def _sflow(payload: bytes) -> bool:
    """Whether a header and the first sample's follow sFlow's version."""
    kind = int.from_bytes(payload[4:8], "big")
    at = {1: 28, 2: 40}.get(kind, len(payload) + 1)
    if len(payload) < at:
        return False
    samples = int.from_bytes(payload[at - 4 : at], "big")
    return len(payload) == at if not samples else len(payload) >= at + 8


def _set(payload: bytes, at: int, templates: tuple[int, int]) -> bool:
    """Whether a set begins there: templates or data, with a length of at least its own header."""
    kind, length = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 4], "big")
    return (kind in templates or kind >= 256) and length >= 4
