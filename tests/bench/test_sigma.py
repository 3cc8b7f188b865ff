"""`csirt bench sigma`: the corpus is the seed's, and both sides are held against each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.bench import correlate, correlate_child, rsigma, sigma
from csirt.detect.rules.load import parse_rules
from csirt.errors import NotFound


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer: it is never built by tests."""
    monkeypatch.setattr(rsigma, "program", lambda: None)


def test_a_result_says_what_was_done_and_that_the_peer_is_absent(tmp_path: Path) -> None:
    """One run over a small corpus: rules hit, every rule counted, work the same in every run."""
    task = sigma.Task(runs=1, events=1500, only=("columns-100-rules", "ndjson-100-rules"))
    first, second = sigma.run(tmp_path, task)
    assert (first["name"], first["unit"]) == ("columns-100-rules", "events per CPU second")
    assert (first["rules"], first["events"], first["counts_differ"]) == (100, 1500, {})
    assert first["rules_hit"] >= 30
    assert first["peer"] is None
    assert "rustup" in first["absent"]
    assert first["ours"]["work"] == second["ours"]["work"]


def test_events_and_rules_of_folders_take_the_place_of_made_ones(tmp_path: Path) -> None:
    """Events with nulls and mixed types are matched as well; a folder without events is said."""
    (tmp_path / "events").mkdir()
    events = [{"a": 1}, {"a": "x"}, {"a": None, "b": "evil"}]
    (tmp_path / "events" / "one.ndjson").write_text("\n".join(map(json.dumps, events)))
    rule = "title: T\nid: 00000000-0000-4000-8000-00000000000a\nlogsource: {category: x}\n"
    (tmp_path / "rule.yml").write_text(rule + "detection: {s: {b|contains: evil, a: null}, condition: s}\n")
    work = tmp_path / "work"
    work.mkdir()
    task = sigma.Task(runs=1, rules=[tmp_path / "rule.yml"], corpus=tmp_path / "events", only=("columns-all-rules",))
    (found,) = sigma.run(work, task)
    assert (found["rules"], found["rules_hit"], found["events"]) == (1, 1, 3)
    (tmp_path / "none").mkdir()
    (tmp_path / "again").mkdir()
    with pytest.raises(NotFound, match="with events there"):
        sigma.run(tmp_path / "again", sigma.Task(corpus=tmp_path / "none"))


@pytest.mark.parametrize("size", [500, 2_000, 12_000])
@pytest.mark.parametrize("kind", correlate.KINDS)
def test_a_correlations_alerts_are_what_plain_reading_finds(kind: str, size: int) -> None:
    """Whatever the batches: the run's alerts are the oracle's, and there are some."""
    given = correlate.flows(3, 12_000)
    found, _ = correlate_child.run(parse_rules(correlate.rules(kind)), correlate_child.cut(given, size))
    assert found == correlate.expected(kind, given)
    assert found


def test_alerts_that_are_not_the_oracles_are_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finds something else is unequal work, however fast it was."""
    task = sigma.Task(seed=3, runs=1, events=3_000, only=("event-count-batches-of-10k",))
    (found,) = sigma.run(tmp_path, task)
    assert found["equal_work"] and found["equals_oracle"]
    assert not (tmp_path / "events.ndjson").exists()  # the other contests' corpus is not made for it
    monkeypatch.setattr(correlate, "expected", lambda kind, given: [("10.0.0.1", 1, 2, 3)])
    (found,) = sigma.run(tmp_path, task)
    assert found["pass"] is False and not found["equal_work"] and not found["equals_oracle"]
