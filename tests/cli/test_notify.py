"""`csirt notify`: the commands and the verbs behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.clock import HOUR, Frozen
from csirt.config import Config
from csirt.control.verbs import Context, call
from csirt.metrics import Metrics
from csirt.model.principal import Principal
from csirt.notify import silences
from csirt.notify.deliver import Deliverer
from csirt.notify.router import Router
from csirt.stores.base import Commit
from tests.conform import check
from tests.notify import fakes
from tests.notify.fakes import START, MemoryStore, SmtpServer, running

Run = Callable[..., tuple[int, str, str]]


class Bench:
    """A store with one open P1 case and its notification, and a client that runs verbs on it."""

    def __init__(self, settings: Config) -> None:
        self.clock = Frozen(START)
        self.config = settings
        self.store = MemoryStore(self.clock)
        self.role, self.lang = "analyst", "en"
        self.router = Router(settings, name=lambda member: {"m1": "Bakken legekontor"}.get(member, member))
        case, incident = fakes.case(), fakes.incident()
        made = self.router.intents(incident, case, [fakes.alert()], START)
        self.store.commit(Commit(cases=[case], incidents=[incident], notifications=made))
        self.deliverer = Deliverer(self.store, settings, self.clock, Metrics())  # type: ignore[arg-type]

    def call(self, verb: str, **arguments: Any) -> Any:
        """As the daemon answers."""
        parts = {"router": self.router, "deliverer": self.deliverer}
        who = Principal("ola", 1001, self.role)
        store: Any = self.store
        context = Context(store, self.config, who, self.clock, parts.get, self.lang, live=True)
        return json.loads(json.dumps(call(context, verb, arguments)))


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    """A relay."""
    with running(SmtpServer()) as smtp:
        yield smtp


@pytest.fixture
def bench(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The store and client of the commands."""
    found = Bench(fakes.config(smtp=server.address))
    monkeypatch.setattr(Settings, "client", lambda self: found)
    return found


