"""Explanations: the engine's own truths, in the author's words."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from csirt.content import folder
from csirt.detect.atoms import Atom
from csirt.detect.authors.explain import explain
from csirt.detect.authors.selections import written
from csirt.detect.authors.wording import atom
from csirt.detect.columns.raw import from_events
from csirt.detect.engine.engine import Program
from csirt.detect.rules.load import load_rules, parse_rules, rule_files

RULE = """title: One
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {{product: csirt, service: {service}}}
detection:
{detection}
"""


def explained(detection: str, event: dict[str, Any], dataset: str | None = "dns", service: str = "dns") -> Any:
    """The explanation of a rule with this detection."""
    loaded = parse_rules(RULE.format(detection=detection, service=service))
    assert not loaded.problems, loaded.problems
    return explain(loaded, loaded.rules[0], from_events([event]), dataset)


def one(detection: str, event: dict[str, Any]) -> dict[str, Any]:
    """The explanation of a rule's only test."""
    found: dict[str, Any] = explained(f"  s: {{{detection}}}\n  condition: s", event)["selections"][0]["alternatives"][
        0
    ]
    return found["tests"][0]


def test_every_shipped_rule_and_example_is_explained_as_the_engine_decides() -> None:
    """The verdict, the author's tree and the engine agree on each rule and each of its examples; what must change for
    a match is said exactly where there is none."""
    seen = 0
    for path in rule_files(folder("rules")):
        loaded = load_rules([path])
        beside = path.with_suffix(".test.yaml")
        found = list(yaml.safe_load_all(beside.read_text("utf-8"))) if beside.exists() else []
        events = [event for item in found for key in ("match", "no-match") for event in item.get(key, [])]
        for rule in loaded.rules:
            assert written(loaded, rule).selections
            for event in events:
                answer = explain(loaded, rule, from_events([event]), None)
                holds = 0 in Program([rule.condition]).run(from_events([event]))
                assert answer["matches"] == answer["condition"]["holds"] == holds
                assert bool(answer["nearest"]) == (not holds)
                seen += 1
    assert seen > 40


@pytest.mark.parametrize(
    ("detection", "event", "state", "why"),
    [
        ("dns.question.name: a.no", {}, "absent", "the event does not have the field"),
        ("dns.question.name: a.no", {"dns.question.name": None}, "null", "the field is there and null"),
        ("dns.questoin.name: a.no", {"dns.question.name": "a.no"}, "absent", "did you mean dns.question.name?"),
        ("dns.question.name: a.no", {"dns.question.name": "x.a.no"}, "value", "it contains 'a.no'; the whole value"),
        ("dns.question.name|startswith: a.no", {"dns.question.name": "xa.no"}, "value", "wanted at the start"),
        ("dns.question.name|cased: A.no", {"dns.question.name": "a.no"}, "value", "differs in case only"),
        ("dns.question.name: [aaa.no, bbb.no]", {"dns.question.name": "bbc.no"}, "value", "nearest: 'bbb.no'"),
        ("dns.question.name|neq: a.no", {"dns.question.name": "a.no"}, "value", "it is 'a.no'"),
    ],
)
def test_why_a_test_does_not_hold(detection: str, event: dict[str, Any], state: str, why: str) -> None:
    """Absent, null, misspelt, elsewhere in the value, other case, nearly the value: each is told apart."""
    found = one(detection, event)
    assert (found["holds"], found["state"]) == (False, state)
    assert why in found["why"]


def test_which_of_several_values_matched_is_said() -> None:
    """A test that holds for one of its values names it; a list field shows its members."""
    found = one("dns.answers.data|startswith: ['10.', '192.']", {"dns.answers.data": ["8.8.8.8", "192.0.2.1"]})
    assert found["holds"] and found["why"] == "startswith '192.'"
    assert found["seen"] == ["8.8.8.8", "192.0.2.1"]


