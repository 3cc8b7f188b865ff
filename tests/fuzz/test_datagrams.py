"""Mutated datagrams among valid ones: only counted errors, bounded time, and the valid flows as without them.

Quick in `make test`; `make fuzz` (CSIRT_FUZZ=full) runs a million. A failure prints its seed.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from csirt.clock import HOUR, SYSTEM
from csirt.decode.flows import FlowDecoder
from csirt.demo.exporter import Exporter
from csirt.demo.scenario import build
from csirt.model.batch import Batch, event_ids
from tests.decode.netflow.datagrams import chunk
from tests.decode.sflow import datagrams as s

MUTANTS = 1_000_000 if os.environ.get("CSIRT_FUZZ") == "full" else 6_000
SEED = int(os.environ.get("CSIRT_SEED", "11"))
START = 1_764_000_000_000_000
VALID, HOSTILE = "192.0.2.1", "198.51.100.9"
AT_ONCE = 2_000


@pytest.fixture(scope="module")
def valid() -> list[bytes]:
    """A router's export: v9, IPFIX and sFlow."""
    flows = build(START, background=1_500).flows
    payloads: list[bytes] = []
    for version, rows in zip((9, 10), flows, strict=True):
        exporter = Exporter(version, domain=version, boot=START - 24 * HOUR)
        payloads += [payload for _, payload in exporter.datagrams(rows)]
    return payloads + sampled()


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


def mutant(rng: np.random.Generator, corpus: list[bytes]) -> bytes:
    """A valid datagram with flipped bits, a splice, a lying length, a flood of templates, or noise."""
    kind = rng.integers(6)
    raw = bytearray(corpus[rng.integers(len(corpus))])
    if kind == 0:
        for _ in range(rng.integers(1, 9)):
            raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    elif kind == 1:
        other = corpus[rng.integers(len(corpus))]
        raw = raw[: rng.integers(len(raw))] + bytearray(other[rng.integers(len(other)) :])
    elif kind == 2:
        at = int(rng.integers(2, max(len(raw) - 2, 3)))
        raw[at : at + 2] = rng.integers(0, 65536, dtype=np.uint16).tobytes()
    elif kind == 3:
        raw = raw[: rng.integers(1, len(raw))]
    elif kind == 4:
        body = rng.integers(0, 65536, 160, dtype=np.uint16).astype(">u2").tobytes()
        raw = raw[:20] + bytearray((0).to_bytes(2, "big") + (len(body) + 4).to_bytes(2, "big") + body)
    else:
        raw = bytearray(rng.bytes(int(rng.integers(1, 1_400))))
    return bytes(raw)


def ids_of(batches: list[Batch], exporter: str) -> list[tuple[str, int]]:
    """(payload-independent record number, bytes) of every flow an exporter sent, in order."""
    found: list[tuple[str, int]] = []
    for batch in batches:
        if batch.dataset == "flow":
            senders = batch.table.column("observer.ip").to_pylist()
            octets = batch.table.column("network.bytes").to_pylist()
            names = event_ids(batch.table).to_pylist()
            found += [
                (name[-4:], size)
                for name, size, sender in zip(names, octets, senders, strict=True)
                if sender == exporter
            ]
    return found


@pytest.mark.timeout(7200)
def test_hostile_datagrams_cost_the_valid_ones_nothing(valid: list[bytes]) -> None:
    """Nothing raises, every datagram is accounted for, a mutant costs at most 50 ms, and the listed exporter's flows
    equal those of a run without the mutants."""
    rng = np.random.default_rng(SEED)
    clean = FlowDecoder("edge").decode(chunk(valid, exporters=[VALID] * len(valid)))
    expected = ids_of(clean.batches, VALID)
    decoder = FlowDecoder("edge")
    decoder.decode(chunk([valid[0], valid[-1]], exporters=["192.0.2.77"] * 2))  # compiles the kernels, outside the time
    kept: list[tuple[str, int]] = []
    frame, done, position = 1, 0, 0
    while done < MUTANTS:
        count = min(AT_ONCE, MUTANTS - done)
        mutants = [mutant(rng, valid) for _ in range(count)]
        share = valid[position : position + max(len(valid) * count // MUTANTS + 1, 1)]
        position += len(share)
        payloads, senders = [], []
        step = max(count // max(len(share), 1), 1)
        for index, payload in enumerate(mutants):
            if index % step == 0 and index // step < len(share):
                payloads.append(share[index // step])
                senders.append(VALID)
            payloads.append(payload)
            senders.append(HOSTILE)
        sent = senders.count(VALID)
        for extra in share[sent:]:
            payloads.append(extra)
            senders.append(VALID)
        begin = SYSTEM.cpu()
        decoded = decoder.decode(chunk(payloads, exporters=senders, first=frame))
        spent = SYSTEM.cpu() - begin
        assert spent <= 0.050 * len(payloads), f"seed {SEED}: {spent:.1f} s for {len(payloads)} datagrams"
        assert decoded.entered == len(payloads)
        kept += ids_of(decoded.batches, VALID)
        frame += len(payloads)
        done += count
    if position < len(valid):
        rest = valid[position:]
        kept += ids_of(decoder.decode(chunk(rest, exporters=[VALID] * len(rest), first=frame)).batches, VALID)
    assert kept == expected, f"seed {SEED}"
