"""`csirt bench sigma`: the corpus is the seed's, and both sides are held against each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.bench import rsigma, sigma
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
