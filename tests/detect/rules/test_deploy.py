"""How rules are deployed: states, exemptions, and what is wrong with a deploy.yml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import DAY
from csirt.detect.authors import check
from csirt.detect.match import Detector
from csirt.detect.rules import deployfile, pack
from csirt.detect.rules.deploy import Deployed, ended, moment
from csirt.detect.rules.load import load_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.model.batch import Batch

A, B, C, D = (f"00000000-0000-4000-8000-00000000000{letter}" for letter in "abcd")
RULES = f"""\
title: NET-90 Telnet
id: {A}
name: telnet
level: low
logsource: {{product: csirt, service: flow}}
detection: {{s: {{destination.port: 23}}, condition: s}}
---
title: NET-91 Ssh
id: {B}
level: low
logsource: {{product: csirt, service: flow}}
detection: {{s: {{destination.port: 22}}, condition: s}}
---
title: COR-90 Many
id: {C}
level: low
correlation:
  {{type: event_count, rules: [{B}], group-by: [source.ip], timespan: 1h, condition: {{gte: 2}}, generate: true}}
"""
NOON = moment("2026-03-10T12:00:00", end=False) or 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two rules and a correlation."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "all.yml").write_text(RULES)
    return tmp_path / "rules"


def load(folder: Path, text: str, **options: Any) -> Ruleset:
    """The rules with that deploy.yml."""
    (folder / "deploy.yml").write_text(text)
    return load_rules([folder], **options)


def running(loaded: Ruleset) -> dict[str, tuple[bool, bool]]:
    """What runs: by the last letter of its id whether it alerts, and whether in shadow."""
    return {item.id[-1]: (item.alerts, item.meta.shadow) for item in loaded.running.everything()}


def test_states_by_rule_and_folder(folder: Path, tmp_path: Path) -> None:
    """By id, name or code; a folder's default is for its rules; the state folder's file wins."""
    loaded = load(folder, "default: shadow\nrules:\n  telnet: on\n  NET-91: {state: off, scope: sector}\n")
    assert not loaded.problems
    assert running(loaded) == {"a": (True, False), "b": (False, False), "c": (True, True)}
    assert loaded.deployment.of(loaded.rules[1].meta).scope == "sector"
    own = tmp_path / "state" / "deploy.yml"
    deployfile.write(own, A, "Telnet", Deployed("off", NOON, by="kari", reason="noise"))
    deployfile.write(own, C, "Many", Deployed("off", NOON, by="kari", reason="noise"))
    loaded = load_rules([folder], deployed=own)
    assert running(loaded) == {}
    found = loaded.deployment.of(loaded.rules[0].meta)
    assert (found.state, found.since, found.by, found.reason) == ("off", NOON, "kari", "noise")
    deployfile.write(own, A, "Telnet", Deployed("on", NOON))
    assert running(load_rules([folder], deployed=own)) == {"a": (True, False)}


def test_without_a_word_everything_is_on(folder: Path) -> None:
    """As before there was a deploy.yml; one that is empty says nothing."""
    assert running(load(folder, "")) == running(load_rules([folder])) == dict.fromkeys("abc", (True, False))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[]", 1, "not a mapping"),
        ("defualt: on", 1, "did you mean 'default'"),
        ("default: maybe", 1, "'maybe' is no state"),
        ("rules: [a]", 1, "must be a mapping"),
        ("rules:\n  telnett: off", 2, "did you mean 'telnet'"),
        ("rules:\n  net-99: off", 2, "no rule has the id"),
        ("rules:\n  telnet:\n    state: of", 3, "'of' is no state"),
        ("rules:\n  telnet: {stat: off}", 2, "did you mean 'state'"),
        ("rules:\n  telnet: {scope: world}", 2, "'world' is no scope"),
        ("rules:\n  telnet: {since: soon}", 2, "'soon' is no day"),
        ("exemptions: x", 1, "must be a list"),
        ("exemptions: [1]", 1, "must be a mapping"),
        ("exemptions:\n- {rule: telnet, when: {source.ip: 10.0.0.1}, reason: r, until: 2026-12-31}", 2, "'owner'"),
        ("exemptions:\n- {rule: telnet, when: {source.ip: 10.0.0.1}, owner: o, until: 2026-12-31}", 2, "'reason'"),
        ("exemptions:\n- {rule: telnet, when: {source.ip: 10.0.0.1}, owner: o, reason: r}", 2, "'until'"),
        ("exemptions:\n- {rule: telnet, owner: o, reason: r, until: 2026-12-31}", 2, "'when'"),
        ("exemptions:\n- {rule: telnet, when: {source.ip: 1}, owner: o, reason: r, until: never}", 2, "no day"),
        ("exemptions:\n- {rule: x, when: {source.ip: 10.0.0.1}, owner: o, reason: r, until: 2026-12-31}", 2, "no rule"),
        ("exemptions:\n- {rule: telnet, when: {s|re: a.b}, owner: o, reason: r, until: 2026-12-31}", 2, "regular exp"),
        ("exemptions:\n- {rule: telnet, when: {s|no: a}, owner: o, reason: r, until: 2026-12-31}", 2, "modifier"),
        ("exemptions:\n- {rule: telnet, when: [word], owner: o, reason: r, until: 2026-12-31}", 2, "keyword"),
        ("exemptions:\n- {rule: telnet, when: {s|expand: '%x%'}, owner: o, reason: r, until: 2026-12-31}", 2, "%x%"),
        ("a: [", 1, ""),
    ],
)
def test_what_is_wrong_is_said_and_has_no_effect(folder: Path, text: str, line: int, said: str) -> None:
    """With file and line; every rule runs as it did, and is not counted as refused."""
    loaded = load(folder, text)
    (problem,) = loaded.problems
    assert (Path(problem.file).name, problem.line, problem.level) == ("deploy.yml", line, "error")
    assert said.lower() in str(problem).lower()
    assert running(loaded) == dict.fromkeys("abc", (True, False)) and loaded.refused == 0
    assert not loaded.deployment.exemptions


def test_rules_that_are_gone_or_disabled(folder: Path, tmp_path: Path) -> None:
    """The file that csirt writes may outlive a rule: a warning. A disabled rule is known."""
    own = tmp_path / "deploy.yml"
    deployfile.write(own, D, "Gone", Deployed("off"))
    (problem,) = load_rules([folder], deployed=own).problems
    assert problem.level == "warning" and D in problem.message
    assert not load(folder, f"rules: {{{A}: off}}", disabled=[A]).problems


EXEMPT = """\
exemptions:
- rule: {rule}
  when: {{source.ip|cidr: 10.0.0.0/24, destination.port: [22, 23]}}
  owner: kari
  reason: the scanner of the sector
  until: 2026-03-10
