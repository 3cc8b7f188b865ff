"""Whole captures: against tshark's conversations, scapy's packets, and the accounting of chunks."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from csirt.decode.packets.decoder import PacketDecoder
from csirt.model import ecs
from csirt.model.chunk import Dissection
from tests.decode.packets import frames as f

ZEEK = sorted((f.DATA / "zeek").glob("*.pcap*"))
DAY = 86_400_000_000
Key = tuple[str, int, str, int, int]


def decoder(**options: Any) -> PacketDecoder:
    """A decoder that no flow falls idle in."""
    return PacketDecoder("cap", idle_timeout_us=100_000 * DAY, dissect=["dns", "tls", "http"], **options)


def _time(text: str) -> int:
    return int(Decimal(text) * 1_000_000)


def expected_flows(path: Path) -> tuple[dict[Key, list[int]], int]:
    """tshark's conversations; those of ICMP without the ports it reads from quoted packets, both directions as one."""
    document = json.loads((f.DATA / "expected" / f"zeek__{path.name}.json").read_text())
    result: dict[Key, list[int]] = {}
    for item in sorted(document["conversations"], key=lambda item: _time(item["first"])):
        icmp = item["proto"] in (1, 58)
        ports = (0, 0) if icmp else (item["sport"], item["dport"])
        key = (item["src"], ports[0], item["dst"], ports[1], item["proto"])
        turned = (item["dst"], ports[1], item["src"], ports[0], item["proto"])
        counts = [item[name] for name in ("fwd_packets", "fwd_ip_bytes", "rev_packets", "rev_ip_bytes")]
        if icmp and turned in result:
            key, counts = turned, counts[2:] + counts[:2]
        old = result.setdefault(key, [0, 0, 0, 0, _time(item["first"]), 0, 0])
        old[:4] = [a + b for a, b in zip(old[:4], counts, strict=True)]
        old[5] = max(old[5], _time(item["last"]))
        old[6] |= item["tcp_flags"]
    return result, document["non_ip_frames"]


@pytest.mark.skipif(not ZEEK, reason="the shared captures are not here")
@pytest.mark.parametrize("path", ZEEK, ids=lambda path: path.name)
def test_flows_are_tsharks_conversations(path: Path) -> None:
    """Ends, direction, packets, bytes, first and last times and flags of every conversation equal tshark's."""
    frames = f.read_capture(path)
    result = decoder().decode(f.chunk(f.packets(frames)))
    flows = {
        (
            row["source.ip"],
            row["source.port"] or 0,
            row["destination.ip"],
            row["destination.port"] or 0,
            row["network.iana_number"],
        ): [
            row["network.packets"],
            row["network.bytes"],
            row["csirt.flow.reverse.packets"],
            row["csirt.flow.reverse.bytes"],
            row["event.start"],
            row["@timestamp"],
            row["flow.tcp_flags"] or 0,
        ]
        for row in f.rows(result)
    }
    expected, others = expected_flows(path)
    assert flows == expected
    assert result.dropped.get("not_ip", 0) == others
    assert result.left + others == len(frames)


def test_a_conversation_made_by_scapy() -> None:
    """Packets of another library, IPv4 and IPv6 with options and extension headers, give the same flows."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
    from scapy.layers.l2 import GRE, Dot1Q, Ether
    from scapy.packet import Raw

    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    four, six = {"src": "10.0.0.1", "dst": "10.0.0.2"}, {"src": "fd00::1", "dst": "fd00::2"}
    made = [
        ether / IP(**four, options=[]) / TCP(sport=1, dport=2, flags="S", options=[("MSS", 1460)]),
        ether / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=2, dport=1, flags="SA"),
        ether / Dot1Q(vlan=12) / IPv6(**six) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=3, dport=4),
        ether / IP(**four) / GRE() / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=5, dport=6),
        ether / IP(**four) / ICMP(type=3, code=1) / Raw(b"x" * 28),
    ]
    frames = [(10**15 + index, bytes(packet), len(packet), 1) for index, packet in enumerate(made)]
    rows = f.rows(decoder(observer="tap-1").decode(f.chunk(f.packets(frames))))
    names = ("source.ip", "source.port", "destination.port", "network.iana_number", "flow.tcp_flags")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("10.0.0.1", 1, 2, 6, 0x12),
        ("fd00::1", 3, 4, 17, None),
        ("10.0.0.1", None, None, 47, None),
        ("10.0.0.1", None, None, 1, None),
    ]
    assert [row["network.bytes"] for row in rows] == [len(made[0]) - 14, len(made[2]) - 18] + [
        len(packet) - 14 for packet in made[3:]
    ]
    assert (rows[3]["icmp.type"], rows[3]["icmp.code"], rows[1]["network.vlan.id"]) == (3, 1, 12)
    assert {row["observer.name"] for row in rows} == {"tap-1"}


def test_columns_have_the_types_of_the_schema() -> None:
    """Every column of a flow batch has the schema's type, and none is made up."""
    data = f.ethernet(f.ipv4("10.0.0.1", "10.0.0.2", 1, bytes(8)), tags=(3,))
    (batch,) = decoder(observer="tap").decode(f.chunk(f.packets([(5, data, len(data), 1)]))).batches
    physical = {part for name in ecs.ADDRESSES for part in ecs.physical(name)}
    for field in batch.table.schema:
        assert field.name in physical or field.type == ecs.DATASETS["flow"][field.name], field


