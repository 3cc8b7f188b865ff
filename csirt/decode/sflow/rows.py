"""The kernels' tables to the columns of `model/ecs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.decode.netflow.arrow import macs, times
from csirt.decode.sflow import layout as c
from csirt.model.address_columns import texts
from csirt.model.batch import Array, Batch, address_columns, assemble, codes

ORIGINS: list[str | None] = [None, "config", "sample"]
_ENDS: list[str | None] = [None, "discarded", "multiple", "local", "unclear"]
_DIRECTIONS: list[str | None] = ["unknown", "full_duplex", "half_duplex", "in", "out", None]
# Numbers of flow samples: the column of the schema, and of the table.
_NUMBERS = {
    "source.port": (c.S_PORT, np.uint16),
    "destination.port": (c.D_PORT, np.uint16),
    "source.as.number": (c.S_AS, np.uint32),
    "destination.as.number": (c.D_AS, np.uint32),
    "network.iana_number": (c.PROTOCOL, np.uint8),
    "flow.tcp_flags": (c.TCP_FLAGS, np.uint16),
    "icmp.type": (c.ICMP_TYPE, np.uint8),
    "icmp.code": (c.ICMP_CODE, np.uint8),
    "netflow.octet_delta_count": (c.OCTETS, np.uint64),
    "netflow.ip_class_of_service": (c.TOS, np.uint8),
    "netflow.ip_ttl": (c.TTL, np.uint8),
    "netflow.flow_label_ipv6": (c.FLOW_LABEL, np.uint32),
    "netflow.ethernet_type": (c.ETHERTYPE, np.uint16),
    "netflow.dot1q_vlan_id": (c.VLAN, np.uint16),
    "netflow.dot1q_customer_vlan_id": (c.INNER_VLAN, np.uint16),
    "netflow.vlan_id": (c.VLAN_IN, np.uint16),
    "netflow.post_vlan_id": (c.VLAN_OUT, np.uint16),
    "netflow.dot1q_priority": (c.PRIORITY_IN, np.uint8),
    "netflow.sflow_post_dot1q_priority": (c.PRIORITY_OUT, np.uint8),
    "netflow.bgp_next_adjacent_as_number": (c.D_PEER_AS, np.uint32),
    "netflow.bgp_prev_adjacent_as_number": (c.S_PEER_AS, np.uint32),
    "netflow.post_napt_source_transport_port": (c.NAT_S_PORT, np.uint16),
    "netflow.post_napt_destination_transport_port": (c.NAT_D_PORT, np.uint16),
    "netflow.sflow_mpls_label": (c.MPLS_LABEL, np.uint32),
    "netflow.sflow_vni_ingress": (c.VNI_IN, np.uint32),
    "netflow.sflow_vni_egress": (c.VNI_OUT, np.uint32),
    "netflow.sflow_header_protocol": (c.HEADER_PROTOCOL, np.uint8),
    "netflow.sflow_sample_sequence": (c.SEQUENCE, np.uint32),
    "netflow.sflow_source_type": (c.SOURCE_TYPE, np.uint32),
    "netflow.sflow_source_index": (c.SOURCE_INDEX, np.uint32),
    "netflow.sflow_sample_pool": (c.POOL, np.uint32),
    "netflow.sflow_drops": (c.DROPS, np.uint32),
}
_ADDRESSES = {
    "source.ip": (c.FAMILY, c.S_HI, c.S_LO),
    "destination.ip": (c.FAMILY, c.D_HI, c.D_LO),
    "netflow.next_hop": (c.NEXT_FAMILY, c.NEXT_HI, c.NEXT_LO),
    "netflow.bgp_next_hop": (c.BGP_FAMILY, c.BGP_HI, c.BGP_LO),
}
_INTERFACE = "csirt.interface"
_GENERIC = (
    "index", "type", "speed", "", "", "in.bytes", "in.unicast", "in.multicast", "in.broadcast", "in.discards",
    "in.errors", "in.unknown_protocols", "out.bytes", "out.unicast", "out.multicast", "out.broadcast", "out.discards",
    "out.errors", "",
)  # fmt: skip
_ETHERNET = (
    "alignment_errors", "fcs_errors", "single_collisions", "multiple_collisions", "sqe_test_errors", "deferred",
    "late_collisions", "excessive_collisions", "internal_transmit_errors", "carrier_sense_errors", "frames_too_long",
    "internal_receive_errors", "symbol_errors",
)  # fmt: skip


@dataclass(slots=True)
class Names:
    """The segment, and by agent: the sender's address and configured name, the agent's address, a forced rate."""

    segment: str
    senders: list[str | None]
    observers: list[str | None]
    agents: list[str | None]
    rates: list[int]


@dataclass(slots=True)
class Datagram:
    """By datagram: header, receive time, frame and agent number."""

    head: Array
    time: Array
    frame: Array
    agent: Array


class _Table:
    """One kernel's table; HAS and DATAGRAM are the same columns in both."""

    def __init__(self, table: Array, of: Datagram, names: Names) -> None:
        self.table = table
        self.rows = table.shape[1]
        self._any = int(np.bitwise_or.reduce(table[c.HAS])) if self.rows else 0
        self._datagram = table[c.DATAGRAM].astype(np.int64)
        self._of = of
        self._names = names
        self.agent = of.agent[self._datagram]

    def has(self, column: int) -> Array:
        """Which rows state it."""
        there: Array = (self.table[c.HAS] >> np.uint64(column)) & np.uint64(1) != 0
        return there

    def stated(self, column: int) -> bool:
        """Whether any row states it."""
        return bool(self._any >> column & 1)

    def number(self, column: int, kind: type) -> pa.Array:
        """A numeric column, null where it is not stated."""
        there = self.has(column)
        return pa.array(self.table[column].astype(kind), mask=None if there.all() else ~there)

    def common(self) -> dict[str, Any]:
        """The columns every row of sFlow has. It has no clock but its uptime: the time is that of receipt."""
        of, names, datagram = self._of, self._names, self._datagram
        ordinal = (of.frame[datagram] << 16) | self.table[c.ORDINAL].astype(np.int64)
        columns: dict[str, Any] = {
            "@timestamp": times(np.maximum(of.time[datagram], 1), None),
            "event.ingested": times(of.time[datagram], None),
            "csirt.segment": codes(np.zeros(self.rows, np.int64), [names.segment]),
            "csirt.ordinal": ordinal.astype(np.uint64),
            "observer.ip": codes(self.agent, names.senders),
            "netflow.exporter.version": np.full(self.rows, c.VERSION, np.uint8),
            "netflow.exporter.domain": of.head[datagram, c.H_DOMAIN].astype(np.uint32),
            "netflow.sflow_agent": codes(self.agent, names.agents),
            "netflow.sflow_sequence": of.head[datagram, c.H_SEQUENCE].astype(np.uint32),
            "netflow.sflow_uptime": of.head[datagram, c.H_UPTIME].astype(np.uint32),
        }
        if any(names.observers):
            columns["observer.name"] = codes(self.agent, names.observers)
        return columns


