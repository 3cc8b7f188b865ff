"""The book of indicators: merged, ended, written whole, read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.detect.rules.load import load_rules, parse_rules
from csirt.enrich.indicators import book
from csirt.enrich.indicators.book import Book, change
from csirt.enrich.indicators.values import Indicator
from csirt.errors import Usage


def entry(value: str, *, name: str = "c2", kind: str = "domain", **more: object) -> Indicator:
    """One indicator."""
    fields = {"confidence": 50, "tlp": "AMBER", "added": 1, "expires": 100, **more}
    return Indicator(name, kind, value, **fields)  # type: ignore[arg-type]


def test_written_and_read_again(tmp_path: Path) -> None:
    """For its user alone; the same item in another list is another; the newest word counts."""
    path = tmp_path / "state" / "indicators.json"
    first = [entry("a.example"), entry("a.example", name="phishing"), entry("203.0.113.9", kind="ip")]
    assert change(path, lambda known: known.merged(first)) == {"added": 3, "updated": 0, "full": 0}
    assert path.stat().st_mode & 0o777 == 0o600
    again = entry("a.example", confidence=90, expires=200)
    assert change(path, lambda known: known.merged([again]), dry_run=True)["updated"] == 1
    assert Book.load(path).items["c2", "a.example"].confidence == 50
    change(path, lambda known: known.merged([again]))
    found = Book.load(path)
    assert found.items["c2", "a.example"] == again and len(found.items) == 3
    gone = change(path, lambda known: known.without(lambda item: item.expires <= 100))
    assert len(gone) == 2 and list(Book.load(path).items) == [("c2", "a.example")]


def test_a_broken_book_is_said_and_kept(tmp_path: Path) -> None:
    """Nothing is imported over what cannot be read."""
    path = tmp_path / "indicators.json"
    for strange in ("", "[]", '{"items": [[1]]}', '{"items": 5}'):
        path.write_text(strange)
        with pytest.raises(Usage, match="restore or delete it"):
            change(path, lambda known: known.merged([entry("a.example")]))
        assert path.read_text() == strange
    assert Book.load(tmp_path / "none").items == {}


def test_a_full_book_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known may still be updated; what is left out is counted."""
    monkeypatch.setattr(book, "MAX_ITEMS", 2)
    found, counts = Book([entry("a.example")]).merged(
        [entry("b.example"), entry("c.example"), entry("a.example", confidence=9)]
    )
    assert counts == {"added": 1, "updated": 1, "full": 1}
    assert sorted(value for _, value in found.items) == ["a.example", "b.example"]


RULE = """title: On a list
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {product: csirt, service: dns}
detection:
  s: {dns.question.name|expand: '%indicators_c2_domains%', source.ip|expand: '%indicators_c2_ips%'}
  condition: s
"""


def test_lists_are_placeholders_of_rules() -> None:
    """By list and kind; a list that is empty or not there is no error: the rule finds nothing."""
    known = Book([entry("a.example"), entry("b.example"), entry("203.0.113.9", kind="ip", name="scan")]).placeholders()
    assert known["indicators_c2_domains"] == ["a.example", "b.example"]
    assert known["indicators_scan_ips"] == ["203.0.113.9"]
    for placeholders in ({}, known):
        loaded = parse_rules(RULE, placeholders=placeholders)
        assert not loaded.problems and len(loaded.rules) == 1


def test_rules_that_name_no_list_are_not_compiled_again_for_one(tmp_path: Path) -> None:
    """Only lists that a rule names are part of what it is compiled with."""
    (tmp_path / "r.yml").write_text(RULE)
    known = Book([entry("a.example"), entry("x.example", name="other")]).placeholders()
    found = load_rules([tmp_path], placeholders=known).placeholders
    assert set(found) == {"indicators_c2_domains", "indicators_c2_ips"}
    (tmp_path / "r.yml").write_text(RULE.replace("|expand: '%indicators_c2_domains%'", ": x"))
    assert set(load_rules([tmp_path], placeholders=known).placeholders) == {"indicators_c2_ips"}
