"""Real agents' datagrams, and counter samples of our own, against what tshark says is in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from tests.decode.sflow import datagrams as s
from tests.spool import write_segment

CAPTURES = Path(__file__).parents[4] / "shared" / "data" / "netflow" / "akvorado" / "sflow"
NAMES = sorted(path.name for path in CAPTURES.glob("*.pcap")) if CAPTURES.is_dir() else []
pytestmark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
UNKNOWN = {0x3FFFFFFF, 0xFFFFFFFF, 0}
COUNTERS = {
    "ifindex": "index", "iftype": "type", "ifspeed": "speed", "ifinoct": "in.bytes", "ifinpkt": "in.unicast",
    "ifinmcast": "in.multicast", "ifinbcast": "in.broadcast", "ifindisc": "in.discards", "ifinerr": "in.errors",
    "ifinunk": "in.unknown_protocols", "ifoutoct": "out.bytes", "ifoutpkt": "out.unicast",
    "ifoutmcast": "out.multicast", "ifoutbcast": "out.broadcast", "ifoutdisc": "out.discards",
    "ifouterr": "out.errors",
}  # fmt: skip


def decoded(path: Path, capfd: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Events and statistics as the command gives them, in the order of the samples."""
    code = guarded(main, ["decode", str(path), "--to", "ndjson", "--stats", "-"])
    out, err = capfd.readouterr()
    assert code == 0, err
    stats = json.loads(err.splitlines()[0])
    return [json.loads(line) for line in out.splitlines()], stats


def samples(path: Path, port: int = 6343) -> list[dict[str, list[str]]]:
    """By sample, every value of every field tshark shows in it, outermost first; the datagram's own under their
    names."""
    command = ["tshark", "-n", "-r", str(path), "-d", f"udp.port=={port},sflow", "-T", "pdml"]
    text = subprocess.run(command, capture_output=True, check=True).stdout
    found = []
    for proto in ElementTree.fromstring(text).iterfind("packet/proto[@name='sflow']"):
        head = {field.get("name", ""): [field.get("show", "")] for field in proto.iterfind("field")}
        for item in proto.iterfind("field[@name='']"):
            fields = dict(head)
            for field in item.iter("field"):
                fields.setdefault(field.get("name", ""), []).append(field.get("show", ""))
            for record in item.iterfind("field[@name='']"):
                for field in record.iter("field"):
                    fields.setdefault(f"{record.get('show')}: {field.get('name')}", []).append(field.get("show", ""))
            found.append(fields)
    return found


def number(fields: dict[str, list[str]], *names: str) -> int | None:
    """The first value of the first of these fields that is there."""
    for name in names:
        if name in fields:
            return int(fields[name][0], 0)
    return None


def ends(fields: dict[str, list[str]], *names: str) -> Any:
    """As `number`, of text."""
    return next((fields[name][0] for name in names if name in fields), None)


def theirs(fields: dict[str, list[str]]) -> dict[str, Any]:
    """A flow sample in words of ours."""
    prefix = "sflow.flow_sample."
    rate = number(fields, prefix + "sampling_rate")
    length = number(fields, "sflow_245.header.frame_length")
    egress = number(fields, prefix + "output_interface_value", prefix + "output_interface")
    form = number(fields, prefix + "output_interface_format", prefix + "output_interface.format") or 0
    ingress = number(fields, prefix + "input_interface_value", prefix + "input_interface")
    protocol = number(fields, "ip.proto", "ipv6.nxt")
    assert rate and length
    return {
        "agent": ends(fields, "sflow_245.agent"),
        "domain": number(fields, "sflow_245.sub_agent_id"),
        "sequence": number(fields, "sflow_245.sequence_number"),
        "uptime": number(fields, "sflow_245.sysuptime"),
        "sample": number(fields, prefix + "sequence_number"),
        "index": number(fields, prefix + "index", prefix + "source_id_index"),
        "rate": rate,
        "pool": number(fields, prefix + "sample_pool"),
        "drops": number(fields, prefix + "dropped_packets"),
        "length": length,
        "bytes": length * rate,
        "ingress": None if ingress in UNKNOWN else ingress,
        "egress": None if form or egress in UNKNOWN else egress,
        "why": {1: "discarded", 2: "multiple"}.get(form, "local" if egress == 0x3FFFFFFF else None),
        "detail": egress if form else None,
        "source": ends(fields, "ip.src", "ipv6.src"),
        "destination": ends(fields, "ip.dst", "ipv6.dst"),
        "protocol": protocol,
        "ports": (number(fields, "tcp.srcport", "udp.srcport"), number(fields, "tcp.dstport", "udp.dstport")),
        "flags": number(fields, "tcp.flags"),
        "icmp": (number(fields, "icmp.type", "icmpv6.type"), number(fields, "icmp.code", "icmpv6.code"))
        if protocol in (1, 58)
        else (None, None),
        "tos": number(fields, "ip.dsfield", "ipv6.tclass"),
        "ttl": number(fields, "ip.ttl", "ipv6.hlim"),
        "macs": tuple((ends(fields, name) or "").replace(":", "-").upper() for name in ("eth.src", "eth.dst")),
        "tags": [int(tag) for tag in fields.get("vlan.id", [])],
        "next_hop": ends(fields, "Extended router data: sflow_245.nexthop"),
        "ases": tuple(number(fields, f"sflow_245.{name}") for name in ("srcAS", "peerAS", "dstAS")),
        "bgp_next_hop": ends(fields, "Extended gateway data: sflow_245.nexthop"),
        "masks": (number(fields, "sflow_245.nexthop.src_mask"), number(fields, "sflow_245.nexthop.dst_mask")),
    }


