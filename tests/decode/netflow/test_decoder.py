"""The decoder, feature by feature, with values worked out by hand."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from csirt.clock import MINUTE, SECOND, parse_iso
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from csirt.model.batch import Decoded
from tests.decode.netflow.datagrams import (
    block,
    chunk,
    ipfix,
    ipfix_options,
    template,
    v5,
    v5_record,
    v9,
    v9_options,
    word,
)

FLOW = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4))
EXPORTED = 1_700_000_000_000_000


@dataclass
class Known:
    """A configured exporter."""

    address: str
    name: str = ""
    sampling_rate: int = 0


def flow(octets: int = 1000, *, packets: int = 10, protocol: int = 6, dport: int = 443) -> bytes:
    """A record of FLOW."""
    return word(0x0A000001, 0x0A000002) + struct.pack(">HHBII", 1024, dport, protocol, octets, packets)


def events(result: Decoded, dataset: str = "flow") -> list[dict[str, Any]]:
    """The events of one dataset, in order."""
    return [json.loads(line) for b in result.batches if b.dataset == dataset for line in ndjson.render(b)]


def decode(*payloads: bytes, **options: Any) -> Decoded:
    """All datagrams in one chunk with a fresh decoder."""
    return NetflowDecoder("s", **options).decode(chunk(list(payloads)))


def test_every_field_of_v5() -> None:
    """A v5 record fills the ECS columns, and the raw elements under their IANA names, header fields included."""
    raw = v5([v5_record()], sequence=7, engine=0x0102, nanoseconds=500_000_000, sampling=1 << 14 | 10)
    [event] = events(decode(raw))
    assert event["source"] == {"ip": "10.0.0.1", "port": 1024, "bytes": 3000, "packets": 30, "as": {"number": 64512}}
    assert event["destination"] == {"ip": "10.0.0.2", "port": 443, "as": {"number": 64513}}
    assert event["netflow"]["octet_delta_count"] == 300 and event["network"]["bytes"] == 3000
    assert event["csirt"]["flow"] == {"sampling_rate": 10, "sampling_origin": "header"}
    assert event["netflow"]["flow_start_sys_up_time"] == 8000
    assert event["netflow"]["engine_type"] == 1 and event["netflow"]["engine_id"] == 2
    assert event["netflow"]["exporter"] == {"address": "192.0.2.1", "version": 5, "domain": 0x0102}
    assert event["netflow"]["source_ipv4_prefix_length"] == 24 and event["flow"]["tcp_flags"] == 27
    # exported at 10.000 s of uptime = 1700000000.5
    assert parse_iso(event["event"]["end"]) == EXPORTED - SECOND // 2
    assert parse_iso(event["event"]["start"]) == EXPORTED - 3 * SECOND // 2
    assert event["event"]["duration"] == 10**9


def test_uptime_that_wrapped_between_start_and_export() -> None:
    """A flow that began before the 32-bit uptime wrapped lies before its export, not 49.7 days after it."""
    raw = v5([v5_record(first=2**32 - 3000, last=500)], uptime=1000)
    [event] = events(decode(raw))
    assert parse_iso(event["event"]["start"]) == EXPORTED - 4 * SECOND
    assert parse_iso(event["event"]["end"]) == EXPORTED - SECOND // 2


def test_v5_that_was_cut_short_keeps_its_complete_records() -> None:
    """Two of three records are there: two rows, and one malformed set is counted."""
    result = decode(v5([v5_record(), v5_record()], count=3) + b"\x01" * 20)
    assert len(events(result)) == 2 and result.left == 1
    assert result.exporters[0]["malformed"] == 1


def test_v5_header_that_lies_is_refused() -> None:
    """A count no datagram can hold is garbage, not a truncated export."""
    result = decode(v5([v5_record()], count=55_582))
    assert not result.batches and result.dropped == {"malformed": 1}


def test_v7_has_longer_records() -> None:
    """v7 is v5 with 52-octet records and no engine."""
    raw = bytearray(v5([]) + b"".join(v5_record(dport=port) + bytes(4) for port in (80, 81)))
    raw[:4] = struct.pack(">HH", 7, 2)
    assert [event["destination"]["port"] for event in events(decode(bytes(raw)))] == [80, 81]


def test_icmp_type_and_code_come_from_the_destination_port_in_old_versions() -> None:
    """v5 and v9 put ICMP type * 256 + code there; other protocols have no ICMP fields."""
    ping, tcp = events(decode(v5([v5_record(protocol=1, dport=0x0803), v5_record()])))
    assert ping["icmp"] == {"type": 8, "code": 3} and "icmp" not in tcp


def test_data_before_its_template_is_held_and_keeps_its_place() -> None:
    """Held data comes out with the ids it would have had, whenever its template arrives."""
    decoder = NetflowDecoder("s")
    data = ipfix(block(300, flow(1) + flow(2), pad=False))
    first = decoder.decode(chunk([data]))
    assert not first.batches and first.held == 1 and first.exporters[0]["held"] == 1
    second = decoder.decode(chunk([ipfix(block(2, template(300, *FLOW))), data], first=1, segment="ff" * 8))
    rows = events(second)
    assert [row["event"]["id"][16:] for row in rows] == [f"{n:016x}" for n in (0, 1, 2 << 16, 2 << 16 | 1)]
    assert rows[0]["event"]["id"][:16] != rows[2]["event"]["id"][:16] == "ff" * 8
    assert second.left == 3 and second.held == 0
    assert sum(row["held"] for result in (first, second) for row in result.exporters) == 0


def test_held_data_expires_by_receive_time() -> None:
    """What waited longer than the limit is counted as expired, even if its template comes then."""
    decoder = NetflowDecoder("s", hold_age_us=10 * MINUTE)
    decoder.decode(chunk([ipfix(block(300, flow()))], times=[EXPORTED]))
    late = chunk([ipfix(block(2, template(300, *FLOW)))], times=[EXPORTED + 10 * MINUTE + 1], first=1)
    result = decoder.decode(late)
    assert not events(result) and result.dropped == {"expired": 1} and result.held == 0
    assert result.exporters[0]["expired"] == 1


def test_held_data_is_bounded_in_octets_and_the_oldest_goes_first() -> None:
    """Beyond the limit the oldest held sets expire; the newest are still decoded."""
    decoder = NetflowDecoder("s", hold_bytes=900)
    payloads = [ipfix(block(300, flow(n))) for n in range(1, 6)]
    result = decoder.decode(chunk(payloads))
    assert result.dropped == {"expired": 2} and result.held == 3
    after = decoder.decode(chunk([ipfix(block(2, template(300, *FLOW)))], first=5))
    assert [event["network"]["bytes"] for event in events(after)] == [3, 4, 5]


def test_what_still_waits_at_the_end_expires() -> None:
    """finish() counts what no template came for."""
    decoder = NetflowDecoder("s")
    decoder.decode(chunk([ipfix(block(300, flow()))]))
    end = decoder.finish()
    assert end.dropped == {"expired": 1} and end.left == 0 and end.exporters[0]["expired"] == 1


def test_a_datagram_with_known_and_unknown_sets_is_held_until_all_are_settled() -> None:
    """Its known rows come at once; it is decoded when the rest is, or expired as decoded."""
    decoder = NetflowDecoder("s")
    mixed = ipfix(block(2, template(300, *FLOW)), block(301, flow(1), pad=False), block(300, flow(2)))
    first = decoder.decode(chunk([mixed]))
    assert [event["network"]["bytes"] for event in events(first)] == [2]
    assert (first.left, first.held) == (0, 1)
    second = decoder.decode(chunk([ipfix(block(2, template(301, *FLOW)))], first=1))
    assert (second.left, second.held) == (2, 0)
    ids = [event["event"]["id"] for event in (*events(second), *events(first))]
    assert ids == sorted(ids) and len(set(ids)) == 2


def test_a_template_that_changes_in_the_middle_splits_there() -> None:
    """Each set is read with the definition that was in force when it came."""
    result = decode(
        ipfix(block(2, template(300, (1, 4), (2, 4))), block(300, word(11, 22))),
        ipfix(block(2, template(300, (2, 4), (1, 4))), block(300, word(33, 44))),
        ipfix(block(300, word(55, 66))),
    )
    assert [(e["network"]["bytes"], e["network"]["packets"]) for e in events(result)] == [(11, 22), (44, 33), (66, 55)]


def test_a_withdrawn_template_is_gone() -> None:
    """After a withdrawal data waits for a new definition (RFC 7011, 8.1)."""
    gone = struct.pack(">HH", 300, 0)
    result = decode(
        ipfix(block(2, template(300, (1, 4)))),
        ipfix(block(300, word(1))),
        ipfix(block(2, gone)),
        ipfix(block(300, word(2))),
    )
    assert len(events(result)) == 1 and result.held == 1
    everything = struct.pack(">HH", 2, 0)
    result = decode(
        ipfix(block(2, template(300, (1, 4)) + template(301, (1, 4)))), ipfix(block(2, everything)),
        ipfix(block(300, word(2))), ipfix(block(301, word(2))),
    )  # fmt: skip
    assert result.held == 2


def test_templates_belong_to_one_exporter_version_and_domain() -> None:
    """The same id of another address, domain or version is another template; the source port is no part of it."""
    known = ipfix(block(2, template(300, *FLOW)), domain=1)
    others = [
        ipfix(block(300, flow()), domain=2),
        v9(block(300, flow()), domain=1),
        ipfix(block(300, flow()), domain=1),
    ]
    data = chunk([known, *others], exporters=["192.0.2.1", "192.0.2.1", "192.0.2.1", "2001:db8::1"])
    result = NetflowDecoder("s").decode(data)
    assert not result.batches and result.held == 3


def test_sampling_from_options_data_by_sampler() -> None:
    """v9 sampler tables correct what comes after them, each flow by its own sampler, raw counters kept beside."""
    fields = (*FLOW, (48, 1))
    result = decode(
        v9(block(0, template(300, *fields)), block(1, v9_options(301, [(1, 4)], [(48, 1), (49, 1), (50, 4)]))),
        v9(block(300, flow(5) + b"\x01", pad=False)),
        v9(block(301, word(0) + b"\x01\x02" + word(100) + word(0) + b"\x02\x02" + word(1000), pad=False)),
        v9(block(300, flow(5) + b"\x01" + flow(5) + b"\x02" + flow(5) + b"\x09", pad=False)),
    )
    got = [(e["network"]["bytes"], e["netflow"]["octet_delta_count"], e.get("csirt")) for e in events(result)]
    assert [item[:2] for item in got] == [(5, 5), (500, 5), (5000, 5), (5, 5)]
    assert got[0][2] is None and got[3][2] is None
    assert got[1][2]["flow"] == {"sampling_rate": 100, "sampling_origin": "options"}
    assert [e["netflow"]["sampler_random_interval"] for e in events(result, "flow_options")] == [100, 1000]


def test_sampling_without_a_sampler_id() -> None:
    """Flows that name no sampler take the only one there is; when samplers disagree the rate is unknown."""
    options = block(3, ipfix_options(301, 1, (302, 8), (305, 4), (306, 4)))
    one, two = struct.pack(">QII", 0, 1, 99), struct.pack(">QII", 5, 1, 9)
    result = decode(
        ipfix(block(2, template(300, *FLOW)), options, block(301, one), block(300, flow(7))),
        ipfix(block(301, two)),
        ipfix(block(300, flow(7))),
    )
    assert [e["network"]["bytes"] for e in events(result)] == [700, 7]


def test_sampling_in_the_same_datagram_behind_the_flows() -> None:
    """Options data behind the flows of its own datagram counts for them."""
    result = decode(
        ipfix(
            block(2, template(300, *FLOW)), block(3, ipfix_options(301, 1, (149, 4), (34, 4))),
            block(300, flow(3)), block(301, word(0, 50)),
        )
    )  # fmt: skip
    assert [e["network"]["bytes"] for e in events(result)] == [150]


def test_sampling_in_the_record_and_in_the_configuration() -> None:
    """The record's own rate beats options; the configured one beats all."""
    sets = (block(2, template(300, *FLOW, (34, 4))), block(300, flow(3) + word(20)))
    [event] = events(decode(ipfix(*sets)))
    assert (event["network"]["bytes"], event["csirt"]["flow"]["sampling_origin"]) == (60, "record")
    [event] = events(decode(ipfix(*sets), exporters=[Known("192.0.2.1", "edge-1", 7)]))
    assert (event["network"]["bytes"], event["csirt"]["flow"]["sampling_origin"]) == (21, "config")
    assert event["observer"]["name"] == "edge-1"


