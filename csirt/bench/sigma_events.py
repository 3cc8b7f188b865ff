"""Events of a small world, made by a seed, with flat field names of Sigma's taxonomy."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence
from typing import Any

LISTS = frozenset({"recipient", "attachment"})
_NUMBERS = "ts src_port dst_port bytes packets sc-status cs-bytes sc-bytes size ProcessId ParentProcessId EventID"
NUMBERS = frozenset(_NUMBERS.split())
Event = dict[str, Any]


class World:
    """The hosts, names and people events are about."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)  # noqa: S311
        self.hosts = [
            f"10.{chance.randint(0, 30)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}" for _ in range(3000)
        ]
        self.hosts += [f"fd00:{chance.randint(1, 9999):x}::{chance.randint(1, 65535):x}" for _ in range(200)]
        self.outside = [str(ipaddress.ip_address(chance.randint(0x0B000000, 0xDF000000))) for _ in range(20_000)]
        ends = ["com", "net", "org", "no", "de", "io", "cloud", "health"]
        self.domains = [f"{self.word(5, 14)}.{chance.choice(ends)}" for _ in range(15_000)]
        self.agents = [
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/{chance.randint(70, 130)}.0."
            f"{chance.randint(1000, 6000)}.{chance.randint(10, 200)} Safari/537.36"
            for _ in range(300)
        ]
        self.paths = ["/" + "/".join(self.word(3, 9) for _ in range(chance.randint(1, 4))) for _ in range(3000)]
        self.users = [f"{self.word(4, 7)}.{self.word(5, 9)}" for _ in range(2000)]
        self.programs = [f"C:\\Program Files\\{self.word()}\\{self.word()}.exe" for _ in range(400)] + [
            f"C:\\Windows\\System32\\{name}.exe" for name in ("svchost", "cmd", "powershell", "rundll32", "explorer")
        ]
        self.keys = [f"HKLM\\SOFTWARE\\{self.word().capitalize()}\\{self.word().capitalize()}" for _ in range(2000)]

    def word(self, least: int = 4, most: int = 10) -> str:
        """Letters that mean nothing."""
        return "".join(self.chance.choices("abcdefghijklmnopqrstuvwxyz", k=self.chance.randint(least, most)))

    def common(self, among: Sequence[str]) -> str:
        """One of them, the first ones far more often."""
        return among[min(int(len(among) * self.chance.random() ** 3), len(among) - 1)]

    def name(self) -> str:
        """A domain name, sometimes one nobody has seen."""
        if self.chance.random() < 0.1:
            return f"{self.word(8, 24)}.{self.common(self.domains)}"
        return f"{self.chance.choice(['www', 'api', 'cdn', 'mail', 'login'])}.{self.common(self.domains)}"


def _flow(w: World) -> Event:
    chance = w.chance
    return {
        "dst_ip": w.common(w.outside if chance.random() < 0.5 else w.hosts),
        "src_port": chance.randint(1024, 65535),
        "dst_port": chance.choice([443, 443, 443, 80, 53, 445, 389, 88, 22, 3389, 8080, 25, chance.randint(1, 65535)]),
        "proto": chance.choice(["tcp", "tcp", "udp", "icmp"]),
        "bytes": int(chance.paretovariate(0.8) * 80),
        "packets": int(chance.paretovariate(1.0)),
        "action": chance.choice(["accept", "accept", "forward", "blocked", "deny"]),
    }


def _dns(w: World) -> Event:
    chance = w.chance
    return {
        "query": w.name(),
        "record_type": chance.choice(["A", "A", "AAAA", "TXT", "MX", "PTR", "CNAME"]),
        "rcode": chance.choice(["NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL"]),
        "answer": w.common(w.outside),
        "dst_port": 53,
    }


