"""Template and options-template records of NetFlow v9 (RFC 3954, 5.2, 6.1) and IPFIX (RFC 7011, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from csirt.decode.netflow.elements import VARIABLE

MAX_FIELDS = 512  # real templates have fewer than 100; a datagram could claim 16,000
MAX_RECORD = 65_507  # no record longer than a UDP payload ever arrives
_ENTERPRISE = 0x8000


@dataclass(frozen=True, slots=True)
class Signature:
    """What two templates must share to be decoded by one plan. `fields`: (enterprise number, id, length) in order, the
    first `scopes` of them scope fields; `options`: the records are options data."""

    version: int
    options: bool
    scopes: int
    fields: tuple[tuple[int, int, int], ...]

    @property
    def least(self) -> int:
        """The octets of the shortest record."""
        return sum(1 if length == VARIABLE else length for _, _, length in self.fields)


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


def _word(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 2], "big")


def _nine(body: bytes, options: bool, most: int) -> tuple[list[Definition], int]:
    found: list[Definition] = []
    at, head = 0, 6 if options else 4
    while len(body) - at >= head:
        template, count = _word(body, at), _word(body, at + 2)
        if template == 0 and not any(body[at:]):
            break  # padding
        if len(found) == most:
            return found, 1
        scopes = 0
        if options:
            scope_octets, option_octets = count, _word(body, at + 4)
            if scope_octets % 4 or option_octets % 4:
                return found, 1
            scopes, count = scope_octets // 4, (scope_octets + option_octets) // 4
        at += head
        if template < 256 or not 0 < count <= MAX_FIELDS or at + 4 * count > len(body):
            return found, 1
        fields = tuple((0, _word(body, at + 4 * i), _word(body, at + 4 * i + 2)) for i in range(count))
        at += 4 * count
        signature = Signature(9, options, scopes, fields)
        if not 0 < signature.least <= MAX_RECORD:
            return found, 1
        found.append(Definition(template, signature, options))
    return found, 0


def _ipfix(body: bytes, options: bool, most: int) -> tuple[list[Definition], int]:
    found: list[Definition] = []
    at = 0
    while len(body) - at >= 4:
        template, count = _word(body, at), _word(body, at + 2)
        if template == 0 and not any(body[at:]):
            break  # padding
        if len(found) == most:
            return found, 1
        at += 4
        if count == 0:  # withdrawal; the id of the set itself withdraws all of its kind (8.1)
            if template < 256 and template != (3 if options else 2):
                return found, 1
            found.append(Definition(0 if template < 256 else template, None, options))
            continue
        scopes = 0
        if options:
            scopes = _word(body, at)
            at += 2
        if template < 256 or count > MAX_FIELDS or (options and not 0 < scopes <= count):
            return found, 1
        fields: list[tuple[int, int, int]] = []
        for _ in range(count):
            if at + 4 > len(body):
                return found, 1
            number, length = _word(body, at), _word(body, at + 2)
            at += 4
            pen = 0
            if number & _ENTERPRISE:
                if at + 4 > len(body):
                    return found, 1
                pen = int.from_bytes(body[at : at + 4], "big")
                number &= ~_ENTERPRISE
                at += 4
            fields.append((pen, number, length))
        signature = Signature(10, options, scopes, tuple(fields))
        if not 0 < signature.least <= MAX_RECORD:
            return found, 1
        found.append(Definition(template, signature, options))
    return found, 0
