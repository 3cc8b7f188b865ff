"""Sums over generated exports of four routers, against totals kept while generating."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

import pyarrow.compute as pc

from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model.batch import Decoded
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v5, v5_record, v9, v9_options, word

FOUR = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (22, 4), (21, 4), (48, 1))
SIX = ((27, 16), (28, 16), (1, 8), (2, 4), (31, 3), (4, 1))
NAMED = ((8, 4), (12, 4), (1, 8), (2, 8), (118, 2, 35632), (96, 65535))
APPS = (b"https", b"dns", b"", b"x" * 300)


@dataclass
class Totals:
    """What was generated."""

    payloads: list[bytes] = field(default_factory=list)
    exporters: list[str] = field(default_factory=list)
    records: int = 0
    options: int = 0
    octets: int = 0
    packets: int = 0


def generate(version: int, datagrams: int, seed: int) -> Totals:
    """An interleaved stream of four exporters, templates first and again now and then."""
    rng = random.Random(seed)
    total = Totals()
    sequence = dict.fromkeys(range(4), 0)
    for number in range(datagrams):
        exporter = number % 4
        rows = []
        kind = rng.choice((FOUR, SIX) if version == 9 else (SIX, NAMED))
        for _ in range(rng.randint(1, 20)):
            octets, packets = rng.randrange(2**32), rng.randrange(2**32)
            total.octets, total.packets, total.records = (
                total.octets + octets,
                total.packets + packets,
                total.records + 1,
            )
            a, b = rng.randrange(2**32), rng.randrange(2**32)
            if version == 5:
                rows.append(v5_record(packets=packets, octets=octets))
            elif kind is FOUR:
                ports = struct.pack(">HHB", rng.randrange(2**16), 443, 6)
                rows.append(word(a, b) + ports + word(octets, packets, 9000, 9500) + b"\x01")
            elif kind is SIX:
                rows.append(rng.randbytes(32) + struct.pack(">QI", octets, packets) + b"\0\0\x01\x11")
            else:
                app = rng.choice(APPS)
                length = bytes([len(app)]) if len(app) < 255 else b"\xff" + struct.pack(">H", len(app))
                rows.append(word(a, b) + struct.pack(">QQH", octets, packets, 7) + length + app)
        sets = []
        if number < 4 or rng.random() < 0.05:
            both = (FOUR, SIX) if version == 9 else (SIX, NAMED)
            body = b"".join(template(256 + i, *fields) for i, fields in enumerate(both))
            sets.append(block(0 if version == 9 else 2, body))
            if version == 9:
                sets.append(block(1, v9_options(300, [(1, 4)], [(48, 1), (50, 4)])))
                sets.append(block(300, word(0) + b"\x01" + word(64)))
                total.options += 1
        sets.append(block(256 + (kind is SIX if version == 9 else kind is NAMED), b"".join(rows)))
        count = sequence[exporter]
        if version == 5:
            total.payloads.append(v5(rows, sequence=count))
            sequence[exporter] += len(rows)
        elif version == 9:
            total.payloads.append(v9(*sets, sequence=count, domain=exporter))
            sequence[exporter] += 1
        else:
            total.payloads.append(ipfix(*sets, sequence=count, domain=exporter))
            sequence[exporter] += len(rows)
        total.exporters.append(f"192.0.2.{exporter}")
    return total


def decode(total: Totals, size: int) -> list[Decoded]:
    """All of it in chunks of `size` datagrams."""
    decoder = NetflowDecoder("s")
    return [
        decoder.decode(chunk(total.payloads[i : i + size], exporters=total.exporters[i : i + size], first=i))
        for i in range(0, len(total.payloads), size)
    ]


def check(total: Totals, results: list[Decoded]) -> None:
    """Records, sums, sequence numbers and units are those generated."""
    found = {"flow": 0, "flow_options": 0}
    octets = packets = 0
    for batch in (batch for result in results for batch in result.batches):
        found[batch.dataset] += batch.rows
        if batch.dataset != "flow":
            continue
        names = batch.table.column_names
        raw = ["netflow.octet_delta_count", "netflow.packet_delta_count"]
        columns = raw if raw[0] in names else ["network.bytes", "network.packets"]
        octets += pc.sum(batch.table.column(columns[0])).as_py()
        packets += pc.sum(batch.table.column(columns[1])).as_py()
    assert found == {"flow": total.records, "flow_options": total.options}
    assert (octets, packets) == (total.octets, total.packets)
    assert sum(result.left for result in results) == len(total.payloads)
    assert not any(row["sequence_lost"] or row["malformed"] for result in results for row in result.exporters)
    assert len({row["address"] for result in results for row in result.exporters}) == 4


def test_v5_sums() -> None:
    """Every octet and packet of a v5 stream is counted once, none is lost."""
    total = generate(5, 200, 1)
    check(total, decode(total, 64))


def test_v9_sums() -> None:
    """The same for v9 with IPv4, IPv6 and sampler tables: the raw counters are never corrected."""
    total = generate(9, 300, 2)
    results = decode(total, 300)
    check(total, results)
    check(total, decode(total, 37))
    rates = {
        r for b in results[0].batches if b.dataset == "flow" for r in b.table["csirt.flow.sampling_rate"].to_pylist()
    }
    assert rates == {64}


def test_ipfix_sums() -> None:
    """The same for IPFIX with an enterprise field and texts of up to three length octets."""
    total = generate(10, 300, 3)
    check(total, decode(total, 300))
    check(total, decode(total, 1))
