"""sFlow read the slow way, straight from the specification: the events the kernels must give. No product code."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Any

GENERIC = (
    "index", "type", "speed", "direction", "status", "in.bytes", "in.unicast", "in.multicast", "in.broadcast",
    "in.discards", "in.errors", "in.unknown_protocols", "out.bytes", "out.unicast", "out.multicast", "out.broadcast",
    "out.discards", "out.errors", "promiscuous",
)  # fmt: skip
ETHERNET = (
    "alignment_errors", "fcs_errors", "single_collisions", "multiple_collisions", "sqe_test_errors", "deferred",
    "late_collisions", "excessive_collisions", "internal_transmit_errors", "carrier_sense_errors", "frames_too_long",
    "internal_receive_errors", "symbol_errors",
)  # fmt: skip
TAGS = (0x8100, 0x88A8, 0x9100)
PORTED = (6, 17, 33, 132, 136)
EXTENSIONS = (0, 43, 60, 135, 139, 140)


class Short(Exception):
    """Fewer octets than the structure has."""


@dataclass
class Reader:
    """Big-endian numbers from octets, never past their end."""

    raw: bytes
    at: int = 0

    @property
    def left(self) -> int:
        """Octets not read yet."""
        return len(self.raw) - self.at

    def take(self, size: int) -> bytes:
        """The next octets."""
        if size > self.left:
            raise Short
        self.at += size
        return self.raw[self.at - size : self.at]

    def word(self) -> int:
        """The next 32-bit number."""
        return int.from_bytes(self.take(4), "big")

    def address(self) -> str | None:
        """An address with its type."""
        kind = self.word()
        if kind > 2:
            raise Short
        return str(ipaddress.ip_address(self.take((0, 4, 16)[kind]))) if kind else None

    def block(self) -> tuple[int, bytes, bool]:
        """(format, body, whether it was cut short) of a sample or a record."""
        kind, size = self.word(), self.word()
        body = self.raw[self.at : self.at + size]
        self.at = min(self.at + size + (-size % 4), len(self.raw))
        return kind, body, len(body) < size


@dataclass
class Oracle:
    """What one datagram holds: rows as flat dictionaries with their numbers, and the two counts."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    skipped: int = 0
    refused: bool = False
    behind: bool = False

    @staticmethod
    def read(raw: bytes) -> Oracle:
        """One datagram that begins with version 5."""
        found = Oracle()
        reader = Reader(raw, 4)
        try:
            agent = reader.address()
            if agent is None:
                raise Short
            common = {"agent": agent, "domain": reader.word(), "sequence": reader.word(), "uptime": reader.word()}
            samples = reader.word()
        except Short:
            return Oracle(refused=True)
        number = 0
        while number < samples and reader.left >= 8:
            found._sample(common, *reader.block())
            number += 1
        found.bad += number < samples
        if number >= samples:
            found.behind = any(raw[reader.at :])
            found.bad += found.behind
        return found

    def _sample(self, common: dict[str, Any], kind: int, body: bytes, cut: bool) -> None:
        reader = Reader(body)
        broken = kind in (1, 2, 3, 4) and len(body) < (32, 12, 44, 16)[kind - 1]
        self.bad += cut or broken
        if kind not in (1, 2, 3, 4):
            self.skipped += 1
            return
        if broken:
            return
        row: dict[str, Any] = {**common, "kind": "flow" if kind in (1, 3) else "flow_counters"}
        row["sample_sequence"] = reader.word()
        if kind <= 2:
            source = reader.word()
            row["source"] = source >> 24, source & 0xFFFFFF
        else:
            row["source"] = reader.word(), reader.word()
        if kind in (1, 3):
            row["rate"], row["pool"], row["drops"] = (reader.word() for _ in range(3))
            for end in ("ingress", "egress"):
                value = reader.word()
                form, value = (value, reader.word()) if kind == 3 else (value >> 30, value & 0x3FFFFFFF)
                if form == 0 and value in (0x3FFFFFFF, 0xFFFFFFFF):
                    row[end] = "local"
                elif form == 0:
                    row[end] = value or None
                else:
                    row[end] = ({1: "discarded", 2: "multiple"}.get(form, "unclear"), value)
        records = reader.word()
        done, seen = 0, set()
        while done < records and reader.left >= 8:
            number, part, short = reader.block()
            self.bad += short
            done += 1
            method = getattr(self, f"_{row['kind']}_{number}", None)
            if method is None or number in seen:
                self.skipped += 1
                continue
            seen.add(number)
            try:
                method(row, Reader(part))
            except Short:
                self.bad += not short
        self.bad += done < records
        self.skipped += done >= records and reader.left > 0
        row.setdefault("octets", row.pop("mac_length", row.get("ip_length")))
        row.pop("mac_length", None)
        row.pop("ip_length", None)
        self.rows.append(row)

    def _flow_counters_1(self, row: dict[str, Any], reader: Reader) -> None:
        numbers = struct.unpack(">IIQIIQIIIIIIQIIIIII", reader.take(88))
        for place, (name, value) in enumerate(zip(GENERIC, numbers, strict=True)):
            row[name] = None if value == 2 ** (64 if place in (2, 5, 12) else 32) - 1 else value

    def _flow_counters_2(self, row: dict[str, Any], reader: Reader) -> None:
        for name, value in zip(ETHERNET, struct.unpack(">13I", reader.take(52)), strict=True):
            row[f"ethernet.{name}"] = None if value == 2**32 - 1 else value

    def _flow_2(self, row: dict[str, Any], reader: Reader) -> None:
        body = Reader(reader.take(24))
        row["mac_length"] = body.word()
        for end in ("source.mac", "destination.mac"):
            row.setdefault(end, body.take(8)[:6].hex())
        row.setdefault("ethertype", body.word() & 0xFFFF)

    def _flow_3(self, row: dict[str, Any], reader: Reader, width: int = 4) -> None:
        body = Reader(reader.take(24 + 2 * width))
        length, protocol = body.word(), body.word() & 0xFF
        row["ip_length"] = length
        ends = [str(ipaddress.ip_address(body.take(width))) for _ in range(2)]
        if "source.ip" not in row:
            row["source.ip"], row["destination.ip"] = ends
        elif ipaddress.ip_address(row["source.ip"]).version != (4 if width == 4 else 6):
            return
        row.setdefault("protocol", protocol)
        source, destination, flags, tos = (body.word() for _ in range(4))
        if row["protocol"] == protocol and protocol in PORTED:
            row.setdefault("source.port", source & 0xFFFF)
            row.setdefault("destination.port", destination & 0xFFFF)
        if row["protocol"] == protocol == 6:
            row.setdefault("flags", flags & 0x1FF)
        row.setdefault("tos", tos & 0xFF)

    def _flow_4(self, row: dict[str, Any], reader: Reader) -> None:
        self._flow_3(row, reader, 16)

    def _flow_1001(self, row: dict[str, Any], reader: Reader) -> None:
        values = struct.unpack(">4I", reader.take(16))
        for name, value, limit in zip(("vlan_in", "p_in", "vlan_out", "p_out"), values, (4096, 8) * 2, strict=True):
            if value < limit:
                row[name] = value

    def _next(self, row: dict[str, Any], name: str, found: str | None) -> None:
        if found is not None:
            row.setdefault(name, found)

    def _flow_1002(self, row: dict[str, Any], reader: Reader) -> None:
        self._next(row, "next_hop", reader.address())
        row["masks"] = tuple(min(value, 255) for value in struct.unpack(">2I", reader.take(8)))

    def _flow_1003(self, row: dict[str, Any], reader: Reader) -> None:
        self._next(row, "bgp_next_hop", reader.address())
        _, row_as, peer, segments = struct.unpack(">4I", reader.take(16))
        row["source.as"], row["source.peer"] = row_as, peer
        last: int | None = None
        begun = False
        for _ in range(segments):
            kind, count = reader.word(), reader.word()
            items = struct.unpack(f">{count}I", reader.take(4 * count)) if 4 * count <= reader.left else self._short()
            if items:
                clear = kind == 2 or len(items) == 1
                if clear and not begun:
                    row["destination.peer"] = items[0]
                begun, last = True, items[-1] if clear else None
        if last is not None:
            row["destination.as"] = last

    def _short(self) -> tuple[int, ...]:
        raise Short

    def _flow_1006(self, row: dict[str, Any], reader: Reader) -> None:
        self._next(row, "next_hop", reader.address())
        count = reader.word()
        if 4 * count + 4 > reader.left:
            raise Short
        if count:
            row.setdefault("label", reader.word() >> 12)

    def _flow_1007(self, row: dict[str, Any], reader: Reader) -> None:
        self._next(row, "nat.source", reader.address())
        self._next(row, "nat.destination", reader.address())

    def _flow_1020(self, row: dict[str, Any], reader: Reader) -> None:
        ports = struct.unpack(">2I", reader.take(8))
        row["nat.ports"] = tuple(value & 0xFFFF for value in ports)

    def _flow_1029(self, row: dict[str, Any], reader: Reader) -> None:
        row["vni_out"] = reader.word()

    def _flow_1030(self, row: dict[str, Any], reader: Reader) -> None:
        row["vni_in"] = reader.word()

    def _flow_1(self, row: dict[str, Any], reader: Reader) -> None:
        protocol, row_octets, _, size = struct.unpack(">4I", reader.take(16))
        row["header_protocol"], row["octets"] = min(protocol, 255), row_octets
        packet = reader.raw[reader.at : reader.at + size]
        if protocol == 1 and len(packet) >= 14:
            row["destination.mac"], row["source.mac"] = packet[:6].hex(), packet[6:12].hex()
            self._ethernet(row, packet)
        elif protocol == 11:
            self._ip4(row, packet, row_octets)
        elif protocol == 12:
            self._ip6(row, packet, row_octets)
        elif protocol in (7, 14) and len(packet) >= 4:
            at = 2 if packet[:2] == b"\xff\x03" else 0
            rest = packet[at + 2 :]
            {0x0021: self._ip4, 0x0057: self._ip6}.get(int.from_bytes(packet[at : at + 2], "big"), _nothing)(
                row, rest, row_octets
            )
        elif protocol == 13:
            self._labels(row, packet)
        if len(packet) < size:
            raise Short

    def _labels(self, row: dict[str, Any], packet: bytes) -> None:
        for at in range(0, len(packet) - 3, 4):
            if at == 0:
                row["label"] = int.from_bytes(packet[:4], "big") >> 12
            if packet[at + 2] & 1:
                rest = packet[at + 4 :]
                {4: self._ip4, 6: self._ip6}.get(rest[0] >> 4 if rest else 0, _nothing)(row, rest, row["octets"])
                return

    def _ethernet(self, row: dict[str, Any], packet: bytes) -> None:
        kind, at, tags, label = int.from_bytes(packet[12:14], "big"), 14, [], None
        for _ in range(16):
            part = packet[at:]
            if kind in (*TAGS, 0x8847, 0x8848) and len(part) < 4:
                kind = -1
            elif kind in TAGS:
                tags.append(int.from_bytes(part[:2], "big") & 0xFFF)
                kind, at = int.from_bytes(part[2:4], "big"), at + 4
                continue
            elif kind in (0x8847, 0x8848):
                label, at = int.from_bytes(part[:4], "big") >> 12 if label is None else label, at + 4
                if not part[2] & 1:
                    continue
                kind = {4: 0x0800, 6: 0x86DD}.get(packet[at] >> 4, 0) if at < len(packet) else -1
            elif kind == 0x8864 and len(part) < 8:
                kind = -1
            elif kind == 0x8864:
                kind, at = {0x21: 0x0800, 0x57: 0x86DD}.get(int.from_bytes(part[6:8], "big"), 0), at + 8
                continue
            elif 0 < kind < 0x600 and len(part) < 8:
                kind = 0 if len(part) >= 3 and part[0] != 0xAA else -1
            elif 0 < kind < 0x600:
                snap = part[:3] == b"\xaa\xaa\x03" and kind >= 8
                kind, at = (int.from_bytes(part[6:8], "big"), at + 8) if snap else (0, at)
                if kind >= 0x600:
                    continue
                kind = 0
            break
        if label is not None:
            row["label"] = label
        for name, tag in zip(("vlan", "inner_vlan"), tags, strict=False):
            if tag:
                row[name] = tag
        if kind > 0:
            row["ethertype"] = kind
        original = max(row["octets"], len(packet)) - at
        {0x0800: self._ip4, 0x86DD: self._ip6}.get(kind, _nothing)(row, packet[at:], original)

    def _ip4(self, row: dict[str, Any], packet: bytes, original: int) -> None:
        size = (packet[0] & 15) * 4 if packet else 0
        total = int.from_bytes(packet[2:4], "big") or max(original, len(packet), size)
        if len(packet) < 20 or packet[0] >> 4 != 4 or size < 20 or total < size:
            return
        ends = packet[12:16], packet[16:20]
        row["source.ip"], row["destination.ip"] = (str(ipaddress.IPv4Address(item)) for item in ends)
        row["protocol"], row["tos"], row["ttl"] = packet[9], packet[1], packet[8]
        if not int.from_bytes(packet[6:8], "big") & 0x1FFF:
            self._transport(row, packet[size:total])

    def _ip6(self, row: dict[str, Any], packet: bytes, original: int) -> None:
        if len(packet) < 40 or packet[0] >> 4 != 6:
            return
        ends = packet[8:24], packet[24:40]
        row["source.ip"], row["destination.ip"] = (str(ipaddress.IPv6Address(item)) for item in ends)
        first = int.from_bytes(packet[:4], "big")
        row["tos"], row["flow_label"], row["ttl"] = first >> 20 & 0xFF, first & 0xFFFFF, packet[7]
        kind, total = packet[6], int.from_bytes(packet[4:6], "big") + 40
        if total == 40 and kind == 0:
            total = max(original, len(packet))
        at, packet, later = 40, packet[:total], False
        for _ in range(16):
            if (kind != 44 and kind not in EXTENSIONS) or at + 8 > len(packet):
                break
            follows = packet[at]
            if kind == 44:
                later = bool(int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8)
                at += 8
            else:
                at += (packet[at + 1] + 1) * 8
            kind = follows
            if later:
                break
        row["protocol"] = kind
        if not later:
            self._transport(row, packet[at:])

    def _transport(self, row: dict[str, Any], body: bytes) -> None:
        protocol = row["protocol"]
        if protocol in PORTED and len(body) >= 4:
            row["source.port"], row["destination.port"] = struct.unpack(">HH", body[:4])
        if protocol == 6 and len(body) >= 14:
            row["flags"] = int.from_bytes(body[12:14], "big") & 0x1FF
        if protocol in (1, 58) and len(body) >= 2:
            row["icmp"] = body[0], body[1]


def _nothing(row: dict[str, Any], packet: bytes, original: int) -> None:
    """What is no IP packet."""
