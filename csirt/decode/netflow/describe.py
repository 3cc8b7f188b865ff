"""What the committed state knows of one exporter's address, for people."""

from __future__ import annotations

from typing import Any

from csirt.decode.netflow.elements import VARIABLE, ElementTable, shipped
from csirt.decode.netflow.sampling import FACE
from csirt.decode.netflow.state import Exporter, Held, State
from csirt.decode.netflow.templates import Signature
from csirt.model.address import from_text

NAMES = ("interface", "description", "vrf", "application", "sampler")


def describe(raw: bytes | None, address: str) -> list[dict[str, Any]]:
    """Every version and domain of the address: times in microseconds, templates, samplers, names, what is held."""
    state = State.load(raw)
    held = state.held if state.held.sets else state.unreadable  # sealed: how much it is is known, not what
    wanted = from_text(address)
    return [
        _exporter(number, item, held, shipped())
        for number, item in enumerate(state.exporters)
        if item.key[:3] == wanted
    ]


def _exporter(number: int, item: Exporter, held: Held, table: ElementTable) -> dict[str, Any]:
    return {
        "version": item.version,
        "domain": item.domain,
        "first": item.first,
        "heard": item.heard,
        "skew_s": round(item.skew / 1e6, 3),
        "templates": [
            {
                "id": ident,
                "options": signature.options,
                "refreshed": item.refreshed[ident][0],
                "fields": _fields(signature, table),
            }
            for ident, signature in sorted(item.templates.items())
        ],
        "samplers": [_sampler(ident, rate, item) for ident, rate in sorted(item.samplers.items())],
        "names": {
            kind: [{"id": _shown(kind, ident), "name": name} for ident, name in sorted(item.names[kind].items())]
            for kind in NAMES
            if item.names.get(kind)
        },
        "held": _held(number, held),
        "gaps": [{"first": first, "units": size} for first, size in _pairs(item.sequence.gaps)],
    }


def _fields(signature: Signature, table: ElementTable) -> list[dict[str, Any]]:
    nine = signature.version == 9
    found = []
    for place, (pen, ident, length) in enumerate(signature.fields):
        scope = place < signature.scopes
        element = table.scope(ident) if nine and scope else table.find(signature.version, pen, ident)
        found.append({"name": element.name, "length": None if length == VARIABLE else length, "scope": scope})
    return found


def _sampler(ident: int, rate: int, item: Exporter) -> dict[str, Any]:
    return {
        "id": ident if 0 <= ident < FACE else None,
        "interface": ident - FACE if ident >= FACE else None,
        "name": item.names.get("sampler", {}).get(ident),
        "rate": rate,
    }


def _shown(kind: str, ident: int) -> int | str:
    """An application's number as its octets, the others as they are."""
    return f"{ident & (1 << 56) - 1:0{2 * (ident >> 56)}x}" if kind == "application" else ident


def _held(number: int, held: Held) -> dict[str, Any]:
    mine = held.rows["exporter"] == number
    templates = sorted({int(ident) for ident in held.rows["template"][mine].tolist()})
    return {
        "sets": int(mine.sum()),
        "octets": int(held.rows["length"][mine].sum()),
        "since": int(held.rows["clock"][mine].min()) if mine.any() else None,
        "templates": templates,
    }


def _pairs(flat: list[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
