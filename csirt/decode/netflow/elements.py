"""The element tables of `parsers/netflow/`: what an id is called, its type, and which ECS column it fills."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from csirt.content import BadContent, Document, folder, read_yaml

_TYPES = (
    "octetArray unsigned8 unsigned16 unsigned32 unsigned64 signed8 signed16 signed32 signed64 float32 float64 boolean "
    "macAddress string dateTimeSeconds dateTimeMilliseconds dateTimeMicroseconds dateTimeNanoseconds ipv4Address "
    "ipv6Address basicList subTemplateList subTemplateMultiList"
)
TYPES = frozenset(_TYPES.split())
VARIABLE = 65535  # the length that says: the record says how long it is


@dataclass(frozen=True, slots=True)
class Element:
    """An information element: its name in snake_case and its abstract data type (RFC 7012, section 3.1)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The elements the decoder computes with, by role (`parsers/netflow/ecs.yml`)."""

    columns: dict[str, tuple[str, ...]]
    times: dict[str, tuple[str, ...]]
    sampling: dict[str, tuple[str, ...]]
    icmp: dict[str, tuple[str, ...]]
    direction: tuple[str, ...]
    names: dict[str, dict[str, tuple[str, ...]]]


class ElementTable:
    """All tables of one folder. Raises BadContent with file and line for a table that cannot be used."""

    def __init__(self, directory: Path) -> None:
        iana = _one(directory / "iana.yml")
        vendors = _one(directory / "enterprise.yml")
        nine = _one(directory / "netflow9.yml")
        ecs = _one(directory / "ecs.yml")
        self._known: dict[tuple[int, int], Element] = {
            (0, number): element for number, element in _elements(iana, ("elements",)).items()
        }
        reverse = int(vendors.value.get("reverse_of_iana", 0))
        self._known |= {
            (reverse, number): Element(f"reverse_{element.name}", element.type)
            for (_, number), element in list(self._known.items())
        }
        self._nine: dict[int, Element] = {}
        for pen, item in vendors.value["enterprises"].items():
            table = _elements(vendors, ("enterprises", pen, "elements"))
            if bit := int(item.get("reverse_bit", 0)):
                table |= {
                    number | bit: Element(_reverse(element.name), element.type) for number, element in table.items()
                }
            self._known |= {(int(pen), number): element for number, element in table.items()}
            if base := int(item.get("nine_base", 0)):
                self._nine |= {base + number: element for number, element in table.items()}
        self._nine |= _elements(nine, ("elements",))
        self._scopes = _elements(nine, ("scopes",))
        self.padding = frozenset(iana.value.get("padding", ()))
        self.private = frozenset(both for name in _listed("private", iana, vendors, nine) for both in _ways(name))
        self.headers: dict[str, str] = {
            both: cut for name, cut in iana.value.get("headers", {}).items() for both in _ways(name)
        }
        # Strings of which only a part is kept: "url" without its query, "user" not at all (docs/privacy.md).
        self.care: dict[str, str] = {
            both: kind
            for kind, key in (("url", "urls"), ("user", "users"))
            for name in _listed(key, iana, vendors, nine)
            for both in _ways(name)
        }
        value = ecs.value

        def roles(key: str) -> dict[str, tuple[str, ...]]:
            return {role: tuple(names) for role, names in value[key].items()}

        self.roles = Roles(
            roles("columns"), roles("times"), roles("sampling"), roles("icmp"), tuple(value["direction"]),
            {kind: {key: tuple(names) for key, names in role.items()} for kind, role in value["names"].items()},
        )  # fmt: skip
        by_name = {element.name: element for (pen, _), element in self._known.items() if pen == 0}
        self.fixed: dict[int, list[tuple[Element, int]]] = {}
        for version, layout in value["fixed"].items():
            pairs = (item.split() for item in layout)
            self.fixed[int(version)] = [(by_name[name], int(length)) for name, length in pairs]

    def find(self, version: int, pen: int, number: int) -> Element:
        """The element; one that no table has is an octet array named `e<PEN>_<id>`."""
        known = self._nine.get(number) if version == 9 and not pen else None
        return known or self._known.get((pen, number)) or unknown(pen, number)

    def scope(self, number: int) -> Element:
        """The scope field type of a NetFlow v9 options template."""
        return self._scopes.get(number) or unknown(0, number)


def unknown(pen: int, number: int) -> Element:
    """An element that no table has, or whose length does not fit its type."""
    return Element(f"e{pen}_{number}", "octetArray")


@cache
def shipped() -> ElementTable:
    """The tables that come with the package, read once."""
    return ElementTable(folder("parsers") / "netflow")


def _listed(key: str, *documents: Document) -> list[str]:
    return [str(name) for document in documents for name in document.value.get(key, ())]


def _reverse(name: str) -> str:
    """A vendor's element of the other direction: `cert_payload` and `cert_reverse_payload`."""
    return name.replace("_", "_reverse_", 1)


def _ways(name: str) -> tuple[str, str, str]:
    """An element and the same of the other direction, IANA's (RFC 5103) or a vendor's."""
    return name, f"reverse_{name}", _reverse(name)


def _one(path: Path) -> Document:
    documents = read_yaml(path)
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise BadContent(Document(str(path), None).problem((), "must hold one mapping", "see the shipped file"))
    return documents[0]


def _elements(document: Document, path: tuple[Any, ...]) -> dict[int, Element]:
    node = document.value
    for key in path:
        node = node[key]
    table: dict[int, Element] = {}
    for number, text in node.items():
        name, _, kind = str(text).partition(" ")
        if kind not in TYPES or not name.isidentifier() or not isinstance(number, int):
            raise BadContent(
                document.problem((*path, number), f"{text!r} is not `name type`", "use a type of RFC 7012")
            )
        table[number] = Element(name, kind)
    return table