def test_corrected_counters_stop_at_the_top() -> None:
    """A counter times its rate that does not fit 64 bits is the greatest number, never a small one."""
    raw = ipfix(block(2, template(300, (1, 8), (34, 4))), block(300, struct.pack(">QI", 2**63, 4)))
    [event] = events(decode(raw))
    assert event["network"]["bytes"] == 2**64 - 1 and event["netflow"]["octet_delta_count"] == 2**63


def test_unlisted_exporters() -> None:
    """Where only listed exporters are believed, the others are counted and leave no state."""
    decoder = NetflowDecoder("s", exporters=[Known("192.0.2.9")], accept_unknown=False)
    result = decoder.decode(chunk([v5([v5_record()]), v5([v5_record()])], exporters=["192.0.2.1", "192.0.2.9"]))
    assert result.dropped == {"unlisted_exporter": 1} and result.left == 1 and len(events(result)) == 1
    assert [row["address"] for row in result.exporters] == ["192.0.2.9"]


def test_sequence_numbers_count_flows_datagrams_or_records() -> None:
    """v5 counts flows, v9 datagrams, IPFIX data records with options data; a restart is no loss."""

    def lost(*payloads: bytes) -> int:
        return sum(row["sequence_lost"] for row in decode(*payloads).exporters)

    assert lost(v5([v5_record()] * 2, sequence=10), v5([v5_record()], sequence=12)) == 0
    assert lost(v5([v5_record()] * 2, sequence=10), v5([v5_record()], sequence=15)) == 3
    assert lost(v9(sequence=4), v9(sequence=5), v9(sequence=9)) == 3
    known = ipfix(block(2, template(300, (1, 4))), block(300, word(1, 2)), sequence=2**32 - 1)
    assert lost(known, ipfix(block(300, word(1)), sequence=1), ipfix(sequence=2)) == 0
    assert lost(known, ipfix(block(300, word(1)), sequence=6)) == 5
    assert lost(v9(sequence=70_000_000), v9(sequence=0), v9(sequence=1)) == 0


