"""Synthetic Sigma rules with the mixture of modifiers that public rules have."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable
from typing import Any

from csirt.bench.sigma_events import World

_TEXTS = {
    "dns": ["query"],
    "proxy": ["c-uri", "cs-host", "c-useragent", "c-uri-stem"],
    "webserver": ["cs-uri-query", "cs-user-agent"],
    "tls": ["server_name", "subject", "issuer", "ja3"],
    "mail": ["sender", "recipient", "mail_subject", "attachment", "helo"],
    "process_creation": ["CommandLine", "Image", "ParentImage", "ParentCommandLine", "OriginalFileName"],
    "registry_set": ["TargetObject", "Details", "Image"],
    "file_event": ["TargetFilename", "Image"],
}
_EXACT = {
    "dns": {"record_type": ["TXT", "PTR"], "rcode": ["NXDOMAIN"]},
    "proxy": {"cs-method": ["POST", "PUT"]},
    "tls": {"version": ["TLSv10"]},
    "mail": {"spf": ["fail"], "relay_status": ["bounced"]},
    "process_creation": {"IntegrityLevel": ["System", "High"]},
}
_NUMBERS = {
    "firewall": ["bytes", "packets"],
    "proxy": ["sc-status", "cs-bytes"],
    "mail": ["size"],
    "process_creation": ["ProcessId"],
}
_PRODUCTS = {"process_creation": "windows", "registry_set": "windows", "file_event": "windows"}
KINDS = ["dns", "proxy", "webserver", "tls", "mail", "firewall", "process_creation", "registry_set", "file_event"]


def synthetic(world: World, count: int) -> list[dict[str, Any]]:
    """So many rules; the same for the same world."""
    return [_rule(world, number) for number in range(count)]


def _rule(world: World, number: int) -> dict[str, Any]:
    chance = world.chance
    kind = chance.choice(KINDS)
    selection: dict[str, Any] = {}
    for index in range(chance.choice([1, 1, 2, 2, 3])):
        name, value = _item(world, kind, selective=index == 0)
        if name.split("|")[0] not in {known.split("|")[0] for known in selection}:
            selection[name] = value
    detection: dict[str, Any] = {"selection": selection}
    condition = "selection"
    if chance.random() < 0.2:
        name, value = _item(world, kind, selective=True)
        detection["selection2"] = {name: value}
        condition = "1 of selection*"
    if chance.random() < 0.3:
        detection["filter"] = {"src_ip|cidr": "10.0.0.0/16"} if chance.random() < 0.5 else {"User|startswith": "adm"}
        condition += " and not filter"
    return {
        "title": f"Synthetic {kind} {number}",
        "id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "status": "test",
        "logsource": {"category": kind} | ({"product": _PRODUCTS[kind]} if kind in _PRODUCTS else {}),
        "detection": detection | {"condition": condition},
        "level": chance.choice(["low", "medium", "high"]),
    }


def _item(world: World, kind: str, *, selective: bool) -> tuple[str, Any]:
    """(field with modifiers, value or values)."""
    chance = world.chance
    if kind == "firewall":
        return _flow(world)
    roll = chance.random()
    if not selective and roll < 0.12 and kind in _NUMBERS:
        return f"{chance.choice(_NUMBERS[kind])}|{chance.choice(['gt', 'gte'])}", chance.randint(10**5, 10**7)
    if not selective and roll < 0.25 and kind in _EXACT:
        name, values = chance.choice(sorted(_EXACT[kind].items()))
        return name, chance.choice(values)
    name = chance.choice(_TEXTS[kind])
    return _text(world, name, lambda: _literal(world, name))


def _text(world: World, name: str, literal: Callable[[], str]) -> tuple[str, Any]:
    chance = world.chance
    count = chance.choice([1, 1, 2, 3, 5, 10, 30])
    roll = chance.random()
    for share, modifiers, values in (
        (0.36, "|contains", count),
        (0.48, "|contains|all", 2 + count % 3),
        (0.74, "|endswith", count),
        (0.82, "|startswith", count),
    ):
        if roll < share:
            return name + modifiers, [literal() for _ in range(values)]
    word = world.word
    if roll < 0.86:
        low, high = chance.randint(25, 40), chance.randint(3, 6)
        patterns = [
            rf"^[a-z0-9]{{{low}}}\.",
            rf"{word(4, 6)}[0-9]{{{high},}}",
            rf"(?:{word()}|{word()})\.(?:{word(2, 3)})$",
        ]
        return f"{name}|re", chance.choice(patterns)
    if roll < 0.90:
        return name, [f"*{literal()}*{word(3, 5)}", f"{word()}?{word()}*"]
    return name, [literal() for _ in range(count * 3)]


def _literal(world: World, name: str) -> str:
    chance, word = world.chance, world.word
    text = word(5, 12)
    if name == "query":
        return f".{text}.{word(2, 3)}"
    if name in ("c-uri", "c-uri-stem"):
        return f"/{text}/{word()}.php"
    if name == "cs-uri-query":
        return f"{text}={word()}"
    if name == "ja3":
        return f"{chance.getrandbits(128):032x}"
    if name == "attachment":
        return f"{text}.{chance.choice(['exe', 'js', 'vbs', 'iso'])}"
    if name in ("Image", "ParentImage", "TargetFilename"):
        return f"\\{text}.{chance.choice(['exe', 'dll', 'ps1'])}"
    if name == "TargetObject":
        return f"\\{text.capitalize()}\\{word().capitalize()}"
    if name in ("CommandLine", "ParentCommandLine"):
        return f" {chance.choice('-/')}{text} "
    return text


def _flow(world: World) -> tuple[str, Any]:
    chance = world.chance
    roll = chance.random()
    if roll < 0.35:
        ranges = [_network(world) for _ in range(chance.randint(1, 5))]
        if chance.random() < 0.3:
            ranges.append(f"2001:db8:{chance.randint(1, 9999):x}::/48")
        return f"{chance.choice(['src_ip', 'dst_ip'])}|cidr", ranges
    if roll < 0.6:
        return "dst_port", [chance.randint(1024, 65535) for _ in range(chance.randint(1, 8))]
    if roll < 0.8:
        return f"{chance.choice(_NUMBERS['firewall'])}|{chance.choice(['gt', 'gte'])}", chance.randint(10**6, 10**8)
    return "dst_ip", [str(ipaddress.ip_address(chance.randint(0x0B000000, 0xDF000000))) for _ in range(12)]


def _network(world: World) -> str:
    chance = world.chance
    base = f"{chance.randint(11, 220)}.{chance.randint(0, 255)}.{chance.randint(0, 255)}.0"
    return str(ipaddress.ip_network(f"{base}/{chance.choice([16, 20, 24, 28])}", strict=False))