def test_the_nearest_miss_is_the_smallest_change() -> None:
    """Alternatives are weighed; a filter that holds must not; what is right already is no change."""
    detection = """  a: {dns.question.name: x, dns.question.type: A, dns.id: 1}
  b: {dns.question.name: y, dns.question.type: TXT}
  filter: {source.ip: 10.0.0.1}
  condition: 1 of a* or b and not filter"""
    found = explained(detection, {"dns.question.type": "TXT", "source.ip": "10.0.0.1"})
    changes = [(item["selection"], item["field"], item["needed"]) for item in found["nearest"]]
    assert changes == [("b", "dns.question.name", True), ("filter", "source.ip", False)]
    assert [item["holds"] for item in found["selections"]] == [False, False, True]


def test_routing_is_part_of_the_verdict() -> None:
    """A condition that holds is no match where the rule never looks; the reason is said."""
    detection = "  s: {dns.id: 1}\n  condition: s"
    found = explained(detection, {"dns.id": 1}, dataset="flow")
    assert found["condition"]["holds"] and not found["matches"]
    assert found["routing"]["reason"] == "this rule never looks at flow events, only at dns"
    assert explained(detection, {"dns.id": 1}, dataset=None)["matches"]
    loaded = parse_rules(
        RULE.format(service="x", detection=detection).replace("product: csirt, service: x", "product: windows")
    )
    found = explain(loaded, loaded.rules[0], from_events([{"dns.id": 1}]), "dns")
    assert "never looks at any event: a rule for hosts" in found["routing"]["reason"]


def test_filters_placeholders_lists_of_maps_and_unused_selections() -> None:
    """What the rule was compiled with is explained: filters as selections, placeholders as values, maps as
    alternatives; a selection outside the condition says so."""
    text = RULE.format(
        service="dns",
        detection="  s:\n    - {dns.id: 1}\n    - {dns.id: 2, dns.type|expand: '%kinds%'}\n  t: {dns.id: 3}\n"
        "  condition: s",
    )
    text += """---
title: No scanners
logsource: {product: csirt, service: dns}
filter: {rules: [00000000-0000-4000-8000-00000000000a], f: {source.ip: 10.9.9.9}, condition: not f}
"""
    loaded = parse_rules(text, placeholders={"kinds": ["query", "answer"]})
    assert not loaded.problems, loaded.problems
    event = {"dns.id": 2, "dns.type": "answer", "source.ip": "10.9.9.9"}
    found = explain(loaded, loaded.rules[0], from_events([event]), "dns")
    by_name = {item["name"]: item for item in found["selections"]}
    assert [item["holds"] for item in by_name["s"]["alternatives"]] == [False, True]
    assert not by_name["t"]["used"]
    assert found["condition"]["text"] == "(s) and (not filter:f)" and by_name["filter:f"]["holds"]
    assert [(item["field"], item["needed"]) for item in found["nearest"]] == [("source.ip", False)]
    assert by_name["s"]["alternatives"][1]["tests"][1]["wanted"] == "'query' or 'answer'"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Atom("f", "eq", "a", True), "'a' (case counts)"),
        (Atom("f", "wild", ("(?s)\\A.*a\\.b.c.*\\z", "a.b")), "'*a.b?c*'"),
        (Atom("f", "cidr", (4, 0x0A000000, 0x0AFFFFFF)), "in 10.0.0.0/8"),
        (Atom("f", "cidr", (6, 1, 1)), "in ::1/128"),
        (Atom("f", "compare", ("gte", 3)), ">= 3"),
        (Atom("f", "part", ("hour", "lt", 6)), "hour < 6"),
        (Atom("f", "field", ("g", "endswith")), "endswith g"),
        (Atom("f", "re", "(?i)a+"), "matches /(?i)a+/"),
        (Atom("f", "number", 5), "5"),
    ],
)
def test_atoms_in_words(item: Atom, said: str) -> None:
    """Each kind of atom reads as rules write it."""
    assert atom(item) == said


def test_a_rule_with_thousands_of_values_is_explained() -> None:
    """A long list is cut in words, and still evaluated whole."""
    values = ", ".join(f"v{number}.no" for number in range(3_000))
    found = one(f"dns.question.name: [{values}]", {"dns.question.name": "v2999.no"})
    assert found["holds"] and "or 2995 more" in found["wanted"]