def test_ipfix_uptimes_need_the_start_of_the_device() -> None:
    """Elements 21 and 22 are read with element 160 of the record or of options data; without it the flow's end is the
    export time and its length is kept."""
    fields = (*FLOW, (22, 4), (21, 4))
    data = block(300, flow() + word(1000, 4000))
    alone = ipfix(block(2, template(300, *fields)), data)
    [event] = events(decode(alone))
    assert parse_iso(event["event"]["end"]) == EXPORTED and event["event"]["duration"] == 3 * 10**9
    assert event["netflow"]["flow_end_sys_up_time"] == 4000
    boot = (EXPORTED - 10 * SECOND) // 1000
    options = block(3, ipfix_options(301, 1, (144, 4), (160, 8)))
    [event] = events(decode(ipfix(options, block(301, struct.pack(">IQ", 1, boot))), alone))
    assert parse_iso(event["event"]["end"]) == EXPORTED - 6 * SECOND
    inside = ipfix(
        block(2, template(300, *fields, (160, 8))), block(300, flow() + struct.pack(">IIQ", 1000, 4000, boot))
    )
    [event] = events(decode(inside))
    assert parse_iso(event["event"]["start"]) == EXPORTED - 9 * SECOND


def test_time_without_a_clock_is_the_receive_time() -> None:
    """No time element: the export time; no export time either: when the datagram was received."""
    sets = (block(2, template(300, *FLOW)), block(300, flow()))
    [event] = events(NetflowDecoder("s").decode(chunk([ipfix(*sets)], times=[5 * SECOND])))
    assert parse_iso(event["@timestamp"]) == EXPORTED
    [event] = events(NetflowDecoder("s").decode(chunk([ipfix(*sets, seconds=0)], times=[5 * SECOND])))
    assert parse_iso(event["@timestamp"]) == 5 * SECOND


