"""Queries for other engines: what converts, and what is refused by name."""

from __future__ import annotations

import pytest

from csirt.content import folder
from csirt.detect.authors.convert import convert
from csirt.detect.rules.correlations import OWN
from csirt.detect.rules.load import load_rules, parse_rules

RULE = """title: One
id: 00000000-0000-4000-8000-00000000000a
name: one
level: low
logsource: {category: dns}
detection: {s: {query|endswith: .no, record_type|expand: '%kinds%'}, condition: s}
"""
COUNT = """---
title: Many
id: 00000000-0000-4000-8000-00000000000b
level: low
correlation: {type: event_count, rules: [one], group-by: [source.ip], timespan: 10m, condition: {gte: 5}}
"""


@pytest.mark.parametrize(("target", "query"), [
    ("esql", 'event.dataset=="dns" and ends_with(dns.question.name, ".no") and dns.question.type in ("A", "MX")'),
    ("lucene", "event.dataset:dns AND (dns.question.name:*.no AND (dns.question.type:(A OR MX)))"),
])  # fmt: skip
def test_a_rule_is_a_query_in_our_names(target: str, query: str) -> None:
    """Fields are mapped, the dataset is a condition, placeholders have their configured values."""
    loaded = parse_rules(RULE, placeholders={"kinds": ["A", "MX"]})
    found = convert(loaded, target)
    assert not found.refused
    assert query.replace("(", "").replace(")", "") in found.items[0]["query"].replace("(", "").replace(")", "")


def test_a_correlation_is_one_query_in_esql_and_none_in_lucene() -> None:
    """Its rules are part of it; Lucene cannot count and says so."""
    loaded = parse_rules(RULE + COUNT, placeholders={"kinds": ["A"]})
    found = convert(loaded, "esql")
    assert [(item["title"], item["kind"]) for item in found.items] == [("Many", "event_count")]
    assert "stats event_count=count() by timebucket, source.ip" in " ".join(found.items[0]["query"].split())
    refused = convert(loaded, "lucene").refused
    assert "event_count" in refused[0]["reason"] and (refused[0]["file"], refused[0]["line"]) == ("rules.yml", 8)


def test_extensions_are_refused_by_name() -> None:
    """Each shipped rule of our own types is refused with the name of the type, whatever the target."""
    loaded = load_rules([folder("rules") / "extensions"])
    own = {item.id: item.type for item in loaded.correlations if item.type in OWN}
    assert own
    for target in ("esql", "lucene"):
        found = convert(loaded, target)
        reasons = {item["id"]: item["reason"] for item in found.refused}
        assert all(f"{kind!r} is an extension" in reasons[name] for name, kind in own.items() if name in reasons)
        assert not {item["id"] for item in found.items} & set(own)


def test_hosts_rules_and_nested_correlations_are_refused() -> None:
    """A rule that never matches here has no query; nor has a correlation of correlations."""
    host = RULE.replace("{category: dns}", "{product: windows}")
    assert "never matches" in convert(parse_rules(host, placeholders={"kinds": ["A"]}), "esql").refused[0]["reason"]
    nested = COUNT.replace("00b", "00c").replace("[one]", "[00000000-0000-4000-8000-00000000000b]")
    found = convert(parse_rules(RULE + COUNT + nested, placeholders={"kinds": ["A"]}), "esql")
    assert [item["reason"] for item in found.refused] == ["a correlation of correlations cannot be one query"]
