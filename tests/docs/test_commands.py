"""Every command in README and docs is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import daemon

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands that other tests run, because they build, serve or never end.
ELSEWHERE = ("csirt demo", "csirt run", "csirt replay", "csirt collect", "csirt bench", "csirt alerts list --follow", "csirt cases watch")


def commands(page: Path) -> list[tuple[int, str]]:
    """(line, command) of every `csirt` line in a page's ```sh blocks."""
    found: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line.strip() == "```sh"
        elif inside and line.strip():
            found.append((number, line.strip()))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's network with its daemon running again, and the files the docs name, as the current folder."""
    place = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "csirt", "demo", "--keep", str(place), "--json", "--seconds", "8"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + (place / "daemon.log").read_text()[-2_000:]
    for name in ("rules", "parsers", "playbooks", "docs"):
        (place / name).symlink_to(ROOT / name)
    with daemon(place / "csirt.toml", place / "csirt.sock", log=place / "daemon2.log"):
        yield place


def test_every_command_in_the_docs_works(folder: Path) -> None:
    """What a page tells a reader to type does what it says; a trailing `# exits N` names another exit code."""
    environment = {**os.environ, "CSIRT_CONFIG": "csirt.toml"}
    failures = []
    for page in PAGES:
        for line, text in commands(page):
            command, _, comment = text.partition("  #")
            if command.startswith("make "):
                target = command.split()[1]
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
                continue
            if not command.startswith("csirt ") or command.startswith(ELSEWHERE):
                continue
            expected = int(match.group(1)) if (match := re.search(r"exits (\d+)", comment)) else 0
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
            )
            if done.returncode != expected:
                failures.append(f"{page.name}:{line}: {command}: exit {done.returncode}: {done.stderr.strip()[:300]}")
    assert not failures, "\n".join(failures)


def test_every_command_is_documented() -> None:
    """Each noun of the command line is named on some page."""
    from csirt.cli import COMMANDS

    text = " ".join(page.read_text() for page in PAGES)
    missing = [noun for noun in COMMANDS if f"csirt {noun}" not in text]
    assert not missing