def test_durations_complete_times() -> None:
    """Start and length give the end."""
    raw = ipfix(block(2, template(300, (152, 8), (161, 4))), block(300, struct.pack(">QI", 1_600_000_000_000, 2500)))
    [event] = events(decode(raw))
    assert event["event"]["end"] == "2020-09-13T12:26:42.500000Z" and event["event"]["duration"] == 2_500_000_000


def test_both_address_families_in_one_template() -> None:
    """The address that is not zero is the flow's; both stay under their own names."""
    fields = block(2, template(300, (8, 4), (27, 16), (12, 4), (28, 16)))
    four = word(0x0A000001) + bytes(16) + word(0x0A000002) + bytes(16)
    six = word(0) + b"\xfd" + bytes(15) + word(0) + b"\xfd" + bytes(14) + b"\x01"
    one, two = events(decode(ipfix(fields, block(300, four + six))))
    assert (one["source"]["ip"], one["destination"]["ip"]) == ("10.0.0.1", "10.0.0.2")
    assert (two["source"]["ip"], two["destination"]["ip"]) == ("fd00::", "fd00::1")
    assert one["netflow"]["source_ipv6_address"] == "::" and two["netflow"]["source_ipv4_address"] == "0.0.0.0"


def test_unknown_elements_become_hex_and_drop_nothing() -> None:
    """An element no table knows keeps its octets under its number."""
    raw = ipfix(
        block(2, template(300, (1, 4), (7777, 3), (42, 65535, 99999))), block(300, word(9) + b"abc\x02xy", pad=False)
    )
    [event] = events(decode(raw))
    assert event["netflow"]["e0_7777"] == "616263" and event["netflow"]["e99999_42"] == "7879"
    assert event["network"]["bytes"] == 9