def flows(table: Array, of: Datagram, names: Names) -> Batch:
    """The `flow` rows of flow samples."""
    t = _Table(table, of, names)
    columns = t.common()
    for name, (column, kind) in _NUMBERS.items():
        if t.stated(column):
            columns[name] = t.number(column, kind)
    for name, parts in _ADDRESSES.items():
        if table[parts[0]].any():
            columns |= address_columns(name, *(table[part] for part in parts))
    for name, column in (("source.mac", c.S_MAC), ("destination.mac", c.D_MAC)):
        if t.stated(column):
            columns[name] = macs(table[column], t.has(column), True)
    columns |= _volume(t, names)
    columns |= _interfaces(t)
    columns |= _masks(t)
    columns |= _nat(t)
    vlan = np.where(t.has(c.VLAN), table[c.VLAN], np.where(t.has(c.VLAN_IN), table[c.VLAN_IN], 0)).astype(np.uint16)
    if vlan.any():
        columns["network.vlan.id"] = pa.array(vlan, mask=vlan == 0)
    return assemble("flow", columns)


def _volume(t: _Table, names: Names) -> dict[str, pa.Array]:
    """A sample stands for as many packets of its length as one was taken of: the configured rate, or the sample's."""
    forced = np.array(names.rates, np.uint64)[t.agent]
    rate = np.where(forced > 0, forced, t.table[c.RATE])
    origin = np.where(forced > 0, 1, np.where(rate > 0, 2, 0))
    factor = np.maximum(rate, np.uint64(1))
    unknown = rate == 0
    columns = {
        "network.packets": pa.array(factor),
        "netflow.packet_delta_count": pa.array(np.ones(t.rows, np.uint64)),
        "csirt.flow.sampling_rate": pa.array(rate.astype(np.uint32), mask=unknown if unknown.any() else None),
        "csirt.flow.sampling_origin": codes(origin, ORIGINS),
    }
    if t.stated(c.OCTETS):
        there = t.has(c.OCTETS)
        columns["network.bytes"] = pa.array(t.table[c.OCTETS] * factor, mask=None if there.all() else ~there)
    return columns


