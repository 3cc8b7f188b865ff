"""Compiled rules from the cache are those that compiling gives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from csirt.cachefolder import CacheFolder
from csirt.content import folder
from csirt.detect.rules import load, pack
from csirt.detect.rules.load import load_rules
from csirt.detect.rules.ruleset import Ruleset
from tests.detect.hostile import files

RULE = """\
title: Telnet
id: 0a5e1c5e-9a9c-4a63-9d0c-3a5b7a2f7c11
logsource: {product: csirt, service: flow}
detection:
  sel: {destination.port: 23, source.ip|cidr: '2001:db8::/32', network.bytes|gte: 1.5}
  rare: {destination.ip|expand: '%trusted%', tls.client.server_name|re|i: '^a.*b'}
  condition: sel or not rare
"""
FILTER = """\
title: Not the scanner
logsource: {product: csirt, service: flow}
filter:
  rules: [0a5e1c5e-9a9c-4a63-9d0c-3a5b7a2f7c11]
  selection: {source.ip: 10.0.0.9}
  condition: not selection
"""
OPTIONS = {"placeholders": {"trusted": ["10.0.0.1", "10.0.0.2"]}}


@pytest.fixture
def kept(tmp_path: Path) -> CacheFolder:
    """An empty cache."""
    return CacheFolder(tmp_path / "cache")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder of a rule, a filter and a broken rule."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "telnet.yml").write_text(RULE)
    (tmp_path / "rules" / "filter.yml").write_text(FILTER)
    (tmp_path / "rules" / "wrong.yml").write_text("title: Wrong\n")
    (tmp_path / "rules" / "odd.yaml").write_text("")
    return tmp_path / "rules"


def same(left: Ruleset, right: Ruleset) -> bool:
    """Whether two rulesets run, say and refuse the same."""
    return pack._parts(left) == pack._parts(right) and left.texts == right.texts


def refuse(*_: object) -> Ruleset:
    """In place of compiling."""
    raise AssertionError("compiled again")


def test_shipped_rules_from_the_cache_are_the_compiled_ones(kept: CacheFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule, correlation, baseline and problem; the second time nothing is compiled."""
    fresh = load_rules([folder("rules")])
    assert same(load_rules([folder("rules")], cache=kept), fresh)
    monkeypatch.setattr(load, "_compiled", refuse)
    again = load_rules([folder("rules")], cache=kept)
    assert same(again, fresh)
    assert [type(item.group_by) for item in again.correlations] == [tuple] * len(fresh.correlations)


def test_a_cached_ruleset_still_knows_its_sources(rules: Path, kept: CacheFolder) -> None:
    """Documents with their marks, filters applied and placeholders: what check, explain and convert ask for."""
    fresh = load_rules([rules], **OPTIONS)
    load_rules([rules], cache=kept, **OPTIONS)
    again = load_rules([rules], cache=kept, **OPTIONS)
    assert same(again, fresh)
    assert again.refused == 1 and {item.level for item in again.problems} == {"error", "warning"}
    (rule,) = again.rules
    assert again.document(rule.id).marks == fresh.document(rule.id).marks
    assert str(again.parsed(rule).detection.parsed_condition[0].condition).count("not") == 2


def test_any_change_is_compiled_anew(rules: Path, kept: CacheFolder) -> None:
    """Bytes, names, placeholders, disabled rules and mapping each decide."""
    load_ = lambda **more: load_rules([rules], cache=kept, **{**OPTIONS, **more})  # noqa: E731
    first = load_()
    (rules / "telnet.yml").write_text(RULE.replace("23", "24"))
    assert load_().rules[0].condition != first.rules[0].condition
    (rules / "telnet.yml").rename(rules / "other.yml")
    assert load_().rules[0].meta.file.endswith("other.yml")
    assert load_(placeholders={"trusted": ["10.9.9.9"]}).rules[0].condition != first.rules[0].condition
    assert load_(disabled=[first.rules[0].id]).rules == []
    (rules / "other.yml").unlink()
    assert load_().rules == []
    assert len(list(kept.path.iterdir())) == 6


def test_a_broken_entry_is_written_again(rules: Path, kept: CacheFolder) -> None:
    """Entries that are whole and yet no ruleset, as those of another program."""
    fresh = load_rules([rules], cache=kept, **OPTIONS)
    (entry,) = kept.path.iterdir()
    for strange in (b"{}", b"[1", b'{"atoms":[[1]]}', b"[" * 100_000, b'{"atoms": 5, "rules": null}', b"\xff"):
        kept.put(entry.stem, strange)
        assert same(load_rules([rules], cache=kept, **OPTIONS), fresh)
        assert kept.get(entry.stem) == pack.encode(fresh)


def test_hostile_rules_are_refused_alike_from_the_cache(tmp_path: Path, kept: CacheFolder) -> None:
    """What is wrong with a rule file is said again, word for word, whether or not it could be kept."""
    for number, (_, raw) in enumerate(list(files())[::9]):
        file = tmp_path / f"{number}.yml"
        file.write_bytes(raw)
        fresh = load_rules([file])
        for _ in range(2):
            assert same(load_rules([file], cache=kept), fresh)


def test_what_json_cannot_hold_is_not_kept(rules: Path) -> None:
    """A number that is none: compiled each time rather than read back as something else."""
    found = load_rules([rules], **OPTIONS)
    (rule,) = found.rules
    assert pack.encode(found) is not None
    found.rules = [replace(rule, unrouted=float("nan"))]  # type: ignore[arg-type]
    assert pack.encode(found) is None
    found.rules = [replace(rule, unrouted=b"bytes")]  # type: ignore[arg-type]
    assert pack.encode(found) is None


def test_pysigma_is_not_imported_for_what_is_kept(rules: Path, kept: CacheFolder) -> None:
    """Importing it takes longer than everything else at a start."""
    load_rules([rules], cache=kept, **OPTIONS)
    code = (
        "import sys; from pathlib import Path; from csirt.cachefolder import CacheFolder\n"
        "from csirt.detect.rules.load import load_rules\n"
        f"found = load_rules([Path({str(rules)!r})], cache=CacheFolder(Path({str(kept.path)!r})), **{OPTIONS!r})\n"
        "print(len(found.rules), 'sigma' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["1", "False"]
