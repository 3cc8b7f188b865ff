"""Rule files to rulesets: what is wrong is said with its place, and costs nobody else anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.content import folder
from csirt.detect.rules.load import load_rules, parse_rules, rule_files
from csirt.detect.rules.ruleset import Ruleset

GOOD = """title: Good
id: 00000000-0000-4000-8000-00000000000a
name: good
logsource: {product: csirt, service: flow}
detection:
  s: {destination.port: 445}
  condition: s
"""


def one(text: str) -> tuple[Ruleset, str]:
    """A ruleset of the text and its problems as one text."""
    loaded = parse_rules(text)
    return loaded, "\n".join(map(str, loaded.problems))


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("title: Good", "title: Good\nbroken: [", "rules.yml:4:5: error: expected"),
        ("service: flow}", "service: [1]}", "rules.yml:4:1: error: [sigma]"),
        ("condition: s", "condition: s and t", "rules.yml:7:14: error: [sigma] Detection 't' not defined"),
        ("condition: s", "condition: s | count() > 5", "rules.yml:7:14: error"),
        (
            "destination.port: 445",
            "destination.port|nope: 445",
            "rules.yml:6:30: error: [sigma] Unknown modifier 'nope'",
        ),
        ("destination.port: 445", "destination.port|re: '(?=x)y'", "cannot run in linear time"),
        ("destination.port: 445", "destination.port|re: 'a{2000}'", "linear time"),
        ("destination.port: 445", "destination.port|re: '(a'", "rules.yml:6:28: error: [sigma] Regular"),
        ("destination.port: 445", "destination.port|cidr: 10.0.0.0.0/8", "Invalid CIDR"),
        ("destination.port: 445", "destination.port|expand: '%x%'", "the placeholder %x% has no values"),
        ("destination.port: 445", "destination.port|gt: many", "rules.yml:"),
        ("condition: s", "condition: 1 of nothing*", "selects nothing"),
        ("id: 00000000", "id: nonsense-00000000", "rules.yml:2:5: error"),
        ("title: Good", "title: Good\nlevel: awful", "rules.yml:2:8: error"),
        ("title: Good", "title: Good\naction: global", "`action` is from Sigma before 2.0"),
        ("title: Good", "title: Good\ncsirt: {rsit: Malicious Code/Infected Sistem}", "did you mean 'malicious-code"),
        ("title: Good", "title: Good\ncsirt: {playbok: x}", "did you mean 'playbook'"),
        ("title: Good", "title: Good\ncsirt: {timespan: soon}", "is not a duration"),
        ("title: Good", "title: Good\ncsirt: {tell: [nobody]}", "'nobody' is nobody"),
        ("title: Good", "title: Good\ncsirt: {clinical: 1}", "must be true or false"),
        ("title: Good", "title: Good\ncsirt: [1]", "must be a mapping"),
    ],
)
def test_a_broken_rule_is_refused_with_its_place_and_spares_the_next(old: str, new: str, wanted: str) -> None:
    """Every kind of fault is a problem with file, line and column; the sound rule beside it still loads."""
    assert old in GOOD
    sound = GOOD.replace("-00000000000a", "-00000000000b")
    broken = GOOD.replace(old, new)
    alone, said = one(broken)
    assert not alone.rules
    assert alone.refused == 1
    assert wanted in said
    if "broken: [" not in new:  # a file that is not YAML has no second document
        both, _ = one(broken + "---\n" + sound)
        assert [rule.id[-1] for rule in both.rules] == ["b"]


def test_broken_files_spare_other_files(tmp_path: Path) -> None:
    """A file that is not even YAML, an alias bomb and a deep nest are problems; the others load, in sorted order."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "good.yml").write_text(GOOD)
    (tmp_path / "a.yml").write_text("a: &x [1]\nb: *x\n")
    (tmp_path / "c.yml").write_text("[" * 200_000)
    (tmp_path / "d.yml").write_bytes(b"\xff\xfe")
    (tmp_path / "good.test.yaml").write_text("no rule")
    (tmp_path / "e.yaml").write_text(GOOD)
    loaded = load_rules([tmp_path])
    assert [rule.meta.title for rule in loaded.rules] == ["Good"]
    assert loaded.refused == 3
    assert [Path(p.file).name for p in loaded.problems] == ["a.yml", "c.yml", "d.yml", "e.yaml"]


