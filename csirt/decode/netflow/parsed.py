"""What sets of templates said, kept by their octets: exporters repeat the same sets every minute."""

from __future__ import annotations

from csirt.decode.netflow import limits
from csirt.decode.netflow.templates import Definition, Signature, parse

OCTETS = 512 << 10  # of sets in one generation; what is made of them weighs some twenty times as much
ENTRY = 64  # what a set counts beyond its octets

Kind = tuple[int, int, bytes]  # version, set id, octets
Said = tuple[list[Definition], int]


class Parsed:
    """A bounded memory of `parse`, in two generations: what is asked for again outlives a flood of what is not.

    Equal signatures are one object, so that comparing them is comparing addresses.
    """

    def __init__(self) -> None:
        self._young: dict[Kind, Said] = {}
        self._old: dict[Kind, Said] = {}
        self._octets = 0
        self._signatures: dict[Signature, Signature] = {}

    def read(self, version: int, set_id: int, body: bytes) -> Said:
        """The definitions of a set, and how many were broken. The list is shared: leave it as it is."""
        kind = (version, set_id, body)
        said = self._young.get(kind)
        if said is not None:
            return said
        said = self._old.get(kind)
        if said is None:
            found, broken = parse(*kind, limits.DEFINITIONS)
            said = [self._one(item) for item in found], broken
        self._octets += len(body) + ENTRY
        if self._octets > OCTETS:
            self._old, self._young, self._octets = self._young, {}, len(body) + ENTRY
            self._signatures = {}
        self._young[kind] = said
        return said

    def _one(self, item: Definition) -> Definition:
        if item.signature is None:
            return item
        item.signature = self._signatures.setdefault(item.signature, item.signature)
        return item
