"""The spool's form on disk: written by `collect/`, read by `sources/`.

A source's folder is named after it; each further lane of it has its own: `edge@1` for the second of a listener's
workers, `edge@tcp` and `edge@tls` for IPFIX sessions, `relay@tls` for syslog by TLS. A folder holds segments
`<UTC time>-<sequence>-<8 hex of the UUID>.<kind>`, kind `pcapng` (datagrams with synthesised IP and UDP headers) or
`frames` (syslog messages). While a segment is being written its name ends with `.open`, and `<segment>.synced` holds,
as a u64, how many of its bytes are on disk for certain; readers go no further. A sealed segment is whole.
`<segment>.committed` holds the time (u64, microseconds) at which the analysis was first seen to have committed all of
it. All integers are little endian.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

LANE = "@"  # no source id has it
OPEN = ".open"
SYNCED = ".synced"
COMMITTED = ".committed"
PCAPNG = ".pcapng"
FRAMES = ".frames"

NAME = re.compile(r"(?P<time>\d{8}T\d{6}Z)-(?P<sequence>\d{8,})-(?P<uuid>[0-9a-f]{8})\.(?:pcapng|frames)(?:\.open)?")

_LANE = re.compile(r"[1-9][0-9]?|tcp|tls")

APPLICATION = b"csirt collect"
COMMENT = b"csirt-segment="
LINKTYPE_RAW = 101

# A frames segment: this header, then records.
FRAMES_MAGIC = b"CSIRTFR1"
FRAMES_HEADER = struct.Struct("<8s16s8x")  # magic, UUID
RECORD_MAGIC = 0x4D524653  # "SFRM"
# magic, payload length, receive time (us), address (IPv4 in the first 4 bytes), family (4, 6), transport (17, 6),
# flags, CRC-32 of the 36 bytes before it and the payload
RECORD = struct.Struct("<IIQ16sBBHI")
RECORD_HEAD = struct.Struct("<IIQ16sBBH")
RECORD_TRANSPORT = 33  # where the transport is in a record
FLAG_CUT = 1  # the message was longer than the limit: its end is missing
FLAG_PARTIAL = 2  # the connection ended inside the message
MAX_MESSAGE = 64 * 1024


def lane_name(source: str, lane: str) -> str:
    """The folder of one lane of a source; the first lane has no name."""
    return f"{source}{LANE}{lane}" if lane else source


def source_of(folder: str) -> str:
    """The source that a folder of the spool belongs to."""
    return folder.partition(LANE)[0]


def lanes_in(folder: Path) -> set[str]:
    """The lanes that lie beside a source's folder, which is the first of them."""
    prefix = f"{folder.name}{LANE}"
    try:
        with os.scandir(folder.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    except OSError:
        return set()
    return {name[len(prefix) :] for name in names if _LANE.fullmatch(name[len(prefix) :])}


def is_segment(name: str) -> bool:
    """Whether a file name is a segment's, open or sealed."""
    return NAME.fullmatch(name) is not None


def sealed_name(name: str) -> str:
    """The name without `.open`."""
    return name.removesuffix(OPEN)


def beside(segment: Path, suffix: str) -> Path:
    """The side file of a segment, whether the segment is open or sealed."""
    return segment.with_name(sealed_name(segment.name) + suffix)


def read_mark(path: Path) -> int | None:
    """The u64 in a side file; None when there is none or it is torn."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    return int.from_bytes(raw[:8], "little") if len(raw) >= 8 else None


def pcapng_header(uuid: bytes) -> bytes:
    """Section header and interface description (LINKTYPE_RAW, microseconds) of a datagram segment.

    draft-ietf-opsawg-pcapng, sections 4.1 and 4.2. The UUID (16 bytes) is the segment's identity.
    """
    options = _option(1, COMMENT + uuid.hex().encode()) + _option(4, APPLICATION) + bytes(4)
    length = 28 + len(options)
    section = struct.pack("<IIIHHq", 0x0A0D0D0A, length, 0x1A2B3C4D, 1, 0, -1) + options + struct.pack("<I", length)
    options = _option(9, b"\x06") + bytes(4)  # if_tsresol: 10^-6 s
    length = 20 + len(options)
    return section + struct.pack("<IIHHI", 1, length, LINKTYPE_RAW, 0, 0) + options + struct.pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


PCAPNG_HEADER_SIZE = len(pcapng_header(bytes(16)))


def segment_uuid(head: bytes) -> str | None:
    """The UUID (32 hex digits) of a segment from its first bytes.

    None unless the header is exactly as the collector writes it: a tool that rewrites a segment keeps its comment but
    puts its own name beside it, and what it wrote is new content.
    """
    if head.startswith(FRAMES_MAGIC):
        return head[8:24].hex() if len(head) >= FRAMES_HEADER.size else None
    at = 24 + 4 + len(COMMENT)
    try:
        uuid = bytes.fromhex(head[at : at + 32].decode("ascii"))
    except ValueError:
        return None
    return uuid.hex() if len(uuid) == 16 and head[:PCAPNG_HEADER_SIZE] == pcapng_header(uuid) else None


def read_head(path: Path, size: int = 4096) -> bytes:
    """The first bytes of a file. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, size, 0)
    finally:
        os.close(handle)
