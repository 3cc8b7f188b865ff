"""Content that is broken: rules, playbooks, a register. Each is named with file and line, and stops nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from csirt.app import App
from csirt.configfile import load
from csirt.demo.network import register
from tests.corpus import Inputs, make
from tests.hostile.bench import run

GOOD = """title: Everything To A Port
id: 0d0b6b0e-1111-4222-8333-944455556666
logsource: {product: csirt, service: flow}
detection:
    selection: {destination.port: 445}
    condition: selection
level: low
"""
BROKEN = {
    "yaml.yml": "title: [unclosed\nid: x\n",
    "condition.yml": GOOD.replace("condition: selection", "condition: selection and and").replace("0d0b", "1d0b"),
    "modifier.yml": GOOD.replace("destination.port: 445", "destination.port|nosuch: 445").replace("0d0b", "2d0b"),
    "regex.yml": GOOD.replace("destination.port: 445", "source.ip|re: '('").replace("0d0b", "3d0b"),
    "bomb.yml": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{n}: &{n} [*{m},*{m},*{m},*{m},*{m},*{m},*{m}]\n" for m, n in zip("abcdefghi", "bcdefghij", strict=True)
    ),
    "nest.yml": "[" * 50_000,
    "binary.yml": "\udcff\udcfe",
    "empty.yml": "",
}


def csirt(*words: str) -> tuple[int, str]:
    """A command's exit code and everything it prints."""
    done = subprocess.run([sys.executable, "-m", "csirt", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The usual inputs, few flows."""
    return make(tmp_path_factory.mktemp("inputs"), flows=200)


def with_(inputs: Inputs, folder: Path, section: str, line: str) -> Path:
    """The inputs' configuration with one line more in a section."""
    path = folder / "csirt.toml"
    text = inputs.config.read_text()
    header = f"[{section}]\n"
    text = text.replace(header, header + line + "\n", 1) if header in text else f"{text}{header}{line}\n"
    path.write_text(text.replace(str(inputs.folder / "state"), str(folder / "state")))
    return path


def rules(folder: Path) -> Path:
    """A folder of one good rule and every broken one."""
    place = folder / "rules"
    place.mkdir()
    (place / "good.yml").write_text(GOOD)
    for name, text in BROKEN.items():
        (place / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return place


def test_check_names_every_broken_rule(inputs: Inputs, tmp_path: Path) -> None:
    """`csirt check` prints file:line:column of each, exits 1, and says nothing of the good one."""
    place = rules(tmp_path)
    code, said = csirt("check", "--config", str(with_(inputs, tmp_path, "detect", f'rules = ["{place}"]')))
    assert code == 1, said
    for name in set(BROKEN) - {"empty.yml"}:
        assert re.search(rf"{re.escape(name)}:\d+:\d+: error: ", said), (name, said)
    assert "good.yml" not in said


def test_a_broken_rule_stops_no_other(inputs: Inputs, tmp_path: Path) -> None:
    """The good rule beside them and the shipped ones find what they find without them; the broken are named in the
    log."""
    place = rules(tmp_path)
    plain = run(load(with_(inputs, tmp_path, "stores", "")), tmp_path / "plain", *inputs.files)
    outcome = run(load(with_(inputs, tmp_path, "detect", f'rules = ["{place}"]')), tmp_path / "mixed", *inputs.files)
    mine = "0d0b6b0e-1111-4222-8333-944455556666"
    assert mine in outcome.rules
    assert [name for name in outcome.rules if name != mine] == plain.rules and plain.rules
    app = App(load(with_(inputs, tmp_path, "detect", f'rules = ["{place}"]')), store_directory=tmp_path / "none")
    notes = app.reload()
    assert all(any(name in note for note in notes) for name in set(BROKEN) - {"empty.yml"})


def test_a_broken_playbook_is_named_and_stops_no_other(inputs: Inputs, tmp_path: Path) -> None:
    """The shipped playbooks still plan; the check names file and line."""
    place = tmp_path / "playbooks"
    place.mkdir()
    (place / "broken.yml").write_text("type: playbook\nspec_version: cacao-2.0\nname: PB-X\nworkflow: 7\n")
    (place / "yaml.yml").write_text("a: b: c\n")
    config = with_(inputs, tmp_path, "respond", f'playbooks = ["{place}"]')
    code, said = csirt("check", "--config", str(config))
    assert code == 1
    assert re.search(r"broken\.yml:\d+:\d+: error", said) and re.search(r"yaml\.yml:1:\d+: error", said), said
    outcome = run(load(config), tmp_path / "store", *inputs.files)
    assert outcome.document["incidents"]
    app = App(load(config), store_directory=tmp_path / "store")
    try:
        assert app.store.find("run", {"state": "awaiting_approval"})
    finally:
        app.close()
    assert any("broken.yml" in note for note in app.reload())


def overlapping() -> tuple[str, int, int]:
    """The demo's register with a prefix of one member inside another's, and the two lines."""
    lines = register().split("\n")
    places = [number for number, line in enumerate(lines) if re.search(r"prefixes: \[\d", line)]
    first, second = places[0], places[1]
    prefix = re.search(r"\[([\d./]+)", lines[first])
    assert prefix
    inner = prefix[1].split("/")[0] + "/28"
    lines[second] = re.sub(r"\[[\d./]+", f"[{inner}", lines[second])
    return "\n".join(lines), first + 1, second + 1


def test_an_overlap_in_the_register_is_refused_with_both_lines(inputs: Inputs, tmp_path: Path) -> None:
    """Two members cannot own the same addresses in one VRF: check fails and names both places; a daemon that has a good
    register keeps it."""
    text, first, second = overlapping()
    path = tmp_path / "register.yml"
    path.write_text(register())
    config = with_(inputs, tmp_path, "stores", "")
    config.write_text(config.read_text().replace(str(inputs.folder / "register.yml"), str(path)))
    app = App(load(config), store_directory=tmp_path / "store")
    members = {member.id for member in app.part("register").members()}
    before = app.part("register")
    path.write_text(text)
    code, said = csirt("check", "--config", str(config))
    assert code == 1 and f"register.yml:{second}:" in said and f"{first}" in said, said
    notes = app.reload()
    assert any(note.startswith("register not reloaded") and f":{second}:" in note for note in notes)
    assert app.part("register") is before and {m.id for m in app.part("register").members()} == members
    path.write_text(register())
    assert not [note for note in app.reload() if note.startswith("register")]
    path.unlink()
    assert any(note.startswith("register not reloaded") for note in app.reload())
    assert {m.id for m in app.part("register").members()} == members
