"""What people and pipes get: colour, width, language, time."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator

import pytest

from csirt.cli.common import Settings
from csirt.cli.times import Times
from csirt.clock import Frozen, parse_iso
from csirt.demo.terminal import on_terminal
from tests.demonet import Network, copy
from tests.live import daemon

SCREENS = [
    *(
        "status",
        "status --exporter 127.0.0.11",
        "cases list",
        "cases show C-2026-0001",
        "cases handover",
        "alerts list",
        "playbooks runs",
    ),
    *("playbooks list", "playbooks show 1", "notify routes", "notify oncall", "report list", "members list"),
    *("members show m020", "messages pending", "audit list", "rules list", "parsers list", "store info"),
    *("events query --dataset mail --limit 20", "events query --top source.ip --limit 5"),
]
ISO = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The demo's network with its daemon running."""
    found = copy(tmp_path_factory, "output")
    with daemon(found.config, found.socket, log=found.place / "again.log"):
        yield found


def screen(network: Network, words: str, **environment: str) -> str:
    """What a terminal of 80 columns shows."""
    given = {**os.environ, "TERM": "xterm", "CSIRT_CONFIG": str(network.config), **environment}
    given.pop("NO_COLOR", None)
    given.update(environment)
    command = [sys.executable, "-m", "csirt", *shlex.split(words)]
    code, shown = on_terminal(command, {**given, "XDG_STATE_HOME": str(network.place / "me")}, 30.0)
    assert code == 0, shown
    return shown


@pytest.mark.parametrize("words", SCREENS)
def test_screens_fit_80_columns_in_both_languages(network: Network, words: str) -> None:
    """No line is wider than the terminal, but commands and access lists for copying; nb and en differ."""
    shown = {lang: screen(network, f"{words} --lang {lang}", NO_COLOR="1") for lang in ("nb", "en")}
    for text in shown.values():
        wide = [line for line in text.splitlines() if len(line) > 80 and "csirt " not in line and "\t" not in line]
        assert not wide, wide
    if not words.startswith(("cases list", "events query --dataset", "members show", "store info")):
        assert shown["nb"] != shown["en"]


def test_colour(network: Network) -> None:
    """On a terminal, unless NO_COLOR, TERM=dumb or --color never; off it, only with --color always."""
    assert "\x1b[" in screen(network, "cases list")
    for words, environment in (
        ("cases list", {"NO_COLOR": "1"}),
        ("cases list", {"TERM": "dumb"}),
        ("cases list --color never", {}),
        ("--color never cases list", {}),
    ):
        assert "\x1b" not in screen(network, words, **environment)
    assert "\x1b" not in network.run("cases", "list", TERM="xterm").stdout
    plain, coloured = screen(network, "cases list", NO_COLOR="1"), screen(network, "cases list")
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain, "colour adds nothing but colour"
    assert "P1" in plain


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}])
def test_it_works_without_a_locale(network: Network, locale: dict[str, str]) -> None:
    """LANG=C, and output that is ASCII only: everything is printed, nothing fails."""
    for words in ("cases list", "cases show C-2026-0001", "members list", "status"):
        done = network.run(*shlex.split(words), "--lang", "nb", **locale)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("words", [words for words in SCREENS if " list" in words or "runs" in words])
def test_pipes_get_whole_records(network: Network, words: str) -> None:
    """Off a terminal: the same number of tabs in every line, no heading, no colour, times in ISO 8601 UTC."""
    done = network.run(*shlex.split(words), "--lang", "nb")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines and done.stdout.endswith("\n")
    assert len({line.count("\t") for line in lines}) == 1 and lines[0].count("\t") >= 2
    assert "..." not in done.stdout and not re.search(r"\bC?EST?\b| siden", done.stdout)
    assert all(match.string[match.start() :].split("\t")[0].endswith("Z") for match in ISO.finditer(done.stdout))


def test_times_for_people(network: Network) -> None:
    """Absolute with the zone and relative; --utc shows UTC, --iso what pipes get."""
    since = next(line for line in screen(network, "cases show C-2026-0001").splitlines() if line.startswith("SINCE"))
    assert re.fullmatch(r"SINCE     (\d{4}-\d\d-\d\d )?\d\d:\d\d CES?T, \d+ (s|min|h|d) ago", since), since
    assert " UTC, " in screen(network, "cases show C-2026-0001 --utc")
    assert ISO.search(screen(network, "cases show C-2026-0001 --iso"))
    assert " UTC, " in screen(network, "--utc alerts list") and " UTC, " in screen(network, "alerts list --utc")


def test_the_doubled_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half past two comes twice in the last night of October; the zone says which."""
    monkeypatch.setattr("csirt.cli.times.SYSTEM", Frozen(parse_iso("2026-10-25T01:40:00Z")))
    times = Times(Settings(lang="en"))
    assert times.both("2026-10-25T00:30:00Z") == "02:30 CEST, 70 min ago"
    assert times.both("2026-10-25T01:30:00Z") == "02:30 CET, 10 min ago"
    assert times.both("2026-10-24T12:00:00Z") == "2026-10-24 14:00 CEST, 13 h ago"
    assert Times(Settings(lang="nb", iso=True)).both("2026-10-25T01:30:00Z") == "2026-10-25T01:30:00Z"


def test_csirt_alone_shows_the_open_cases(network: Network) -> None:
    """Without a command: what `cases list` shows."""
    assert screen(network, "", NO_COLOR="1") == screen(network, "cases list", NO_COLOR="1")
    assert network.run().stdout == network.run("cases", "list").stdout
