"""ATT&CK coverage: only rules whose telemetry is there count."""

from __future__ import annotations

from csirt.content import folder
from csirt.detect.authors.coverage import coverage
from csirt.detect.rules.load import load_rules, parse_rules

RULE = """title: {title}
id: 00000000-0000-4000-8000-00000000000{digit}
name: r{digit}
level: low
tags: [attack.lateral-movement, attack.t{technique}]
logsource: {{{logsource}}}
detection: {{s: {{source.port: 1}}, condition: s}}
"""
BOTH = """---
title: Both
id: 00000000-0000-4000-8000-00000000000c
level: low
tags: [attack.t1046]
correlation: {type: temporal, rules: [ra, rb], group-by: [source.ip], timespan: 10m, generate: true}
"""


def test_only_seen_telemetry_counts() -> None:
    """A rule on a dataset with events covers; one without, or of a host, is named as blind with what is missing; a
    correlation needs the events of all its rules."""
    flow = RULE.format(title="Flow", digit="a", technique="1021.002", logsource="product: csirt, service: flow")
    tls = RULE.format(title="Tls", digit="b", technique="1021.002", logsource="product: csirt, service: tls")
    host = RULE.format(title="Host", digit="d", technique="1059", logsource="product: windows")
    loaded = parse_rules("---\n".join([flow, tls, host]) + BOTH)
    assert not loaded.problems, loaded.problems
    found = coverage(loaded, {"flow": 10, "tls": 0})
    assert [(item["id"], item["score"], len(item["rules"])) for item in found["techniques"]] == [
        ("T1021.002", 1, 2),
        ("T1046", 0, 1),
        ("T1059", 0, 1),
    ]
    assert found["techniques"][1]["rules"][0]["missing"] == ["tls"]
    assert (found["covered"], found["blind"]) == (1, 2)
    assert found["datasets"] == [{"dataset": "flow", "events": 10}]
    more = coverage(loaded, {"flow": 10, "tls": 1})
    assert [item["score"] for item in more["techniques"]] == [2, 1, 0]


def test_the_layer_is_what_navigator_reads() -> None:
    """Format 4.5: versions, domain, and per technique id, score, colour, comment and its rules."""
    layer = coverage(load_rules([folder("rules")]), {"flow": 1})["layer"]
    assert layer["versions"]["layer"] == "4.5" and layer["domain"] == "enterprise-attack"
    ids = [item["techniqueID"] for item in layer["techniques"]]
    assert ids == sorted(set(ids)) and "T1021.002" in ids
    assert {item["score"] > 0 for item in layer["techniques"]} == {True, False}
    for item in layer["techniques"]:
        assert item["color"] == ("#74c476" if item["score"] else "#d9d9d9")
        assert item["metadata"] and all(set(pair) == {"name", "value"} for pair in item["metadata"])
        assert item["score"] or item["comment"].startswith("no events of ")
