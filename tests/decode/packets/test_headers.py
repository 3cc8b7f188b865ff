"""Headers: link types, tags, options, extension headers, fragments, tunnels. One promise each."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from csirt.decode.packets.decoder import PacketDecoder
from csirt.model.batch import Decoded
from tests.decode.packets import frames as f

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "2001:db8::1", "2001:db8::2"
TIME = 1_700_000_000_000_000
UDP = f.ipv4(A, B, 17, f.udp(1000, 53, b"xy"))


def decode(*data: bytes, linktype: int = 1, original: int | None = None) -> Decoded:
    """One chunk of frames, all at the same time."""
    made = [(TIME, item, original or len(item), linktype) for item in data]
    return PacketDecoder("cap", idle_timeout_us=10**6, dissect=[]).decode(f.chunk(f.packets(made)))


def one(*data: bytes, linktype: int = 1, original: int | None = None) -> dict[str, Any]:
    """The only flow of these frames."""
    flows = f.rows(decode(*data, linktype=linktype, original=original))
    assert len(flows) == 1
    return flows[0]


@pytest.mark.parametrize(
    ("linktype", "head"),
    [
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\x00\x05\x08\x00"),
        (1, bytes(12) + b"\x91\x00\x00\x05\x81\x00\x00\x06\x08\x00"),
        (1, bytes(12) + b"\x88\x47\x00\x01\x00\x40\x00\x02\x01\x40"),
        (1, bytes(12) + b"\x88\x64\x11\x00\x00\x01\x00\x20\x00\x21"),
        (1, bytes(12) + b"\x00\x40\xaa\xaa\x03\x00\x00\x00\x08\x00"),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
        (101, b""),
        (12, b""),
        (228, b""),
        (0, b"\x02\x00\x00\x00"),
        (0, b"\x00\x00\x00\x02"),
        (108, b"\x00\x00\x00\x02"),
    ],
)
def test_link_layers(linktype: int, head: bytes) -> None:
    """Ethernet with 802.1Q, QinQ, MPLS, PPPoE and SNAP, cooked captures, raw IP and loopback lead to the same flow."""
    flow = one(head + UDP, linktype=linktype)
    assert (flow["source.ip"], flow["source.port"], flow["destination.port"]) == (A, 1000, 53)
    assert flow["network.bytes"] == len(UDP)


@pytest.mark.parametrize("head", [b"\x1e\x00\x00\x00", b"\x00\x00\x00\x1c"])
def test_loopback_of_ipv6(head: bytes) -> None:
    """The address families that BSDs and macOS give IPv6 in either byte order are understood."""
    assert one(head + f.ipv6(A6, B6, 17, f.udp(1, 2)), linktype=0)["source.ip"] == A6


def test_vlans_keep_flows_apart_and_the_outer_tag_is_shown() -> None:
    """The same addresses in two VLANs are two flows; with QinQ the outer tag is `network.vlan.id`; tag 0 is none."""
    flows = f.rows(decode(*(f.ethernet(UDP, tags=tags) for tags in ((7,), (8,), (7, 9), (0,), ()))))
    assert [row["network.vlan.id"] for row in flows] == [7, 8, 7, None]
    assert flows[3]["network.packets"] == 2


def test_options_and_padding() -> None:
    """IPv4 options move the ports; Ethernet padding is neither counted nor read as ports."""
    header = bytearray(f.ipv4(A, B, 17, bytes(4) + f.udp(1000, 53)))
    header[0] = 0x46
    assert one(f.ethernet(bytes(header)))["destination.port"] == 53
    short = f.ethernet(f.ipv4(A, B, 17, b"")) + b"\x12\x34" * 13
    flow = one(short)
    assert flow["source.port"] is None
    assert flow["network.bytes"] == 20


def test_captures_cut_after_the_headers_keep_their_bytes() -> None:
    """Bytes come from the IP header, so a snap length does not change them; cut before the ports they are null."""
    whole = f.ethernet(f.ipv4(A, B, 6, f.tcp(1, 2, 0x12, bytes(1000))))
    flow = one(whole[:54], original=len(whole))
    assert (flow["network.bytes"], flow["flow.tcp_flags"], flow["source.port"]) == (1040, 0x12, 1)
    flow = one(whole[:34], original=len(whole))
    assert (flow["network.bytes"], flow["source.port"], flow["network.iana_number"]) == (1040, None, 6)
    assert decode(whole[:33], original=len(whole)).dropped == {"truncated": 1}


def test_segmentation_offload_and_jumbograms_use_the_frames_length() -> None:
    """A total length of 0 (offloaded IPv4) and a payload length of 0 (RFC 2675) fall back to the length on the wire."""
    packet = bytearray(UDP)
    packet[2:4] = b"\x00\x00"
    assert one(f.ethernet(bytes(packet)), original=80_000)["network.bytes"] == 79_986
    jumbo = bytearray(f.ipv6(A6, B6, 0, b"\x11\x00\xc2\x04\x00\x01\x38\x80" + f.udp(5, 6)))
    jumbo[4:6] = b"\x00\x00"
    flow = one(f.ethernet(bytes(jumbo)), original=90_014)
    assert (flow["network.bytes"], flow["source.port"]) == (90_000, 5)


def test_ipv6_extension_headers() -> None:
    """Hop-by-hop, routing and destination options are walked to the transport header."""
    chain = b"\x2b\x00" + bytes(6) + b"\x3c\x00" + bytes(6) + b"\x06\x01" + bytes(14) + f.tcp(443, 5, 0x02)
    flow = one(f.ethernet(f.ipv6(A6, B6, 0, chain)))
    assert (flow["network.iana_number"], flow["source.port"], flow["flow.tcp_flags"]) == (6, 443, 2)
    assert flow["network.bytes"] == 40 + len(chain)


@pytest.mark.parametrize("protocol", [4, 41, 47, 50, 51])
def test_tunnels_count_as_their_own_protocol(protocol: int) -> None:
    """GRE, IP in IP, ESP and AH are metered on the outermost header, without ports."""
    flow = one(f.ethernet(f.ipv4(A, B, protocol, UDP)))
    assert (flow["network.iana_number"], flow["source.port"], flow["flow.tcp_flags"]) == (protocol, None, None)
    assert flow["network.bytes"] == 20 + len(UDP)


def test_sctp_has_ports() -> None:
    """SCTP's ports stand where TCP's do."""
    assert one(f.ethernet(f.ipv4(A, B, 132, f.udp(2905, 2906))))["destination.port"] == 2906


@pytest.mark.parametrize("six", [False, True])
def test_icmp_type_and_code_are_of_the_first_packet(six: bool) -> None:
    """Echo and its reply are one flow with the type of the echo; ports are null, also for errors that quote ports."""
    make: Any = f.ipv6 if six else f.ipv4
    ends = (A6, B6) if six else (A, B)
    number, ask, reply = (58, 128, 129) if six else (1, 8, 0)
    frames = [
        f.ethernet(make(*ends, number, bytes([ask, 0]) + bytes(6))),
        f.ethernet(make(*ends[::-1], number, bytes([reply, 0]) + bytes(6))),
    ]
    flow = one(*frames)
    assert (flow["icmp.type"], flow["icmp.code"], flow["source.port"]) == (ask, 0, None)
    assert (flow["network.packets"], flow["csirt.flow.reverse.packets"]) == (1, 1)


def test_fragments_join_the_flow_of_their_first() -> None:
    """Later fragments count in the flow whose first fragment was seen; strangers make a flow without ports."""
    first = f.ipv4(A, B, 17, f.udp(1000, 53, bytes(16)), fragment=0x2000, number=77)
    later = f.ipv4(A, B, 17, bytes(32), fragment=0x0003, number=77)
    stranger = f.ipv4(A, B, 17, bytes(32), fragment=0x0003, number=78)
    flows = f.rows(decode(*map(f.ethernet, (first, later, stranger))))
    assert [(row["source.port"], row["network.packets"], row["network.bytes"]) for row in flows] == [
        (1000, 2, len(first) + len(later)),
        (None, 1, len(stranger)),
    ]


def test_fragments_of_ipv6() -> None:
    """The fragment header leads to the ports; later fragments of that identification follow; atomic ones are whole."""

    def piece(offset: int, more: int, payload: bytes) -> bytes:
        head = struct.pack(">BBHI", 17, 0, offset << 3 | more, 0xABCDEF01)
        return f.ethernet(f.ipv6(A6, B6, 44, head + payload))

    flow = one(piece(0, 1, f.udp(9, 10, bytes(8))), piece(2, 0, bytes(8)), piece(0, 0, f.udp(9, 10)))
    assert (flow["source.port"], flow["network.packets"]) == (9, 3)


def test_a_fragment_is_forgotten_after_its_life() -> None:
    """An identification used again half a minute later does not borrow old ports."""
    first = f.ethernet(f.ipv4(A, B, 17, f.udp(1000, 53, bytes(16)), fragment=0x2000, number=77))
    later = f.ethernet(f.ipv4(A, B, 17, bytes(32), fragment=0x0003, number=77))
    made = [(TIME, first, 70, 1), (TIME + 30_000_001, later, 70, 1)]
    result = PacketDecoder("cap", idle_timeout_us=10**9, dissect=[]).decode(f.chunk(f.packets(made)))
    assert [row["source.port"] for row in f.rows(result)] == [1000, None]


def test_what_is_not_counted_is_counted_as_dropped() -> None:
    """ARP, LLC, cut frames, impossible headers, unknown link types and times each have their reason."""
    assert decode(f.ethernet(bytes(28), kind=0x0806)).dropped == {"not_ip": 1}
    assert decode(f.ethernet(b"\x42\x42\x03" + bytes(35), kind=38)).dropped == {"not_ip": 1}
    assert decode(b"\x00" * 13).dropped == {"truncated": 1}
    assert decode(f.ethernet(b"\x44" + UDP[1:])).dropped == {"malformed": 1}
    assert decode(f.ethernet(UDP, kind=0x86DD)).dropped == {"truncated": 1}
    assert decode(f.ethernet(bytes([0x50]) + UDP[1:], kind=0x0800)).dropped == {"malformed": 1}
    assert decode(UDP, linktype=147).dropped == {"linktype": 1}
    made = [(-1, f.ethernet(UDP), 44, 1), (1 << 62, f.ethernet(UDP), 44, 1)]
    result = PacketDecoder("cap", idle_timeout_us=10**6, dissect=[]).decode(f.chunk(f.packets(made)))
    assert result.dropped == {"time": 2}
