"""IPFIX and v9 beyond the ordinary, with values worked out by hand: structured data, withdrawals, scopes, reduced
sizes, time eras, reverse elements, labels, translations, tags."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from csirt.decode.netflow.decoder import NetflowDecoder
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template, v9, v9_options, word
from tests.decode.netflow.test_decoder import decode, events

LIST = struct.pack(">BHHHH", 3, 7, 2, 80, 443)  # a basicList of two ports


def one(*fields: tuple[int, ...], record: bytes) -> dict[str, Any]:
    """The only event of one record."""
    [event] = events(decode(ipfix(block(2, template(300, *fields)), block(300, record, pad=False))))
    return event


@pytest.mark.parametrize("ident", [291, 292, 293])
def test_structured_data_is_stepped_over(ident: int) -> None:
    """basicList, subTemplateList and subTemplateMultiList (RFC 6313), of fixed, short and long variable length and
    empty, in the middle of records: what lies behind them is right, and they stay as octets."""
    for length, raw in ((9, LIST), (65535, b"\x09" + LIST), (65535, b"\xff\0\x09" + LIST), (65535, b"\0")):
        record = word(3) + raw + word(500)
        data = block(300, record * 3, pad=False)
        rows = events(decode(ipfix(block(2, template(300, (2, 4), (ident, length), (1, 4))), data)))
        assert [(row["network"]["packets"], row["network"]["bytes"]) for row in rows] == [(3, 500)] * 3
        name = {291: "basic_list", 292: "sub_template_list", 293: "sub_template_multi_list"}[ident]
        assert [row["netflow"][name] for row in rows] == [LIST.hex() if len(raw) > 1 else ""] * 3


def test_a_list_that_claims_more_than_there_is_ends_the_set() -> None:
    """The records before it are kept, the set counts as malformed."""
    good, bad = word(3) + b"\x09" + LIST, word(4) + b"\xff\xff\xff" + LIST
    result = decode(ipfix(block(2, template(300, (2, 4), (291, 65535))), block(300, good + bad, pad=False)))
    assert [row["network"]["packets"] for row in events(result)] == [3] and result.exporters[0]["malformed"] == 1


def test_withdrawals_are_of_one_kind() -> None:
    """One template, all templates, all options templates (RFC 7011, 8.1); one of the other kind does nothing."""
    both = ipfix(
        block(2, template(300, (1, 4)) + template(301, (1, 4))), block(3, ipfix_options(400, 1, (149, 4), (41, 4)))
    )
    data = ipfix(block(300, word(1)), block(301, word(1)), block(400, word(1, 1)))
    cases = {(2, 300): (301, 400), (2, 400): (300, 301, 400), (3, 400): (300, 301), (2, 2): (400,), (3, 3): (300, 301)}
    for (kind, gone), left in cases.items():
        decoder = NetflowDecoder("s")
        decoder.decode(chunk([both, ipfix(block(kind, struct.pack(">HH", gone, 0)))]))
        assert tuple(sorted(decoder._state.exporters[0].templates)) == left
        result = decoder.decode(chunk([data], first=2))
        assert sum(batch.rows for batch in result.batches) == len(left) and result.held == (len(left) < 3)


def test_withdrawn_and_defined_anew_in_one_set() -> None:
    """Records of one template set count in their order."""
    again = struct.pack(">HH", 300, 0) + template(300, (2, 4))
    result = decode(ipfix(block(2, template(300, (1, 4)))), ipfix(block(2, again), block(300, word(7))))
    assert [row["network"]["packets"] for row in events(result)] == [7]


@pytest.mark.parametrize("scopes", [1, 2, 3])
def test_options_with_any_number_of_scopes(scopes: int) -> None:
    """All scopes and options are there under their names, in v9 with lengths of zero too."""
    data = ipfix(block(3, ipfix_options(400, scopes, (149, 4), (10, 4), (302, 8), (41, 4))),
                 block(400, word(1, 2) + struct.pack(">QI", 3, 4)))  # fmt: skip
    [event] = events(decode(data), "flow_options")
    fields = ("observation_domain_id", "ingress_interface", "selector_id", "exported_message_total_count")
    assert [event["netflow"][name] for name in fields] == [1, 2, 3, 4]
    kinds = [(1, 0), (2, 4), (3, 2)][:scopes]
    nine = v9(
        block(1, v9_options(256, kinds, [(42, 4)])),
        block(
            256, b"".join((n + 1).to_bytes(size, "big") if size else b"" for n, (_, size) in enumerate(kinds)) + word(9)
        ),
    )
    [event] = events(decode(nine), "flow_options")
    assert event["netflow"]["exported_flow_record_total_count"] == 9
    assert [event["netflow"].get(name) for name in ("scope_interface", "scope_line_card")][: scopes - 1] == [2, 3][
        : scopes - 1
    ]


def test_options_without_a_scope_are_refused_in_ipfix() -> None:
    """RFC 7011, 3.4.2.2: the scope count must not be zero; nor may it pass the field count."""
    for scopes in (0, 3):
        result = decode(ipfix(block(3, ipfix_options(400, scopes, (149, 4), (41, 4)))))
        assert result.dropped == {"malformed": 1}


def test_reduced_sizes() -> None:
    """Any shorter length, signed numbers extended by their sign, float64 as float32 (RFC 7011, 6.2)."""
    for length in range(1, 9):
        assert one((1, length), record=bytes(length - 1) + b"\x07")["network"]["bytes"] == 7
        assert one((1, length), record=b"\xff" * length)["network"]["bytes"] == 2 ** (8 * length) - 1
    for length in range(1, 5):
        raw = (-5).to_bytes(length, "big", signed=True)
        assert one((434, length), record=raw)["netflow"]["mib_object_value_integer"] == -5
    assert one((320, 4), record=struct.pack(">f", 0.5))["netflow"]["absolute_error"] == 0.5
    assert one((320, 8), record=struct.pack(">d", 0.1))["netflow"]["absolute_error"] == 0.1


def test_lengths_that_cannot_be_keep_their_octets() -> None:
    """An IPv4 address of 8 octets, an integer of 9: the octets under the element's number, and nothing is misread."""
    event = one((8, 8), (1, 9), (2, 4), record=bytes(range(17)) + word(3))
    assert event["netflow"]["e0_8"] == bytes(range(8)).hex() and event["netflow"]["e0_1"] == bytes(range(8, 17)).hex()
    assert event["network"]["packets"] == 3 and "ip" not in event.get("source", {})


