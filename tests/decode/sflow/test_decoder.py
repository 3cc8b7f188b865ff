"""sFlow one promise at a time: what becomes a row, what is believed, counted, remembered and kept out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from csirt.decode.flows import FlowDecoder
from csirt.decode.sflow import state as limits
from csirt.model import ndjson
from csirt.model.batch import Decoded
from tests.decode.netflow.datagrams import block as netflow_block
from tests.decode.netflow.datagrams import chunk, template, v5, v5_record, v9
from tests.decode.sflow import datagrams as s

PLAIN = s.header(s.ethernet() + s.ip4(body=s.tcp()), frame=1_500)


@dataclass
class Exporter:
    """A configured sender."""

    address: str
    name: str = ""
    sampling_rate: int = 0


def events(result: Decoded, dataset: str = "flow") -> list[dict[str, Any]]:
    """The events of a dataset."""
    lines = [line for b in result.batches if b.dataset == dataset for line in ndjson.render(b)]
    return [json.loads(line) for line in lines]


def decode(*payloads: bytes, **options: Any) -> Decoded:
    """A chunk of datagrams through a fresh decoder."""
    return FlowDecoder("s", **options).decode(chunk(list(payloads)))


def test_a_sample_stands_for_the_packets_it_was_taken_from() -> None:
    """Bytes are the packet's length times the rate, packets the rate; raw numbers stay beside them; the time is that
    of receipt, and the row says by whom and how it was sampled."""
    [event] = events(decode(s.sflow(s.flow(PLAIN, rate=400), domain=8)))
    assert event["network"] == {**event["network"], "bytes": 600_000, "packets": 400, "iana_number": 6}
    assert event["netflow"]["octet_delta_count"] == 1_500 and event["netflow"]["packet_delta_count"] == 1
    assert event["csirt"]["flow"] == {"sampling_rate": 400, "sampling_origin": "sample"}
    assert event["@timestamp"] == event["event"]["ingested"] == "2023-11-14T22:13:20Z" and "start" not in event["event"]
    assert event["netflow"]["exporter"] == {"address": "192.0.2.1", "domain": 8, "version": 105}
    assert event["observer"]["ip"] == "192.0.2.1" and event["netflow"]["sflow_agent"] == "192.0.2.9"
    assert event["netflow"]["sflow_drops"] == 2 and event["netflow"]["sflow_sample_sequence"] == 7


def test_the_configured_rate_goes_before_the_samples_and_none_is_none() -> None:
    """As for NetFlow: configuration, then the sample; a rate of 0 is no rate."""
    known = [Exporter("192.0.2.1", "edge", 50)]
    [event] = events(decode(s.sflow(s.flow(PLAIN)), exporters=known))
    assert event["csirt"]["flow"] == {"sampling_rate": 50, "sampling_origin": "config"}
    assert event["network"]["bytes"] == 75_000 and event["observer"]["name"] == "edge"
    [event] = events(decode(s.sflow(s.flow(PLAIN, rate=0))))
    assert "csirt" not in event and event["network"]["bytes"] == 1_500 and event["network"]["packets"] == 1


@pytest.mark.parametrize(
    ("expanded", "out", "wanted"),
    [
        (False, 12, (12, None, None)),
        (False, 0, (None, None, None)),
        (False, 0x3FFFFFFF, (None, "local", None)),
        (False, 0x40000005, (None, "discarded", 5)),
        (False, 0x80000003, (None, "multiple", 3)),
        (False, 0xC0000003, (None, "unclear", 3)),
        (True, 0x7FFFFFFF, (0x7FFFFFFF, None, None)),
        (True, 0xFFFFFFFF, (None, "local", None)),
        (True, 1 << 32 | 256, (None, "discarded", 256)),
        (True, 2 << 32 | 4, (None, "multiple", 4)),
    ],
)
def test_interfaces_by_their_format(expanded: bool, out: int, wanted: tuple[Any, ...]) -> None:
    """An index, or why there is none: nothing known, the device itself, discarded, several."""
    [event] = events(decode(s.sflow(s.flow(PLAIN, out=out, expanded=expanded))))
    found = event["observer"].get("egress", {}).get("interface", {}).get("id")
    assert (found, event["netflow"].get("sflow_egress"), event["netflow"].get("sflow_egress_value")) == wanted
    assert event["observer"]["ingress"]["interface"]["id"] == 11


def test_headers_down_to_the_transport() -> None:
    """VLAN tags, MPLS labels, IPv6, fragments and TCP without any flag, as the packet decoder reads them."""
    raw = s.ethernet(tags=(100, 200), kind=0x86DD) + s.ip6(body=s.udp())
    [event] = events(decode(s.sflow(s.flow(s.header(raw)))))
    assert event["network"]["vlan"]["id"] == 100 and event["netflow"]["dot1q_customer_vlan_id"] == 200
    assert (event["source"]["port"], event["destination"]["port"]) == (5353, 53)
    assert (event["netflow"]["ip_class_of_service"], event["netflow"]["flow_label_ipv6"]) == (8, 0x12345)
    [event] = events(decode(s.sflow(s.flow(s.header(s.ethernet(labels=(70, 71)) + s.ip4(body=s.tcp(flags=0)))))))
    assert event["netflow"]["sflow_mpls_label"] == 70 and event["flow"]["tcp_flags"] == 0
    [event] = events(decode(s.sflow(s.flow(s.header(s.ip4(body=s.tcp(), fragment=9), protocol=11)))))
    assert (
        event["network"]["iana_number"] == 6
        and "port" not in event["source"]
        and "ethernet_type" not in event["netflow"]
    )
    [event] = events(decode(s.sflow(s.flow(s.header(s.ethernet(kind=0x0806) + bytes(28))))))
    assert event["netflow"]["ethernet_type"] == 0x0806 and "ip" not in event.get("source", {})


def test_the_header_goes_before_what_the_device_says() -> None:
    """In whatever order the records come; without a header the device's reading is the flow."""
    other = s.sampled_ip("10.9.9.9", "10.8.8.8", ports=(1, 2), flags=1)
    for records in ((PLAIN, other), (other, PLAIN)):
        [event] = events(decode(s.sflow(s.flow(*records))))
        assert event["source"]["ip"] == "10.0.0.1" and event["destination"]["port"] == 443
        assert event["flow"]["tcp_flags"] == 0x12 and event["netflow"]["octet_delta_count"] == 1_500
    six = s.sampled_ip("fd00::5", "fd00::6", length=77)
    for records, length in (((six,), 77), ((six, s.sampled_ethernet(99, "020000000001", "020000000002", 0x86DD)), 99)):
        [event] = events(decode(s.sflow(s.flow(*records))))
        assert event["source"]["ip"] == "fd00::5" and event["netflow"]["octet_delta_count"] == length
        assert event["flow"]["tcp_flags"] == 2 and event["netflow"]["ip_class_of_service"] == 8
    assert event["source"]["mac"] == "02-00-00-00-00-01"


