"""The flow meter once more, in plain Python and as slowly as it pleases: what the compiled one is compared with.

Takes packets as the tests describe them, not as bytes, so that it shares nothing with the parser either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Seen:
    """One packet as the test made it. Ports None: none could be read."""

    time: int
    source: str
    destination: str
    protocol: int
    ports: tuple[int, int] | None
    size: int
    flags: int
    vlan: int
    frame: int


def meter(seen: list[Seen], *, idle: int, cut: int | None) -> list[dict[str, Any]]:
    """Flows in order of their first frame."""
    table: dict[tuple[Any, ...], dict[str, Any]] = {}
    done: list[dict[str, Any]] = []
    for packet in seen:
        ports = packet.ports or (None, None)
        ends = ((packet.source, ports[0]), (packet.destination, ports[1]))
        key = (frozenset(ends), packet.protocol, packet.vlan)
        flow = table.get(key)
        if flow is not None and packet.time - flow["@timestamp"] > idle:
            done.append({**flow, "csirt.flow.end_reason": "idle_timeout"})
            flow = None
        if flow is None:
            flow = table[key] = {
                "source.ip": packet.source,
                "destination.ip": packet.destination,
                "source.port": ports[0],
                "destination.port": ports[1],
                "network.iana_number": packet.protocol,
                "event.start": packet.time,
                "@timestamp": packet.time,
                "network.bytes": 0,
                "network.packets": 0,
                "csirt.flow.reverse.bytes": 0,
                "csirt.flow.reverse.packets": 0,
                "flow.tcp_flags": 0 if packet.protocol == 6 else None,
                "csirt.ordinal": packet.frame << 16,
            }
        forward = ends == ((flow["source.ip"], flow["source.port"]), (flow["destination.ip"], flow["destination.port"]))
        prefix = "network" if forward else "csirt.flow.reverse"
        flow[f"{prefix}.bytes"] += packet.size
        flow[f"{prefix}.packets"] += 1
        flow["event.start"] = min(flow["event.start"], packet.time)
        flow["@timestamp"] = max(flow["@timestamp"], packet.time)
        if packet.protocol == 6:
            flow["flow.tcp_flags"] |= packet.flags
    for flow in table.values():
        idle_since = cut is not None and cut - flow["@timestamp"] > idle
        reason = "forced_end" if cut is None else "idle_timeout" if idle_since else "active_timeout"
        done.append({**flow, "csirt.flow.end_reason": reason})
    return sorted(done, key=lambda flow: flow["csirt.ordinal"])
