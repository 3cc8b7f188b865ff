"""Template and options-template records of NetFlow v9 (RFC 3954, 5.2, 6.1) and IPFIX (RFC 7011, 3.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

from csirt.decode.netflow.elements import VARIABLE

MAX_FIELDS = 512  # real templates have fewer than 100; a datagram could claim 16,000
MAX_RECORD = 65_507  # no record longer than a UDP payload ever arrives
_ENTERPRISE = 0x8000


class Signature:
    """What two templates must share to be decoded by one plan; never changed. `fields`: (enterprise number, id, length)
    in order, the first `scopes` of them scope fields, `count` in all; `options`: the records are options data; `least`:
    the octets of the shortest record.

    It is kept as the octets that announced it, for most are only compared: four a field, or eight, with the enterprise
    number first, where there is any."""

    __slots__ = ("_fields", "_hash", "_raw", "count", "least", "octets", "options", "scopes", "version")

    def __init__(self, version: int, options: bool, scopes: int, fields: tuple[tuple[int, int, int], ...]) -> None:
        wide = any(pen for pen, _, _ in fields)
        numbers = [number for field in fields for number in (field if wide else field[1:])]
        octets = struct.pack(">" + ("IHH" if wide else "HH") * len(fields), *numbers)
        self._keep(version, options, scopes, octets, len(fields), _least([length for _, _, length in fields]))

    @classmethod
    def announced(cls, version: int, options: bool, scopes: int, octets: bytes, words: tuple[int, ...]) -> Signature:
        """Of fields without enterprise numbers, as octets and as numbers of two octets."""
        self = cls.__new__(cls)
        self._keep(version, options, scopes, octets, len(words) // 2, _least(words[1::2]))
        return self

    def _keep(self, version: int, options: bool, scopes: int, octets: bytes, count: int, least: int) -> None:
        self.version, self.options, self.scopes = version, options, scopes
        self.octets, self.count, self.least = octets, count, least
        self._hash = hash((version, options, scopes, count, octets))
        self._fields: tuple[tuple[int, int, int], ...] | None = None
        self._raw = b""

    @property
    def narrow(self) -> bool:
        """Whether no field has an enterprise number."""
        return len(self.octets) == 4 * self.count

    @property
    def fields(self) -> tuple[tuple[int, int, int], ...]:
        """(enterprise number, id, length) of each."""
        if self._fields is None:
            if self.narrow:
                words = _words(self.octets)
                self._fields = tuple(zip(repeat(0), words[::2], words[1::2], strict=False))
            else:
                self._fields = tuple(struct.iter_unpack(">IHH", self.octets))
        return self._fields

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Signature)
            and self.octets == other.octets
            and (self.version, self.options, self.scopes, self.count)
            == (other.version, other.options, other.scopes, other.count)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Signature({self.version}, {self.options}, {self.scopes}, {self.fields})"

    def raw(self) -> bytes:
        """It as numbers with commas between them and a list of those of its fields: what the state says of it."""
        if not self._raw:
            numbers = ",".join(str(value) for one in self.fields for value in one)
            self._raw = f"{self.version},{'true' if self.options else 'false'},{self.scopes},[{numbers}]".encode()
        return self._raw


def _least(lengths: Sequence[int]) -> int:
    """The octets of the shortest record with fields of these lengths."""
    return sum(lengths) - lengths.count(VARIABLE) * (VARIABLE - 1)


@dataclass(slots=True)  # frozen ones take four times as long to make
class Definition:
    """One template record. `signature` None: the template is withdrawn; `template` 0 then means all of that kind."""

    template: int
    signature: Signature | None
    options: bool


def parse(version: int, set_id: int, body: bytes, most: int = 512) -> tuple[list[Definition], int]:
    """The template records of one set, at most `most`, and how many were broken; never raises.

    A broken record ends the set, for nothing says where the next one starts. One more than `most` counts as broken.
    """
    if version == 9:
        return _nine(body, set_id == 1, most)
    return _ipfix(body, set_id == 3, most)


def _words(body: bytes) -> tuple[int, ...]:
    """A set as numbers of two octets; an odd octet at its end is no part of a record."""
    return struct.unpack_from(f">{len(body) // 2}H", body)


def _nine(body: bytes, options: bool, most: int) -> tuple[list[Definition], int]:
    found: list[Definition] = []
    words = _words(body)
    at, head = 0, 3 if options else 2
    while 2 * head <= len(body) - 2 * at:
        template, count = words[at], words[at + 1]
        if template == 0 and not any(body[2 * at :]):
            break  # padding
        if len(found) == most:
            return found, 1
        scopes = 0
        if options:
            scope_octets, option_octets = count, words[at + 2]
            if scope_octets % 4 or option_octets % 4:
                return found, 1
            scopes, count = scope_octets // 4, (scope_octets + option_octets) // 4
        at += head
        end = at + 2 * count
        if template < 256 or not 0 < count <= MAX_FIELDS or end > len(words):
            return found, 1
        signature = Signature.announced(9, options, scopes, body[2 * at : 2 * end], words[at:end])
        at = end
        if not 0 < signature.least <= MAX_RECORD:
            return found, 1
        found.append(Definition(template, signature, options))
    return found, 0


def _ipfix(body: bytes, options: bool, most: int) -> tuple[list[Definition], int]:
    found: list[Definition] = []
    words = _words(body)
    at = 0
    while len(body) - 2 * at >= 4:
        template, count = words[at], words[at + 1]
        if template == 0 and not any(body[2 * at :]):
            break  # padding
        if len(found) == most:
            return found, 1
        at += 2
        if count == 0:  # withdrawal; the id of the set itself withdraws all of its kind (8.1)
            if template < 256 and template != (3 if options else 2):
                return found, 1
            found.append(Definition(0 if template < 256 else template, None, options))
            continue
        scopes = 0
        if options:
            scopes = words[at] if at < len(words) else 0
            at += 1
        if template < 256 or count > MAX_FIELDS or (options and not 0 < scopes <= count):
            return found, 1
        end = at + 2 * count
        if end <= len(words) and max(words[at:end:2]) < _ENTERPRISE:
            signature = Signature.announced(10, options, scopes, body[2 * at : 2 * end], words[at:end])
            at = end
        else:
            fields, at = _fields(words, at, count)
            if not fields:
                return found, 1
            signature = Signature(10, options, scopes, fields)
        if not 0 < signature.least <= MAX_RECORD:
            return found, 1
        found.append(Definition(template, signature, options))
    return found, 0


def _fields(words: tuple[int, ...], at: int, count: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """The field specifiers from `at` on, none where they are cut short, and where they end."""
    fields: list[tuple[int, int, int]] = []
    for _ in range(count):
        if at + 2 > len(words):
            return (), at
        number, length = words[at], words[at + 1]
        at += 2
        pen = 0
        if number & _ENTERPRISE:
            if at + 2 > len(words):
                return (), at
            pen = words[at] << 16 | words[at + 1]
            number &= ~_ENTERPRISE
            at += 2
        fields.append((pen, number, length))
    return tuple(fields), at
