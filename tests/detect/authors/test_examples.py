"""Tests beside rules: events, timelines, and what is wrong with a test file."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.content import folder
from csirt.detect.authors import examples
from csirt.detect.rules.load import load_rules, parse_rules, rule_files

RULES = """title: Base
id: 00000000-0000-4000-8000-00000000000a
name: base
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 1}, condition: s}
---
title: Three
id: 00000000-0000-4000-8000-00000000000b
correlation:
  type: value_count
  rules: [base]
  group-by: [source.ip]
  timespan: 10s
  condition: {gte: 3, field: destination.ip}
"""
TIMELINE = """timelines:
  - name: three
    events:
      - {at: 5s, repeat: 3, every: 2s, from: 7, source.ip: 1.1.1.1, destination.ip: "2.2.2.{n}", destination.port: 1}
    alerts:
      - {group: {source.ip: 1.1.1.1}, count: 3, first: 5s, last: 9s}
"""


def run(folder: Path, tests: str) -> tuple[list[examples.Outcome], list[str]]:
    """The outcomes and problems of a test file."""
    path = folder / "r.yml"
    path.write_text(RULES)
    (folder / "r.test.yaml").write_text(tests)
    outcomes, problems = examples.run(load_rules([path]), [path])
    return outcomes, [str(problem) for problem in problems]


def test_a_timeline_that_gives_its_alerts_passes(tmp_path: Path) -> None:
    """Repeats are written out with {n}, offsets are reckoned from the start."""
    outcomes, problems = run(tmp_path, TIMELINE)
    assert not problems
    assert [(o.name, o.passed, o.positive, o.line) for o in outcomes] == [("three", True, True, 2)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count: 3", "count: 4", "alert 1: count differs: group {'source.ip': '1.1.1.1'}, count 3, first 5s, last 9s"),
        ("first: 5s", "first: 4s", "first differs"),
        ("{source.ip: 1.1.1.1},", "{source.ip: 1.1.1.2},", "group differs"),
        ("repeat: 3", "repeat: 2", "0 alerts came, 1 should: none"),
    ],
)
def test_a_timeline_that_does_not_fails_and_says_what_came(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The outcome names the difference."""
    assert old in TIMELINE
    outcomes, _ = run(tmp_path, TIMELINE.replace(old, new))
    assert message in outcomes[0].message
    assert not outcomes[0].passed


@pytest.mark.parametrize(
    ("tests", "wanted"),
    [
        ("[1]", "not a mapping"),
        ("mtach: []", "unknown key 'mtach'"),
        ("match: {a: 1}", "must be a list of events"),
        ("rule: nobody\nmatch: [{a: 1}]", "no rule 'nobody'"),
        ("timelines: [{events: [{a: 1}], alerts: []}]", "every event needs `at:`"),
        ("timelines: [{events: [{at: soon}], alerts: []}]", "is not a duration"),
        ("timelines: [{events: []}]", "`alerts:` must be a list"),
        ("timelines: [{events: [{at: 1s, repeat: 1000000}], alerts: []}]", "more than 100000 events"),
    ],
)
def test_a_broken_test_file_is_a_problem_with_its_place(tmp_path: Path, tests: str, wanted: str) -> None:
    """Never a traceback, never a silent pass."""
    outcomes, problems = run(tmp_path, tests)
    assert not outcomes
    assert wanted in problems[0]
    assert "r.test.yaml:" in problems[0]


def test_every_shipped_example_passes() -> None:
    """`csirt rules test` over the shipped rules: at least two examples per rule file, none fails."""
    root = folder("rules")
    files = rule_files(root)
    outcomes, problems = examples.run(load_rules([root]), files)
    assert not problems
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert len(outcomes) >= 2 * len(files)


def test_a_test_fails_when_its_rule_is_broken() -> None:
    """The examples can fail: a shipped rule whose port is changed no longer passes its own."""
    path = folder("rules") / "net" / "net-02-cross-member-remote-desktop.yml"
    text = path.read_text("utf-8").replace("3389", "3390").replace("5901", "5999")
    broken = parse_rules(text, name=str(path))
    outcomes, _ = examples.run(broken, [path])
    assert {outcome.passed for outcome in outcomes if outcome.positive} == {False}


def test_tests_of_a_rule_that_is_disabled_are_left_out(tmp_path: Path) -> None:
    """Whoever disables a rule is not told that its tests are about nothing."""
    path = tmp_path / "r.yml"
    path.write_text(RULES.partition("---")[0])
    (tmp_path / "r.test.yaml").write_text("match:\n  - {destination.port: 1}\n")
    ruleset = load_rules([path], disabled=["00000000-0000-4000-8000-00000000000a"])
    assert examples.run(ruleset, [path]) == ([], [])


def test_a_timeline_of_a_correlation_of_correlations_plays_all_it_is_built_on(tmp_path: Path) -> None:
    """The inner correlations run too, and only the one that is asked for is compared."""
    rule = "logsource: {product: csirt, service: flow}\ndetection: {s: {destination.port: 445}, condition: s}\n"
    inner = "{type: event_count, rules: [base], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}"
    outer = "{type: value_count, rules: [inner], timespan: 1h, condition: {gte: 2, field: source.ip}}"
    (tmp_path / "r.yml").write_text(
        f"title: Base\nname: base\n{rule}---\ntitle: Inner\nname: inner\ncorrelation: {inner}\n"
        f"---\ntitle: Outer\nname: outer\ncorrelation: {outer}\n"
    )
    (tmp_path / "r.test.yaml").write_text(
        "timelines:\n"
        "  - rule: outer\n"
        "    events:\n"
        "      - {at: 0s, repeat: 2, source.ip: 10.0.0.1, destination.port: 445}\n"
        "      - {at: 10m, repeat: 2, source.ip: 10.0.0.2, destination.port: 445}\n"
        "    alerts: [{count: 2, first: 1s, last: 601s}]\n"
        "  - rule: inner\n"
        "    events:\n"
        "      - {at: 0s, repeat: 2, source.ip: 10.0.0.1, destination.port: 445}\n"
        "    alerts: [{count: 2}]\n"
    )
    loaded = load_rules([tmp_path])
    assert not loaded.problems
    outcomes, unreadable = examples.run(loaded, [tmp_path / "r.yml"])
    assert not unreadable
    assert [(outcome.name, outcome.message) for outcome in outcomes] == [("timeline 1", ""), ("timeline 2", "")]
