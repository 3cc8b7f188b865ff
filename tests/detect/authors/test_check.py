"""Named checks: what an author hears before a rule is switched on."""

from __future__ import annotations

from pathlib import Path

from csirt.content import folder
from csirt.detect.authors import check
from csirt.detect.rules.load import load_rules, parse_rules, rule_files

RULE = """title: One
id: 00000000-0000-4000-8000-00000000000a
logsource: {LOGSOURCE}
level: low
detection:
  s: {SELECTION}
  condition: s
"""


def said(selection: str, logsource: str = "product: csirt, service: flow", extra: str = "") -> list[str]:
    """The checks that speak, with line and message."""
    text = RULE.replace("LOGSOURCE", logsource).replace("SELECTION", selection) + extra
    problems = check.ruleset(parse_rules(text), [], tested=False)
    return [f"{p.line} {p.level} {p.check}: {p.message} ({p.advice})" for p in problems]


def test_a_sound_rule_is_silent() -> None:
    """No check speaks about a rule on known fields."""
    assert said("destination.port: 445, netflow.anything: 1, network.transport: tcp") == []


def test_a_field_no_source_fills_is_named_with_the_nearest() -> None:
    """A misspelt field is found where it stands."""
    assert said("destination.prot: 445") == [
        "6 warning field: no source fills 'destination.prot' in flow (did you mean destination.port?)"
    ]


def test_a_host_rule_is_said_never_to_match() -> None:
    """A rule for hosts is loaded and its author told."""
    assert "never matches: a rule for hosts" in said("Image: x", "product: windows, category: process_creation")[0]


def test_a_dataset_nobody_makes_yet_is_said() -> None:
    """A service of the schema without a source here is not silently dead."""
    assert "no source makes smb events yet" in said("a: 1", "product: csirt, service: smb")[0]


def test_a_rule_that_looks_at_every_event_is_said_to_cost() -> None:
    """Nothing narrows the events down."""
    assert "every event is looked at" in said("source.ip: null")[0]


def test_a_regular_expression_with_a_leading_star_is_said_to_cost() -> None:
    """It costs and means nothing."""
    assert "begins with .*" in said("network.application|re: '.*foo'")[0]


def test_group_by_and_facts_are_fields_too() -> None:
    """Attributes under csirt: name fields that exist."""
    found = said("destination.port: 1", extra="csirt: {group-by: [no.such], facts: [nor.this]}\n")
    assert [line.split(":")[0] for line in found] == ["8 warning group-by", "8 warning facts"]


def test_an_upper_bound_alone_is_warned_of() -> None:
    """`lt` fires at once: windows are looked at when an event comes."""
    extra = """---
title: Few
id: 00000000-0000-4000-8000-00000000000b
correlation:
  type: event_count
  rules: [00000000-0000-4000-8000-00000000000a]
  group-by: [no.such]
  timespan: 1m
  condition: {lt: 5}
"""
    found = said("destination.port: 1", extra=extra)
    assert any("fires at the first event" in line for line in found)
    assert any("'One' has no field 'no.such'" in line for line in found)


def test_a_rule_without_examples_of_both_kinds_fails(tmp_path: Path) -> None:
    """Rules that alert need a match and a non-match beside them; failing and unreadable ones are errors too."""
    path = tmp_path / "one.yml"
    path.write_text(
        RULE.replace("LOGSOURCE", "product: csirt, service: flow").replace("SELECTION", "destination.port: 1")
    )
    tests = tmp_path / "one.test.yaml"

    def errors() -> list[str]:
        return [p.message for p in check.ruleset(load_rules([path]), [path]) if p.level == "error"]

    assert errors() == ["no example shows that it matches", "no example shows what it leaves alone"]
    tests.write_text("match: [{destination.port: 1}]\n")
    assert errors() == ["no example shows what it leaves alone"]
    tests.write_text("match: [{destination.port: 1}]\nno-match: [{destination.port: 1}]\n")
    assert errors() == ["no-match 1: matches, and should not"]
    tests.write_text("match: [{destination.port: 1}]\nno-match: [{destination.port: 2}]\n")
    assert errors() == []
    tests.write_text("match: [1")
    assert len(errors()) == 3


def test_the_shipped_rules_have_nothing_to_say() -> None:
    """No error and no warning about any rule the project ships, with examples of both kinds beside each."""
    root = folder("rules")
    assert [str(problem) for problem in check.ruleset(load_rules([root]), rule_files(root))] == []