"""


def flow(second: int, ip: str, port: int, at: int = NOON) -> dict[str, Any]:
    """One flow."""
    time = at + second * 1_000_000
    return {"@timestamp": time, "source.ip": ip, "destination.ip": "10.9.9.9", "destination.port": port}


def found(loaded: Ruleset, batch: Batch, lost: Counter[str] | None = None) -> list[tuple[str, str]]:
    """(stream, group) of the hits, by the last letters of ids."""
    told = (lambda rule, rows: lost.update({rule[-1]: rows})) if lost is not None else None
    table = Detector(loaded.running, exempted=told).match(batch)
    names = ["/".join(part[-1] for part in name.split("/")) for name in table.column("stream").to_pylist()]
    return sorted(zip(names, table.column("group").to_pylist(), strict=True))


def test_an_exemption_holds_until_its_last_day_is_over(folder: Path, batch: Callable[..., Batch]) -> None:
    """In event time, whatever the clock says; what it takes away is counted."""
    loaded = load(folder, EXEMPT.format(rule="net-90"))
    assert not loaded.problems
    events = [flow(0, "10.0.0.5", 23), flow(1, "10.0.1.5", 23), flow(2, "10.0.0.5", 23, NOON + DAY)]
    lost: Counter[str] = Counter()
    assert found(loaded, batch("flow", events), lost) == [
        ("a", '{"source.ip":"10.0.0.5"}'),
        ("a", '{"source.ip":"10.0.1.5"}'),
    ]
    assert lost == {"a": 1}
    (item,) = loaded.deployment.exemptions
    assert item.until == NOON + DAY // 2 and (item.owner, item.line) == ("kari", 2)
    assert not ended(loaded.deployment, item.until - 1)
    (said,) = ended(loaded.deployment, item.until)
    assert said.level == "warning" and "2026-03-11" in said.message and "kari" in said.message
    assert said.message in [problem.message for problem in check.ruleset(loaded, [], now=item.until, tested=False)]
    assert not check.ruleset(loaded, [], now=item.until - 1, tested=False)


def test_an_exemption_of_a_correlation_is_of_nothing_else(folder: Path, batch: Callable[..., Batch]) -> None:
    """The rule it is built on still alerts; an exemption of the rule is of both."""
    events = batch("flow", [flow(0, "10.0.0.5", 22), flow(1, "10.0.1.5", 22)])
    here, there = '{"source.ip":"10.0.0.5"}', '{"source.ip":"10.0.1.5"}'
    assert found(load(folder, EXEMPT.format(rule="COR-90")), events) == [("b", here), ("b", there), ("c/b", there)]
    assert found(load(folder, EXEMPT.format(rule=B)), events) == [("b", there), ("c/b", there)]
    both = EXEMPT.format(rule=B) + EXEMPT.format(rule="cor-90").partition("\n")[2].replace("0.0/24", "1.0/24")
    assert found(load(folder, both), events) == [("b", there)]


def test_what_must_be_followed_may_be_exempt_and_what_follows_still_counts(folder: Path) -> None:
    """Of an `absence` the exemption is of the first rule alone; of a correlation of correlations it is refused."""
    more = f"""\
