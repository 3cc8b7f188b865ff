"""A quiet week of a closed network: everybody does what they should, and the small things that always go wrong.

The members and the register are the demo's. Day and night, weekdays and weekends differ; a service that is down for a
while, a supplier in its window, a backup by agreement and a printer that asks the wrong relay are part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from csirt.bench.traffic import Pcap
from csirt.clock import HOUR, MINUTE, SECOND
from csirt.demo import network
from csirt.demo.exporter import FLOW, Exporter
from csirt.demo.scenario import BY_ID, GATEWAY, MEMBERS, REGISTER, RELAY, RESOLVER
from csirt.model.batch import Array

START = 1_760_313_600 * SECOND  # Monday 2025-10-13, 00:00 UTC
DAYS = 7
# Share of the busiest hour's traffic, by hour of the day (UTC): offices by day, hospitals always.
HOURS = np.array([2, 1, 1, 1, 1, 3, 10, 22, 27, 26, 25, 22, 24, 23, 18, 11, 7, 5, 4, 4, 3, 3, 2, 2]) / 27
WEEKEND = 0.25
HOSPITAL = BY_ID["m001"]
SERVER = HOSPITAL.host(30)


def write(folder: Path, *, seed: int, records: int) -> list[Path]:
    """Write the captures of two routers and the register; about `records` flow records in the week. The captures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "register.yml").write_text(network.register(), encoding="utf-8")
    rng = np.random.default_rng(seed)
    paths = [folder / f"edge{number}.pcap" for number in (1, 2)]
    exporters = [Exporter(9, 1, START - HOUR), Exporter(10, 2, START - HOUR)]
    with Pcap(paths[0]) as one, Pcap(paths[1]) as two:
        for flows in _hours(rng, records):
            small = (flows["source"] >> 16 & 0xFF) >= 0x1F  # offices and clinics leave by the first router
            for number, (pcap, part) in enumerate(((one, flows[small]), (two, flows[~small]))):
                for moment, payload in exporters[number].datagrams(part):
                    pcap.add(moment / SECOND, number, payload)
    return paths


