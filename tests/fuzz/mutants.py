"""Valid exports of every kind, and what a hostile or broken sender makes of them."""

from __future__ import annotations

import random
import struct

from csirt.clock import HOUR
from csirt.demo.exporter import Exporter
from csirt.demo.scenario import build
from tests.decode.netflow.datagrams import (
    block,
    ipfix,
    ipfix_options,
    template,
    v5,
    v5_record,
    v9,
    v9_options,
    word,
)
from tests.decode.sflow import datagrams as s

START = 1_764_000_000_000_000
ELEMENTS = (1, 2, 4, 7, 8, 11, 12, 21, 22, 27, 34, 48, 56, 82, 85, 96, 130, 150, 152, 153, 160, 302, 305, 314, 371, 999)
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 16, 65535)


def exports() -> list[bytes]:
    """A router's export over an hour, v9, IPFIX and sFlow, with what else routers send."""
    payloads: list[bytes] = []
    for version, rows in zip((9, 10), build(START, background=1_500).flows, strict=True):
        exporter = Exporter(version, domain=version, boot=START - 24 * HOUR)
        payloads += [payload for _, payload in exporter.datagrams(rows)]
    sampler = block(1, v9_options(400, [(1, 4)], [(48, 1), (50, 4)]))
    flow = template(401, (8, 4), (12, 4), (1, 4), (48, 1))
    named = template(402, (27, 16), (28, 16), (1, 8), (96, 65535), (118, 2, 35632))
    options = ipfix_options(403, 1, (149, 4), (34, 4))
    other: list[bytes] = [
        v5([v5_record(octets=n) for n in range(1, 31)], sampling=1 << 14 | 10),
        v9(sampler, block(0, flow), domain=3),
        v9(block(400, word(0) + b"\x01" + word(64)), domain=3, sequence=1),
        v9(block(401, b"".join(word(n, n + 1, n * 100) + b"\x01" for n in range(20))), domain=3, sequence=2),
        ipfix(block(2, named), block(3, options), domain=3),
        ipfix(block(403, word(3, 100)), domain=3),
        ipfix(
            block(402, b"".join(bytes(range(32)) + struct.pack(">Q", n) + b"\x05https\0\7" for n in range(15)), False),
            domain=3,
            sequence=1,
        ),
    ]
    return [*other, *payloads, *sampled()]


def sampled() -> list[bytes]:
    """sFlow datagrams with every kind of sample and record that is read."""
    packets = [s.ethernet(tags=(5, 6)) + s.ip4(body=s.tcp()), s.ethernet(labels=(7, 8)) + s.ip6(body=s.udp())]
    made = []
    for number in range(60):
        records = [
            s.header(packets[number % 2], frame=100 + number),
            s.sampled_ip("10.0.0.1", "10.0.0.2"),
            s.sampled_ethernet(99, "020000000001", "020000000002"),
            s.block(1001, s.word(1, 2, 3, 4)),
            s.block(1002, s.address("10.0.0.3") + s.word(24, 16)),
            s.gateway("10.0.0.4", 1, 2, 3, path=((2, (4, 5)), (1, (6, 7)))),
            s.block(1006, s.address("fd00::1") + s.word(2, 4096, 8192, 0)),
            s.block(1007, s.address("10.0.0.5") + s.address("fd00::2")),
            s.block(77_777, b"unknown"),
        ]
        interface = s.counters(s.generic(*range(19)), s.block(2, s.word(*range(13))), expanded=number % 3 == 0)
        made.append(s.sflow(s.flow(*records, expanded=number % 2 == 0), interface, s.flow(*records), sequence=number))
    return made


def mutant(rng: random.Random, corpus: list[bytes]) -> bytes:
    """A valid datagram with flipped bits, a splice, a lying length, cut short, or repeated; a flood of templates with
    data for them; noise behind a version number."""
    kind = rng.randrange(8)
    raw = bytearray(corpus[rng.randrange(len(corpus))])
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        other = corpus[rng.randrange(len(corpus))]
        raw = raw[: rng.randrange(len(raw))] + bytearray(other[rng.randrange(len(other)) :])
    elif kind == 2:
        at = rng.randrange(2, max(len(raw) - 2, 3))
        raw[at : at + 2] = rng.choice((b"\0\0", b"\0\1", b"\xff\xff", rng.randbytes(2)))
    elif kind == 3:
        del raw[rng.randrange(1, len(raw)) :]
    elif kind == 4:
        raw += raw[rng.choice((16, 20, 24)) :] * rng.randint(1, 3)
        raw[2:4] = struct.pack(">H", min(len(raw), 65535)) if raw[1] == 10 else raw[2:4]
    elif kind == 5:
        raw = bytearray(struct.pack(">H", rng.choice((5, 7, 9, 10))) + rng.randbytes(rng.randint(1, 1_400)))
    else:
        raw = bytearray(flood(rng))
    return bytes(raw)


def flood(rng: random.Random) -> bytes:
    """Templates nobody ordered, options among them, redefined and withdrawn, with random data."""
    nine = rng.random() < 0.5
    sets: list[bytes] = []
    for _ in range(rng.randint(1, 40)):
        number = rng.randint(254, 300)
        fields = [(rng.choice(ELEMENTS), rng.choice(LENGTHS)) for _ in range(rng.randint(1, 12))]
        what = rng.randrange(5)
        if what == 0 and nine:
            sets.append(block(1, v9_options(number, fields[:1], fields[1:])))
        elif what == 0:
            sets.append(block(3, ipfix_options(number, rng.randint(0, 3), *fields)))
        elif what == 1:
            sets.append(block(2, struct.pack(">HH", rng.choice((2, 3, number)), 0)))
        elif what == 2:
            sets.append(block(rng.randint(4, 300), rng.randbytes(rng.randint(0, 60)), pad=False))
        else:
            sets.append(block(0 if nine else 2, template(number, *fields)))
        sets.append(block(number, rng.randbytes(rng.randint(0, 60))))
    domain = rng.choice((3, 7, 9, 10))
    return (v9 if nine else ipfix)(*sets, domain=domain, sequence=rng.randrange(2**32))