---
title: EDI-90 Silence
id: {D}
level: low
correlation: {{type: absence, rules: [{A}, {B}], group-by: [source.ip], timespan: 1h}}
---
title: COR-91 Both
id: 00000000-0000-4000-8000-00000000000e
level: low
correlation: {{type: temporal, rules: [{C}, {D}], group-by: [source.ip], timespan: 1h, generate: true}}
"""
    (folder / "all.yml").write_text(RULES + more)
    loaded = load(folder, EXEMPT.format(rule="edi-90"))
    assert not loaded.problems
    assert [[base for base, _ in item.conditions] for item in loaded.deployment.exemptions] == [[A]]
    (problem,) = load(folder, EXEMPT.format(rule="cor-91")).problems
    assert "built on correlations" in problem.message


def test_a_field_that_no_event_has_is_warned_of(folder: Path) -> None:
    """An exemption that can exempt nothing."""
    loaded = load(folder, EXEMPT.format(rule="net-90").replace("source.ip|cidr", "source.ipp|cidr"))
    (problem,) = [item for item in check.ruleset(loaded, [], now=0, tested=False) if item.check == "exemption"]
    assert "did you mean 'source.ip'?" in problem.advice and problem.line == 2


def test_deployment_is_cached_as_it_is(folder: Path) -> None:
    """States and exemptions come back from the cache."""
    loaded = load(folder, "default: shadow\nrules: {telnet: {state: on, since: 2026-01-02}}\n" + EXEMPT.format(rule=C))
    again = Ruleset()
    raw = pack.encode(loaded)
    assert raw is not None and pack.decode(raw, again) and again.deployment == loaded.deployment


def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    """What somebody wrote there and cannot be read is kept; exemptions in it stay."""
    own = tmp_path / "deploy.yml"
    for strange in ("[1]", "a: [", "rules: 5"):
        own.write_text(strange)
        with pytest.raises(Exception, match="mend it first"):
            deployfile.write(own, A, "x", Deployed("off"))
        assert own.read_text() == strange
    own.write_text(EXEMPT.format(rule=A))
    deployfile.write(own, A, "x", Deployed("off"))
    assert "until: 2026-03-10" in own.read_text() and "state: 'off'" in own.read_text()


def test_what_no_cluster_can_look_for_is_refused(folder: Path) -> None:
    """`scope: sector` of a rule that no search finds, or with a field that the cluster does not search, is an error at
    its line of deploy.yml; of others it is fine."""
    few = RULES.rpartition("---\n")[2].replace(C, D).replace("COR-90", "COR-91").replace(B, C)
    raw = RULES.partition("---\n")[0].replace(A, A[:-1] + "e").replace("NET-90", "NET-92").replace("telnet", "raw")
    raw = raw.replace("destination.port: 23", "netflow.tcp_control_bits: 2")
    (folder / "more.yml").write_text(f"{few}---\n{raw}")
    names = ("NET-90", "COR-90", "NET-92", "COR-91")
    loaded = load(folder, "rules:\n" + "".join(f"  {name}: {{scope: sector}}\n" for name in names))
    found = check.ruleset(loaded, [], tested=False, searched=lambda: {"destination.port": "long", "source.ip": "ip"})
    told = {item.line: item.message for item in found if item.check == "sector" and item.level == "error"}
    assert told == {
        3: "'COR-90 Many' cannot be `scope: sector`: a correlation is built on it, and needs its alerts where it runs "
        "itself",
        4: "'NET-92 Telnet' cannot be `scope: sector`: the cluster does not search netflow.tcp_control_bits",
        5: "'COR-91 Many' cannot be `scope: sector`: a correlation of correlations cannot be one query",
    }


def test_the_digest_is_of_what_runs(folder: Path, tmp_path: Path) -> None:
    """Two machines have one digest when they run the same rules alike, wherever the files are; another text of a rule,
    another deployment or a rule less is another digest."""
    first = load(folder, f"rules: {{{A}: {{state: shadow}}}}").digest()
    folder = folder.rename(tmp_path / "elsewhere")
    assert load(folder, f"rules: {{{A}: {{state: shadow}}}}").digest() == first
    others = {
        load(folder, f"rules: {{{A}: {{state: 'off'}}}}").digest(),
        load(folder, f"rules: {{{A}: {{state: shadow}}}}", disabled=[B]).digest(),
    }
    (folder / "all.yml").write_text(RULES.replace("destination.port: 22", "destination.port: 2222"))
    others.add(load(folder, f"rules: {{{A}: {{state: shadow}}}}").digest())
    assert len(others | {first}) == 4
