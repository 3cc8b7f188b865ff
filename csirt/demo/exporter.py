"""Edge routers of the demo: flows to NetFlow v9 (RFC 3954) and IPFIX (RFC 7011) datagrams."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from csirt.model.batch import Array

# One row is one unidirectional flow record; times in microseconds, addresses as 32-bit numbers.
FLOW = np.dtype(
    [
        ("start", "i8"),
        ("end", "i8"),
        ("source", "u4"),
        ("destination", "u4"),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("protocol", "u1"),
        ("flags", "u1"),
        ("octets", "u4"),
        ("packets", "u4"),
        ("ingress", "u2"),
        ("egress", "u2"),
    ]
)

PER_DATAGRAM = 24
_TEMPLATE = 300
# information element, length: the same order as the wire types below
_V9 = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 4), (2, 4), (10, 2), (14, 2), (22, 4), (21, 4)]
_IPFIX = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 4), (2, 4), (10, 2), (14, 2), (152, 8), (153, 8)]
_COMMON = [
    ("source", ">u4"),
    ("destination", ">u4"),
    ("source_port", ">u2"),
    ("destination_port", ">u2"),
    ("protocol", "u1"),
    ("flags", "u1"),
    ("octets", ">u4"),
    ("packets", ">u4"),
    ("ingress", ">u2"),
    ("egress", ">u2"),
]
_WIRE9 = np.dtype([*_COMMON, ("start", ">u4"), ("end", ">u4")])
_WIRE10 = np.dtype([*_COMMON, ("start", ">u8"), ("end", ">u8")])


class Exporter:
    """One router: keeps its sequence number, sends its template with the first datagram and every 20th."""

    def __init__(self, version: int, domain: int, boot: int) -> None:
        if version not in (9, 10):
            raise ValueError(f"version {version}: 9 or 10")
        self.version, self.domain, self.boot = version, domain, boot
        self._sequence = 0
        self._sent = 0

    def datagrams(self, flows: Array) -> Iterator[tuple[int, bytes]]:
        """(export time in microseconds, datagram) for flows in order of their end; shape (n,) of dtype FLOW."""
        flows = np.sort(flows, order="end", kind="stable")
        for first in range(0, len(flows), PER_DATAGRAM):
            part = flows[first : first + PER_DATAGRAM]
            moment = int(part["end"][-1]) + 1_000_000
            yield moment, self._datagram(part, moment)

    def _datagram(self, flows: Array, moment: int) -> bytes:
        template = self._template() if self._sent % 20 == 0 else b""
        self._sent += 1
        records = self._records(flows)
        data = struct.pack(">HH", _TEMPLATE, 4 + len(records)) + records
        if self.version == 9:
            uptime = (moment - self.boot) // 1000
            count = len(flows) + bool(template)
            header = struct.pack(
                ">HHIIII", 9, count, uptime & 0xFFFFFFFF, moment // 1_000_000, self._sequence, self.domain
            )
            self._sequence += 1
        else:
            length = 16 + len(template) + len(data)
            header = struct.pack(">HHIII", 10, length, moment // 1_000_000, self._sequence, self.domain)
            self._sequence += len(flows)
        return header + template + data

    def _template(self) -> bytes:
        fields = _V9 if self.version == 9 else _IPFIX
        body = struct.pack(">HH", _TEMPLATE, len(fields)) + b"".join(struct.pack(">HH", *field) for field in fields)
        return struct.pack(">HH", 0 if self.version == 9 else 2, 4 + len(body)) + body

    def _records(self, flows: Array) -> bytes:
        wire: Any = np.zeros(len(flows), _WIRE9 if self.version == 9 else _WIRE10)
        for name, _ in _COMMON:
            wire[name] = flows[name]
        for name in ("start", "end"):
            wire[name] = (flows[name] - self.boot) // 1000 if self.version == 9 else flows[name] // 1000
        raw: bytes = wire.tobytes()
        return raw + b"\0" * (-len(raw) % 4) if self.version == 9 else raw
