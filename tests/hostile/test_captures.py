"""Captures and exports that end anywhere, hold garbage, or speak of templates nobody sent: everything else is kept,
everything is counted."""

from __future__ import annotations

import itertools
import random
import shutil
import struct
from pathlib import Path

import pytest

from tests.decode.netflow.datagrams import block, ipfix, template, v5, v5_record, v9, word
from tests.hostile.bench import configured, run
from tests.privacy.sources import DAY_S, capture
from tests.spool import block as packet_block
from tests.spool import write_segment

FLOW = ((8, 4), (12, 4), (2, 4), (1, 4))
MOMENT = DAY_S * 1_000_000
FEW = 14  # of the lengths tried; chosen by a fixed seed, the ends of blocks and their neighbours among them


def flow(number: int) -> bytes:
    """A record of FLOW that tells which one it is."""
    return word(0x0A250000 + number, 0x0A150019, number + 1, 100 + number)


def valid(count: int, domain: int = 1) -> list[bytes]:
    """`count` IPFIX datagrams with a template and one flow each."""
    return [
        ipfix(block(2, template(300, *FLOW)), block(300, flow(number)), seconds=DAY_S, domain=domain, sequence=number)
        for number in range(count)
    ]


def segment(path: Path, datagrams: list[bytes], exporter: str = "127.0.0.60") -> Path:
    """A spool segment."""
    write_segment(path, exporter, [(MOMENT, raw) for raw in datagrams], uuid=bytes([7] * 16))
    return path


