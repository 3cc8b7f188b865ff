"""`csirt alerts`: list, show, follow, and the verbs behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.clock import Frozen
from csirt.config import Config
from csirt.control.verbs import Context, call
from csirt.model.audit import AuditEntry
from csirt.model.principal import Principal
from csirt.model.records import Alert, Entity
from tests.conform import check

T0 = 1_767_225_600_000_000


def alert(number: int, **fields: Any) -> dict[str, Any]:
    """A stored alert."""
    values: dict[str, Any] = {
        "id": f"{number}f" * 16,
        "rule_id": "r",
        "rule_name": "SMB Worm Fan-Out",
        "severity": "critical",
        "dataset": "flow",
        "group": {"source.ip": "10.31.0.77"},
        "first": T0,
        "last": T0 + number * 1_000_000,
        "count": 40,
        "events": ["e" * 32],
        "entities": [Entity(kind="host", value="10.31.0.77\x1b[2J", role="actor", member="m020")],
        "members": ["m020", "m030"],
        "facts": {"destination.port": ["445"]},
    }
    return Alert(**(values | fields)).model_dump()


class Bench:
    """A store of a few alerts and a client that runs verbs on it."""

    def __init__(self) -> None:
        self.alerts = [alert(1), alert(2, severity="low", members=["m001"]), alert(3)]
        self.audit: list[AuditEntry] = []
        self.role = "analyst"
        self.live = False
        self.clock = Frozen(T0)

    def find(self, kind: str, **options: Any) -> list[dict[str, Any]]:
        assert (kind, options) == ("alert", {"order": "last", "descending": True})
        return sorted(self.alerts, key=lambda item: -item["last"])

    def _run(self, verb: str, arguments: dict[str, Any]) -> Any:
        store: Any = SimpleNamespace(
            append_audit=self.audit.extend,
            find=self.find,
            get=lambda kind, id: next((item for item in self.alerts if item["id"] == id), None),
            resolve=lambda kind, text: [item["id"] for item in self.alerts if item["id"].startswith(text)],
        )
        who = Principal("kari", 1001, self.role)
        return call(Context(store, Config(), who, self.clock, lambda name: None, "en", self.live), verb, arguments)

    def call(self, verb: str, **arguments: Any) -> Any:
        return json.loads(json.dumps(self._run(verb, arguments)))

    def stream(self, verb: str, **arguments: Any) -> Iterator[Any]:
        yield from self._run(verb, arguments)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench()
    monkeypatch.setattr(Settings, "client", lambda self: found)
    monkeypatch.setattr(Settings, "raw_config", lambda self: {})
    return found


@pytest.fixture
def run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; (exit code, stdout, stderr)."""

    def work(*words: str) -> tuple[int, str, str]:
        code = guarded(main, list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return work


Run = Callable[..., tuple[int, str, str]]


def test_the_list_is_newest_first_and_its_document_has_its_shape(run: Run, bench: Bench) -> None:
    """JSON with ISO times, as the schema says; looking leaves an access entry with the rows."""
    code, out, _ = run("alerts", "list", "--json")
    document = json.loads(out)
    check(document)
    assert (code, document["count"]) == (0, 3)
    assert [item["last"] for item in document["items"]] == [f"2026-01-01T00:00:0{n}Z" for n in (3, 2, 1)]
    assert (bench.audit[0].category, bench.audit[0].detail["rows"]) == ("access", 3)


def test_the_filter_grammar_and_the_limit_pick(run: Run) -> None:
    """severity, member and limit, tab-separated off a terminal."""
    code, out, _ = run("alerts", "list", "severity>=high member:m030", "--limit", "1")
    assert code == 0
    assert (
        out == f"{'3f' * 16}\tcritical\t2026-01-01T00:00:03Z\t40\tSMB Worm Fan-Out\tsource.ip=10.31.0.77\tm020,m030\n"
    )
    assert run("alerts", "list", "severity>=")[0] == 2


def test_show_takes_the_beginning_of_an_id(run: Run, bench: Bench) -> None:
    """Unique beginnings work, unknown ones are not found, several are named; nothing moves the cursor."""
    code, out, _ = run("alerts", "show", "1f")
    assert code == 0
    assert "FROM\thost 10.31.0.77\\x1b[2J (m020)" in out
    code, out, _ = run("alerts", "show", "1F", "--json")
    check(json.loads(out))
    assert run("alerts", "show", "zz")[0] == 3
    bench.alerts.append(alert(1, id="1f" + "0" * 30))
    code, _, err = run("alerts", "show", "1f")
    assert (code, "several" in err) == (2, True)


def test_follow_streams_what_is_there_and_what_grows(bench: Bench, run: Run) -> None:
    """On a store without a daemon the stream ends; with one it tells of every alert that opens or grows, once."""
    code, out, _ = run("alerts", "list", "--follow")
    assert code == 0
    assert [json.loads(line)["id"][:2] for line in out.splitlines()] == ["1f", "2f", "3f"]
    bench.live = True
    stream = bench.stream("alerts.follow", filter="severity:critical")
    assert [next(stream)["id"][:2], next(stream)["id"][:2]] == ["1f", "3f"]
    bench.alerts[0]["count"] = 41
    bench.alerts.append(alert(4))
    assert [(item["id"][:2], item["count"]) for item in (next(stream), next(stream))] == [("1f", 41), ("4f", 40)]
    stream.close()
    assert bench.audit[-1].category == "access"


def test_who_may_not_read_is_refused_and_audited(bench: Bench, run: Run) -> None:
    """An operator has no business in alerts."""
    bench.role = "operator"
    assert run("alerts", "list")[0] == 4
    assert bench.audit[-1].category == "refused"
