"""Rules of every kind, and flows in bursts that try them, for the tests of rules of the whole sector."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import MINUTE, SECOND
from csirt.detect.rules.deploy import Deployed
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.model import ecs
from csirt.model.batch import Batch, address_columns, assemble, codes, constant
from csirt.stores.elastic.events import mapping
from tests.stores import build

LONG = "x" * 9_000
HUGE = (1 << 64) - 1
KINDS = mapping.kinds()
RULES = """
title: Service
name: service
id: 00000000-0000-4000-8000-000000000001
logsource: {product: csirt, service: flow}
detection:
  wanted: {destination.port: [25, 445]}
  own: {source.ip|cidr: 10.0.0.0/30}
  far: {csirt.source.member.id: [Dental, 'int*']}
  condition: wanted and not own and not far
level: low
---
title: Name
name: name
id: 00000000-0000-4000-8000-000000000002
logsource: {product: csirt, service: flow}
detection:
  wanted: {csirt.source.member.name|contains: SYKE, network.bytes|gte: 500000}
  condition: wanted
level: low
---
title: Odd
name: odd
id: 00000000-0000-4000-8000-000000000003
logsource: {product: csirt, service: flow}
detection:
  wanted: {csirt.source.member.name|startswith: "inn\u00f8", network.transport: TCP}
  text: {csirt.source.member.name|re: '^x+$'}
  condition: 1 of them
level: low
csirt: {group-by: [destination.port], timespan: 2m}
"""
COUNTED = {
    "events": "type: event_count, rules: [service], group-by: [source.ip], condition: {gte: 6}",
    "exactly": "type: event_count, rules: [service, name], group-by: [source.ip, destination.port], condition: {eq: 4}",
    "few": "type: event_count, rules: [odd], group-by: [source.ip], condition: {lte: 2}",
    "nobody": "type: event_count, rules: [service], group-by: [csirt.source.member.name], condition: {gt: 9}",
    "all": "type: event_count, rules: [name], condition: {gte: 12}",
    "values": "type: value_count, rules: [service], group-by: [source.ip], condition: {field: destination.ip, gte: 5}",
    "pairs": "type: value_count, rules: [service], group-by: [csirt.source.member.id], "
    "condition: {field: [destination.ip, csirt.source.member.name], gte: 8}",
    "both": "type: temporal, rules: [service, name], group-by: [source.ip]",
    "order": "type: temporal_ordered, rules: [name, service], group-by: [source.ip]",
    "sum": "type: value_sum, rules: [service], group-by: [source.ip], condition: {field: network.bytes, gte: 3000000}",
    "mean": "type: value_avg, rules: [service], group-by: [source.ip], condition: {field: network.bytes, gt: 900000}",
    "rank": "type: value_median, rules: [service], group-by: [source.ip], condition: {field: network.bytes, lt: 90000}",
}


def ruleset(**options: Any) -> Ruleset:
    """The plain rules, and every correlation over three minutes."""
    text = [RULES]
    for place, (name, body) in enumerate(COUNTED.items()):
        own = f"00000000-0000-4000-8000-0000000001{place:02d}"
        text.append(
            f"title: {name}\nid: {own}\nlevel: high\ncorrelation: {{timespan: 3m, generate: true, {body}}}\n"
            "csirt: {timespan: 3m}\n"
        )
    loaded = parse_rules("---\n".join(text), **options)
    assert not [str(problem) for problem in loaded.problems if problem.level == "error"]
    return loaded


def deployed(**options: Any) -> Ruleset:
    """All of them, of the whole sector."""
    loaded = ruleset(**options)
    loaded.deployment.rules.update({item.id: Deployed("on", scope="sector") for item in loaded.everything()})
    return loaded


def flows(seed: int, rows: int = 300) -> Batch:
    """Flows of a few hosts in bursts, at times that often fall on a bucket's border; some with values that the cluster
    cannot index, or that it would fold otherwise."""
    chance = random.Random(seed)
    start = build.START - build.START % (3 * MINUTE)
    times: list[int] = []
    while len(times) < rows:
        at = start + chance.choice([0, 3, 6, 9, 12]) * MINUTE + chance.randrange(-3, 3 * 60) * SECOND
        times += [at + chance.choice([0, 0, 1, 999_999, 3 * MINUTE]) for _ in range(chance.randrange(1, 30))]
    times = times[:rows]
    names = ["Sykehuset", "sykehuset", "INN\u00d8LANDET", "\u0130nnland", LONG, LONG[1:], None, "Legevakt"]
    pick = np.array([chance.choice(range(6)) for _ in range(rows)], np.uint64)
    four, zero = np.full(rows, 4, np.uint8), np.zeros(rows, np.uint64)
    family = np.array([chance.choice([4, 4, 4, 4, 6]) for _ in range(rows)], np.uint8)
    mapped = np.array([0xFFFF_0A00_0000 if kind == 6 else 0x0A00_0000 for kind in family], np.uint64)
    time = pa.array(times, ecs.TIME)
    return assemble(
        "flow",
        {
            "@timestamp": time,
            "event.ingested": time,
            "csirt.segment": constant(build.segment(f"s{seed}"), rows),
            "csirt.ordinal": np.arange(rows, dtype=np.uint64),
            **address_columns("source.ip", family, zero, mapped + pick),
            **address_columns(
                "destination.ip",
                four,
                zero,
                0x0A01_0000 + np.array([chance.randrange(9) for _ in range(rows)], np.uint64),
            ),
            "destination.port": np.array([chance.choice([25, 53, 445]) for _ in range(rows)], np.uint16),
            "network.iana_number": np.full(rows, 6, np.uint8),
            "network.bytes": np.array(
                [chance.choice([5, 80_000, 600_000, 999_999, HUGE - chance.randrange(3)]) for _ in range(rows)],
                np.uint64,
            ),
            "csirt.source.member.id": codes(
                np.array([chance.randrange(4) for _ in range(rows)], np.int64), ["dental", "Dental", "HOSPITAL", "int7"]
            ),
            "csirt.source.member.name": codes(np.array([chance.randrange(8) for _ in range(rows)], np.int64), names),
        },
    )  # fmt: skip