@pytest.fixture
def run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; (exit code, stdout, stderr)."""

    def work(*words: str) -> tuple[int, str, str]:
        code = guarded(main, ["--lang", bench.lang, "notify", *words])
        return (code, *capsys.readouterr())

    return work


def read(run: Run, *words: str) -> Any:
    """The JSON document of a command, checked against its schema."""
    code, out, err = run(*words, "--json")
    assert code == 0, err
    document = json.loads(out)
    check(document)
    return document


def test_routes(run: Run, bench: Bench) -> None:
    """Routes in order with who is on call; those of one case; problems on stderr with exit 1."""
    assert run("routes") == (0, "all\t\tfirst,second\n", "")
    assert [item["id"] for item in read(run, "routes", "--case", "c-2026-0412")["items"]] == ["all"]
    bench.router = Router(fakes.config(smtp=""))
    code, _, err = run("routes")
    assert code == 1 and "notify.smtp" in err


def test_a_route_by_a_members_name(run: Run, bench: Bench) -> None:
    """A route may name a member as people do; the case of that member is shown to take it."""
    routes = [{"name": "gp", "match": 'member:"Bakken legekontor"', "contacts": ["second"]}]
    bench.config = fakes.config(routes=routes)
    bench.router = Router(bench.config, name=bench.router.name)
    assert [item["contacts"] for item in read(run, "routes", "--case", "C-2026")["items"]] == [["second"]]


def test_oncall(run: Run, bench: Bench) -> None:
    """Who is on call now and then, with the next change in local time; an unknown route is exit 3."""
    shifts = [{"route": "all", "contacts": ["second"], "hours": "06:00-14:00"}]
    bench.config = fakes.config(shifts=shifts)
    out = run("oncall")[1]
    assert out == "all\tfirst,second\tnext change 2026-11-23 06:00 CET: second, first\n"
    assert read(run, "oncall", "all", "--at", "3h")["items"][0]["contacts"] == ["second", "first"]
    bench.lang = "nb"
    bench.config = fakes.config(routes=[{"name": "all"}])
    assert run("oncall")[1] == "all\tINGEN\tingen bytter de neste åtte dagene\n"
    assert run("oncall", "nobody")[0] == 3
    assert run("oncall", "--at", "yesterweek")[0] == 2


def test_test(run: Run, bench: Bench, server: SmtpServer) -> None:
    """A test goes to a contact or a whole route at once, in plain words; failures are exit 6 and 7; audited."""
    assert [item["sent"] for item in read(run, "test", "first")["items"]] == [True]
    assert b"Nothing has happened" in server.mails[0]["raw"]
    assert len(read(run, "test", "all")["items"]) == 2
    server.answers = {"RCPT": "550 no"}
    code, _, err = run("test", "first")
    assert code == 6 and "550" in err
    assert run("test", "nobody")[0] == 3
    assert bench.store.actions() == ["notify.test"] * 3
    bench.config.notify.contacts[1].address = "not an address"
    server.answers = {}
    assert run("test", "all")[0] == 7


def test_ack(run: Run, bench: Bench) -> None:
    """Acknowledged once, with who and as which contact; a second time nothing waits; unknown cases are exit 3."""
    document = read(run, "ack", "C-2026-0412")
    assert (document["count"], document["acked_by"]) == (1, "ola")
    (entry,) = bench.store.entries
    assert (entry.action, entry.actor, entry.category, entry.detail["contact"]) == (
        "notify.ack",
        "ola",
        "change",
        "first",
    )
    code, out, _ = run("ack", "ca5e")
    assert code == 0 and "nothing waits" in out
    assert run("ack", "C-1999-0001")[0] == 3
    bench.store.commit(Commit(cases=[fakes.case("ca77", number="C-2026-0413")]))
    code, _, err = run("ack", "C-2026")
    assert code == 2 and "C-2026-0412, C-2026-0413" in err


def test_silence(run: Run, bench: Bench) -> None:
    """A silence needs a filter, an end and a reason; says what it would have hidden; is listed, ended and audited."""
    for words in (
        ("member:m1", "--until", "2h"),
        ("member:m1", "-m", "why"),
        ("--until", "2h", "-m", "why"),
        ("member:m1", "--until", "-2h", "-m", "why"),
        ("member:m1", "--until", "60d", "-m", "why"),
        ("severity>=(", "--until", "2h", "-m", "why"),
        ("member:m1", "--until", "soon", "-m", "why"),
    ):
        assert run("silence", *words)[0] == 2, words
    assert bench.store.entries == []
    dry = read(run, "silence", "member:m1", "--until", "2h", "-m", "why", "--dry-run")
    assert dry["matches"] == 1 and read(run, "silences")["items"] == []
    made = read(run, "silence", "rule:net-05", "--until", "2026-11-23T06:00+01:00", "-m", "agreed", "--owner", "kari")
    assert made["silence"]["until"] == "2026-11-23T05:00:00Z"
    (entry,) = bench.store.entries
    assert (entry.action, entry.actor, entry.detail["reason"]) == ("notify.silence", "ola", "agreed")
    out = run("silences")[1]
    assert out == f"{made['silence']['id']}\t2026-11-23T05:00:00Z\tkari\t0\trule:net-05\tagreed\n"
    bench.clock.time += HOUR
    bench.deliverer.tick()
    assert bench.store.find("notification")[0]["state"] == "silenced"
    ended = read(run, "silence", "--end", made["silence"]["id"].lower(), "-m", "done")
    assert (ended["silence"]["hidden"], ended["silence"]["again"]) == (1, 1)
    assert bench.store.find("notification")[0]["state"] == "pending"
    assert read(run, "silences")["count"] == 0 and read(run, "silences", "--all")["count"] == 1
    assert run("silence", "--end", made["silence"]["id"], "-m", "again")[0] == 2
    assert run("silence", "--end", "S-000000", "-m", "again")[0] == 3
    assert bench.store.entries[-1].action == "notify.silence.end"
    assert silences.load(bench.store)[0]["ended"]  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [("ack", "ca5e"), ("silence", "x", "--until", "1h", "-m", "y"), ("test", "first")])
def test_roles(run: Run, bench: Bench, words: tuple[str, ...]) -> None:
    """A reader may look and not act; the refused try is in the audit."""
    bench.role = "reader"
    assert run(*words)[0] == 4
    assert bench.store.entries[-1].category == "refused"
    assert run("oncall")[0] == run("routes")[0] == run("silences")[0] == 0
    bench.role = "operator"
    assert run("routes", "--case", "ca5e")[0] == 4


def test_the_webhooks_document_follows_its_schema() -> None:
    """What a pager gets is a document with a schema."""
    with running(fakes.WebServer()) as web:
        contacts = [{"name": "first", "channel": "webhook", "address": web.url}]
        bench = Bench(fakes.config(contacts=contacts, routes=[{"name": "all", "contacts": ["first"]}]))
        bench.clock.time += HOUR
        bench.deliverer.tick()
        check(web.posts[0][2])