def lengths(path: Path, first: int, ends: list[int]) -> list[int]:
    """Some of the lengths a file may be cut to from `first` on."""
    size = path.stat().st_size
    near = [at for end in ends for at in (end - 1, end, end + 1) if first <= at < size]
    rng = random.Random(4)
    return sorted({*rng.sample(near, min(len(near), FEW // 2)), *rng.sample(range(first, size), FEW // 2)})


def test_a_truncated_segment_keeps_every_whole_datagram(tmp_path: Path) -> None:
    """Cut at any byte: what was whole is decoded, the torn rest is counted once, and nothing fails."""
    whole = segment(tmp_path / "whole.pcapng", valid(12))
    size = len(packet_block(MOMENT, bytes(4), valid(1)[0]))
    first = whole.stat().st_size - 12 * size
    config = configured(tmp_path)
    ends = [first + size * number for number in range(12)]
    for length in lengths(whole, first + 1, ends):
        cut = tmp_path / f"cut{length}.pcapng"
        cut.write_bytes(whole.read_bytes()[:length])
        outcome = run(config, tmp_path / f"store{length}", cut)
        complete = (length - first) // size
        assert outcome.stage("decode")["in"] == outcome.status["events"].get("flow", 0) == complete, length
        assert outcome.dropped("sources") == ({} if length in ends else {"torn": 1}), length


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_truncated_capture_keeps_every_whole_packet(form: str, tmp_path: Path) -> None:
    """pcap and pcapng of packets, cut anywhere in their second half."""
    whole = tmp_path / "whole.pcap"
    capture(whole)
    raw = whole.read_bytes()
    ends = [24]
    while ends[-1] < len(raw):
        ends.append(ends[-1] + 16 + struct.unpack_from("<I", raw, ends[-1] + 8)[0])
    if form == "pcapng":
        whole, ends = as_pcapng(raw, ends, tmp_path / "whole.pcapng")
    config = configured(tmp_path, "[decode]\ndissect = []\n")
    for length in lengths(whole, ends[len(ends) // 2], ends):
        cut = tmp_path / f"cut{length}.{form}"
        cut.write_bytes(whole.read_bytes()[:length])
        outcome = run(config, tmp_path / f"store{length}", cut)
        complete = sum(end <= length for end in ends[1:])
        assert outcome.stage("sources")["out"] == complete, length
        assert outcome.dropped("sources") == ({} if length in ends else {"torn": 1}), length


def as_pcapng(raw: bytes, ends: list[int], path: Path) -> tuple[Path, list[int]]:
    """The same packets as enhanced packet blocks; (path, ends of blocks)."""
    head = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    out = head + struct.pack("<IIHHII", 1, 20, 1, 0, 65535, 20)
    cuts = [len(out)]
    for start, end in itertools.pairwise(ends):
        seconds, fraction, captured, original = struct.unpack_from("<IIII", raw, start)
        moment = seconds * 1_000_000 + fraction
        data = raw[start + 16 : end]
        padded = data + bytes(-len(data) % 4)
        total = 32 + len(padded)
        out += struct.pack("<IIIIIII", 6, total, 0, moment >> 32, moment & 0xFFFFFFFF, captured, original)
        out += padded + struct.pack("<I", total)
        cuts.append(len(out))
    path.write_bytes(out)
    return path, cuts


@pytest.mark.skipif(shutil.which("tshark") is None, reason="not installed: tshark")
def test_tshark_on_a_damaged_capture_loses_nothing_else(tmp_path: Path) -> None:
    """A capture cut inside its last packet gives the rows of all packets before it, of both ways of reading."""
    whole, cut = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    capture(whole)
    cut.write_bytes(whole.read_bytes()[:-5])
    config = configured(tmp_path)
    before, after = (
        run(config, tmp_path / "a", whole).status["events"],
        run(config, tmp_path / "b", cut).status["events"],
    )
    assert {name: after[name] for name in ("dns", "http", "tls")} == {
        name: before[name] for name in ("dns", "http", "tls")
    }
    garbage = tmp_path / "garbage.pcap"
    garbage.write_bytes(whole.read_bytes()[:24] + random.Random(1).randbytes(3_000))
    outcome = run(config, tmp_path / "c", garbage)
    assert outcome.dropped("sources"), outcome.status


def garbage(rng: random.Random) -> list[bytes]:
    """Datagrams nobody can use: noise, beginnings of good ones, lengths that lie, unknown versions."""
    good = valid(1)[0]
    five = v5([v5_record()])
    return [
        rng.randbytes(rng.randrange(1, 200)),
        good[: rng.randrange(1, len(good))],
        five[: rng.randrange(1, len(five))],
        struct.pack(">HHIIII", 10, 9_000, DAY_S, 0, 9, 0) + b"\0" * 40,
        struct.pack(">HHIIIHH", 9, 30_000, 1, DAY_S, 5, 0, 1),
        struct.pack(">H", rng.randrange(11, 60_000)) + rng.randbytes(60),
        ipfix(block(300, flow(1))[:-3], seconds=DAY_S, domain=77),
        b"\0",
        bytes(1_400),
        b"\xff" * 1_400,
    ]


def test_garbage_between_valid_datagrams_changes_no_flow(tmp_path: Path) -> None:
    """Every valid flow is there with the same content, garbage is counted by reason, the exporter's sums add up."""
    rng = random.Random(11)
    clean = valid(40)
    mixed: list[bytes] = []
    for raw in clean:
        mixed += [*garbage(rng), raw]
    config = configured(tmp_path)
    alone = run(config, tmp_path / "alone", segment(tmp_path / "alone.pcapng", clean))
    both = run(config, tmp_path / "both", segment(tmp_path / "both.pcapng", mixed))
    ours = [line for line in both.contents() if '"domain": 1,' in line and '"dataset": "flow"' in line]
    assert len(alone.contents()) == 40
    assert ours == alone.contents()
    assert both.stage("decode")["in"] == len(mixed)
    assert {"malformed", "unknown_version"} <= set(both.dropped("decode"))


def test_data_without_templates_is_held_then_counted(tmp_path: Path) -> None:
    """Data whose template comes later is decoded; whose template never comes is counted as expired, per exporter."""
    early = [ipfix(block(300, flow(n)), seconds=DAY_S, domain=3, sequence=n) for n in range(5)]
    late = ipfix(block(2, template(300, *FLOW)), seconds=DAY_S, domain=3, sequence=5)
    never = [v9(block(700, flow(n)), seconds=DAY_S, domain=4) for n in range(6)]
    outcome = run(configured(tmp_path), tmp_path / "store", segment(tmp_path / "x.pcapng", [*early, *never, late]))
    assert outcome.status["events"]["flow"] == 5
    assert outcome.dropped("decode") == {"expired": 6}
    counts = {(item["version"], item["domain"]): item for item in outcome.status["exporters"]}
    assert counts[10, 3]["decoded"] == 6 and counts[9, 4]["expired"] == 6


def test_a_template_flood_is_bounded_and_costs_no_flow(tmp_path: Path) -> None:
    """Tens of thousands of templates over many domains: the flows before and after are all there, and the decoder's
    state stays small."""
    flood = [
        ipfix(
            block(2, b"".join(template(256 + number, (8, 4), (12, 4), (number % 400 + 1, 4)) for number in range(60))),
            seconds=DAY_S, domain=1_000 + domain,
        )
        for domain in range(500)
    ]  # fmt: skip
    flood += [
        ipfix(block(2, b"".join(template(256 + n, (8, 4)) for n in range(at, at + 100))), seconds=DAY_S, domain=2)
        for at in range(0, 60_000, 1_000)
    ]
    clean = valid(20)
    outcome = run(
        configured(tmp_path), tmp_path / "store", segment(tmp_path / "x.pcapng", [*clean[:10], *flood, *clean[10:]])
    )
    assert outcome.status["events"]["flow"] == 20
    assert outcome.stage("decode")["in"] == len(flood) + 20
    assert (tmp_path / "store" / "catalogue.sqlite").stat().st_size < 64 << 20


def test_the_same_flows_come_from_one_exporter_however_many_lie(tmp_path: Path) -> None:
    """A flood from one address leaves another exporter's decoding as it was."""
    rng = random.Random(3)
    noise = [bytes(raw) for _ in range(30) for raw in garbage(rng)]
    path = tmp_path / "two.pcapng"
    write_segment(path, "127.0.0.61", [(MOMENT, raw) for raw in noise], uuid=bytes([8] * 16))
    with path.open("ab") as handle:
        for raw in valid(15):
            handle.write(packet_block(MOMENT, bytes([127, 0, 0, 62]), raw))
    outcome = run(configured(tmp_path), tmp_path / "store", path)
    mine = [item for item in outcome.status["exporters"] if item["address"] == "127.0.0.62"]
    assert [(item["received"], item["decoded"], item["sequence_lost"]) for item in mine] == [(15, 15, 0)]
