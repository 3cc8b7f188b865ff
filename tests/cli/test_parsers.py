"""`csirt parsers`: list, check, test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.cli import common, main
from tests.conform import check

PARSER = """parser: mine
dataset: mail
fields:
  status: {kind: text, column: csirt.mail.status}
patterns:
  - {name: one, role: event, match: '^status (?P<status>[a-z]+)$'}
  - {name: two, role: event, match: '^never (?P<status>[a-z]+)$'}
"""
EXAMPLES = """name: a row
lines: ['Mar 10 09:12:31 h mine: status sent']
rows: [{csirt.mail.status: sent, csirt.mail.dsn: null, '@timestamp': '2026-03-10T08:12:31Z'}]
---
name: none
lines: ['Mar 10 09:12:31 h mine: hello']
dropped: {unparsed: 1}
"""


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `csirt parsers …`."""
    code = common.guarded(main, ["parsers", *arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A parser with examples in a folder of its own."""
    (tmp_path / "mine.yml").write_text(PARSER)
    (tmp_path / "mine.examples.yml").write_text(EXAMPLES)
    return tmp_path


def test_the_shipped_parsers_pass_their_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """`csirt parsers test` is green, without a warning."""
    code, out, err = run(["test"], capsys)
    assert code == 0 and "0 errors, 0 warnings" in err
    assert all(line.startswith("passed\t") for line in out.splitlines()) and len(out.splitlines()) >= 10


def test_a_failing_example_says_where_and_what(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, line, what came and what was expected; exit 1."""
    path = mine / "mine.examples.yml"
    path.write_text(EXAMPLES.replace("status: sent,", "status: lost,").replace("unparsed: 1", "unparsed: 2"))
    code, out, err = run(["test", str(mine)], capsys)
    assert code == 1 and "failed\tmine\ta row" in out
    assert f"{path}:3:" in err and "csirt.mail.status is 'sent', expected 'lost'" in err
    assert f"{path}:7:" in err and "dropped {'unparsed': 1}, expected {'unparsed': 2}" in err


def test_a_pattern_no_example_reaches_is_a_warning(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line is the pattern's; a warning alone does not fail."""
    code, _, err = run(["test", str(mine / "mine.yml")], capsys)
    assert code == 0 and f"{mine / 'mine.yml'}:7:" in err and "no example reaches the pattern 'two'" in err


def test_examples_are_required_of_both_kinds(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None at all, or only ones that give rows: an error each."""
    path = mine / "mine.examples.yml"
    path.write_text(EXAMPLES.split("---")[0])
    code, _, err = run(["test", str(mine)], capsys)
    assert code == 1 and "no example that gives none" in err
    path.unlink()
    code, _, err = run(["test", str(mine)], capsys)
    assert code == 1 and "no examples beside the parser" in err


def test_check_prints_problems_and_exits_1(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per problem; the good ones are counted."""
    (mine / "bad.yml").write_text(PARSER.replace("mine", "bad").replace("kind: text", "kind: txt"))
    code, out, err = run(["check", str(mine)], capsys)
    assert code == 1 and f"{mine / 'bad.yml'}:4:" in out and "1 parsers, 1 errors" in err


def test_a_path_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, as the contract says."""
    assert run(["check", "no-such-file.yml"], capsys)[0] == 3


@pytest.mark.parametrize("verb", ["list", "check", "test"])
def test_the_documents_keep_to_their_schemas(verb: str, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every JSON document is what its schema file says, with and without problems."""
    for arguments in ([verb, "--json"], [verb, str(mine), "--json"]):
        check(json.loads(run(arguments, capsys)[1]))