def _hours(rng: np.random.Generator, records: int) -> Iterator[Array]:
    """The flows that begin in each hour of the week."""
    weights = np.array([HOURS[hour] * (WEEKEND if day > 4 else 1) for day in range(DAYS) for hour in range(24)])
    for number, share in enumerate(weights / weights.sum()):
        start = START + number * HOUR
        yield np.concatenate(
            [_everyday(rng, start, int(records * share)), *_odd(rng, number // 24, number % 24, start)]
        )


def _rows(count: int, source: object, destination: object, port: object, *, protocol: int = 6) -> Array:
    rows = np.zeros(count, FLOW)
    rows["source"], rows["destination"], rows["destination_port"] = source, destination, port
    rows["protocol"], rows["flags"] = protocol, 0x1B if protocol == 6 else 0
    rows["ingress"], rows["egress"] = 1, 2
    return rows


def _timed(rng: np.random.Generator, rows: Array, start: int, span: int = HOUR) -> Array:
    rows["source_port"] = rng.integers(32_768, 60_999, len(rows))
    rows["start"] = start + rng.integers(0, span - 30 * SECOND, len(rows))
    rows["end"] = rows["start"] + rng.integers(20_000, 20 * SECOND, len(rows))
    return rows


def _sized(rng: np.random.Generator, rows: Array, packets: tuple[int, int], octets: tuple[int, int]) -> Array:
    rows["packets"] = rng.integers(*packets, len(rows))
    rows["octets"] = rows["packets"] * rng.integers(*octets, len(rows))
    return rows


def _answered(rng: np.random.Generator, rows: Array, packets: tuple[int, int], octets: tuple[int, int]) -> Array:
    """The rows and what came back, records of their own."""
    back = rows.copy()
    for end, other in (("source", "destination"), ("source_port", "destination_port")):
        back[end], back[other] = rows[other], rows[end]
    back["end"] += 5_000
    return np.concatenate([rows, _sized(rng, back, packets, octets)])


def _everyday(rng: np.random.Generator, start: int, records: int) -> Array:
    """Names, the register, mail, the hospital's portal by agreement, the way out by the gateway; 1 in 200 is lost."""
    clients = np.array([member.host(40 + n) for member in MEMBERS for n in range(20)], np.uint32)
    services = np.array([RESOLVER, REGISTER, RELAY, SERVER, GATEWAY], np.uint32)
    ports = np.array([53, 443, 25, 443, 3128], np.uint16)
    choice = rng.choice(5, records // 2, p=[0.4, 0.2, 0.1, 0.1, 0.2])
    rows = _rows(len(choice), rng.choice(clients, len(choice)), services[choice], ports[choice])
    relays = choice == 2  # the message handlers send mail, and nobody else
    rows["source"][relays] = rng.choice([member.host(25) for member in MEMBERS], int(relays.sum()))
    rows["protocol"] = np.where(choice == 0, 17, 6)
    rows["flags"] = np.where(choice == 0, 0, 0x1B)
    rows = _sized(rng, _timed(rng, rows, start), (2, 60), (60, 400))
    lost = rng.random(len(rows)) < 0.005
    rows["packets"][lost], rows["octets"][lost] = 1, 60
    rows["flags"][lost & (rows["protocol"] == 6)] = 2
    outside = np.uint32(0xCB007100) + rng.integers(1, 250, records // 20).astype(np.uint32)  # 203.0.113.0/24
    web = _sized(rng, _timed(rng, _rows(len(outside), GATEWAY, outside, 443), start), (5, 60), (60, 300))
    parts = [_answered(rng, rows[~lost], (2, 90), (60, 1_200)), rows[lost], _answered(rng, web, (8, 400), (400, 1_400))]
    return np.concatenate(parts)


def _odd(rng: np.random.Generator, day: int, hour: int, start: int) -> Iterator[Array]:
    """What happens at its own hour."""
    if day == 1 and hour == 18:  # 20:00 in Norway, the supplier's window
        rows = _rows(6, BY_ID["m060"].host(10), BY_ID["m010"].host(12), 3389)
        yield _answered(rng, _sized(rng, _timed(rng, rows, start + 5 * MINUTE, 30 * MINUTE), (400, 900), (60, 200)),
                        (400, 900), (200, 900))  # fmt: skip
    if hour == 1:  # a municipality's nightly transfer, by agreement
        rows = _rows(40, BY_ID["m010"].host(30), SERVER, 443)
        yield _answered(rng, _sized(rng, _timed(rng, rows, start), (20_000, 40_000), (900, 1_400)), (9_000, 20_000),
                        (60, 80))  # fmt: skip
    if day == 3 and hour == 9:  # the portal is down for ten minutes, and everybody tries again
        clients = np.array([member.host(40 + n) for member in MEMBERS if member is not HOSPITAL for n in range(20)])
        rows = _rows(600, rng.choice(clients, 600), SERVER, 443)
        rows["flags"], rows["packets"], rows["octets"] = 2, 3, 180
        yield _timed(rng, rows, start + 10 * MINUTE, 10 * MINUTE)
    if hour in (7, 12) and day < 5:  # a printer of a member asks the relay
        rows = _sized(rng, _timed(rng, _rows(3, BY_ID["m021"].host(90), RELAY, 25), start), (6, 9), (60, 90))
        yield _answered(rng, rows, (5, 8), (60, 90))
    if hour % 6 == 0:  # clocks are set
        rows = _rows(len(MEMBERS), [member.host(25) for member in MEMBERS], GATEWAY, 123, protocol=17)
        yield _answered(rng, _sized(rng, _timed(rng, rows, start), (1, 2), (76, 77)), (1, 2), (76, 77))
