"""Every command in README and docs is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demonet import Network, copy, pager
from tests.live import daemon

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands that other tests run, because they build, serve or never end.
ELSEWHERE = (
    "csirt demo",
    "csirt run",
    "csirt replay",
    "csirt collect",
    "csirt bench",
    "csirt alerts list --follow",
    "csirt cases watch",
)
# The case that the pages speak of; in the network below it is the one of the office whose PC scans.
CASE = "C-2026-0412"
# What the network below stands for.
SETUP = {". .venv/bin/activate", "export CSIRT_CONFIG=demo-network/csirt.toml"}


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
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The demo's network with its daemon running again, and the files the docs name, as the current folder."""
    found = copy(tmp_path_factory, "docs")
    for name in ("rules", "parsers", "playbooks", "docs"):
        (found.place / name).symlink_to(ROOT / name)
    with pager(found), daemon(found.config, found.socket, log=found.place / "again.log"):
        yield found


def test_every_command_in_the_docs_works(network: Network) -> None:
    """What a page tells a reader to type does what it says; a trailing `# exits N` names another exit code."""
    case = network.json("cases", "list", "--where", "member:m020")["items"][0]["number"]
    failures = []
    for page in PAGES:
        for line, text in commands(page):
            text = text.replace(CASE, case)
            command, _, comment = (part.strip() for part in text.partition("  #"))
            if command.startswith("make "):
                target = command.split()[1]
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
                continue
            if command.startswith(ELSEWHERE) or command in SETUP:
                continue
            assert (command + " ").startswith("csirt "), f"{page.name}:{line}: {command} is run by no test"
            expected = int(match.group(1)) if (match := re.fullmatch(r"exits (\d+)", comment)) else 0
            done = network.run(*shlex.split(command)[1:])
            if done.returncode != expected:
                said = f"{done.stderr.strip()[:300]} {done.stdout[-300:]}"
                failures.append(f"{page.name}:{line}: {command}: exit {done.returncode}: {said}")
    assert not failures, "\n".join(failures)


def test_every_command_is_documented() -> None:
    """Each noun of the command line is named on some page."""
    from csirt.cli import COMMANDS

    text = " ".join(page.read_text() for page in PAGES)
    missing = [noun for noun in COMMANDS if f"csirt {noun}" not in text]
    assert not missing
