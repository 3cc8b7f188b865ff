"""`csirt members`: the register from the command line, and the verbs behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.clock import Frozen
from csirt.config import Config
from csirt.control.verbs import Context, call
from csirt.enrich.register import Register
from csirt.errors import CsirtError, NotAllowed, NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.principal import Principal
from tests.conform import check

DOCS = Path(__file__).resolve().parents[2] / "docs" / "register.md"


class Daemon:
    """Stands for the running daemon; counts reloads."""

    def __init__(self) -> None:
        self.reloads = 0
        self.notes: list[str] = []

    def reload(self) -> list[str]:
        self.reloads += 1
        return self.notes


class Bench:
    """A register file, its configuration, a store that keeps the audit, and a client that runs verbs on them."""

    def __init__(self, folder: Path, role: str = "operator") -> None:
        self.file = folder / "register.yaml"
        self.file.write_text(max(re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.S), key=len), "utf-8")
        self.config = Config.parse({"enrich": {"register": str(self.file)}})
        self.toml = folder / "csirt.toml"
        self.toml.write_text(f'[enrich]\nregister = "{self.file}"\n', "utf-8")
        self.audit: list[AuditEntry] = []
        self.daemon = Daemon()
        self.role = role

    def call(self, verb: str, **arguments: Any) -> Any:
        parts = {"register": Register.load(self.file)[0], "daemon": self.daemon}
        store: Any = SimpleNamespace(append_audit=self.audit.extend)
        who = Principal("kari", 1001, self.role)
        context = Context(store, self.config, who, Frozen(1), parts.get, "en", live=True)
        return json.loads(json.dumps(call(context, verb, arguments)))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench(tmp_path)
    monkeypatch.setattr(Settings, "client", lambda self: found)
    return found


@pytest.fixture
def run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; (exit code, stdout, stderr)."""

    def work(*words: object) -> tuple[int, str, str]:
        code = guarded(main, ["--config", str(bench.toml), *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return work


Run = Callable[..., tuple[int, str, str]]


def test_list(run: Run) -> None:
    """All members by id; tab-separated off a terminal; a filter picks; JSON follows its schema."""
    code, out, _ = run("members", "list")
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == [
        "common",
        "ikt1",
        "m001",
        "m017",
        "m018",
        "s01",
    ]
    assert out.splitlines()[3].split("\t")[1:] == ["Bakken legekontor", "gp", "1", "910170,910179", "+47 55 50 17 00"]
    document = json.loads(run("members", "list", "operator:ikt1 -kind:gp", "--json")[1])
    check(document)
    assert [item["id"] for item in document["items"]] == ["m018"] and document["count"] == 1
    assert run("members", "list", "colour:red")[0] == 2


@pytest.mark.parametrize(
    ("what", "member", "by"),
    [
        ("m017", "m017", "id"),
        ("10.21.0.5", "m001", "address"),
        ("2001:db8:21::60", "m001", "address"),
        ("910180", "m018", "her"),
        ("M017-GP@edi.helsenett.example", "m017", "edi"),
        ("mx.m001.example", "m001", "domain"),
        ("bakken", "m017", "name"),
        ("m01", "m017", None),
        ("10.99.0.1", None, None),
        ("nobody", None, None),
        ("ikt1.example", None, "several"),
    ],
)
def test_show(run: Run, what: str, member: str | None, by: str | None) -> None:
    """A member is found by anything the register knows of it; several give the candidates and exit 2, none exit 3."""
    code, out, err = run("members", "show", what, "--json")
    if by is None or member is None:
        assert code == (2 if by == "several" or what == "m01" else 3), err
        return
    document = json.loads(out)
    check(document)
    assert (document["member"]["id"], document["matched"]["by"]) == (member, by)


def test_show_for_people(run: Run) -> None:
    """What people read has contacts, sites, agreements and windows, in both languages, one fact a line."""
    code, out, _ = run("members", "show", "10.37.0.25")
    assert code == 0
    for part in (
        "found by\t10.37.0.25 10.37.0.25/32 m017-main msh",
        "+47 55 50 17 00",
        "A-2026-001 m017 -> m001",
        "tue,thu 20:00-23:00",
    ):
        assert part in out
    assert "funnet på\t10.37.0.25" in run("members", "show", "10.37.0.25", "--lang", "nb")[1]
    assert "192.168.1.0/24" in run("members", "show", "m018")[1]
    assert "m018-main" in run("members", "show", "10.37.0.25", "--vrf", "blue")[1]


def test_check(run: Run, bench: Bench, tmp_path: Path) -> None:
    """Every problem with file and line on stdout, exit 1; a valid file is counted and exits 0."""
    code, out, err = run("members", "check")
    assert (code, out) == (0, "") and "6 members, 10 prefixes, 5 HER-ids; no problems" in err
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        bench.file.read_text().replace("kind: municipality", "kind: municpality").replace("role: relay", "role: relai")
    )
    code, out, err = run("members", "check", broken)
    assert code == 1 and len(out.splitlines()) == 2
    assert out.startswith(f"{broken}:") and "2 problems" in err
    document = json.loads(run("members", "check", broken, "--json")[1])
    check(document)
    assert document["count"] == 2 and document["items"][0]["advice"] == "did you mean 'municipality'?"
    check(json.loads(run("members", "check", "--json")[1]))
    assert run("members", "check", tmp_path / "none.yaml")[0] == 3


def test_diff(run: Run, bench: Bench, tmp_path: Path) -> None:
    """Members, fields, agreements, windows, domains and resolvers that differ, and nothing when nothing does."""
    new = tmp_path / "new.yaml"
    text = bench.file.read_text().replace("Bakken legekontor", "Lia legekontor").replace("ports: [3389]", "ports: [22]")
    text = text.replace("test: [edi-test.helsenett.example]", "test: []").replace(
        "resolvers: [10.0.0.53]", "resolvers: [10.0.0.54]"
    )
    new.write_text(text)
    code, out, _ = run("members", "diff", bench.file, new)
    assert code == 0
    assert "changed\tm017\tname\tBakken legekontor\tLia legekontor" in out.splitlines()
    assert "removed\tdomains\tedi-test.helsenett.example (test)" in out.splitlines()
    assert "added\tresolvers\t10.0.0.54" in out.splitlines()
    assert sum(line.split("\t")[1] == "agreements" for line in out.splitlines()) == 2
    document = json.loads(run("members", "diff", new, "--json")[1])
    check(document)
    assert [item["id"] for item in document["changed"]] == ["m017"]
    assert run("members", "diff", bench.file, bench.file)[1] == ""


def test_import_replaces_reloads_and_can_be_undone(run: Run, bench: Bench, tmp_path: Path) -> None:
    """The new file takes the old one's place, the daemon reads it, the audit has it, and the old file is kept."""
    old = bench.file.read_bytes()
    new = tmp_path / "new.yaml"
    new.write_bytes(old.replace(b"Bakken legekontor", b"Lia legekontor"))
    code, _out, err = run("members", "import", new, "-m", "new name", "--dry-run")
    assert code == 0 and bench.file.read_bytes() == old and bench.daemon.reloads == 0 and "would replace" in err
    code, _, err = run("members", "import", new, "-m", "new name")
    assert code == 0 and bench.file.read_bytes() == new.read_bytes() and bench.daemon.reloads == 1
    previous = tmp_path / "register.previous.yaml"
    assert previous.read_bytes() == old and f"csirt members import {previous}" in err
    entry = bench.audit[-1]
    assert (entry.action, entry.category, entry.actor, entry.detail["changed"]) == (
        "members.import",
        "change",
        "kari",
        ["m017"],
    )
    assert entry.detail["reason"] == "new name"
    assert not list(tmp_path.glob(".*"))
    check(json.loads(run("members", "import", previous, "-m", "back", "--json")[1]))
    assert bench.file.read_bytes() == old


def test_import_of_the_same_changes_nothing(bench: Bench) -> None:
    """Equal bytes: no new file, no audit entry, no reload."""
    document = bench.call("members.import", text=bench.file.read_text(), name="same.yaml", reason="x")
    assert document["change"]["old"] == document["change"]["new"] and not bench.audit and not bench.daemon.reloads


def test_a_broken_import_leaves_the_old_file(run: Run, bench: Bench, tmp_path: Path) -> None:
    """A file with problems is refused with all of them, by line, and nothing changes."""
    old = bench.file.read_bytes()
    new = tmp_path / "new.yaml"
    new.write_bytes(old.replace(b"10.21.0.0/20", b"10.37.0.0/20"))
    code, _, err = run("members", "import", new, "-m", "x")
    assert code == 2 and "overlaps" in err and "new.yaml:" in err
    assert bench.file.read_bytes() == old and bench.daemon.reloads == 0


def test_import_needs_the_right_and_a_reason(bench: Bench) -> None:
    """An analyst may not replace the register, and the try is in the audit; nobody may without a reason."""
    text = bench.file.read_text()
    with pytest.raises(Usage):
        bench.call("members.import", text=text + "\n", name="a.yaml", reason=" ")
    with pytest.raises(Usage, match="both YAML"):
        bench.call("members.import", text=text, name="a.toml", reason="x")
    bench.role = "analyst"
    with pytest.raises(NotAllowed):
        bench.call("members.import", text=text + "\n", name="a.yaml", reason="x")
    assert bench.audit[-1].category == "refused" and "text" not in str(bench.audit[-1].detail)
    with pytest.raises(NotFound):
        bench.call("members.show", what="zzz")


def test_a_folder_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    """Where the file cannot be replaced, the sentence says what to do instead, and the old file stays."""
    old = bench.file.read_bytes()
    (tmp_path / ".register.yaml.new").mkdir()
    with pytest.raises(CsirtError, match="systemctl reload"):
        bench.call("members.import", text=bench.file.read_text() + "\n", name="a.yaml", reason="x")
    assert bench.file.read_bytes() == old and not bench.audit
