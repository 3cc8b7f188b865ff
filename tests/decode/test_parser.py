"""Parsers as data: what is wrong is said with file, line and the next step; one broken file stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.content import folder
from csirt.decode.parser_files import load_parser, load_parsers

GOOD = """parser: mine
dataset: mail
fields:
  queue_id: {kind: text, column: csirt.mail.queue_id}
  status: {kind: text, column: csirt.mail.status}
patterns:
  - {name: one, role: event, match: '^(?P<queue_id>x): (?P<status>y)$'}
"""


def test_the_shipped_parsers_are_without_problems() -> None:
    """What is installed loads."""
    parsers, problems = load_parsers(folder("parsers"))
    assert set(parsers) >= {"postfix", "msh"} and problems == []


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("dataset: mail", "datset: mail", 2, "did you mean 'dataset'"),
        ("dataset: mail", "dataset: flow", 2, "one of: mail, edi"),
        ("csirt.mail.status", "csirt.mail.statuz", 5, "did you mean 'csirt.mail.status'"),
        ("csirt.mail.status", "csirt.mail.size", 5, "cannot fill"),
        ("csirt.mail.status", "csirt.source.member.id", 5, "no column"),
        ("csirt.mail.status", "csirt.segment", 5, "no column"),
        ("kind: text, column: csirt.mail.status", "kind: texxt, column: csirt.mail.status", 5, "'texxt' is not known"),
        ("kind: text, column: csirt.mail.status", "kind: address, column: csirt.mail.status", 5, "source.ip"),
        ("kind: text, column: csirt.mail.status", "kind: class, column: csirt.mail.status", 5, "under `classes`"),
        ("(?P<status>y)", "(?P<statusx>y)", 7, "did you mean 'status'"),
        ("(?P<status>y)", "(?=y)", 7, "no look-around"),
        ("(?P<status>y)", "(?P<status>y", 7, "bad pattern"),
        ("role: event", "role: evnt", 7, "one of: open"),
        ("role: event", "role: outcome", 6, "need `join`"),
        ("role: event", "role: ignore", 7, "has no fields"),
        ("name: one, ", "", 7, "a name of its own"),
        ("parser: mine", "parser: 'my parser'", 1, "letters, digits"),
        ("patterns:", "patterns: 5 #", 6, "list of patterns"),
        ("  status:", "  time:", 5, "cannot name a field"),
    ],
)
def test_every_mistake_has_a_line_and_advice(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    """The author sees where and what to write instead."""
    assert old in GOOD
    path = tmp_path / "mine.yml"
    path.write_text(
        GOOD.replace(old, new) if new != "patterns: 5 #" else GOOD[: GOOD.index("patterns:")] + "patterns: 5\n"
    )
    parser, problems = load_parser(path)
    assert parser is None
    assert any(problem.line == line and text in str(problem) for problem in problems), [str(p) for p in problems]
    assert all(str(problem).startswith(f"{path}:") for problem in problems)


@pytest.mark.parametrize(
    ("join", "text"),
    [
        ("{key: queue, outcome: [status]}", "no field 'queue'"),
        ("{key: queue_id}", "at least one `outcome`"),
        ("{key: queue_id, outcome: [status], settle: soon}", "not a duration"),
        ("{key: queue_id, outcome: [status], age: -1h}", "must be positive"),
        ("{key: queue_id, outcome: [status], limit: 1}", "10 to 1000000"),
        ("{key: queue_id, outcome: [status], context: [status]}", "one part in a join"),
    ],
)
def test_a_join_is_checked(tmp_path: Path, join: str, text: str) -> None:
    """Keys, times and parts of a transaction."""
    path = tmp_path / "mine.yml"
    path.write_text(GOOD + f"join: {join}\n")
    parser, problems = load_parser(path)
    assert parser is None and any(text in str(problem) for problem in problems)


def test_one_broken_file_stops_no_other(tmp_path: Path) -> None:
    """The good parser loads; twice the same name is said; a file that is no YAML is said."""
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD)
    (tmp_path / "c.yml").write_text("parser: [\n")
    (tmp_path / "d.yml").write_text("- a\n")
    (tmp_path / "a.examples.yml").write_text("name: not a parser\n")
    parsers, problems = load_parsers(tmp_path)
    assert list(parsers) == ["mine"] and parsers["mine"].file.endswith("a.yml")
    assert [Path(problem.file).name for problem in problems] == ["b.yml", "c.yml", "d.yml"]
    assert parsers["mine"].examples == tmp_path / "a.examples.yml"