def test_where_the_device_sent_it() -> None:
    """Switch, router, gateway, MPLS, NAT and VNI records under the names of the elements."""
    records = (
        PLAIN,
        s.block(1001, s.word(10, 3, 20, 0xFFFFFFFF)),
        s.block(1002, s.address("10.0.0.254") + s.word(24, 16)),
        s.gateway("10.0.0.253", 65000, 65001, 65002, path=((2, (65003, 65004)), (1, (65010, 65011)), (2, (65005,)))),
        s.block(1007, s.address("203.0.113.1") + s.address("fd00::9")),
        s.block(1020, s.word(4_000, 5_000)),
        s.block(1030, s.word(77)),
    )
    [event] = events(decode(s.sflow(s.flow(*records))))
    raw = event["netflow"]
    assert (raw["vlan_id"], raw["dot1q_priority"], raw["post_vlan_id"]) == (10, 3, 20)
    assert "sflow_post_dot1q_priority" not in raw and event["network"]["vlan"]["id"] == 10
    assert (raw["next_hop"], raw["source_ipv4_prefix_length"], raw["destination_ipv4_prefix_length"]) == (
        "10.0.0.254", 24, 16,
    )  # fmt: skip
    assert (event["source"]["as"]["number"], raw["bgp_prev_adjacent_as_number"]) == (65001, 65002)
    assert (event["destination"]["as"]["number"], raw["bgp_next_adjacent_as_number"]) == (65005, 65003)
    assert raw["bgp_next_hop"] == "10.0.0.253"
    assert raw["post_nat_source_ipv4_address"] == "203.0.113.1"
    assert raw["post_nat_destination_ipv6_address"] == "fd00::9"
    assert (raw["post_napt_source_transport_port"], raw["post_napt_destination_transport_port"]) == (4_000, 5_000)
    assert raw["sflow_vni_ingress"] == 77