def _proxy(w: World) -> Event:
    chance = w.chance
    host, path = w.name(), f"{w.common(w.paths)}.{chance.choice(['html', 'js', 'php', 'json', 'zip', 'exe'])}"
    query = f"id={chance.getrandbits(48):x}&s={w.word()}" if chance.random() < 0.6 else ""
    return {
        "c-uri": f"http://{host}{path}" + (f"?{query}" if query else ""),
        "c-uri-stem": path,
        "c-uri-query": query,
        "cs-host": host,
        "cs-method": chance.choice(["GET", "GET", "GET", "POST", "CONNECT"]),
        "c-useragent": w.common(w.agents),
        "sc-status": chance.choice([200, 200, 200, 304, 404, 302, 500]),
        "cs-bytes": chance.randint(100, 9000),
        "sc-bytes": int(chance.paretovariate(0.9) * 300),
        "dst_ip": w.common(w.outside),
    }


def _web(w: World) -> Event:
    chance = w.chance
    path = w.common(w.paths)
    return {
        "cs-uri-stem": path,
        "cs-uri-query": f"{path}?id={chance.getrandbits(40):x}" if chance.random() < 0.5 else path,
        "cs-method": chance.choice(["GET", "GET", "POST"]),
        "cs-user-agent": w.common(w.agents),
        "cs-referer": f"https://{w.name()}/",
        "sc-status": chance.choice([200, 200, 401, 403, 404, 500]),
    }


def _tls(w: World) -> Event:
    chance = w.chance
    name = w.name()
    return {
        "server_name": name,
        "version": chance.choice(["TLSv12", "TLSv13", "TLSv13", "TLSv10"]),
        "ja3": f"{int(chance.random() ** 3 * 400) * 0x9E3779B97F4A7C15 % (1 << 128):032x}",
        "subject": f"CN={name}",
        "issuer": f"CN={chance.choice(['R3', 'Health Root CA', 'E1'])},O={w.word()}",
        "dst_port": 443,
        "self_signed": chance.random() < 0.02,
    }


def _mail(w: World) -> Event:
    chance = w.chance
    return {
        "helo": f"mx.{w.common(w.domains)}",
        "sender": f"{w.common(w.users)}@{w.common(w.domains)}",
        "recipient": [f"{w.common(w.users)}@hospital.health" for _ in range(chance.choice([1, 1, 1, 2, 4]))],
        "mail_subject": " ".join(w.word(3, 8) for _ in range(chance.randint(2, 7))).capitalize(),
        "attachment": [
            f"{w.word()}.{chance.choice(['pdf', 'docx', 'zip'])}" for _ in range(chance.choice([0, 0, 1, 2]))
        ],
        "spf": chance.choice(["pass", "pass", "fail", "none"]),
        "size": chance.randint(900, 4_000_000),
        "relay_status": chance.choice(["sent", "sent", "deferred", "bounced"]),
    }


def _process(w: World) -> Event:
    chance = w.chance
    image, parent = w.common(w.programs), w.common(w.programs)
    return {
        "EventID": 1,
        "Image": image,
        "OriginalFileName": image.rpartition("\\")[2],
        "CommandLine": f'"{image}" '
        + " ".join(f"{chance.choice(['-', '/', ''])}{w.word()}" for _ in range(chance.randint(0, 6))),
        "ParentImage": parent,
        "ParentCommandLine": f'"{parent}"',
        "User": f"CORP\\{w.common(w.users)}",
        "IntegrityLevel": chance.choice(["Medium", "Medium", "High", "System"]),
        "ProcessId": chance.randint(4, 65_000),
        "Hashes": f"SHA256={chance.getrandbits(256):064X}",
    }


def _registry(w: World) -> Event:
    return {
        "EventID": 13,
        "EventType": "SetValue",
        "Image": w.common(w.programs),
        "TargetObject": f"{w.common(w.keys)}\\{w.word().capitalize()}",
        "Details": w.chance.choice(["DWORD (0x00000001)", "Binary Data", w.word()]),
    }


def _file(w: World) -> Event:
    return {
        "EventID": 11,
        "Image": w.common(w.programs),
        "TargetFilename": f"C:\\Users\\{w.common(w.users)}\\{w.word()}.{w.chance.choice(['tmp', 'docx', 'dll'])}",
        "User": f"CORP\\{w.common(w.users)}",
    }


