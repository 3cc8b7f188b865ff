"""Folders that cannot be written: the effect fails with a message and is on record, nothing else is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import Inputs, make
from tests.hostile.bench import configured, run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Path]:
    """A store with cases and plans, made by replay."""
    inputs = make(tmp_path_factory.mktemp("inputs"), flows=200)
    store = tmp_path_factory.mktemp("store") / "store"
    assert csirt(inputs.config, store, "replay", *map(str, inputs.files))[0] == 0
    return inputs, store


def csirt(config: Path, store: Path, *words: str) -> tuple[int, str, str]:
    """A command's exit code, output and errors."""
    command = [sys.executable, "-m", "csirt", *words, "--config", str(config), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def variant(inputs: Inputs, folder: Path, text: str) -> Path:
    """The inputs' configuration with sections added, and somebody who may approve."""
    path = folder / "csirt.toml"
    path.write_text(inputs.config.read_text() + text)
    return path


def in_the_way(folder: Path, name: str) -> Path:
    """A file where a folder should be: nothing can be written there, not even by root."""
    path = folder / name
    path.write_text("in the way")
    return path


def test_an_outbox_that_cannot_be_written(prepared: tuple[Inputs, Path], tmp_path: Path) -> None:
    """Approving says what failed, the run and its receipts are marked failed, the approval is in the audit, and the
    other plans are untouched."""
    inputs, store = prepared
    outbox = in_the_way(tmp_path, "outbox")
    config = variant(inputs, tmp_path, f'[respond]\noutbox = "{outbox}"\n')
    runs = json.loads(csirt(config, store, "playbooks", "runs", "--json")[1])["items"]
    waiting = [item for item in runs if item["state"] == "awaiting_approval"]
    assert waiting
    code, _, said = csirt(config, store, "playbooks", "approve", waiting[0]["number"], "--yes")
    assert code == 1, said
    assert waiting[0]["number"] in said and "outbox" in said, said
    after = {item["id"]: item for item in json.loads(csirt(config, store, "playbooks", "runs", "--json")[1])["items"]}
    assert after[waiting[0]["id"]]["state"] == "failed"
    assert all(after[item["id"]]["state"] == item["state"] for item in runs if item["id"] != waiting[0]["id"])
    receipts = [json.loads(line) for line in csirt(config, store, "store", "dump", "--kind", "receipt")[1].splitlines()]
    mine = [item for item in receipts if item["run"] == waiting[0]["id"] and item["effect"] == "acl"]
    assert mine and {item["outcome"] for item in mine} == {"failed"}
    entries = json.loads(csirt(config, store, "audit", "list", "--json")[1])["items"]
    assert [entry for entry in entries if entry["action"] == "playbooks.approve" and entry["category"] == "change"]
    assert outbox.read_text() == "in the way"


def test_a_report_folder_that_cannot_be_written(prepared: tuple[Inputs, Path], tmp_path: Path) -> None:
    """A clear message with the folder's name, exit 1, no half page; the same command works once the folder does."""
    inputs, store = prepared
    folder = in_the_way(tmp_path, "reports")
    config = variant(inputs, tmp_path, f'[report]\ndirectory = "{folder}"\n')
    case = json.loads(csirt(config, store, "cases", "list", "--json")[1])["items"][0]
    words = ("report", "build", case["id"], "--member", case["members"][0])
    code, _, said = csirt(config, store, *words)
    assert code == 1 and "reports" in said and "Traceback" not in said, said
    folder.unlink()
    assert csirt(config, store, *words)[0] == 0
    pages = list(folder.glob("*.html"))
    assert len(pages) == 1 and pages[0].read_text().rstrip().endswith("</html>")


def test_a_full_disk_for_effects(prepared: tuple[Inputs, Path], tmp_path: Path) -> None:
    """An outbox and a report folder on a disk without room: told, and no half file stays under the final name."""
    if os.getuid() != 0:
        pytest.skip("optional: only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=8", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("optional: no mounting here")
    try:
        (disk / "filler").write_bytes(bytes(4_096))
        inputs, store = prepared
        more = f'[respond]\noutbox = "{disk}/outbox"\n[report]\ndirectory = "{disk}/reports"\n'
        config = variant(inputs, tmp_path, more)
        case = json.loads(csirt(config, store, "cases", "list", "--json")[1])["items"][0]
        code, _, said = csirt(config, store, "report", "build", case["id"], "--member", case["members"][0])
        assert code == 1 and "No space" in said, said
        runs = json.loads(csirt(config, store, "playbooks", "runs", "--json")[1])["items"]
        waiting = [item for item in runs if item["state"] == "awaiting_approval"]
        code, _, said = csirt(config, store, "playbooks", "approve", waiting[0]["number"], "--yes")
        assert code == 1 and "No space" in said, said
        assert not [path for path in disk.rglob("*") if path.suffix in (".html", ".acl")]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unreadable_input_leaves_the_others(tmp_path: Path) -> None:
    """A file that is not there is told before any is read; nothing is half done."""
    config = configured(tmp_path)
    (tmp_path / "good.log").write_text("Nov 24 16:00:00 relay postfix/qmgr[1]: AAAAAAAAA1: removed\n")
    from csirt.errors import NotFound

    with pytest.raises(NotFound, match=r"gone\.pcap"):
        run(config, tmp_path / "store", tmp_path / "good.log", tmp_path / "gone.pcap")
    assert not (tmp_path / "store").exists()
    assert run(config, tmp_path / "store", tmp_path / "good.log").stage("sources")["in"] == 1
