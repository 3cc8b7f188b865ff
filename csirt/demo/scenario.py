"""An hour on a closed network of a dozen members: background, and one GP office's PC that goes wrong.

Everything is derived from a start time and a seed. Times are microseconds; addresses are 32-bit numbers.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from csirt.clock import HOUR, MINUTE, SECOND, iso
from csirt.demo.exporter import FLOW
from csirt.model.batch import Array


@dataclass(frozen=True)
class Member:
    """One member of the demo's network."""

    id: str
    name: str
    kind: str
    prefix: str
    her: int
    language: str = "nb"

    def host(self, number: int) -> int:
        """The address of its n-th host."""
        return int(ipaddress.ip_network(self.prefix)[number])


MEMBERS = (
    Member("m001", "Fjordby sykehus HF", "hospital", "10.21.0.0/16", 910011),
    Member("m002", "Nordlys laboratorium", "laboratory", "10.22.0.0/20", 910022),
    Member("m010", "Bakkevik kommune", "municipality", "10.41.0.0/20", 910101),
    Member("m011", "Elvestad kommune", "municipality", "10.42.0.0/20", 910112),
    Member("m012", "Steinøy kommune", "municipality", "10.43.0.0/20", 910123),
    Member("m020", "Solsiden legekontor", "gp", "10.31.0.0/24", 910170),
    Member("m021", "Torget legesenter", "gp", "10.32.0.0/24", 910181),
    Member("m022", "Havna legekontor", "gp", "10.33.0.0/24", 910192, "en"),
    Member("m030", "Tannhelse Bakkevik", "dental", "10.51.0.0/24", 910303),
    Member("m040", "Apotek Sentrum", "pharmacy", "10.61.0.0/24", 910404),
    Member("m050", "AMK Fjordby", "amk", "10.71.0.0/24", 910505),
    Member("m060", "Fjernhjelp Drift AS", "supplier", "10.81.0.0/24", 910606),
)
BY_ID = {member.id: member for member in MEMBERS}
PATIENT_ZERO = BY_ID["m020"]
VICTIMS = (BY_ID["m010"], BY_ID["m030"])

COMMON = "10.5.0.0/24"
RELAY, RESOLVER, GATEWAY, REGISTER = (int(ipaddress.ip_address(f"10.5.0.{n}")) for n in (25, 53, 1, 80))
INFECTED = PATIENT_ZERO.host(77)
OUTSIDE = int(ipaddress.ip_address("203.0.113.66"))
FOREIGN_DOMAIN = "updates.example.net"
EDI_DOMAIN = "edi.helsenett.example"
EDGES = ("127.0.0.11", "127.0.0.12")  # the exporters' addresses: loopback, one per router


@dataclass
class Scenario:
    """What each sensor will see. `flows`: per router, (n,) of FLOW. `lines`: (time, log name, line without end)."""

    start: int
    flows: list[Array]
    lines: list[tuple[int, str, str]] = field(default_factory=list)
    capture: dict[str, Any] = field(default_factory=dict)
    capture_at: int = 0


def build(start: int, *, seed: int = 7, background: int = 24_000) -> Scenario:
    """The hour from `start`; `background` flows between members and the common services."""
    rng = np.random.default_rng(seed)
    quiet = _background(rng, start, background)
    attack = _attack(rng, start)
    # Router 1 serves the GP offices and dental clinics, router 2 the rest; a flow leaves by its source's router.
    everything = np.concatenate([quiet, attack])
    small = (everything["source"] >> 16 & 0xFF) >= 0x1F
    flows = [everything[small], everything[~small]]
    scenario = Scenario(start, flows)
    scenario.lines = sorted(_postfix(rng, start) + _handler(rng, start), key=lambda item: item[0])
    text = str(ipaddress.ip_address(INFECTED))
    scenario.capture_at = start + 26 * MINUTE
    scenario.capture = {
        "start_us": start + 24 * MINUTE,
        "client": text,
        "resolver": "198.51.100.53",
        "web": str(ipaddress.ip_address(OUTSIDE)),
        "names": [f"n{number}.{FOREIGN_DOMAIN}" for number in range(8)],
    }
    return scenario


def _rows(count: int) -> Array:
    rows = np.zeros(count, FLOW)
    rows["protocol"], rows["flags"], rows["ingress"], rows["egress"] = 6, 0x1B, 1, 2
    return rows


