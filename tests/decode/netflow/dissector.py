"""What tshark reads in captures of NetFlow and IPFIX: its templates and its flows, field by field."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

TSHARK = shutil.which("tshark")
Field = tuple[int, int, int]  # enterprise, id, length
Shown = tuple[str, str]  # as tshark writes it, its octets in hex
# A v5 record as RFC-style fields; 210 is padding.
FIVE: list[Field] = [
    (0, ident, length)
    for ident, length in (
        (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (210, 1), (6, 1),
        (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
    )
]  # fmt: skip


@dataclass
class Flow:
    """One record: frame, version, whether it is options data, how many scopes, its template's fields, and of those that
    tshark shows, by number, what it shows."""

    frame: int
    version: int
    options: bool
    scopes: int
    fields: list[Field]
    shown: dict[int, Shown] = field(default_factory=dict)


def dissect(captures: list[Path], scratch: Path) -> list[Flow]:
    """All flows of some captures, read as one file, in order."""
    assert TSHARK
    merged = scratch / "merged.pcap"
    merged.write_bytes(captures[0].read_bytes() + b"".join(path.read_bytes()[24:] for path in captures[1:]))
    octets = _frames(merged.read_bytes())
    words = [word for port in sorted({_port(frame) for frame in octets}) for word in ("-d", f"udp.port=={port},cflow")]
    asked = [TSHARK, "-r", str(merged), *words, "-T", "pdml"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120)
    flows: list[Flow] = []
    templates: dict[tuple[str, str], tuple[bool, int, list[Field]]] = {}
    for frame, packet in enumerate(ET.fromstring(done.stdout).iter("packet")):
        for message in packet.iter("proto"):
            if message.get("name") == "cflow":
                flows += _message(frame, octets[frame], message, templates)
    return flows


def _frames(raw: bytes) -> list[bytes]:
    frames, at = [], 24
    while at < len(raw):
        length = int.from_bytes(raw[at + 8 : at + 12], "little")
        frames.append(raw[at + 16 : at + 16 + length])
        at += 16 + length
    return frames


def _port(frame: bytes) -> int:
    """The UDP destination port, behind any VLAN tags and an IPv4 or IPv6 header."""
    at = 14
    while frame[at - 2 : at] == b"\x81\x00":
        at += 4
    at += 40 if frame[at - 2 : at] == b"\x86\xdd" else 4 * (frame[at] & 15)
    return int.from_bytes(frame[at + 2 : at + 4], "big")


def _message(
    frame: int, octets: bytes, message: ET.Element, templates: dict[tuple[str, str], tuple[bool, int, list[Field]]]
) -> list[Flow]:
    head = {part.get("name"): part.get("show", "") for part in message}
    version = int(head["cflow.version"])
    domain = head.get("cflow.source_id") or head.get("cflow.od_id") or ""
    flows = []
    for group in message:
        title = group.get("show", "")
        if re.match(r"pdu \d+/", title):
            flows.append(_walk(Flow(frame, version, False, 0, FIVE), octets, group))
        number = re.match(r"(?:FlowSet|Set) \d+ \[id=(\d+)\]", title)
        for item in group if number else ():
            text = item.get("show", "")
            if found := re.match(r"(Options )?Template \(Id = (\d+)", text):
                entries = [part for part in item if part.get("show", "").startswith("Field (")]
                scopes = sum("[Scope]" in part.get("show", "") for part in entries)
                fields = [_field(part.get("value", "")) for part in entries]
                templates[domain, found[2]] = bool(found[1]), scopes, fields
            elif re.match(r"Flow \d+", text) and number and (domain, number[1]) in templates:
                flows.append(_walk(Flow(frame, version, *templates[domain, number[1]]), octets, item))
    return flows


def _field(octets: str) -> Field:
    ident, length = int(octets[:4], 16), int(octets[4:8], 16)
    return (int(octets[8:16], 16), ident & 0x7FFF, length) if len(octets) == 16 else (0, ident, length)


def _walk(flow: Flow, octets: bytes, group: ET.Element) -> Flow:
    """Find what tshark shows of every field by where it lies."""
    places: dict[int, list[tuple[int, str, str]]] = {}
    for part in group.iter("field"):
        if part is not group and part.get("pos") and len(part.get("value", "")) == 2 * int(part.get("size", "0")):
            shown = int(part.get("size", "0")), part.get("show", ""), part.get("value", "")
            places.setdefault(int(part.get("pos", "0")), []).append(shown)
    at = int(group.get("pos", "0"))
    for number, (_, _, length) in enumerate(flow.fields):
        if length == 65535:
            length, at = octets[at], at + 1
            if length == 255:
                length, at = int.from_bytes(octets[at : at + 2], "big"), at + 2
        found = next(((show, value) for size, show, value in places.get(at, []) if size == length), None)
        if found and length:
            flow.shown[number] = found
        at += length
    return flow
