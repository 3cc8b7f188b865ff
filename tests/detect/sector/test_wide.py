"""Searches for a cluster: never narrower than the rule, and refused by name where they cannot be made."""

from __future__ import annotations

import pytest

from csirt.detect.rules.load import parse_rules
from csirt.detect.sector import candidates

KINDS = {
    "source.ip": "ip", "destination.ip": "ip", "destination.port": "long", "network.bytes": "long",
    "csirt.source.member.name": "keyword", "csirt.source.member.id": "keyword", "csirt.flow.duplicate_of": "keyword",
    "event.start": "date_nanos", "related.ip": "ip",
}  # fmt: skip
RULE = """title: One
name: one
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {{product: csirt, service: flow}}
detection: {{s: {{destination.port: 25}}, t: {{{test}}}, condition: {condition}}}
"""
OTHER = RULE.format(test="destination.port: 80", condition="s").replace("One", "Two").replace("one", "two")
OTHER = OTHER.replace("000a", "000c")
COUNT = """title: Many
id: 00000000-0000-4000-8000-00000000000b
level: low
correlation: {{timespan: 10m, {body}}}
"""
NAME = "csirt.source.member.name"


def said(test: str, condition: str = "t") -> str:
    """The ES|QL of a rule with that test."""
    loaded = parse_rules(RULE.format(test=test, condition=condition))
    assert not loaded.problems
    return candidates.search(loaded, loaded.rules[0], KINDS).parts[0].condition


@pytest.mark.parametrize(("test", "query"), [
    ("destination.port: 445", "destination.port == 445"),
    ("destination.port: '445'", "destination.port == 445"),
    ("destination.port: '0445'", "destination.port is not null"),
    ("network.bytes|gt: 5", "network.bytes > 5"),
    ("source.ip|cidr: 10.0.0.0/8", 'cidr_match(source.ip, "10.0.0.0/8")'),
    ("source.ip: 10.0.0.1", 'cidr_match(source.ip, "10.0.0.1/32")'),
    (f"{NAME}: SYKEHUS", f'to_lower({NAME}) == "sykehus"'),
    (f"{NAME}|contains: HUS", f'to_lower({NAME}) like "*hus*"'),
    (f"{NAME}|startswith: 'S\u00f8r'", f'to_lower({NAME}) like "s\u00f8r*"'),
    (f"{NAME}|cased: SYKE", f'to_lower({NAME}) == "syke"'),
    (f"{NAME}: Innland", f'(to_lower({NAME}) == "innland" or {NAME} like "*\u0130*")'),
    (f"{NAME}: 'a\\*b'", f"{NAME} is not null"),
    (f"{NAME}: '\u03a3'", f"{NAME} is not null"),
    (f"{NAME}|re: '^a+$'", f"{NAME} is not null"),
    (f"{NAME}|exists: true", ""),
    (f"{NAME}: null", ""),
    ("related.ip: 10.0.0.1", "related.ip is not null"),
])  # fmt: skip
def test_a_test_holds_wherever_the_engine_s_does(test: str, query: str) -> None:
    """Case and the writing of numbers do not count; what the cluster may see otherwise is left to the engine."""
    assert said(test).strip("()") == query.strip("()")


@pytest.mark.parametrize(("test", "query"), [
    (f"{NAME}: SYKEHUS", f'not coalesce({NAME} == "SYKEHUS", false)'),
    ("destination.port: 445", "not coalesce(destination.port == 445, false)"),
    ("source.ip|cidr: 10.0.0.0/8",
     'not coalesce((cidr_match(source.ip, "10.0.0.0/8") and network.type == "ipv4"), false)'),
    ("destination.ip|cidr: 10.0.0.0/8", ""),  # an IPv4 address in IPv6 is another one to the engine
    (f"{NAME}|contains: hus", ""),
    (f"{NAME}|re: a", ""),
    ("related.ip: 10.0.0.1", ""),
    (f"{NAME}: null", ""),
])  # fmt: skip
def test_below_a_not_a_test_holds_nowhere_else(test: str, query: str) -> None:
    """An absent field is not; what cannot be said exactly is not said."""
    own = "destination.port == 25"
    assert said(test, "s and not t") == (f"(({own} and {query}))" if query else f"({own})")