def test_unknown_samples_and_records_cost_nothing_beside_them() -> None:
    """They are skipped by their length and counted; so are users, who are persons, and a second record of a kind."""
    user = s.block(1004, s.word(106, 12) + b"kari.nordman" + s.word(106, 0))
    result = decode(
        s.sflow(
            s.block(0x1005, b"abcde"),
            s.flow(s.block(0x1234007, b"xyz"), user, PLAIN, s.header(s.ip4("9.9.9.9"), protocol=11)),
            s.counters(s.block(1001, s.word(1, 2, 3))),
        )
    )
    [event] = events(result)
    assert event["source"]["ip"] == "10.0.0.1" and "kari" not in json.dumps(event)
    [exporter] = result.exporters
    assert (exporter["skipped"], exporter["malformed"], exporter["decoded"]) == (5, 0, 1)
    assert not result.dropped and [e["event"]["id"][-1] for e in events(result, "flow_counters")] == ["1"]


def test_no_octet_behind_the_transport_header_leaves() -> None:
    """Not a byte of a sampled packet's payload is in any row (decision 15)."""
    secret = b"11057312345 Subject: blodprove"
    result = decode(s.sflow(s.flow(s.header(s.ethernet() + s.ip4(body=s.tcp() + secret)))))
    [event] = events(result)
    text = json.dumps(event)
    assert event["destination"]["port"] == 443
    assert not any(part in text for part in ("11057312345", "blodprove", secret.hex(), secret[:6].hex()))


def test_sequences_per_agent_and_sub_agent() -> None:
    """Loss, lateness and restarts are told apart, each agent behind one sender for itself, over chunks and restarts."""
    first = [s.sflow(sequence=n, agent=a) for n, a in ((1, "10.0.0.1"), (900, "10.0.0.2"), (2, "10.0.0.1"))]
    decoder = FlowDecoder("s")
    state = decoder.decode(chunk(first)).state
    again = FlowDecoder("s")
    again.load(state)
    second = [s.sflow(sequence=n, agent=a) for n, a in ((6, "10.0.0.1"), (4, "10.0.0.1"), (901, "10.0.0.2"))]
    result = again.decode(chunk([*second, s.sflow(sequence=2**31, agent="10.0.0.2")], first=3))
    counts = [(x["domain"], x["sequence_lost"], x["sequence_late"], x["sequence_resets"]) for x in result.exporters]
    assert sorted(counts) == [(3, 0, 0, 1), (3, 3, 1, 0)]
    assert {item["address"] for item in result.exporters} == {"192.0.2.1"}


def test_only_listed_senders_are_believed_when_told_so() -> None:
    """The sender's address decides, as for NetFlow; the agent's, which anybody can write, does not."""
    known = [Exporter("192.0.2.1")]
    payloads = [s.sflow(s.flow(PLAIN), agent="192.0.2.1")] * 2
    decoder = FlowDecoder("s", exporters=known, accept_unknown=False)
    result = decoder.decode(chunk(payloads, exporters=["192.0.2.1", "192.0.2.66"]))
    assert result.dropped == {"unlisted_exporter": 1} and result.left == 1 and len(events(result)) == 1
    assert decoder.rejected == [("00112233445566aa", 1, 0, "unlisted_exporter")]


def test_strangers_cannot_fill_the_table_of_the_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged agents run into their own limit; a configured router's agents find room, up to a limit of its own."""
    monkeypatch.setattr(limits, "MAX_AGENTS", 5)
    monkeypatch.setattr(limits, "MAX_AGENTS_LISTED", 2)
    decoder = FlowDecoder("s", exporters=[Exporter("192.0.2.1")])
    forged = [s.sflow(s.flow(PLAIN), domain=n) for n in range(8)]
    result = decoder.decode(chunk(forged, exporters=["198.51.100.1"] * 8))
    assert result.dropped == {"too_many_exporters": 3} and result.left == 5
    result = decoder.decode(chunk(forged[:3], first=8))
    assert result.dropped == {"too_many_exporters": 1} and result.left == 2
    reloaded = FlowDecoder("s", exporters=[Exporter("192.0.2.1")])
    reloaded.load(result.state)
    assert reloaded.decode(chunk(forged[:3], first=11)).dropped == {"too_many_exporters": 1}


