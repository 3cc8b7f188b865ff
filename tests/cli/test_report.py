"""`csirt report` on a real store: pages on the shelf, releases in the audit, labels that hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.clock import Frozen, parse_iso
from csirt.config import Config
from csirt.control.verbs import Context, call
from csirt.model.principal import Principal
from csirt.model.records import CaseEvent
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.conform import check
from tests.report.conftest import world  # noqa: F401 the same case, on a real store

NOW = parse_iso("2026-03-10T09:00:41Z")


class Desk:
    """Runs verbs on a store, as the daemon would."""

    def __init__(self, folder: Path, world: SimpleNamespace) -> None:  # noqa: F811
        self.config = Config.parse({"state": str(folder), "report": {"issuer": "CSIRT", "phone": "+47 11"}})
        self.clock = Frozen(NOW)
        self.store = open_embedded(
            folder / "store", clock=self.clock, config=self.config.stores, retention=self.config.retention
        )
        opened = CaseEvent(
            case=world.case.id,
            seq=1,
            time=NOW,
            actor="system",
            kind="opened",
            data={"incident": "i1", "summary": {}},
        )
        case = world.case.model_copy(update={"number": "", "version": 1})
        self.store.commit(
            Commit(
                batches=world.events.batches,
                alerts=world.alerts,
                incidents=[world.incident.model_copy(update={"case": case.id})],
                case_events=[opened],
                cases=[case],
            )
        )
        self.number = self.store.find("case")[0]["number"]
        self.register = world.register
        self.role = "analyst"

    def call(self, verb: str, **arguments: Any) -> Any:
        parts = {"register": self.register}
        who = Principal("kari", 1001, self.role)
        context = Context(self.store, self.config, who, self.clock, parts.get, "en", live=True)
        return json.loads(json.dumps(call(context, verb, arguments)))

    def audit(self, action: str) -> list[dict[str, Any]]:
        return [entry.detail for entry in self.store.audit() if entry.action == action and entry.category == "change"]


@pytest.fixture
def desk(tmp_path: Path, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:  # noqa: F811
    found = Desk(tmp_path / "state", world)
    monkeypatch.setattr(Settings, "client", lambda self: found)
    yield found
    found.store.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; (exit code, stdout, stderr)."""

    def work(*words: object) -> tuple[int, str, str]:
        code = guarded(main, [str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return work


def test_build_list_show(run: Run, desk: Desk, tmp_path: Path) -> None:
    """A page is written for its member in its language, readable by its owner alone, listed and shown again."""
    code, out, err = run("report", "build", desk.number, "--member", "m020", "-o", tmp_path / "copy.html")
    path = Path(out.strip())
    assert code == 0 and path.name == f"{desk.number}-m020-nb.html" and "Undulatbakken" in err
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    html = path.read_text("utf-8")
    assert (tmp_path / "copy.html").read_text("utf-8") == html and (tmp_path / "copy.html").stat().st_mode & 0o77 == 0
    assert 'lang="nb"' in html and "10.31.0.77" in html and "+47 11" in html and "kl. 10:00:00 CET" in html
    document = json.loads(run("report", "list", "--json")[1])
    check(document)
    assert [item["id"] for item in document["items"]] == [f"{desk.number}-m020-nb"]
    shown = run("report", "show", f"{desk.number}-m020-nb")
    assert shown[0] == 0 and shown[1] == html
    check(json.loads(run("report", "show", f"{desk.number}-m020-nb", "--json")[1]))
    assert run("report", "show", "../../etc/passwd")[0] == 3
    entry = desk.audit("report.build")[0]
    assert entry["member"] == "m020" and entry["sha256"] == document["items"][0]["sha256"]


def test_the_same_page_is_kept_once(run: Run, desk: Desk) -> None:
    """Within the same minute a second build changes nothing; later it is another page beside the first."""
    first = json.loads(run("report", "build", desk.number, "--member", "m020", "--json")[1])
    again = json.loads(run("report", "build", desk.number, "--member", "undulat", "--json")[1])
    check(first)
    assert first["new"] and not again["new"] and again["path"] == first["path"]
    desk.clock.time += 60_000_000
    later = json.loads(run("report", "build", desk.number, "--member", "m020", "--json")[1])
    assert later["new"] and later["id"] == f"{desk.number}-m020-nb-2" and Path(first["path"]).exists()
    assert len(desk.audit("report.build")) == 2
    assert [item["id"] for item in desk.call("report.list")["items"]] == [later["id"], first["id"]]
    assert desk.call("report.list", member="m001")["count"] == 0


def test_releases_need_a_reason_and_are_recorded(run: Run, desk: Desk) -> None:
    """A counterpart's name goes out only by an analyst's decision, with the reason in the audit."""
    words = ("report", "build", desk.number, "--member", "m010", "--release", "Undulatbakken legekontor")
    assert run(*words)[0] == 2
    code, out, err = run(*words, "-m", "agreed on the phone")
    assert code == 0 and "names released to Papegøyevik kommune: m020" in err
    assert "Undulatbakken legekontor" in Path(out.strip()).read_text("utf-8")
    recorded = desk.audit("report.release")
    assert [(item["released"], item["reason"]) for item in recorded] == [(["m020"], "agreed on the phone")]
    assert run("report", "build", desk.number, "--member", "m010", "--release", "m099", "-m", "x")[0] == 2
    assert len(desk.audit("report.release")) == 1


def test_names_of_files_and_rows_are_the_members_own(run: Run, desk: Desk) -> None:
    """Neither path, list nor file name of a report holds another member's name or id."""
    out = run("report", "build", desk.number, "--member", "m030", "--lang", "en")[1]
    path = Path(out.strip())
    assert path.name == f"{desk.number}-m030-en.html"
    for other in ("m001", "m010", "m020", "Kanari", "Papeg", "Undulat"):
        assert other not in path.with_suffix(".json").read_text("utf-8") and other not in path.name


def test_what_cannot_be_told(run: Run, desk: Desk, world: SimpleNamespace) -> None:  # noqa: F811
    """No such case, no such member, several members, no part in the case, no right, no time: each its own exit code."""
    assert run("report", "build", "C-1999-0001", "--member", "m020")[0] == 3
    assert run("report", "build", desk.number, "--member", "m777")[0] == 3
    assert run("report", "build", desk.number, "--member", "m0")[0] == 2
    assert run("report", "build", desk.number, "--member", "m099")[0] == 3
    assert run("report", "build", desk.number, "--member", "m020", "--aware", "soon")[0] == 2
    desk.role = "reader"
    assert run("report", "build", desk.number, "--member", "m020")[0] == 4
    assert run("report", "list")[0] == 4


def test_reading_leaves_an_access_entry(run: Run, desk: Desk) -> None:
    """Building, listing and showing reports are in the audit as accesses."""
    run("report", "build", desk.number, "--member", "m020")
    run("report", "list")
    run("report", "show", f"{desk.number}-m020-nb")
    accesses = [entry.action for entry in desk.store.audit() if entry.category == "access"]
    assert accesses == ["report.build", "report.list", "report.show"]


def test_last_is_the_case_looked_at(run: Run, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`@last` stands for the case this user looked at last, and is refused when there is none."""
    from csirt.cli import caselast

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    assert run("report", "build", "@last", "--member", "m020")[0] == 3
    caselast.remember(Settings(), desk.store.find("case")[0])
    code, out, _ = run("report", "build", "@last", "--member", "m020")
    assert code == 0 and desk.number in out
    assert len(run("report", "list", "@last")[1].splitlines()) == 1


def test_a_shelf_that_cannot_be_written(run: Run, desk: Desk, tmp_path: Path) -> None:
    """A folder in the way gives one sentence, and nothing is recorded as told."""
    (tmp_path / "state" / "reports").write_text("in the way")
    code, _, err = run("report", "build", desk.number, "--member", "m020")
    assert code == 1 and "cannot be written" in err and not desk.audit("report.build")
