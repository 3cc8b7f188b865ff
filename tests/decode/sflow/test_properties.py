"""What must hold for any sFlow datagram, any damage to it, and any way of cutting the stream into chunks."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.decode.flows import FlowDecoder
from csirt.model import ndjson
from csirt.model.batch import Decoded
from tests.decode.netflow.datagrams import chunk, v5, v5_record
from tests.decode.sflow import datagrams as s
from tests.decode.sflow.oracle import ETHERNET, GENERIC, Oracle

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORD = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 5, 4095, 2**32 - 1]))
ADDRESS = st.sampled_from(["", "10.1.2.3", "fd00::77", "198.51.100.4"])
ENDS = st.sampled_from([("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")])


@st.composite
def packet(draw: Any) -> tuple[int, bytes]:
    """(header protocol, the first octets of a packet)."""
    protocol = draw(st.sampled_from([1, 6, 17, 44, 47, 58, 132, 0]))
    body = draw(st.sampled_from([s.tcp(), s.udp(), b"\x08\x00\x01\x02", b"", s.tcp(flags=0)])) + draw(
        st.binary(max_size=9)
    )
    six = draw(st.booleans())
    ip = (
        s.ip6(protocol=protocol, body=body)
        if six
        else s.ip4(
            protocol=protocol,
            body=body,
            fragment=draw(st.sampled_from([0, 0, 0x2000, 0x2001, 8])),
            tos=draw(st.integers(0, 255)),
        )
    )
    kind = draw(st.sampled_from([1, 1, 1, 7, 11 + six, 13, 14, 5, 70_000]))
    if kind == 1:
        tags = draw(st.lists(st.integers(0, 0xFFFF), max_size=3))
        labels = draw(st.lists(st.integers(0, 2**20 - 1), max_size=3))
        ip = s.ethernet(tags=tuple(tags), labels=tuple(labels), kind=0x86DD if six else 0x0800) + ip
    elif kind in (7, 14):
        ip = draw(st.sampled_from([b"", b"\xff\x03"])) + (b"\0\x57" if six else b"\0\x21") + ip
    elif kind == 13:
        ip = s.ethernet(labels=(17, 18))[14:] + ip
    return kind, ip[: draw(st.one_of(st.just(200), st.integers(0, 80)))]


@st.composite
def record(draw: Any) -> bytes:
    """A flow record of any format that is read, or of none that is."""
    kind = draw(st.sampled_from([1, 1, 2, 3, 3, 1001, 1002, 1003, 1004, 1006, 1007, 1020, 1029, 1030, 0x1000 | 1]))
    if kind == 1:
        protocol, raw = draw(packet())
        return s.header(raw, protocol=protocol, frame=draw(WORD))
    if kind == 2:
        return s.sampled_ethernet(draw(WORD), "0200000000aa", "0200000000bb", draw(WORD))
    if kind == 3:
        ends = draw(ENDS)
        return s.sampled_ip(
            *ends, length=draw(WORD), protocol=draw(st.sampled_from([6, 17, 1])), flags=draw(WORD), tos=draw(WORD)
        )
    if kind == 1003:
        path = draw(st.lists(st.tuples(st.sampled_from([1, 2]), st.lists(WORD, max_size=3).map(tuple)), max_size=3))
        return s.gateway(draw(ADDRESS), *(draw(WORD) for _ in range(3)), path=tuple(path))
    if kind == 1006:
        labels = draw(st.lists(WORD, max_size=3))
        return s.block(kind, s.address(draw(ADDRESS)) + s.word(len(labels), *labels, 0))
    ends = s.address(draw(ADDRESS)) + s.address(draw(ADDRESS))
    body = {1002: s.address(draw(ADDRESS)) + s.word(draw(WORD), draw(WORD)), 1007: ends}
    return s.block(kind, body.get(kind) or s.word(*(draw(WORD) for _ in range(4))))


@st.composite
def sample(draw: Any) -> bytes:
    """A sample of any format."""
    kind = draw(st.sampled_from(["flow", "flow", "flow", "counters", "other"]))
    expanded = draw(st.booleans())
    if kind == "flow":
        values = [0, 9, 0x3FFFFFFF, 0x40000002, 0x80000003, 0xC0000001]
        if expanded:
            values = [0, 9, 0xFFFFFFFF, 0x3FFFFFFF, 1 << 32 | 2, 2 << 32 | 3, 5 << 32 | 1]
        ends = [draw(st.sampled_from(values)) for _ in range(2)]
        return s.flow(
            *draw(st.lists(record(), max_size=5)), rate=draw(st.sampled_from([0, 1, 512, 2**32 - 1])), in_=ends[0],
            out=ends[1], expanded=expanded, source=draw(WORD),
        )  # fmt: skip
    if kind == "other":
        return s.block(draw(st.sampled_from([0, 5, 0x1001])), draw(st.binary(max_size=30)))
    numbers = [draw(st.one_of(WORD, st.just(2**64 - 1)) if n in (2, 5, 12) else WORD) for n in range(19)]
    records = [
        s.generic(*numbers),
        s.block(2, s.word(*(draw(WORD) for _ in range(13)))),
        s.block(1001, s.word(1, 2, 3, 4)),
    ]
    return s.counters(*draw(st.lists(st.sampled_from(records), max_size=4)), expanded=expanded, source=draw(WORD))


@st.composite
def datagram(draw: Any) -> bytes:
    """A whole datagram of a few samples."""
    samples = draw(st.lists(sample(), max_size=4))
    agent = draw(st.sampled_from(["192.0.2.9", "2001:db8::9"]))
    return s.sflow(
        *samples, agent=agent, domain=draw(st.sampled_from([0, 7, 2**32 - 1])), sequence=draw(st.integers(0, 9))
    )


@st.composite
def damaged(draw: Any) -> bytes:
    """A datagram with octets changed behind its first four, numbers replaced, or its end cut off."""
    raw = bytearray(draw(datagram()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(4, len(raw) - 1))
        if draw(st.booleans()):
            raw[at] = draw(st.integers(0, 255))
        else:
            raw[at & ~3 : (at & ~3) + 4] = s.word(
                draw(st.sampled_from([0, 1, 2, 3, 7, 8, 40, 2**31, 2**32 - 4, 2**32 - 1]))
            )
    return bytes(raw[: draw(st.one_of(st.just(len(raw)), st.integers(4, len(raw))))])


def events(result: Decoded) -> list[dict[str, Any]]:
    """All events, by id."""
    found = []
    for batch in result.batches:
        batch.table.validate(full=True)
        found += [json.loads(line) for line in ndjson.render(batch)]
    return sorted(found, key=lambda event: event["event"]["id"])


def flat(event: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A nested event by dotted names."""
    found: dict[str, Any] = {}
    for name, value in event.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """An event in the oracle's words; what is null in its rows is left out."""
    e = flat(event)
    own = {name.removeprefix("netflow.sflow_"): value for name, value in e.items() if name.startswith("netflow.sflow_")}
    row: dict[str, Any] = {
        "kind": e["event.dataset"], "domain": e["netflow.exporter.domain"],
        "source": (own["source_type"], own["source_index"]),
    }  # fmt: skip
    row |= {name: own[name] for name in ("agent", "sequence", "uptime", "sample_sequence")}
    if row["kind"] == "flow_counters":
        for name in (*GENERIC, *(f"ethernet.{name}" for name in ETHERNET)):
            if name not in ("status", "direction", "promiscuous"):
                row[name] = e.get(f"csirt.interface.{name}")
        return {name: value for name, value in row.items() if value is not None}
    row |= {"rate": e.get("csirt.flow.sampling_rate", 0), "pool": own["sample_pool"], "drops": own["drops"]}
    for end in ("ingress", "egress"):
        value = own.get(end)
        why = value if value in (None, "local") else (value, own[f"{end}_value"])
        row[end] = why or e.get(f"observer.{end}.interface.id")
    names = {
        "octets": "octet_delta_count", "tos": "ip_class_of_service", "ttl": "ip_ttl", "flow_label": "flow_label_ipv6",
        "ethertype": "ethernet_type", "vlan": "dot1q_vlan_id", "inner_vlan": "dot1q_customer_vlan_id",
        "vlan_in": "vlan_id", "vlan_out": "post_vlan_id", "p_in": "dot1q_priority", "next_hop": "next_hop",
        "bgp_next_hop": "bgp_next_hop", "destination.peer": "bgp_next_adjacent_as_number",
        "source.peer": "bgp_prev_adjacent_as_number",
    }  # fmt: skip
    row |= {name: e.get(f"netflow.{theirs}") for name, theirs in names.items()}
    row |= {"p_out": own.get("post_dot1q_priority"), "label": own.get("mpls_label")}
    row |= {"vni_in": own.get("vni_ingress"), "vni_out": own.get("vni_egress")}
    row["header_protocol"] = own.get("header_protocol")
    for end in ("source", "destination"):
        row |= {f"{end}.{name}": e.get(f"{end}.{name}") for name in ("ip", "port")}
        row[f"{end}.as"] = e.get(f"{end}.as.number")
        mac = e.get(f"{end}.mac")
        row[f"{end}.mac"] = mac and mac.replace("-", "").lower()
        row[f"nat.{end}"] = e.get(f"netflow.post_nat_{end}_ipv4_address") or e.get(
            f"netflow.post_nat_{end}_ipv6_address"
        )
    row |= {"protocol": e.get("network.iana_number"), "flags": e.get("flow.tcp_flags")}
    row["icmp"] = (e["icmp.type"], e["icmp.code"]) if "icmp.type" in e else None
    ports = [e.get(f"netflow.post_napt_{end}_transport_port") for end in ("source", "destination")]
    row["nat.ports"] = None if ports[0] is None else tuple(ports)
    masks = [{end: e.get(f"netflow.{end}_ipv{n}_prefix_length") for end in ("source", "destination")} for n in (4, 6)]
    row["masks"] = tuple(masks[masks[0]["source"] is None].values())
    return {name: value for name, value in row.items() if value is not None and value != (None, None)}