def test_who_is_silent_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent not heard for the expiry leaves its room to others, is counted, and is met anew when it comes back; one
    that goes on sending stays, however long ago it was met."""
    monkeypatch.setattr(limits, "MAX_AGENTS", 2)
    hour = 3_600 * 10**6
    decoder = FlowDecoder("s", exporter_expiry_us=hour)
    start = 1_700_000_000_000_000

    def send(*agents: tuple[str, int, int]) -> Decoded:
        payloads = [s.sflow(s.flow(PLAIN), agent=agent, sequence=number) for agent, number, _ in agents]
        return decoder.decode(chunk(payloads, times=[start + at for _, _, at in agents]))

    assert not send(("10.0.0.1", 1, 0), ("10.0.0.2", 1, 0)).dropped
    assert send(("10.0.0.1", 2, hour), ("10.0.0.3", 1, hour)).dropped == {"too_many_exporters": 1}
    result = send(("10.0.0.1", 3, 2 * hour - 1), ("10.0.0.3", 1, 2 * hour))
    assert not result.dropped and result.forgotten == {"exporter_expired": 1}
    result = send(("10.0.0.1", 9, 3 * hour - 1), ("10.0.0.2", 900, 4 * hour))
    assert not result.dropped and result.forgotten == {"exporter_expired": 2}
    assert sum(item["sequence_lost"] for item in result.exporters) == 5  # of the first alone


def test_netflow_and_sflow_on_one_port() -> None:
    """Each datagram says what it is; held NetFlow data, templates and both states come through together."""
    data = v9(netflow_block(300, s.word(7)), sequence=1)
    decoder = FlowDecoder("s")
    first = decoder.decode(chunk([s.sflow(s.flow(PLAIN)), data, v5([v5_record()]), b"\0\0\0\6" + bytes(40)]))
    assert first.entered == 4 and first.left == 2 and first.held == 1 and first.dropped == {"unknown_version": 1}
    assert sorted(e["netflow"]["exporter"]["version"] for e in events(first)) == [5, 105]
    second = FlowDecoder("s")
    second.load(first.state)
    only = second.decode(chunk([s.sflow(s.flow(PLAIN), sequence=2)], first=4))
    assert only.held == 1 and only.exporters[0]["sequence_lost"] == 0
    third = FlowDecoder("s")
    third.load(only.state)
    last = third.decode(chunk([v9(netflow_block(0, template(300, (1, 4))))], first=5))
    assert last.left == 2 and not last.held and third.templates == 1
    [event] = events(last)
    assert event["netflow"]["octet_delta_count"] == 7
    assert third.finish().state is None
    with pytest.raises(ValueError, match="not a state"):
        FlowDecoder("s").load(b"csirt-sflow/1\n" + (99).to_bytes(8, "big") + b"[]")


def test_damage_is_counted_and_what_is_whole_is_kept() -> None:
    """A cut sample keeps its complete records, a lying count is malformed, octets behind the samples are reported."""
    whole = s.sflow(s.flow(s.block(1002, s.address("10.0.0.9") + s.word(8, 9)), PLAIN))
    decoder = FlowDecoder("s")
    result = decoder.decode(
        chunk([whole[:-20], s.sflow(s.flow(PLAIN), count=3), s.sflow(s.flow(PLAIN)) + b"\1" * 4, whole[:20]])
    )
    assert [event["netflow"].get("next_hop") for event in events(result)] == ["10.0.0.9", None, None]
    assert all("source" in event for event in events(result))
    assert result.left == 3 and result.dropped == {"malformed": 1}
    reasons = [(frame, reason) for _, frame, _, reason in decoder.rejected]
    assert reasons == [(0, "malformed_sample"), (1, "malformed_sample"), (2, "trailing_octets"), (3, "malformed")]
    [exporter] = result.exporters
    assert (
        exporter["received"] == 3 and exporter["malformed"] == 4
    )  # the sample and its record, the count, the octets behind


def test_many_samples_become_batches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are parted, they are the same rows in the same order."""
    payloads = [s.sflow(*[s.flow(PLAIN, rate=n + 1)] * 3, s.counters(), sequence=n) for n in range(9)]
    whole = decode(*payloads)
    monkeypatch.setattr("csirt.decode.sflow.decoder.ROWS", 8)
    parts = decode(*payloads)
    assert len(parts.batches) > len(whole.batches) == 2
    for dataset in ("flow", "flow_counters"):
        assert events(parts, dataset) == events(whole, dataset)