def _interfaces(t: _Table) -> dict[str, pa.Array]:
    """Where the packet came in and went out: an interface, or why there is none, with the reason or the number."""
    columns = {}
    for side, kind_column in (("ingress", c.INPUT_KIND), ("egress", c.OUTPUT_KIND)):
        kind, value, stated = t.table[kind_column].astype(np.int64), t.table[kind_column + 1], t.has(kind_column + 1)
        values = value.astype(np.uint32)
        plain = stated & (kind == c.INTERFACE)
        if plain.any():
            columns[f"observer.{side}.interface.id"] = pa.array(values, mask=None if plain.all() else ~plain)
        if kind.any():
            columns[f"netflow.sflow_{side}"] = codes(kind, _ENDS)
        other = stated & (kind != c.INTERFACE)
        if other.any():
            columns[f"netflow.sflow_{side}_value"] = pa.array(values, mask=~other)
    return columns


def _masks(t: _Table) -> dict[str, pa.Array]:
    """Prefix lengths, under the name of the flow's address family."""
    columns = {}
    for end, column in (("source", c.S_MASK), ("destination", c.D_MASK)):
        for family in (4, 6):
            there = t.has(column) & (t.table[c.FAMILY] == family)
            if there.any():
                name = f"netflow.{end}_ipv{family}_prefix_length"
                columns[name] = pa.array(t.table[column].astype(np.uint8), mask=~there)
    return columns


def _nat(t: _Table) -> dict[str, pa.Array]:
    """Addresses after translation, under the names of the elements."""
    columns = {}
    for end, column in (("source", c.NAT_S_FAMILY), ("destination", c.NAT_D_FAMILY)):
        family = t.table[column]
        for number in (4, 6):
            if (family == number).any():
                mine = np.where(family == number, family, 0).astype(np.uint8)
                name = f"netflow.post_nat_{end}_ipv{number}_address"
                columns[name] = texts(mine, t.table[column + 1], t.table[column + 2])
    return columns


def counters(table: Array, of: Datagram, names: Names) -> Batch:
    """The `flow_counters` rows of counter samples."""
    t = _Table(table, of, names)
    columns = t.common()
    for name, column in (
        ("netflow.sflow_sample_sequence", c.C_SEQUENCE),
        ("netflow.sflow_source_type", c.C_SOURCE_TYPE),
        ("netflow.sflow_source_index", c.C_SOURCE_INDEX),
    ):
        columns[name] = t.number(column, np.uint32)
    for place, name in enumerate(_GENERIC):
        if name and t.stated(c.C_GENERIC + place):
            columns[f"{_INTERFACE}.{name}"] = t.number(c.C_GENERIC + place, np.uint64)
    for place, name in enumerate(_ETHERNET):
        if t.stated(c.C_ETHERNET + place):
            columns[f"{_INTERFACE}.ethernet.{name}"] = t.number(c.C_ETHERNET + place, np.uint64)
    columns |= _states(t)
    return assemble("flow_counters", columns)


def _states(t: _Table) -> dict[str, pa.Array]:
    """Direction, status bits and promiscuity of an interface."""
    columns: dict[str, pa.Array] = {}
    direction = c.C_STATUS - 1
    if t.stated(direction):
        known = np.where(t.has(direction), np.minimum(t.table[direction], 5), 5).astype(np.int64)
        columns[f"{_INTERFACE}.direction"] = codes(known, _DIRECTIONS)
    if t.stated(c.C_STATUS):
        missing = ~t.has(c.C_STATUS)
        for bit, name in ((0, "admin_up"), (1, "oper_up")):
            up = (t.table[c.C_STATUS] >> np.uint64(bit)) & np.uint64(1) != 0
            columns[f"{_INTERFACE}.{name}"] = pa.array(up, mask=missing if missing.any() else None)
    if t.stated(c.C_PROMISCUOUS):
        value = t.table[c.C_PROMISCUOUS]
        unknown = ~t.has(c.C_PROMISCUOUS) | ((value != 1) & (value != 2))
        columns[f"{_INTERFACE}.promiscuous"] = pa.array(value == 1, mask=unknown if unknown.any() else None)
    return columns