def ours(event: dict[str, Any]) -> dict[str, Any]:
    """The same of an event."""
    raw, network = event["netflow"], event["network"]
    interface = {side: event["observer"].get(side, {}).get("interface", {}).get("id") for side in ("ingress", "egress")}
    ip = "ipv4" if network["type"] == "ipv4" else "ipv6"
    tags = [raw.get("dot1q_vlan_id"), raw.get("dot1q_customer_vlan_id")]
    return {
        "agent": raw["sflow_agent"], "domain": raw["exporter"]["domain"], "sequence": raw["sflow_sequence"],
        "uptime": raw["sflow_uptime"], "sample": raw["sflow_sample_sequence"], "index": raw["sflow_source_index"],
        "rate": event["csirt"]["flow"]["sampling_rate"], "pool": raw["sflow_sample_pool"], "drops": raw["sflow_drops"],
        "length": raw["octet_delta_count"], "bytes": network["bytes"], **interface, "why": raw.get("sflow_egress"),
        "detail": raw.get("sflow_egress_value"), "source": event["source"]["ip"],
        "destination": event["destination"]["ip"], "protocol": network["iana_number"],
        "ports": (event["source"].get("port"), event["destination"].get("port")),
        "flags": event.get("flow", {}).get("tcp_flags"),
        "icmp": (event.get("icmp", {}).get("type"), event.get("icmp", {}).get("code")),
        "tos": raw["ip_class_of_service"], "ttl": raw["ip_ttl"],
        "macs": (event["source"].get("mac", ""), event["destination"].get("mac", "")),
        "tags": [tag for tag in tags if tag is not None], "next_hop": raw.get("next_hop"),
        "ases": (event["source"].get("as", {}).get("number"), raw.get("bgp_prev_adjacent_as_number"),
                 raw.get("bgp_next_adjacent_as_number")),
        "bgp_next_hop": raw.get("bgp_next_hop"),
        "masks": (raw.get(f"source_{ip}_prefix_length"), raw.get(f"destination_{ip}_prefix_length")),
    }  # fmt: skip


@pytest.mark.skipif(not NAMES, reason="the shared fixtures are not beside the checkout")
def test_all_captures_are_there() -> None:
    """Eleven, so that the next test compares what it says."""
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", NAMES)
def test_real_agents_as_tshark_reads_them(name: str, capfd: Any) -> None:
    """Every sample: addresses, ports, protocol, flags, interfaces, rate, lengths, tags, next hop, header numbers."""
    events, stats = decoded(CAPTURES / name, capfd)
    wanted = [theirs(fields) for fields in samples(CAPTURES / name)]
    assert [ours(event) for event in events] == wanted
    assert stats["records"] == {"flow": len(wanted), "flow_options": 0} and stats["decoded"] == 1
    assert stats["octets"] == sum(row["length"] for row in wanted) and stats["packets"] == len(wanted)


def test_counter_samples_as_tshark_reads_them(tmp_path: Path, capfd: Any) -> None:
    """Every counter of an interface, of plain and of expanded samples; what the agent cannot count is left out."""
    numbers = [7, 6, 10**10, 1, 3, 2**40 + 5, *range(20, 26), 2**41 + 9, *range(30, 35), 2]
    second = [8, 6, 10**9, 2, 1, 12, 2**32 - 1, *range(50, 55), 2**64 - 1, *range(60, 65), 1]
    payload = s.sflow(
        s.counters(s.generic(*numbers), s.block(2, s.word(*range(100, 113)))),
        s.counters(s.generic(*second), expanded=True, source=8),
    )
    path = tmp_path / "counters.pcapng"
    write_segment(path, "192.0.2.1", [(1_700_000_000_000_000, payload)], uuid=bytes(16))
    events, stats = decoded(path, capfd)
    assert stats["records"]["flow_counters"] == 2 and stats["records"]["flow"] == 0
    for event, fields in zip(events, samples(path, 2055), strict=True):
        for field, name in COUNTERS.items():
            value: Any = event["csirt"]["interface"]
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else value
            stated = number(fields, f"sflow_245.{field}")
            assert value == (None if stated in (2**32 - 1, 2**64 - 1) else stated), name
        assert event["netflow"]["sflow_source_index"] == number(
            fields, "sflow.counters_sample.index", "sflow.counters_sample.source_id_index"
        )
    first, other = (event["csirt"]["interface"] for event in events)
    assert first["direction"] == "full_duplex" and first["admin_up"] and first["oper_up"] and not first["promiscuous"]
    assert other["direction"] == "half_duplex" and other["admin_up"] and not other["oper_up"] and other["promiscuous"]
    assert first["ethernet"]["alignment_errors"] == 100 and first["ethernet"]["symbol_errors"] == 112
    assert "ethernet" not in other