def expected(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the oracle without what no event shows."""
    hidden = {"status", "direction", "promiscuous"} if row["kind"] == "flow_counters" else set()
    if "source.ip" not in row:
        hidden |= {"masks"}  # they stand under the name of the flow's address family
    return {name: value for name, value in row.items() if value is not None and name not in hidden}


def check(datagrams: list[bytes]) -> None:
    """The decoder's rows and counts are the oracle's."""
    result = FlowDecoder("s").decode(chunk(datagrams))
    found = [Oracle.read(raw) for raw in datagrams]
    rows = [
        (f"{frame << 16 | number:016x}", expected(row))
        for frame, item in enumerate(found)
        for number, row in enumerate(item.rows)
    ]
    assert [(event["event"]["id"][16:], plain(event)) for event in events(result)] == rows
    assert sum(item["malformed"] for item in result.exporters) == sum(item.bad for item in found if not item.refused)
    assert sum(item["skipped"] for item in result.exporters) == sum(item.skipped for item in found)
    lost = sum(item.refused or (item.bad > item.behind and not item.rows) for item in found)
    assert result.dropped.get("malformed", 0) == lost and result.left == len(datagrams) - lost


@QUICK
@given(st.lists(datagram(), min_size=1, max_size=4))
def test_kernels_agree_with_the_slow_reader(datagrams: list[bytes]) -> None:
    """Every record of every sample has the values the specification gives it, and nothing is counted that is there."""
    check(datagrams)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(damaged(), min_size=1, max_size=4))
def test_kernels_agree_on_damaged_datagrams(datagrams: list[bytes]) -> None:
    """Lengths, counts and octets that lie give the rows a careful reader finds, and are counted as it counts them."""
    check(datagrams)


@QUICK
@given(st.lists(st.one_of(datagram(), damaged()), min_size=1, max_size=6), st.data())
def test_chunks_and_restarts_change_nothing(datagrams: list[bytes], data: st.DataObject) -> None:
    """The same datagrams, NetFlow among them, give the same rows and the same counts in one chunk, in any chunks, and
    with the state written and read; so are agents forgotten."""
    at = data.draw(st.integers(0, len(datagrams)))
    datagrams = [*datagrams[:at], v5([v5_record()]), *datagrams[at:]]
    pauses = data.draw(st.lists(st.integers(-20, 200), min_size=len(datagrams), max_size=len(datagrams)))
    times = [1_700_000_000_000_000 + sum(pauses[: n + 1]) for n in range(len(datagrams))]
    whole = FlowDecoder("s", exporter_expiry_us=100).decode(chunk(datagrams, times=times))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(datagrams) - 1))))
    state: bytes | None = None
    found: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for a, b in pairwise([0, *cuts, len(datagrams)]):
        decoder = FlowDecoder("s", exporter_expiry_us=100)
        decoder.load(state)
        result = decoder.decode(chunk(datagrams[a:b], first=a, times=times[a:b]))
        state = result.state
        for reason, number in result.forgotten.items():
            counts[reason] = counts.get(reason, 0) + number
        found += events(result)
        for item in result.exporters:
            for name in ("received", "decoded", "malformed", "skipped", "sequence_lost", "sequence_late", "dropped"):
                counts[name] = counts.get(name, 0) + item[name] if name in item else counts.get(name, 0)
    assert found == events(whole) and state == whole.state
    wanted = {name: sum(item.get(name, 0) for item in whole.exporters) for name in counts}
    assert counts == wanted | whole.forgotten


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_garbage_behind_the_version_never_raises(bodies: list[bytes]) -> None:
    """Any octets behind sFlow's version are decoded or counted."""
    result = FlowDecoder("s").decode(chunk([b"\0\0\0\5" + body for body in bodies]))
    assert result.entered == result.left + sum(result.dropped.values()) == len(bodies)
    events(result)
