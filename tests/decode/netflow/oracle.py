"""A slow decoder of NetFlow v9 and IPFIX, one value at a time, from the RFCs: what the kernels must agree with."""

from __future__ import annotations

import ipaddress
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from csirt.decode.netflow.elements import ElementTable, shipped

LAST = 253_402_300_799_999_999


def text(us: int) -> str | None:
    """Microseconds as ISO 8601, None for what no calendar holds."""
    if not 0 < us <= LAST:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{us % 1_000_000:06d}" if us % 1_000_000 else "") + "Z"


def value(kind: str, raw: bytes) -> Any:
    """One field's value as JSON has it; None where there is none."""
    number = int.from_bytes(raw, "big")
    if kind.startswith("unsigned"):
        return number
    if kind.startswith("signed"):
        return int.from_bytes(raw, "big", signed=True)
    if kind.startswith("float"):
        got = struct.unpack(">f" if len(raw) == 4 else ">d", raw)[0]
        return got if got - got == 0 else None
    if kind == "boolean":
        return {1: True, 2: False}.get(number)
    if kind == "macAddress":
        return ":".join(f"{item:02x}" for item in raw)
    if kind in ("ipv4Address", "ipv6Address"):
        return str(ipaddress.ip_address(raw))
    if kind == "string":
        return raw.rstrip(b"\0").decode("utf-8", "replace")
    if kind == "dateTimeSeconds":
        return text(number * 1_000_000)
    if kind == "dateTimeMilliseconds":
        return text(number * 1_000)
    if kind in ("dateTimeMicroseconds", "dateTimeNanoseconds"):
        era = 1 << 32 if 0 < number < 1 << 63 else 0  # RFC 4330, 3: without the top bit it is after 2036
        return text(((number >> 32) + era - 2_208_988_800) * 1_000_000 + ((number & 0xFFFFFFFF) * 1_000_000 >> 32))
    return raw.hex()


def fits(kind: str, length: int) -> bool:
    """Whether a length can carry the type; else the field is an unknown one."""
    if kind.startswith(("unsigned", "signed")) or kind in ("dateTimeSeconds", "dateTimeMilliseconds"):
        return length <= 8
    lengths = {
        "float32": (4, 8), "float64": (4, 8), "boolean": (1,), "macAddress": (6,), "ipv4Address": (4,),
        "ipv6Address": (16,), "dateTimeMicroseconds": (8,), "dateTimeNanoseconds": (8,),
    }  # fmt: skip
    return length in lengths.get(kind, (length,))


class Oracle:
    """Decodes datagrams of one exporter. `records`: (frame, record number in the datagram, raw elements)."""

    def __init__(self, table: ElementTable | None = None) -> None:
        self.table = table or shipped()
        self.templates: dict[tuple[int, int, int], tuple[bool, int, list[tuple[int, int, int]]]] = {}
        self.waiting: dict[tuple[int, int, int], list[tuple[int, int, bytes]]] = {}
        self.records: list[tuple[int, int, dict[str, Any]]] = []

    def read(self, frame: int, raw: bytes) -> None:
        """One datagram of well-formed sets."""
        version = struct.unpack_from(">H", raw)[0]
        at, domain = (
            (20, struct.unpack_from(">I", raw, 16)[0]) if version == 9 else (16, struct.unpack_from(">I", raw, 12)[0])
        )
        base = 0
        while at + 4 <= len(raw):
            number, length = struct.unpack_from(">HH", raw, at)
            body = raw[at + 4 : at + length]
            at += length
            if number in (0, 2):
                self._template(version, domain, body)
            elif number >= 256:
                key = (version, domain, number)
                if key in self.templates:
                    base += self._data(frame, base, key, body)
                else:
                    self.waiting.setdefault(key, []).append((frame, base, body))
                    base += len(body)

    def _template(self, version: int, domain: int, body: bytes) -> None:
        at = 0
        while at + 4 <= len(body):
            number, count = struct.unpack_from(">HH", body, at)
            if number < 256:
                break
            at += 4
            key = (version, domain, number)
            if not count:
                self.templates.pop(key, None)
                continue
            fields = []
            for _ in range(count):
                ident, length = struct.unpack_from(">HH", body, at)
                at += 4
                pen = 0
                if version == 10 and ident & 0x8000:
                    pen = struct.unpack_from(">I", body, at)[0]
                    ident &= 0x7FFF
                    at += 4
                fields.append((pen, ident, length))
            self.templates[key] = (False, 0, fields)
            for frame, base, waiting in self.waiting.pop(key, []):
                self._data(frame, base, key, waiting)

    def _data(self, frame: int, base: int, key: tuple[int, int, int], body: bytes) -> int:
        fields = self.templates[key][2]
        least = sum(1 if length == 65535 else length for _, _, length in fields)
        at = count = 0
        while len(body) - at >= least:
            found: dict[str, Any] = {}
            seen: dict[str, int] = {}
            for pen, ident, length in fields:
                size = length
                if length == 65535:
                    if at >= len(body):
                        return count
                    size = body[at]
                    at += 1
                    if size == 255:
                        size = int.from_bytes(body[at : at + 2], "big")
                        at += 2
                if at + size > len(body):
                    return count
                raw = body[at : at + size]
                at += size
                element = self.table.find(key[0], pen, ident)
                kind = element.type if fits(element.type, length) else "octetArray"
                name = element.name if fits(element.type, length) else f"e{pen}_{ident}"
                if not length or name in self.table.padding or name in self.table.private:
                    continue
                seen[name] = seen.get(name, 0) + 1
                name += f"_{seen[name]}" if seen[name] > 1 else ""
                got = value(kind, raw)
                if got is not None:
                    found[name] = got
            self.records.append((frame, base + count, found))
            count += 1
        return count