def test_what_stands_below_two_branches() -> None:
    """Of alternatives all must be said, or nothing is; of what must hold together what can be."""
    assert said(f"{NAME}|re: a, destination.port: 80", "t") == f"(({NAME} is not null and destination.port == 80))"
    assert said(f"{NAME}: null", "s or t") == ""
    assert said(f"{NAME}: null, destination.port: 80", "s and not t") == "(destination.port == 25)"
    assert "not coalesce(not coalesce(" in said("destination.port: 80", "s and not (not t)")
    found = said("destination.port: [80, 81]", "s and not t")
    assert found.endswith("not coalesce((destination.port == 80 or destination.port == 81), false)))")


@pytest.mark.parametrize(("body", "measure", "least"), [
    ("type: event_count, rules: [one], group-by: [source.ip], condition: {gt: 5}", "events", 6),
    ("type: event_count, rules: [one], group-by: [source.ip], condition: {gte: 5, lte: 9}", "events", 5),
    ("type: event_count, rules: [one], group-by: [source.ip], condition: {lt: 5}", "events", 1),
    ("type: value_count, rules: [one], condition: {field: destination.ip, eq: 3}", "values", 3),
    ("type: temporal, rules: [one, two], group-by: [source.ip]", "rules", 2),
    ("type: temporal, rules: [one, two], condition: {gte: 1}", "rules", 1),
    ("type: temporal_ordered, rules: [one, two], group-by: [source.ip]", "rules", 2),
    ("type: value_avg, rules: [one], condition: {field: network.bytes, lt: 5}", "events", 1),
])  # fmt: skip
def test_the_threshold_is_one_that_only_grows_with_more_events(body: str, measure: str, least: float) -> None:
    """Counts for counts; where little is wanted, any event may be of it."""
    text = "---\n".join([RULE.format(test="destination.port: 80", condition="s or t"), OTHER, COUNT.format(body=body)])
    loaded = parse_rules(text)
    found = candidates.search(loaded, loaded.correlations[0], KINDS)
    assert (found.measure, found.least, found.timespan) == (measure, least, 600_000_000)


@pytest.mark.parametrize(("body", "reason"), [
    ("type: event_count, rules: [one], group-by: [related.ip], condition: {gte: 5}", "values of related.ip apart"),
    ("type: event_count, rules: [one], group-by: [event.start], condition: {gte: 5}", "values of event.start apart"),
    ("type: event_count, rules: [one], group-by: [source.port], condition: {gte: 5}", "not search source.port"),
    ("type: temporal, rules: [one, two], group-by: [who], aliases: {who: {one: source.ip, two: destination.ip}}",
     "different fields for one group-by name"),
])  # fmt: skip
def test_what_the_cluster_cannot_tell_is_refused(body: str, reason: str) -> None:
    """Groups that it would make otherwise than the engine, and fields that it does not search."""
    text = "---\n".join([RULE.format(test="destination.port: 80", condition="s or t"), OTHER, COUNT.format(body=body)])
    loaded = parse_rules(text)
    with pytest.raises(candidates.Refused, match=reason):
        candidates.search(loaded, loaded.correlations[0], KINDS)


def test_records_that_others_count_are_not_in_the_cluster() -> None:
    """A rule that asks for them is refused."""
    loaded = parse_rules(RULE.format(test="csirt.flow.duplicate_of|exists: true", condition="t"))
    with pytest.raises(candidates.Refused, match="the cluster has none"):
        candidates.search(loaded, loaded.rules[0], KINDS)
