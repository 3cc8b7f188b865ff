"""`csirt rules`: output shapes, exit codes, both languages, plain Sigma tools."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from csirt.content import folder
from tests.conform import check as check_document

RULE = """title: One
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 445}, condition: s}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration lies in the working directory."""
    monkeypatch.chdir(tmp_path)


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = guarded(main, list(args))
    out, err = capsys.readouterr()
    return code, out, err


def valid(name: str, document: Any) -> None:
    """The document has the keys its schema wants."""
    path = Path(sys.modules["csirt"].__file__ or "").parent / "schemas" / f"{name}-1.json"
    schema = json.loads(path.read_text("utf-8"))
    assert document["schema"] == schema["properties"]["schema"]["const"]
    assert set(schema["required"]) <= set(document) <= set(schema["properties"])


def test_run_prints_matches_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines with sorted keys; exit 0 with and without matches."""
    (tmp_path / "r.yml").write_text(RULE)
    (tmp_path / "e.ndjson").write_text('{"destination":{"port":445}}\n{"destination.port":"445","id":"x"}\n{}\n')
    shown = '"rule": {"id": "00000000-0000-4000-8000-00000000000a", "level": "low", "title": "One"}}'
    assert call(capsys, "rules", "run", "r.yml", "--on", "e.ndjson", "--fields", "raw") == (
        0,
        f'{{"event": {{"id": null, "index": 0}}, {shown}\n{{"event": {{"id": "x", "index": 1}}, {shown}\n',
        "",
    )
    (tmp_path / "none.ndjson").write_text("{}\n")
    assert call(capsys, "rules", "run", "r.yml", "--on", "none.ndjson") == (0, "", "")
    code, out, _ = call(capsys, "rules", "run", "r.yml", "--on", "none.ndjson", "--counts")
    assert (code, json.loads(out)) == (0, {"rule_id": "00000000-0000-4000-8000-00000000000a", "matches": 0})


def test_run_says_what_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """7 with file:line:column on stderr when some rules are refused, 1 when none is left, 3 without the file."""
    (tmp_path / "r.yml").write_text(RULE)
    (tmp_path / "bad.yml").write_text(RULE.replace("condition: s", "condition: t").replace("00a", "00b"))
    (tmp_path / "e.ndjson").write_text('{"destination.port":445}\n')
    code, out, err = call(capsys, "rules", "run", "bad.yml", "r.yml", "--on", "e.ndjson", "--fields", "raw")
    assert (code, len(out.splitlines())) == (7, 1)
    assert err.startswith("bad.yml:5:")
    code, out, err = call(capsys, "rules", "run", "bad.yml", "--on", "e.ndjson")
    assert (code, out) == (1, "")
    assert call(capsys, "rules", "run", "r.yml", "--on", "none.ndjson")[0] == 3


def test_check_counts_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems on stdout with their place; a rule without examples is an error; --no-tests asks for none."""
    (tmp_path / "r.yml").write_text(RULE)
    code, out, err = call(capsys, "rules", "check", "r.yml")
    assert (code, len(out.splitlines())) == (1, 2)
    assert out.startswith("r.yml:1:1: error: [test] no example")
    assert "2 errors" in err
    assert call(capsys, "rules", "check", "r.yml", "--no-tests", "--lang", "nb")[::2] == (
        0,
        "1 regler og 0 korrelasjoner; 0 avvist; 0 feil, 0 advarsler\n",
    )
    code, out, _ = call(capsys, "rules", "check", "r.yml", "--json")
    valid("rules-check", json.loads(out))
    assert code == 1


def test_the_shipped_rules_check_and_test_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments the shipped rules are meant; both commands are content with them."""
    assert call(capsys, "rules", "check")[:2] == (0, "")
    code, out, _ = call(capsys, "rules", "test", "--json")
    document = json.loads(out)
    valid("rules-test", document)
    assert (code, document["failed"], document["passed"] > 50) == (0, 0, True)


def test_test_fails_on_a_failing_example_and_on_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing example is named with its place; nothing tested is not a success."""
    (tmp_path / "r.yml").write_text(RULE)
    assert call(capsys, "rules", "test", "r.yml")[0] == 1
    (tmp_path / "r.test.yaml").write_text("match:\n  - {destination.port: 446}\n")
    code, out, err = call(capsys, "rules", "test", "r.yml")
    assert (code, out) == (1, "r.test.yaml:2\tmatch 1\tdoes not match, and should\n")
    assert err == "0 examples passed, 1 failed\n"
    assert call(capsys, "rules", "test", "r.yml", "--junit", "out.xml")[0] == 1
    assert b'failures="1"' in (tmp_path / "out.xml").read_bytes()
    code, _, err = call(capsys, "rules", "test", "r.yml", "--junit", "no/where/out.xml")
    assert code == 1
    assert "cannot be written" in err


def test_list_is_a_table_and_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Tab-separated off a terminal; the JSON document has every rule and correlation."""
    code, out, _ = call(capsys, "rules", "list")
    assert code == 0
    assert any(line.split("\t")[1:4] == ["critical", "value_count", "flow"] for line in out.splitlines())
    code, text, _ = call(capsys, "rules", "list", "--json")
    document = json.loads(text)
    valid("rules", document)
    assert document["count"] == len(out.splitlines())