def _timed(rng: np.random.Generator, rows: Array, start: int, least: int, most: int, lasting: int) -> Array:
    """Give rows starts between `least` and `most` and durations up to `lasting`."""
    rows["start"] = start + rng.integers(least, most, len(rows))
    rows["end"] = rows["start"] + rng.integers(20_000, lasting, len(rows))
    return rows


def _background(rng: np.random.Generator, start: int, count: int) -> Array:
    """Members use the common services and their agreed partners; nothing a rule should mind."""
    rows = _rows(count)
    clients = np.array([member.host(10 + n) for member in MEMBERS for n in range(20)], np.uint32)
    rows["source"] = rng.choice(clients, count)
    services = np.array([RELAY, RESOLVER, REGISTER, BY_ID["m001"].host(30)], np.uint32)
    ports = np.array([25, 53, 443, 443], np.uint16)
    choice = rng.choice(4, count, p=[0.1, 0.4, 0.3, 0.2])
    rows["destination"], rows["destination_port"] = services[choice], ports[choice]
    rows["protocol"] = np.where(choice == 1, 17, 6)
    rows["flags"] = np.where(choice == 1, 0, 0x1B)
    rows["source_port"] = rng.integers(32_768, 60_999, count)
    rows["packets"] = rng.integers(2, 60, count)
    rows["octets"] = rows["packets"] * rng.integers(60, 900, count)
    rows = _timed(rng, rows, start, 0, HOUR - 30 * SECOND, 20 * SECOND)
    back = rows[: count // 2].copy()  # answers, one-way records of their own
    back["source"], back["destination"] = rows["destination"][: count // 2], rows["source"][: count // 2]
    back["source_port"], back["destination_port"] = (
        rows["destination_port"][: count // 2],
        rows["source_port"][: count // 2],
    )
    return np.concatenate([rows, back])


def _attack(rng: np.random.Generator, start: int) -> Array:
    """Remote-desktop and shell probes, the SMB fan-out, two footholds, then out of the net."""
    probes = _rows(40)
    probes["destination"] = [victim.host(5 + n) for n in range(20) for victim in VICTIMS]
    probes["destination_port"] = np.where(np.arange(40) % 2, 3389, 22)
    probes["flags"], probes["packets"], probes["octets"] = 2, 2, 96
    probes = _timed(rng, probes, start, 10 * MINUTE, 12 * MINUTE, SECOND)
    worm = _rows(80)
    worm["destination"] = [victim.host(5 + n) for n in range(40) for victim in VICTIMS]
    worm["destination_port"] = 445
    worm["packets"], worm["octets"] = 4, 320
    worm = _timed(rng, worm, start, 20 * MINUTE, 20 * MINUTE + 40 * SECOND, SECOND)
    spread = _rows(2)
    spread["destination"] = [victim.host(12) for victim in VICTIMS]
    spread["destination_port"] = 445
    spread["packets"], spread["octets"] = 900, 1_100_000
    spread = _timed(rng, spread, start, 22 * MINUTE, 23 * MINUTE, 40 * SECOND)
    out = _rows(12)
    out["destination"], out["destination_port"] = OUTSIDE, 443
    out["packets"], out["octets"] = 12, 4_200
    out = _timed(rng, out, start, 25 * MINUTE, 50 * MINUTE, 20 * SECOND)
    names = _rows(8)
    names["destination"], names["destination_port"] = int(ipaddress.ip_address("198.51.100.53")), 53
    names["protocol"], names["flags"], names["packets"], names["octets"] = 17, 0, 1, 70
    names = _timed(rng, names, start, 24 * MINUTE, 40 * MINUTE, SECOND)
    rows = np.concatenate([probes, worm, spread, out, names])
    rows["source"] = INFECTED
    rows["source_port"] = rng.integers(49_152, 65_000, len(rows))
    return rows


def _postfix(rng: np.random.Generator, start: int) -> list[tuple[int, str, str]]:
    """The relay's log: ordinary messages between EDI addresses, and mail from the infected PC to a foreign domain."""
    lines: list[tuple[int, str, str]] = []
    partners = [member for member in MEMBERS if member.kind in ("hospital", "laboratory", "gp", "municipality")]
    for number in range(120):
        sender, receiver = (partners[index] for index in rng.choice(len(partners), 2, replace=False))
        moment = start + number * 29 * SECOND + int(rng.integers(0, SECOND))
        lines += _transaction(
            moment,
            f"{0x5A0000 + number:06X}",
            f"msh.{sender.id}.helsenett.example",
            str(ipaddress.ip_address(sender.host(25))),
            f"{sender.id}@{EDI_DOMAIN}",
            f"{receiver.id}@{EDI_DOMAIN}",
            f"msh.{receiver.id}.helsenett.example[{ipaddress.ip_address(receiver.host(25))}]:25",
        )
    for number in range(3):
        lines += _transaction(
            start + (30 + 2 * number) * MINUTE,
            f"{0x6B0000 + number:06X}",
            "unknown",
            str(ipaddress.ip_address(INFECTED)),
            f"post@{PATIENT_ZERO.id}.helsenett.example",
            f"drop{number}@{FOREIGN_DOMAIN}",
            f"mx.{FOREIGN_DOMAIN}[{ipaddress.ip_address(OUTSIDE)}]:25",
        )
    return lines


def _transaction(
    moment: int, queue: str, host: str, client: str, sender: str, receiver: str, relay: str
) -> list[tuple[int, str, str]]:
    steps = (
        (0, "smtpd[4312]", f"connect from {host}[{client}]"),
        (20_000, "smtpd[4312]", f"{queue}: client={host}[{client}]"),
        (
            40_000,
            "cleanup[4313]",
            f"{queue}: message-id=<{queue.lower()}.{moment // SECOND}@{sender.partition('@')[2]}>",
        ),
        (60_000, "qmgr[1201]", f"{queue}: from=<{sender}>, size=30111, nrcpt=1 (queue active)"),
        (
            900_000,
            "smtp[4315]",
            f"{queue}: to=<{receiver}>, relay={relay}, delay=0.9, delays=0.06/0.01/0.05/0.78, dsn=2.0.0, "
            "status=sent (250 2.0.0 Ok: queued as 153053D)",
        ),
        (920_000, "qmgr[1201]", f"{queue}: removed"),
    )
    return [
        (moment + after, "mail.log", f"{_stamp(moment + after)} edi-relay01 postfix/{program}: {text}")
        for after, program, text in steps
    ]


def _stamp(moment: int) -> str:
    """RFC 3339 with microseconds, as rsyslog writes it."""
    seconds = iso(moment // SECOND * SECOND)[:-1]
    return f"{seconds}.{moment % SECOND:06d}+00:00"


def _handler(rng: np.random.Generator, start: int) -> list[tuple[int, str, str]]:
    """The message handler's events: dialogue with receipts, and a referral of eight hours ago that nobody confirms."""
    lines: list[tuple[int, str, str]] = []
    hospital, office = BY_ID["m001"], BY_ID["m021"]
    lost = start - 8 * HOUR + 15 * MINUTE
    lines += _message(lost, "7104acf8-21e9-4ee7-b894-d413a00a8881", office, hospital, "Henvisning", receipt=False)
    pairs = [(office, hospital, "Henvisning"), (hospital, office, "Epikrise"), (BY_ID["m002"], office, "Svarrapport")]
    for number in range(60):
        sender, receiver, action = pairs[number % 3]
        moment = start + number * 55 * SECOND + int(rng.integers(0, SECOND))
        lines += _message(moment, f"{number:08x}-demo-4ee7-b894-d413a00a{number:04x}", sender, receiver, action)
    return lines


def _message(
    moment: int, name: str, sender: Member, receiver: Member, action: str, *, receipt: bool = True
) -> list[tuple[int, str, str]]:
    def event(after: int, kind: str, id: str, ref: str | None, src: Member, dst: Member, act: str, **more: Any) -> str:
        record = {
            "ts": iso(moment + after),
            "relay": "edi-relay01",
            "event": kind,
            "message_id": id,
            "ref_to_message_id": ref,
            "conversation_id": f"c-{name}",
            "cpa_id": f"cpa:{sender.her}:{receiver.her}",
            "from_her": src.her,
            "to_her": dst.her,
            "service": action,
            "action": act,
            **more,
        }
        return json.dumps(record, ensure_ascii=False)

    ack, answer = f"ack-{name}", f"rec-{name}"
    steps = [
        (0, event(0, "MESSAGE_SENT_VIA_SMTP", name, None, sender, receiver, action, size=30111)),
        (2 * SECOND, event(2 * SECOND, "MESSAGE_RECEIVED_VIA_SMTP", ack, name, receiver, sender, "Acknowledgment")),
    ]
    if receipt:
        text = event(
            20 * SECOND, "MESSAGE_RECEIVED_VIA_SMTP", answer, name, receiver, sender, "AppRec", apprec_status=1
        )
        steps.append((20 * SECOND, text))
    return [(moment + after, "msh.ndjson", line) for after, line in steps]
