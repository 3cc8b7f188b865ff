"""Deterministic export corpora: NetFlow v5, v9 and IPFIX datagrams as pcap, and the register their addresses are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from csirt.model.batch import Array

MEMBERS = 300
FIRST = 1_760_000_000  # the first export second
PORTS = np.array([443, 53, 80, 445, 104, 2575, 8080, 3389, 22, 25, 389, 123, 5060, 1433], np.uint16)
SHARES = np.array([40, 24, 9, 0.002, 5, 7, 5, 0.001, 0.001, 3, 0.002, 4, 1, 1], float)
RESOLVER = 0x0A050035  # 10.5.0.53
RECORDS = {5: 30, 9: 24, 10: 20}
_V5: list[tuple[str, str]] = [
    ("source", ">u4"),
    ("destination", ">u4"),
    ("hop", ">u4"),
    ("ingress", ">u2"),
    ("egress", ">u2"),
    ("packets", ">u4"),
    ("octets", ">u4"),
    ("first", ">u4"),
    ("last", ">u4"),
    ("source_port", ">u2"),
    ("destination_port", ">u2"),
    ("pad", "u1"),
    ("flags", "u1"),
    ("protocol", "u1"),
    ("tos", "u1"),
    ("source_as", ">u2"),
    ("destination_as", ">u2"),
    ("masks", ">u2"),
    ("pad2", ">u2"),
]
# element, length, column
_V9 = [
    (8, 4, "source"),
    (12, 4, "destination"),
    (15, 4, "hop"),
    (10, 4, "ingress"),
    (14, 4, "egress"),
    (2, 4, "packets"),
    (1, 4, "octets"),
    (22, 4, "first"),
    (21, 4, "last"),
    (7, 2, "source_port"),
    (11, 2, "destination_port"),
    (6, 1, "flags"),
    (4, 1, "protocol"),
    (5, 1, "tos"),
    (61, 1, "direction"),
    (16, 4, "source_as"),
    (17, 4, "destination_as"),
]
_IPFIX = [
    ({21: 153, 22: 152}.get(element, element), 8 if element in (1, 2, 21, 22) else length, name)
    for element, length, name in _V9
]


def write(folder: Path, *, seed: int, records: int) -> list[Path]:
    """Write v5, v9 and IPFIX captures of together about `records` flows and `register.yml`; the captures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    (folder / "register.yml").write_text(register(), encoding="utf-8")
    share = records // 3
    paths = []
    for version in (5, 9, 10):
        path = folder / f"netflow-v{version}.pcap"
        path.write_bytes(_pcap(rng, version, share))
        paths.append(path)
    return paths


def register() -> str:
    """An address register of MEMBERS members with a /20 each, and the common services."""
    kinds = ("gp", "gp", "dental", "municipality", "municipality", "hospital", "laboratory", "pharmacy")
    lines = ["register: csirt.register/1", "resolvers: [10.5.0.53]", "members:"]
    lines.append(
        "  - {id: common, name: Common services, kind: service, sites: [{id: common, prefixes: [10.5.0.0/24]}]}"
    )
    lines += [
        f'  - {{id: b{number:03}, name: "Member {number}", kind: {kinds[number % len(kinds)]}, sites: '
        f"[{{id: b{number:03}-main, prefixes: [10.{16 + number // 16}.{number % 16 * 16}.0/20]}}]}}"
        for number in range(MEMBERS)
    ]
    return "\n".join(lines) + "\n"


def datagrams(*, seed: int, records: int, start: int, seconds: int) -> list[bytes]:
    """NetFlow v9 payloads of about `records` flows that end in the `seconds` after `start` (seconds since 1970), in
    the order of their flows' ends; the exporter's templates first."""
    capture = memoryview(_pcap(np.random.default_rng(seed), 9, records, first=start + 2_600, span=seconds))
    found: list[bytes] = []
    place = 24
    while place < len(capture):
        size = int.from_bytes(capture[place + 8 : place + 12], "little")
        payload = bytearray(capture[place + 16 + 42 : place + 16 + size])
        payload[12:16] = len(found).to_bytes(4, "big")  # one exporter sends them all: one sequence
        found.append(bytes(payload))
        place += 16 + size
    return found


def _flows(rng: np.random.Generator, count: int, span: int = 3_600) -> dict[str, Array]:
    """Columns of `count` flows: heavy-tailed sizes, a few thousand hosts, 1 in 10,000 to outside the register."""
    hosts = (10 << 24) + (16 << 16) + rng.integers(0, MEMBERS * 4096, 6_000).astype(np.uint32)
    source, destination = rng.choice(hosts, count), rng.choice(hosts, count)
    outside = rng.random(count) < 0.0001
    destination[outside] = rng.integers(0xC6336400, 0xC63364FF, int(outside.sum()))
    ports = rng.choice(PORTS, count, p=SHARES / SHARES.sum())
    destination[ports == 53] = RESOLVER
    packets = np.minimum(rng.pareto(1.2, count) * 3 + 1, 1e6).astype(np.uint32)
    last = np.sort(rng.integers(1_000_000, 1_000_000 + span * 1_000, count)).astype(np.uint64)  # milliseconds of uptime
    return {
        "source": source,
        "destination": destination,
        "hop": np.full(count, 0x0A050001, np.uint32),
        "ingress": rng.integers(1, 40, count),
        "egress": rng.integers(1, 40, count),
        "packets": packets,
        "octets": (packets.astype(np.uint64) * rng.integers(60, 1400, count)).clip(max=2**32 - 1),
        "first": last - rng.integers(1, 60_000, count).astype(np.uint64),
        "last": last,
        "source_port": rng.integers(1024, 65535, count),
        "destination_port": ports,
        "flags": rng.choice(np.array([0x02, 0x1B, 0x1F, 0x18], np.uint8), count, p=[0.03, 0.6, 0.2, 0.17]),
        "protocol": np.where((ports == 53) | (ports == 123), 17, 6),
        "tos": np.zeros(count, np.uint8),
        "direction": rng.integers(0, 2, count),
        "source_as": np.zeros(count, np.uint32),
        "destination_as": np.zeros(count, np.uint32),
    }


