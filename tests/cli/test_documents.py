"""Every command's JSON against its schema, over the socket and on a store; errors as JSON; exit codes."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from csirt.cli import COMMANDS, main
from csirt.content import folder
from tests.demonet import SCHEMAS, Network, copy, pager, validate
from tests.live import daemon

Run = Callable[..., "subprocess.CompletedProcess[str]"]
# Words after `csirt`; {…} are filled from the network. Exit codes other than 0 are named.
READS: list[tuple[str, int]] = [
    ("status", 0),
    ("status --check", 0),
    ("status --exporter 127.0.0.11", 0),
    ("check", 0),
    ("events query --dataset dns", 0),
    ("events query --dataset flow --limit 3 --fields event.id,source.ip", 0),
    ("events query --top source.ip", 0),
    ("events query --sql 'SELECT count(*) AS n FROM flow'", 0),
    ("events show {event}", 0),
    ("events show {event} --raw", 0),
    ("alerts list", 0),
    ("alerts show {alert}", 0),
    ("cases list", 0),
    ("cases list --all --limit 1", 0),
    ("cases show {case}", 0),
    ("cases next", 0),
    ("cases handover", 0),
    ("rules list", 0),
    ("rules check", 0),
    ("rules test", 0),
    ("rules explain net-01 {event}", 0),
    ("rules coverage", 0),
    ("rules backtest {rule} --since 2000-01-01 --against {rule}", 0),
    ("rules convert {rule} --to esql", 0),
    ("parsers list", 0),
    ("parsers check", 0),
    ("parsers test", 0),
    ("playbooks list", 0),
    ("playbooks check", 0),
    ("playbooks plan {case}", 0),
    ("playbooks runs", 0),
    ("playbooks show {run}", 0),
    ("notify routes", 0),
    ("notify oncall", 0),
    ("notify silences", 0),
    ("report list", 0),
    ("report show {report}", 0),
    ("indicators list", 0),
    ("members list", 0),
    ("members show {member}", 0),
    ("members check", 0),
    ("members diff register.yml register.yml", 0),
    ("messages trace {message}", 0),
    ("messages pending", 0),
    ("store info", 0),
    ("store dump --counts", 0),
    ("store fsck", 0),
    ("store retention --dry-run", 0),
    ("store retention --reports", 0),
    ("store dead-letters", 0),
    ("store roles", 0),
    ("audit list", 0),
    ("audit verify", 0),
    ("audit seal", 0),
]
# Reads that look at files, not at a store.
NO_STORE = ("check", "rules", "parsers", "playbooks check", "members check", "members diff")
# Changes; in this order each has something to do.
CHANGES: list[tuple[str, int]] = [
    ("cases ack {case}", 0),
    ("cases assign {case}", 0),
    ("cases note {case} -m note", 0),
    ("cases severity {case} --to high -m why", 0),
    ("cases undo {case}", 0),
    ("cases merge {other} --into {case} -m same --dry-run", 0),
    ("cases split {case} {incident} --dry-run", 5),
    ("cases close {case} --verdict true --rsit infected-system -m done", 0),
    ("cases reopen {case} -m again", 0),
    ("playbooks run PB-LATERAL {case}", 0),
    ("playbooks reject {run} -m no --dry-run", 0),
    ("playbooks undo {run} --dry-run", 0),
    ("notify ack {other}", 0),
    ("notify silence member:m020 --until 2h -m planned", 0),
    ("report build {case} --member m020", 0),
    ("rules deploy net-01 --to shadow -m trial", 0),
    ("members import register.yml -m same --dry-run", 0),
    ("indicators import feed.csv --list c2 -m weekly", 0),
    ("indicators expire --list c2 -m over", 0),
    ("store backup backup", 0),
    ("store retention", 0),
]
# What other tests run: it serves, never ends, needs a person, or has its own document test.
ELSEWHERE = {
    *("demo", "run", "collect netflow", "collect syslog", "decode", "replay", "rules run", "cases watch"),
    *("playbooks approve", "notify test", "bench", "completion", "help", "store restore"),
    *("store init", "store copy", "store migrate", "store recover"),
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The demo's network; no daemon runs."""
    return copy(tmp_path_factory, "documents")


