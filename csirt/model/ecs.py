"""The columns of every dataset: ECS names with one physical Arrow form each.

Physical rules
- An address column NAME (`source.ip`, …, see ADDRESSES) is three columns: `NAME:f` (uint8: 4, 6, or null when there is
  no address), `NAME:hi` and `NAME:lo` (uint64; an IPv4 address is hi 0, lo its 32 bits). Text is made at the edge.
- Times are timestamp[us, UTC]. Counters are uint64. Repeated text is dictionary<int32, string>. Lists are list<string>.
- `csirt.segment` (dictionary) and `csirt.ordinal` (uint64) name a record; `event.id` is computed from them.
- A column that a source cannot fill is absent from the table, or null in a row; never a made-up default.
Beyond the columns named here a table may carry `netflow.*` columns of any Arrow type.
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")
TEXT = pa.dictionary(pa.int32(), pa.string())
FREE = pa.string()
LIST = pa.list_(pa.string())
U8, U16, U32, U64 = pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()
BOOL = pa.bool_()

ECS_VERSION = "8.17.0"

# A flow's end by this machine's clock: what the exporter's clock is wrong by is taken out. It says when a row that
# waits for its other direction is due, lives as long as the row waits, and is never shown.
DUE = "csirt.due"

# Of a record of a flow that another router's record counts already: that one's event.id.
DUPLICATE = "csirt.flow.duplicate_of"

ADDRESSES = ("source.ip", "destination.ip", "netflow.next_hop", "netflow.bgp_next_hop")
ADDRESS_PARTS = (":f", ":hi", ":lo")

COMMON: dict[str, pa.DataType] = {
    "@timestamp": TIME,
    "event.ingested": TIME,
    "csirt.segment": TEXT,
    "csirt.ordinal": U64,
    "observer.name": TEXT,
    "observer.ip": TEXT,
}

ENRICHED: dict[str, pa.DataType] = {
    **{
        f"csirt.{end}.{name}": kind
        for end in ("source", "destination")
        for name, kind in {
            "member.id": TEXT,
            "member.name": TEXT,
            "member.kind": TEXT,
            "site": TEXT,
            "role": TEXT,
            "zone": TEXT,
            "nat": BOOL,
        }.items()
    },
    "csirt.cross_member": BOOL,
    "csirt.agreement": TEXT,
    "csirt.supplier_window": TEXT,
    # only where an event of the batch meets an indicator
    "threat.indicator.name": TEXT,
    "threat.indicator.type": TEXT,  # ipv4-addr, ipv6-addr, domain-name
    "threat.indicator.confidence": TEXT,  # Low, Medium, High
    "csirt.indicator.confidence": U8,  # 0 to 100
    "threat.indicator.marking.tlp": TEXT,
    "threat.feed.name": TEXT,
}

FLOW: dict[str, pa.DataType] = {
    "event.start": TIME,
    "source.port": U16,
    "destination.port": U16,
    "source.mac": TEXT,
    "destination.mac": TEXT,
    "source.as.number": U32,
    "destination.as.number": U32,
    "network.iana_number": U8,
    # network.bytes and network.packets are sampling-corrected; the raw counters are netflow.octet_delta_count and
    # netflow.packet_delta_count, stored only in tables where they differ.
    "network.bytes": U64,
    "network.packets": U64,
    "network.vlan.id": U16,
    "network.application": TEXT,
    "network.direction": TEXT,
    "flow.tcp_flags": U16,
    "observer.ingress.interface.id": U32,
    "observer.egress.interface.id": U32,
    # as the exporter's options data calls them
    "observer.ingress.interface.name": TEXT,
    "observer.egress.interface.name": TEXT,
    "csirt.flow.ingress_vrf": TEXT,
    "csirt.flow.egress_vrf": TEXT,
    "netflow.exporter.version": U8,  # 5, 7, 9, 10 (IPFIX); 105: sFlow 5
    "netflow.exporter.domain": U32,  # of sFlow the sub-agent
    "csirt.flow.sampling_rate": U32,
    "csirt.flow.sampling_origin": TEXT,
    "icmp.type": U8,
    "icmp.code": U8,
    # of flows metered from packets
    "csirt.flow.end_reason": TEXT,
    # by pairing, once a row is settled; the counters also of records that have both directions (IPFIX, packets)
    "csirt.flow.reverse.bytes": U64,
    "csirt.flow.reverse.packets": U64,
    DUPLICATE: FREE,
    "csirt.flow.start": TIME,  # of a record that continues a flow: when that began
    "csirt.flow.client": TEXT,  # source, destination: who opened the flow
    "csirt.flow.answered": BOOL,
}

# Counters of a router's interface as it states them itself (sFlow counter samples); a counter it does not keep is null.
FLOW_COUNTERS: dict[str, pa.DataType] = {
    "netflow.exporter.version": U8,
    "netflow.exporter.domain": U32,
    "csirt.interface.index": U32,
    "csirt.interface.type": U32,
    "csirt.interface.speed": U64,
    "csirt.interface.direction": TEXT,  # unknown, full_duplex, half_duplex, in, out
    "csirt.interface.admin_up": BOOL,
    "csirt.interface.oper_up": BOOL,
    "csirt.interface.promiscuous": BOOL,
    **{
        f"csirt.interface.{way}.{name}": U64
        for way, more in (("in", ("unknown_protocols",)), ("out", ()))
        for name in ("bytes", "unicast", "multicast", "broadcast", "discards", "errors", *more)
    },
}

DNS: dict[str, pa.DataType] = {
    "source.port": U16,
    "destination.port": U16,
    "network.transport": TEXT,
    "dns.id": U16,
    "dns.type": TEXT,
    "dns.question.name": FREE,
    "dns.question.type": TEXT,
    "dns.response_code": TEXT,
    "dns.answers.data": LIST,
}

TLS: dict[str, pa.DataType] = {
    "source.port": U16,
    "destination.port": U16,
    "tls.client.server_name": FREE,
    "tls.version": TEXT,
    "tls.client.ja3": FREE,
}

HTTP: dict[str, pa.DataType] = {
    "source.port": U16,
    "destination.port": U16,
    "http.request.method": TEXT,
    "url.domain": FREE,
    "url.path": FREE,
    "user_agent.original": FREE,
    "http.response.status_code": U16,
    "http.response.mime_type": TEXT,
}

MAIL: dict[str, pa.DataType] = {
    "event.action": TEXT,  # delivered, rejected, deferred, bounced, expired
    "log.file.path": TEXT,
    "log.offset": U64,
    "source.domain": FREE,
    "email.message_id": FREE,
    "email.from.address": LIST,
    "email.to.address": LIST,
    "csirt.mail.from.domain": FREE,
    "csirt.mail.to.domain": LIST,
    "csirt.mail.queue_id": FREE,
    "csirt.mail.status": TEXT,  # sent, deferred, bounced, expired, reject
    "csirt.mail.reason": TEXT,  # a class of our own, never the remote's free text
    "csirt.mail.dsn": TEXT,
    "csirt.mail.relay": FREE,
    "csirt.mail.size": U64,
    "csirt.mail.delay": pa.float64(),
    # by enrichment: a recipient domain the register does not allow; test and production domains in one message
    "csirt.mail.foreign": BOOL,
    "csirt.mail.test_crossover": BOOL,
    "tls.version": TEXT,
    "tls.cipher": TEXT,
}

EDI: dict[str, pa.DataType] = {
    # received, sent, acknowledged, application_receipt, error, retry, given_up
    "event.action": TEXT,
    "log.file.path": TEXT,
    "log.offset": U64,
    "csirt.edi.event": TEXT,  # the handler's own event name
    "csirt.edi.message_id": FREE,
    "csirt.edi.conversation_id": FREE,
    "csirt.edi.ref_to_id": FREE,
    "csirt.edi.cpa_id": FREE,
    "csirt.edi.service": TEXT,
    "csirt.edi.action": TEXT,
    "csirt.edi.her_from": TEXT,
    "csirt.edi.her_to": TEXT,
    "csirt.edi.role": TEXT,
    "csirt.edi.status": TEXT,
    "csirt.edi.error_code": TEXT,
    "csirt.edi.size": U64,
    "csirt.edi.mime_id": FREE,
    "csirt.mail.queue_id": FREE,
    "csirt.edi.parts": LIST,
    "csirt.destination.open_hours": TEXT,  # by enrichment: the receiver's, as model/calendar.py writes them
    "csirt.edi.sender_mismatch": BOOL,  # by enrichment: the sender's HER-id does not belong to where it came from
}

SELF: dict[str, pa.DataType] = {
    "event.action": TEXT,  # exporter_silent, sequence_gap, clock_skew, template_missing, unparsed, drops, …
    "csirt.self.subject": TEXT,
    "csirt.self.value": pa.float64(),
    "csirt.self.unit": TEXT,
}

DATASETS: dict[str, dict[str, pa.DataType]] = {
    "flow": {**COMMON, **FLOW, **ENRICHED},
    "flow_options": {**COMMON, "netflow.exporter.version": U8, "netflow.exporter.domain": U32},
    "flow_counters": {**COMMON, **FLOW_COUNTERS},
    "dns": {**COMMON, **DNS, **ENRICHED},
    "tls": {**COMMON, **TLS, **ENRICHED},
    "http": {**COMMON, **HTTP, **ENRICHED},
    "mail": {**COMMON, **MAIL, **ENRICHED},
    "edi": {**COMMON, **EDI, **ENRICHED},
    "self": {**COMMON, **SELF},
}

TRANSPORT = {1: "icmp", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 58: "ipv6-icmp", 89: "ospf", 132: "sctp"}

CATEGORY: dict[str, tuple[str, str, str]] = {
    # dataset: event.kind, event.category, event.type
    "flow": ("event", "network", "connection"),
    "flow_options": ("event", "network", "info"),
    "flow_counters": ("metric", "network", "info"),
    "dns": ("event", "network", "protocol"),
    "tls": ("event", "network", "protocol"),
    "http": ("event", "web", "access"),
    "mail": ("event", "email", "info"),
    "edi": ("event", "email", "info"),
    "self": ("metric", "host", "info"),
}


def physical(name: str) -> tuple[str, ...]:
    """The physical columns behind a logical name."""
    return tuple(name + part for part in ADDRESS_PARTS) if name in ADDRESSES else (name,)