def test_an_id_is_taken_once() -> None:
    """The second rule with an id is refused and says where the first one is."""
    loaded, said = one(GOOD + "---\n" + GOOD)
    assert len(loaded.rules) == 1
    assert "rules.yml:10:5" in said
    assert "already that of rules.yml:1" in said


def test_disabled_rules_are_not_loaded_and_unknown_ones_are_said() -> None:
    """A disabled rule is gone with the correlations that need it; a disabled id nobody has is a warning."""
    text = GOOD + CORRELATION
    loaded = parse_rules(text, disabled=["00000000-0000-4000-8000-00000000000a", "nobody"])
    assert not loaded.rules
    assert not loaded.correlations
    assert loaded.refused == 0
    assert [problem.level for problem in loaded.problems] == ["warning", "warning"]


CORRELATION = """---
title: Many
id: 00000000-0000-4000-8000-00000000000c
name: many
correlation:
  type: event_count
  rules: [good]
  group-by: [source.ip]
  timespan: 1m
  condition: {gte: 5}
"""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("rules: [good]", "rules: [bad]", "no rule has the id or name 'bad'"),
        ("type: event_count", "type: temporal_extended", "does not run here"),
        ("timespan: 1m", "timespan: 1 minute", "Timespan"),
        ("{gte: 5}", "{gte: five}", "gte needs a number"),
        ("{gte: 5}", "{}", "compares with nothing"),
        ("{gte: 5}", "{gte: 1, lte: 5, eq: 3}", "more than two comparisons"),
        ("type: event_count", "type: value_count", "value_count needs a field"),
        ("rules: [good]", "rules: [good]\n  aliases: {a: {other: x}}", "names a rule that is not there"),
        ("group-by: [source.ip]", "group-by: {a: 1}", "group-by"),
        ("type: event_count", "type: absence", "absence needs two rules"),
        ("type: event_count", "type: ratio", "ratio needs two rules"),
        ("type: event_count", "type: value_percentile", "from 0 to 100"),
        ("type: event_count", "type: value_sum", "value_sum needs a field"),
        ("type: event_count", "type: temporal_ordered", "all its rules in order"),
        ("type: event_count\n  rules: [good]", "type: temporal_ordered\n  rules: [good, good]", "names a rule twice"),
        ("{gte: 5}", "good and bad", "is for `temporal`"),
        ("rules: [good]", "rules: [many]", "is built on itself"),
    ],
)
def test_a_broken_correlation_is_refused(old: str, new: str, wanted: str) -> None:
    """Each fault of a correlation is named; its base rule stays, and alerts on its own again."""
    assert old in CORRELATION
    loaded, said = one(GOOD + CORRELATION.replace(old, new))
    assert wanted in said
    assert not loaded.correlations
    assert [rule.alerts for rule in loaded.rules] == [True]


def test_correlations_refer_by_id_or_name_and_may_have_a_range() -> None:
    """Both ways of naming a rule work, in any order of documents, and two bounds are a range."""
    by_id = CORRELATION.replace("[good]", "[00000000-0000-4000-8000-00000000000a]").replace(
        "{gte: 5}", "{gt: 2, lt: 9}"
    )
    loaded, said = one(by_id.removeprefix("---\n") + "---\n" + GOOD)
    assert not said
    found = loaded.correlations[0]
    assert (found.bounds, found.timespan, found.dataset) == ((("lt", 9), ("gt", 2)), 60_000_000, "flow")
    assert [rule.alerts for rule in loaded.rules] == [False]


