"""Template and options-template records of NetFlow v9 (RFC 3954, 5.2, 6.1) and IPFIX (RFC 7011, 3.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter

from csirt.decode.netflow.elements import VARIABLE

MAX_FIELDS = 512  # real templates have fewer than 100; a datagram could claim 16,000
MAX_RECORD = 65_507  # no record longer than a UDP payload ever arrives
_ENTERPRISE = 0x8000
_LENGTH = itemgetter(2)  # of a field


@dataclass(frozen=True, slots=True)
class Signature:
    """What two templates must share to be decoded by one plan. `fields`: (enterprise number, id, length) in order, the
    first `scopes` of them scope fields; `options`: the records are options data. Its hash is taken once: it is looked
    up for every refresh."""

    version: int
    options: bool
    scopes: int
    fields: tuple[tuple[int, int, int], ...]
    _hash: int = field(init=False, repr=False, compare=False)
    _raw: bytes = field(init=False, repr=False, compare=False, default=b"")

    def __post_init__(self) -> None:
        """Hash it."""
        object.__setattr__(self, "_hash", hash((self.version, self.options, self.scopes, self.fields)))

    def __hash__(self) -> int:
        return self._hash

    def raw(self) -> bytes:
        """It as numbers with commas between them and a list of those of its fields: what the state says of it."""
        if not self._raw:
            numbers = ",".join(str(value) for one in self.fields for value in one)
            text = f"{self.version},{'true' if self.options else 'false'},{self.scopes},[{numbers}]"
            object.__setattr__(self, "_raw", text.encode())
        return self._raw

    @property
    def least(self) -> int:
        """The octets of the shortest record."""
        lengths: list[int] = list(map(_LENGTH, self.fields))
        return sum(lengths) - lengths.count(VARIABLE) * (VARIABLE - 1)


@dataclass(frozen=True, slots=True)
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
        fields = tuple(zip(repeat(0), words[at:end:2], words[at + 1 : end : 2], strict=False))
        at = end
        signature = Signature(9, options, scopes, fields)
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
    end = at + 2 * count
    if end <= len(words) and max(words[at:end:2]) < _ENTERPRISE:
        return tuple(zip(repeat(0), words[at:end:2], words[at + 1 : end : 2], strict=False)), end
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