def test_what_must_not_leave_decode() -> None:
    """Identity numbers and mailboxes in text are removed, payload elements are thrown away, packet sections end with
    the transport header (decision 15)."""
    frame = (
        bytes(12) + b"\x08\x00" + bytes.fromhex("45000030000000000011000001010101020202020035003500100000") + b"secret"
    )
    fields = ((371, 65535), (314, 6), (315, len(frame)))
    user = b"ola.nordmann@example.no 01010750160"
    raw = ipfix(block(2, template(300, *fields)), block(300, bytes([len(user)]) + user + b"secret" + frame, pad=False))
    result = decode(raw)
    [event] = events(result)
    assert event["netflow"]["user_name"] == "[user removed]"
    assert "ip_payload_packet_section" not in event["netflow"]
    assert event["netflow"]["data_link_frame_section"] == frame[:-6].hex()
    assert b"nordmann" not in (result.state or b"")


def test_options_data_is_a_dataset_of_its_own() -> None:
    """Scope and fields of options data become rows of flow_options and count in the ordinals."""
    result = decode(
        v9(block(1, v9_options(256, [(2, 4)], [(82, 8)])), block(256, word(7) + b"Gi0/7\0\0\0")),
    )
    [event] = events(result, "flow_options")
    assert event["netflow"]["scope_interface"] == 7 and event["netflow"]["interface_name"] == "Gi0/7"
    assert event["event"]["dataset"] == "flow_options" and event["event"]["id"].endswith("0" * 16)


def test_broken_templates_are_counted() -> None:
    """Zero-length records, ids below 256, more fields than octets: no template, one malformed set each."""
    for body in (template(300, (1, 0)), template(100, (1, 4)), struct.pack(">HHHH", 300, 900, 1, 4)):
        result = decode(ipfix(block(2, body)))
        assert result.dropped == {"malformed": 1}, body
        assert result.exporters[0]["malformed"] == 1
    assert decode(v9(block(1, struct.pack(">HHHHH", 300, 3, 4, 1, 1)))).dropped == {"malformed": 1}


def test_zero_filled_tails_are_padding() -> None:
    """Zeros behind the last set are no set and no error."""
    result = decode(ipfix(block(2, template(300, (1, 4))), block(300, word(1)), bytes(40)))
    assert len(events(result)) == 1 and not result.exporters[0]["malformed"]


def test_octets_behind_a_whole_message_are_told_apart_from_broken_sets() -> None:
    """What lies behind the records a header announces is not read, counted and named as such; a set cut short is
    malformed."""
    good = ipfix(block(2, template(300, (1, 4))), block(300, word(1)))
    cases = {
        good + b"\0\1\2\3": "trailing_octets",
        v5([v5_record()]) + bytes(10) + b"\1": "trailing_octets",
        good[:-1]: "malformed_set",
        v5([v5_record(), v5_record()])[:-1]: "malformed_set",
    }
    for payload, reason in cases.items():
        decoder = NetflowDecoder("s")
        result = decoder.decode(chunk([payload]))
        assert [item[3] for item in decoder.rejected] == [reason]
        assert result.exporters[0]["malformed"] and len(result.problems) == 1


def test_a_state_of_another_kind_is_refused() -> None:
    """Bytes that are no state raise ValueError, so that nobody goes on without templates unknowingly."""
    import pytest

    with pytest.raises(ValueError, match="state"):
        NetflowDecoder("s").load(b"something else")


def test_many_columns_become_many_batches(monkeypatch: Any) -> None:
    """Templates that together have too many columns are split into batches, in order, with the same rows."""
    from csirt.decode.netflow import decoder

    sets = [ipfix(block(2, template(300 + n, (1, 4), (5000 + n, 4))), block(300 + n, word(n, n))) for n in range(6)]
    whole = events(decode(*sets))
    monkeypatch.setattr(decoder, "BATCH_COLUMNS", 3)
    result = decode(*sets)
    assert len(result.batches) > 1 and events(result) == whole