def _frame(time: int) -> tuple[int, bytes, int, int]:
    data = f.ethernet(f.ipv4("10.0.0.1", "10.0.0.2", 17, f.udp(1, 2)))
    return time, data, len(data), 1


def test_flows_end_at_every_cut_and_nothing_is_held_after_it() -> None:
    """A flow over two periods becomes a row in each; open flows are held until the cut, so no position commits."""
    small = decoder()
    first = small.decode(f.chunk(f.packets([_frame(10)]), last=False))
    assert (first.held, first.left, first.batches, first.state) == (1, 0, [], None)
    second = small.decode(f.chunk(f.packets([_frame(20)], first=1, cut=100), last=False))
    third = small.decode(f.chunk(f.packets([_frame(110)], first=2), last=True))
    assert [(row["network.packets"], row["csirt.flow.end_reason"]) for row in f.rows([second, third])] == [
        (2, "active_timeout"),
        (1, "forced_end"),
    ]
    assert (second.held, third.held) == (0, 0)


def test_captures_take_turns() -> None:
    """Chunks of two captures may alternate: neither continues the other's flows, each counts its own held packets."""
    small = decoder()
    other = "ff" * 8
    first = small.decode(f.chunk(f.packets([_frame(10)]), last=False))
    second = small.decode(f.chunk(f.packets([_frame(20), _frame(21)]), last=False, segment=other))
    assert (first.held, second.held, second.batches) == (1, 2, [])
    done = small.decode(f.chunk(f.packets([_frame(30)], first=1), last=True))
    assert [(row["csirt.segment"], row["network.packets"]) for row in f.rows(done)] == [(f.SEGMENT, 2)]
    rest = small.finish()
    assert [(row["csirt.segment"], row["network.packets"]) for row in f.rows(rest)] == [(other, 2)]
    assert (done.held, rest.held, done.left, rest.left) == (0, 0, 2, 2)
    assert small.finish().batches == []


def test_no_row_leaves_while_something_is_open() -> None:
    """A flow that ended by its idle timeout waits for the cut: rows and position are committed together or not."""
    small = PacketDecoder("cap", idle_timeout_us=5, dissect=[])
    first = small.decode(f.chunk(f.packets([_frame(10), _frame(20)]), last=False))
    assert (first.batches, first.left, first.held) == ([], 0, 2)
    second = small.decode(f.chunk(f.packets([], first=2, cut=22), last=False))
    assert [row["csirt.flow.end_reason"] for row in f.rows(second)] == ["idle_timeout", "active_timeout"]
    assert (second.left, second.held) == (2, 0)


def test_load_forgets_open_flows() -> None:
    """After a conflict the coordinator loads the committed state, which is always empty, and reads again."""
    small = decoder()
    small.decode(f.chunk(f.packets([_frame(10)]), last=False))
    small.load(None)
    assert f.rows(small.decode(f.chunk(f.packets([_frame(10)]))))[0]["network.packets"] == 1


def test_an_end_without_data_ends_the_flows() -> None:
    """A last chunk that carries nothing still closes the capture, whether or not tshark had anything to say."""
    for data in (None, Dissection(b"")):
        small = decoder()
        small.decode(f.chunk(f.packets([_frame(10)]), last=False))
        assert len(f.rows(small.decode(f.chunk(data)))) == 1