def test_configured_placeholders_folders_and_disabled_rules_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without paths, [detect] says which rules; `expand` takes its values from there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "r.yml").write_text(RULE.replace("destination.port: 445", "a|expand: '%ports%'"))
    other = RULE.replace("00a", "00b")
    (tmp_path / "mine" / "s.yml").write_text(other)
    (tmp_path / "csirt.toml").write_text(
        '[detect]\nshipped = false\nrules = ["mine"]\ndisabled = ["00000000-0000-4000-8000-00000000000b"]\n'
        '[detect.placeholders]\nports = ["445"]\n'
    )
    code, out, _ = call(capsys, "rules", "list")
    assert (code, out) == (0, "00000000-0000-4000-8000-00000000000a\tlow\trule\tflow\tOne\ton\n")


def test_plain_sigma_tools_find_no_fault() -> None:
    """`sigma check` runs clean over the shipped rules, extensions aside (the tag validators need the Internet)."""
    root = folder("rules")
    folders = [str(path) for path in sorted(root.iterdir()) if path.is_dir() and path.name != "extensions"]
    command = [
        str(Path(sys.executable).parent / "sigma"),
        "check",
        "-i",
        "-x",
        "attacktag",
        "-x",
        "d3_fendtag",
        *folders,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 condition errors and 0 issues" in done.stdout + done.stderr


def test_explain_reads_files_stdin_and_says_which_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JSON file, a line of NDJSON by its index, stdin; records off a terminal; exit 0 whether or not it matches."""
    (tmp_path / "r.yml").write_text(RULE)
    (tmp_path / "e.json").write_text('{\n "destination": {"port": 446}\n}\n')
    (tmp_path / "e.ndjson").write_text('{"destination.port":445}\n{"destination.port":446,"id":"x"}\n')
    code, out, _ = call(capsys, "rules", "explain", "r.yml", "e.json")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, rows[0][2], rows[-1]) == (0, "no", ["nearest", "s", "yes", "destination.port", "445"])
    assert ["test", "s", "no", "destination.port", "445", "446", ""] in rows
    code, _, err = call(capsys, "rules", "explain", "r.yml", "e.ndjson")
    assert code == 2 and "--index" in err
    assert call(capsys, "rules", "explain", "r.yml", "e.ndjson", "--index", "2")[0] == 2
    code, out, _ = call(capsys, "rules", "explain", "r.yml", "e.ndjson", "--index", "0", "--json")
    document = json.loads(out)
    check_document(document)
    assert document["rules"][0]["matches"] and document["event"] == {"index": 0, "id": None}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"event.dataset":"dns","destination.port":445}')))
    code, out, _ = call(capsys, "rules", "explain", "r.yml", "-")
    assert "never looks at dns events" in out
    assert call(capsys, "rules", "explain", "r.yml", "e.ndjson", "--index", "0", "--fields", "raw")[0] == 0


def test_explain_names_rules_by_code_id_and_title(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loaded rule by its code, the start of its id or its title; several or none are said; a correlation is explained
    by the rules it counts; people get an outline in their language."""
    (tmp_path / "e.json").write_text('{"destination.port":445,"event.dataset":"flow"}')
    first = call(capsys, "rules", "explain", "net-01", "e.json")[1]
    assert first == call(capsys, "rules", "explain", "542169c4", "e.json")[1]
    assert first == call(capsys, "rules", "explain", "NET-01 File Sharing Session With Another Member", "e.json")[1]
    code, _, err = call(capsys, "rules", "explain", "net-05", "e.json")
    assert code == 2 and "NET-05 SMB Worm" in err
    assert call(capsys, "rules", "explain", "net-999", "e.json")[0] == 3
    assert call(capsys, "rules", "explain", "net-01", "none.json")[0] == 2
    code, out, _ = call(capsys, "rules", "explain", "a75395b5", "e.json")
    assert code == 0 and "NET-05 File Sharing Attempt" in out.splitlines()[0]


def test_explain_is_an_outline_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal: the verdict, every selection with its tests, what was seen, and what would have to change."""
    monkeypatch.setattr("csirt.cli.ruleexplain.is_terminal", lambda: True)
    (tmp_path / "r.yml").write_text(RULE)
    (tmp_path / "e.json").write_text('{"destination.port":446,"event.dataset":"flow"}')
    assert call(capsys, "rules", "explain", "r.yml", "e.json")[1].splitlines() == [
        "No match: One (00000000)",
        "condition: s -> no",
        "  no   s",
        "       no   destination.port: 445",
        "            saw 446",
        "nearest: it would match with 1 test(s) otherwise",
        "  s: destination.port must be 445",
    ]
    assert call(capsys, "rules", "explain", "r.yml", "e.json", "--lang", "nb")[1].startswith("Treffer ikke: One")


def test_convert_prints_queries_and_says_what_it_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An id and a query per line; 7 with the reason when some are refused, 1 when all are."""
    (tmp_path / "r.yml").write_text(RULE)
    code, out, err = call(capsys, "rules", "convert", "r.yml", "--to", "lucene")
    assert (code, out, err) == (
        0,
        "00000000-0000-4000-8000-00000000000a\tevent.dataset:flow AND destination.port:445\n",
        "",
    )
    (tmp_path / "h.yml").write_text(
        RULE.replace("00a", "00b").replace("product: csirt, service: flow", "product: windows")
    )
    code, out, err = call(capsys, "rules", "convert", "h.yml", "--to", "esql")
    assert (code, out) == (1, "") and "h.yml:1: One is not converted: never matches" in err
    code, out, err = call(capsys, "rules", "convert", "r.yml", "h.yml", "--to", "esql", "--json")
    document = json.loads(out)
    check_document(document)
    assert (code, document["count"], len(document["refused"])) == (7, 1, 1)