def test_ntp_times_and_their_eras() -> None:
    """Seconds since 1900 with a binary fraction, after 2036 those of the next era; zero is no time."""
    base = 2_208_988_800
    cases = {
        (base + 1_700_000_000, 1 << 31): "2023-11-14T22:13:20.500000Z",
        (0xFFFFFFFF, 0xFFFFFFFF): "2036-02-07T06:28:15.999999Z",
        (0, 1 << 31): "2036-02-07T06:28:16.500000Z",
        (1_000_000, 0): "2036-02-18T20:14:56Z",
    }
    for pair, wanted in cases.items():
        for ident, name in ((154, "flow_start_microseconds"), (156, "flow_start_nanoseconds")):
            event = one((ident, 8), (1, 4), record=struct.pack(">II", *pair) + word(1))
            assert event["netflow"][name] == wanted == event["event"]["start"]
    assert "start" not in one((154, 8), (1, 4), record=bytes(8) + word(1))["event"]


def test_both_directions_in_one_record() -> None:
    """Reverse elements (RFC 5103) fill the counters of the answer, and keep their names."""
    fields = ((8, 4), (12, 4), (1, 8), (2, 8), (1, 8, 29305), (2, 8, 29305), (6, 1, 29305), (239, 1))
    event = one(*fields, record=word(0x0A000001, 0x0A000002) + struct.pack(">QQQQBB", 100, 2, 900, 3, 18, 1))
    assert event["source"]["bytes"] == 100 and event["destination"]["bytes"] == 900
    assert event["netflow"]["reverse_packet_delta_count"] == 3 and event["netflow"]["reverse_tcp_control_bits"] == 18
    assert event["netflow"]["biflow_direction"] == 1


def test_labels_translations_and_tags() -> None:
    """MPLS labels as octets, NAT addresses and ports, VLANs, next hops and AS numbers, each under its name."""
    event = one(
        (70, 3), (71, 3), (79, 3), (46, 1), (47, 4),
        record=bytes.fromhex("000640 0012d1 000031 04") + word(0x0A000009),
    )["netflow"]  # fmt: skip
    assert event["mpls_top_label_stack_section"] == "000640" and event["mpls_label_stack_section2"] == "0012d1"
    assert event["mpls_label_stack_section10"] == "000031" and event["mpls_top_label_ipv4_address"] == "10.0.0.9"
    event = one(
        (225, 4), (226, 4), (227, 2), (228, 2), (230, 1), (281, 16),
        record=word(0xC0000201, 0xC0000202) + struct.pack(">HHB", 40_000, 443, 1) + b"\xfd" + bytes(15),
    )["netflow"]  # fmt: skip
    assert (event["post_nat_source_ipv4_address"], event["post_nat_destination_ipv4_address"]) == (
        "192.0.2.1",
        "192.0.2.2",
    )
    assert (event["post_napt_source_transport_port"], event["post_napt_destination_transport_port"]) == (40_000, 443)
    assert event["nat_event"] == 1 and event["post_nat_source_ipv6_address"] == "fd00::"
    event = one((58, 2), (59, 2), (243, 2), (254, 2), (245, 2), record=struct.pack(">HHHHH", 10, 20, 30, 40, 50))
    assert event["network"]["vlan"]["id"] == 10
    names = ("vlan_id", "post_vlan_id", "dot1q_vlan_id", "post_dot1q_vlan_id", "dot1q_customer_vlan_id")
    assert [event["netflow"][name] for name in names] == [10, 20, 30, 40, 50]
    event = one((15, 4), (18, 4), (16, 4), (17, 2), record=word(0x0A000001, 0x0A000002, 4_200_000_000) + b"\xfc\x00")
    assert event["netflow"]["next_hop"] == "10.0.0.1" and event["netflow"]["bgp_next_hop"] == "10.0.0.2"
    assert event["source"]["as"]["number"] == 4_200_000_000 and event["destination"]["as"]["number"] == 64_512
    assert event["netflow"]["ip_next_hop_ipv4_address"] == "10.0.0.1"


def test_icmp_from_every_element_that_says_it() -> None:
    """Type and code together, apart, IPv4 and IPv6."""
    for ident, protocol in ((32, 1), (139, 58)):
        assert one((4, 1), (ident, 2), record=bytes([protocol, 128, 3]))["icmp"] == {"type": 128, "code": 3}
    for kind, code, protocol in ((176, 177, 1), (178, 179, 58)):
        assert one((4, 1), (kind, 1), (code, 1), record=bytes([protocol, 3, 1]))["icmp"] == {"type": 3, "code": 1}
    assert "icmp" not in one((4, 1), (32, 2), record=bytes([6, 8, 0]))