@pytest.fixture(scope="module")
def names(network: Network) -> dict[str, str]:
    """What the commands are given, read from the store."""
    store = ("--store", str(network.store))
    cases = network.json("cases", "list", *store)["items"]
    runs = network.json("playbooks", "runs", *store)["items"]
    pending = network.json("messages", "pending", *store)["items"]
    events = network.json("events", "query", "--dataset", "dns", "--limit", "1", *store)["events"]
    return {
        "case": cases[0]["number"],
        "other": cases[1]["number"],
        "incident": cases[0]["incidents"][0],
        "alert": network.json("alerts", "list", *store)["items"][0]["id"],
        "event": events[0]["event"]["id"],
        "rule": str(folder("rules") / "net" / "net-01-cross-member-smb.yml"),
        "run": next(run["number"] for run in runs if run["state"] == "awaiting_approval"),
        "report": network.json("report", "list", *store)["items"][0]["id"],
        "member": "m020",
        "message": pending[0]["message_id"],
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Another with its daemon running."""
    found = copy(tmp_path_factory, "served")
    (found.place / "feed.csv").write_text("203.0.113.9\n")
    with pager(found), daemon(found.config, found.socket, log=found.place / "again.log"):
        yield found


def try_all(run: Run, calls: list[tuple[str, int]], names: dict[str, str], *more: str) -> list[str]:
    """Run every call with --json; what is wrong with any."""
    wrong = []
    for call, expected in calls:
        done = run(*shlex.split(call.format(**names)), "--json", *more)
        if done.returncode != expected:
            wrong.append(f"{call}: exit {done.returncode}: {done.stderr.strip()[:300]}")
            continue
        try:
            text = done.stdout if expected == 0 else done.stderr
            document = json.loads(text)
            assert text.count("\n") == 1 and text.rstrip("\n") == dump(document), f"{call}: not sorted, or not one line"
            validate(document)
        except (ValueError, AssertionError, OSError, jsonschema.ValidationError) as error:
            wrong.append(f"{call}: {str(error)[:600]}")
    return wrong


def dump(document: Any) -> str:
    """A document as every command writes it."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def test_every_read_over_the_socket(served: Network, names: dict[str, str]) -> None:
    """Each read command's --json is one line, keys sorted, as its schema says."""
    wrong = try_all(served.ask, READS, names)
    assert not wrong, "\n".join(wrong)


def test_every_read_on_a_store(network: Network, names: dict[str, str]) -> None:
    """The same on a store that no daemon owns."""
    reads = [call for call in READS if not call[0].startswith(NO_STORE)]
    wrong = try_all(network.run, reads, names, "--store", str(network.store))
    assert not wrong, "\n".join(wrong)


def test_every_change_answers_with_a_document(served: Network, names: dict[str, str]) -> None:
    """Commands that change something answer with a document too."""
    wrong = try_all(served.ask, CHANGES, names)
    assert not wrong, "\n".join(wrong)


def test_no_command_is_forgotten() -> None:
    """Every command of the command line is in one of the lists above."""
    listed = {" ".join(words.split()[:2]) for words, _ in READS + CHANGES} | ELSEWHERE
    listed |= {words.split()[0] for words, _ in READS}
    root = click.Context(main)
    for noun in COMMANDS:
        command = main.get_command(root, noun)
        verbs = list(command.commands) if isinstance(command, click.Group) else []
        for name in [f"{noun} {verb}" for verb in verbs] or [noun]:
            assert name in listed, name


def test_schemas_are_schemas() -> None:
    """Every schema file is valid, and names the document it is of."""
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        noun, _, version = path.stem.rpartition("-")
        assert schema["$id"] == f"csirt.{noun}/{version}", path.name


def test_lists_choose_fields_and_lines(served: Network) -> None:
    """--fields chooses and orders columns, --header names them, --jsonl gives a line per item; a slip is named."""
    done = served.run("cases", "list", "--fields", "severity,number", "--header")
    assert done.stdout.splitlines()[:2] == ["severity\tnumber", "critical\tC-2026-0001"]
    done = served.run("alerts", "list", "--jsonl", "--fields", "id,severity")
    assert all(json.loads(line).keys() == {"id", "severity"} for line in done.stdout.splitlines())
    done = served.run("members", "list", "--fields", "nmae")
    assert done.returncode == 2 and "did you mean 'name'" in done.stderr


def test_exit_codes(served: Network, names: dict[str, str], tmp_path: Path) -> None:
    """2 usage, 3 not found, 4 not allowed, 5 conflict, 6 nobody answers, 7 partly done; each with a JSON error."""
    served.run("playbooks", "run", "PB-SCAN", names["case"])
    mine = next(run["number"] for run in served.json("playbooks", "runs")["items"] if run["playbook"] == "PB-SCAN")
    for words, code, name in (
        (["case", "list"], 2, "usage"),
        (["cases", "lits"], 2, "usage"),
        (["cases", "list", "--were", "x"], 2, "usage"),
        (["cases", "list", "--where", "serverity>=high"], 2, "usage"),
        (["cases", "show", "C-1999-0001"], 3, "not_found"),
        (["playbooks", "approve", mine, "--yes"], 4, "not_allowed"),
        (["cases", "list", "--store", str(served.store)], 5, "conflict"),
        (["cases", "list", "--socket", str(tmp_path / "none.sock")], 6, "unreachable"),
    ):
        done = served.run(*words, "--json")
        assert done.returncode == code, (words, done.returncode, done.stderr)
        assert done.stdout == ""
        document = json.loads(done.stderr)
        validate(document)
        assert document["error"]["code"] == name and document["error"]["exit_code"] == code, words
        assert served.run(*words).stderr.startswith("csirt: "), words
    done = served.run("cases", "note", names["case"], "C-1999-0001", "-m", "x", "--yes", "--json")
    assert done.returncode == 7 and json.loads(done.stdout)["failed"], done.stderr


def test_slips_are_answered_with_the_nearest_name(served: Network) -> None:
    """Nouns, verbs, options, fields of filters: the nearest one that exists."""
    for words, said in (
        (["case"], "Did you mean 'cases'?"),
        (["cases", "lits"], "Did you mean 'list'?"),
        (["cases", "list", "--wher", "x"], "--where"),
        (["cases", "list", "--where", "serverity>=high"], "severity"),
        (["events", "query", "--dataset", "flwo"], "did you mean 'flow'?"),
    ):
        done = served.run(*words)
        assert done.returncode == 2 and said.lower() in done.stderr.lower(), (words, done.stderr)


def test_interrupted_is_130(served: Network) -> None:
    """Ctrl-C ends a command that follows, quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "csirt", "--config", str(served.config), "cases", "watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and not err.strip()


def test_a_closed_pipe_is_quiet(served: Network) -> None:
    """`csirt … | head -1` says nothing about the pipe."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m csirt --config {served.config} events query --dataset flow | head -1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1