def test_a_correlation_may_be_built_on_correlations() -> None:
    """In any order of documents; without `generate` only the outermost alerts."""
    nested = CORRELATION.replace("00c", "00d").replace("name: many", "name: more").replace("[good]", "[many]")
    loaded, said = one(nested.removeprefix("---\n") + CORRELATION + "---\n" + GOOD)
    assert not said
    assert {item.meta.name: item.alerts for item in loaded.everything()} == {"good": False, "many": False, "more": True}
    loaded, _ = one(GOOD + CORRELATION + nested.replace("condition:", "generate: true\n  condition:"))
    assert {item.meta.name: item.alerts for item in loaded.everything()} == {"good": False, "many": True, "more": True}


def test_correlations_in_a_circle_are_refused() -> None:
    """Each is named; nothing hangs."""
    other = CORRELATION.replace("00c", "00d").replace("name: many", "name: more").replace("[good]", "[many]")
    loaded, said = one(GOOD + CORRELATION.replace("[good]", "[more]") + other)
    assert said.count("is built on itself") == 2
    assert not loaded.correlations


def test_a_boolean_condition_is_over_the_rules_it_names() -> None:
    """Its rules are those of `rules`, or of the condition where there are none."""
    second = GOOD.replace("00a", "00b").replace("name: good", "name: other")
    text = CORRELATION.replace("event_count", "temporal").replace("{gte: 5}", "good and not other")
    loaded, said = one(GOOD + "---\n" + second + text.replace("  rules: [good]\n", ""))
    assert not said
    assert loaded.correlations[0].expression == ("and", (0, ("not", (1,))))
    _, said = one(GOOD + "---\n" + second + text)
    assert "not defined in rules list: other" in said


def test_filters_apply_to_their_rules() -> None:
    """A Sigma filter narrows the rules it names, and only those."""
    text = (
        GOOD
        + """---
title: Not the printers
logsource: {product: csirt, service: flow}
filter:
  rules: [00000000-0000-4000-8000-00000000000a]
  printers: {source.port: 9100}
  condition: not printers
"""
    )
    from csirt.detect.columns.raw import from_events
    from csirt.detect.engine.engine import Program

    loaded, said = one(text)
    assert not said
    events = from_events([{"destination.port": 445}, {"destination.port": 445, "source.port": 9100}])
    assert list(Program([loaded.rules[0].condition]).run(events)[0]) == [0]


def test_tags_become_tactics_and_techniques() -> None:
    """ATT&CK tags are told apart; the version of a rule is the day it was last changed."""
    extra = """tags: [attack.lateral-movement, attack.t1021.002, attack.g0016, attack.s0039, tlp.amber]
modified: 2026-02-01
"""
    meta = one(GOOD + extra)[0].rules[0].meta
    assert (meta.tactics, meta.techniques, meta.version) == (("lateral-movement",), ("T1021.002",), "2026-02-01")


def test_the_shipped_rules_load() -> None:
    """Every rule the project ships loads without a problem."""
    loaded = load_rules([folder("rules")])
    assert not loaded.problems
    assert len(loaded.rules) + len(loaded.correlations) >= 20


SIGMA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "sigma" / "rules"


@pytest.mark.skipif(not SIGMA.is_dir(), reason="the public rules are not beside this checkout")
def test_public_network_rules_load() -> None:
    """SigmaHQ's network, web and DNS rules all load; only log sources we have are routed."""
    folders = [SIGMA / name for name in ("network", "web") if (SIGMA / name).is_dir()]
    loaded = load_rules(folders)
    assert loaded.refused == 0
    assert len(loaded.rules) == sum(len(rule_files(folder)) for folder in folders)
    assert any(rule.datasets == {"dns"} for rule in loaded.rules)


def test_whole_numbers_pysigma_would_round_stay_exact() -> None:
    """A number above 2^53 in a rule is that number."""
    rule = one(GOOD.replace("445", "9007199254740993"))[0].rules[0]
    assert "9007199254740993" in repr(rule.condition)