_KINDS: list[tuple[float, str, Callable[[World], Event]]] = [
    (0.28, "flow", _flow),
    (0.18, "dns", _dns),
    (0.12, "proxy", _proxy),
    (0.06, "web", _web),
    (0.06, "tls", _tls),
    (0.05, "mail", _mail),
    (0.15, "process", _process),
    (0.05, "registry", _registry),
    (0.05, "file", _file),
]
# The kind of event a rule's log source is about.
_CATEGORIES = {
    "dns": "dns",
    "dns_query": "dns",
    "proxy": "proxy",
    "webserver": "web",
    "firewall": "flow",
    "network_connection": "flow",
    "tls": "tls",
    "mail": "mail",
    "process_creation": "process",
    "registry_set": "registry",
    "registry_event": "registry",
    "registry_add": "registry",
    "file_event": "file",
    "image_load": "file",
}


def event(world: World, when: float, kind: str = "") -> Event:
    """An event of everyday life at that time."""
    shares, names, makers = zip(*_KINDS, strict=True)
    place = names.index(kind) if kind in names else world.chance.choices(range(len(names)), shares)[0]
    return {"ts": round(when, 3), "src_ip": world.common(world.hosts), "kind": names[place], **makers[place](world)}


def attempt(world: World, rule: Event, when: float) -> Event:
    """An event that tries to satisfy a rule: every selection that is not a filter, with values made of the rule's."""
    found = event(world, when, _CATEGORIES.get(rule.get("logsource", {}).get("category", ""), ""))
    for name, selection in rule["detection"].items():
        if name in ("condition", "timeframe") or name.startswith("filter"):
            continue
        if isinstance(selection, list):
            plain = [str(item) for item in selection if isinstance(item, str | int)]
            maps = [item for item in selection if isinstance(item, dict)]
            if plain:
                found["message"] = f"log {world.chance.choice(plain).replace('*', '')} line"
            selection = world.chance.choice(maps) if maps else None
        for key, values in (selection or {}).items():
            _satisfy(world, found, str(key), values)
    return found


def _satisfy(world: World, found: Event, key: str, values: Any) -> None:
    name, *modifiers = key.split("|")
    listed = values if isinstance(values, list) else [values]
    if not name:
        found["message"] = " ".join(map(str, listed))
        return
    if not listed or listed[0] is None or {"re", "fieldref", "exists", "expand"} & set(modifiers):
        return
    value = world.chance.choice(listed)
    if "cidr" in modifiers:
        found[name] = str(ipaddress.ip_network(str(value), strict=False)[-1])
    elif {"gt", "gte", "lt", "lte"} & set(modifiers) and isinstance(value, int | float):
        found[name] = value + 1 if {"gt", "gte"} & set(modifiers) else value - 1
    elif "all" in modifiers:
        found[name] = f"aa {' bb '.join(map(str, listed))} zz"
    elif isinstance(value, str):
        found[name] = _text(world, value.replace("*", "x").replace("?", "y"), modifiers)
    else:
        found[name] = value


def _text(world: World, text: str, modifiers: Sequence[str]) -> str:
    if world.chance.random() < 0.5:
        text = text.upper()
    if "contains" in modifiers:
        return f"pre{text}post"
    if "startswith" in modifiers:
        return text + world.word()
    return world.word() + text if "endswith" in modifiers else text


def typed(event: Event, types: dict[str, type]) -> Event:
    """The event with one type per field, the one it was first seen with; a value that cannot have it is left out."""
    result: Event = {}
    for name, value in event.items():
        kind = types.setdefault(name, _type(name, value))
        if kind is list:
            result[name] = value if isinstance(value, list) else [str(value)]
        elif kind is str:
            result[name] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        elif kind is bool:
            if isinstance(value, bool):
                result[name] = value
        else:
            number = _number(value)
            if number is not None:
                result[name] = number
    return result


def _type(name: str, value: Any) -> type:
    if name in LISTS:
        return list
    if name in NUMBERS:
        return float
    return bool if isinstance(value, bool) else float if isinstance(value, int | float) else str


def _number(value: Any) -> int | float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