def _pcap(rng: np.random.Generator, version: int, count: int, *, first: int = FIRST, span: int = 3_600) -> bytes:
    """A pcap of Ethernet/IPv4/UDP datagrams from four exporters, templates first."""
    per = RECORDS[version]
    datagrams = max(count // per, 1)
    flows = _flows(rng, datagrams * per, span)
    if version == 5:
        record = np.dtype(_V5)
        head = np.dtype([("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("seconds", ">u4"),
                         ("nanos", ">u4"), ("sequence", ">u4"), ("engine", ">u2"), ("sampling", ">u2")])  # fmt: skip
    else:
        fields = _V9 if version == 9 else _IPFIX
        wire = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}
        record = np.dtype([(name, wire[length]) for _, length, name in fields])
        head = _head(version)
    payload = np.dtype([("head", head), ("records", record, (per,))])
    body = np.zeros(datagrams, payload)
    for name in record.names or ():
        if name in flows:
            absolute = version == 10 and name in ("first", "last")
            values = flows[name] + np.uint64(first * 1000 - 3_600_000) if absolute else flows[name]
            body["records"][name] = values.reshape(datagrams, per)
    exporter = np.arange(datagrams) % 4
    last = flows["last"].reshape(datagrams, per)[:, -1].astype(np.int64) + 1000
    _fill_head(body["head"], version, per, last, record.itemsize * per, first)
    frames = _frames(body, exporter, last, first)
    header = np.array([(0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)], "<u4,<u2,<u2,<i4,<u4,<u4,<u4").tobytes()
    return header + _templates(version, first) + frames


def _head(version: int) -> np.dtype[Any]:
    if version == 9:
        names = [("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("seconds", ">u4"), ("sequence", ">u4"),
                 ("domain", ">u4"), ("set", ">u2"), ("length", ">u2")]  # fmt: skip
    else:
        names = [("version", ">u2"), ("bytes", ">u2"), ("seconds", ">u4"), ("sequence", ">u4"), ("domain", ">u4"),
                 ("set", ">u2"), ("length", ">u2")]  # fmt: skip
    return np.dtype(names)


def _fill_head(head: Array, version: int, per: int, last: Array, size: int, first: int) -> None:
    head["version"] = version
    head["seconds"] = first - 3600 + last // 1000
    number = np.arange(len(head)) // 4
    if version == 5:
        head["count"], head["uptime"], head["sequence"] = per, last, number * per
        return
    head["domain"], head["set"], head["length"] = 1, 300, size + 4
    head["sequence"] = number + 1 if version == 9 else number * per
    if version == 9:
        head["count"], head["uptime"] = per, last
    else:
        head["bytes"] = 20 + size


def _frames(body: Array, exporter: Array, last: Array, first: int) -> bytes:
    size = body.dtype.itemsize
    frame = np.dtype([("seconds", "<u4"), ("micros", "<u4"), ("captured", "<u4"), ("original", "<u4"),
                      ("ether", "V14"), ("ip", "V20"), ("udp", "V8"), ("payload", body.dtype)])  # fmt: skip
    out = np.zeros(len(body), frame)
    out["seconds"] = first - 3600 + last // 1000 + 1
    out["captured"] = out["original"] = size + 42
    out["payload"] = body
    raw = out.view(np.uint8).reshape(len(out), frame.itemsize)
    raw[:, 16 : 16 + 42] = np.frombuffer(_link(0, size), np.uint8)
    raw[:, 16 + 29] = 11 + exporter  # the last byte of the exporter's address
    return out.tobytes()


def _link(number: int, size: int) -> bytes:
    import struct

    ip = struct.pack(">BBHHHBBHII", 0x45, 0, size + 28, 0, 0, 64, 17, 0, 0x0A05010B + number, 0x0A050102)
    return b"\x02" * 12 + b"\x08\x00" + ip + struct.pack(">HHHH", 30000, 2055, size + 8, 0)


def _templates(version: int, first: int) -> bytes:
    import struct

    if version == 5:
        return b""
    fields = _V9 if version == 9 else _IPFIX
    body = struct.pack(">HH", 300, len(fields)) + b"".join(struct.pack(">HH", e, length) for e, length, _ in fields)
    flowset = struct.pack(">HH", 0 if version == 9 else 2, 4 + len(body)) + body
    seconds = first - 3600
    if version == 9:
        payload = struct.pack(">HHIIII", 9, 1, 1_000_000, seconds, 0, 1) + flowset
    else:
        payload = struct.pack(">HHIII", 10, 16 + len(flowset), seconds, 0, 1) + flowset
    frames = b""
    for number in range(4):
        link = _link(number, len(payload))
        frames += struct.pack("<IIII", seconds, 0, len(link) + len(payload), len(link) + len(payload)) + link + payload
    return frames
