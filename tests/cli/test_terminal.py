"""Hostile text in every field of every document: a terminal and a pipe get printable characters and our own colours.

The real documents of the demo's network are taken through the socket; then every piece of text in them is replaced and
the commands run on those.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shlex
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.control.client import SocketClient
from tests.demonet import Network, copy
from tests.live import daemon

# Clear the screen, set the title, forge a line, reverse direction, hide, ring; 8-bit controls; a lone surrogate.
EVIL = "\x1b[2J\x1b]0;own\x07x\r\nforged\tline\u202e\u200b\x9b31m\x85\u2028\x00\x7f\ufeff\udcff ÆØÅ 漢"
COLOURS = re.compile(r"\x1b\[(?:0|1;31|33)m")  # ours
# Values the code chooses among; anything else that is text may come from the network.
CHOSEN = {
    *("schema", "kind", "state", "severity", "priority", "verdict", "reason", "role", "dataset", "level", "step", "at"),
    *("what", "effect", "outcome", "channel", "category", "event.dataset", "by", "by_kind", "type"),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
COMMANDS = [
    *("cases list", "cases list --all", "cases show {case}", "cases next", "cases handover", "cases ack {case}"),
    *("cases undo {case}", "cases note {case} -m x", "cases watch"),
    *("alerts list", "alerts show {alert}", "events query --dataset mail", "events query", "events show {event}"),
    *("events query --top source.ip", "events query --csv", "events show {event} --raw"),
    *("playbooks list", "playbooks runs", "playbooks show {run}", "playbooks plan {case}"),
    *("notify routes", "notify oncall", "notify silences", "notify ack {case}", "report list"),
    *("members list", "members show m020", "messages pending", "messages trace {message}", "store info", "store fsck"),
    *("audit list", "audit verify", "status"),
]


def hostile(value: Any, key: str = "") -> Any:
    """The document with every free text replaced."""
    if isinstance(value, dict):
        return {name: hostile(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [hostile(part, key) for part in value]
    if isinstance(value, str) and value and key not in CHOSEN and not TIME.fullmatch(value):
        return f"{value[:2]}{EVIL}"
    return value


class Evil:
    """A client whose answers are hostile."""

    def __init__(self, socket: Path) -> None:
        self.inner = SocketClient(str(socket))
        self.seen: set[str] = set()

    def call(self, verb: str, **arguments: Any) -> Any:
        """The real answer, its text replaced."""
        self.seen.add(verb)
        return hostile(self.inner.call(verb, **arguments))

    def stream(self, verb: str, **arguments: Any) -> Iterator[Any]:
        """The same, item by item; lines of events too. A stream that never ends is cut."""
        self.seen.add(verb)
        for number, item in enumerate(self.inner.stream(verb, **arguments)):
            if "lines" in item:
                lines = [hostile(json.loads(line)) for line in item["lines"].splitlines()[:20]]
                yield {"lines": "".join(json.dumps(line) + "\n" for line in lines)}
            else:
                yield hostile(item)
            if verb == "cases.watch" and number >= 1:
                return


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The demo's network with its daemon running."""
    found = copy(tmp_path_factory, "terminal")
    with daemon(found.config, found.socket, log=found.place / "again.log"):
        yield found


@pytest.fixture(scope="module")
def calls(network: Network) -> list[list[str]]:
    """The commands with the network's own ids."""
    client = SocketClient(str(network.socket))
    first = next(item for item in client.stream("events.query", dataset="mail", limit=1) if "lines" in item)
    names = {
        "case": client.call("cases.list")["items"][0]["number"],
        "alert": client.call("alerts.list")["items"][0]["id"],
        "run": client.call("playbooks.runs")["items"][0]["number"],
        "message": client.call("messages.pending")["items"][0]["message_id"],
        "event": json.loads(first["lines"].splitlines()[0])["event"]["id"],
    }
    return [shlex.split(words.format(**names)) for words in COMMANDS]


def on_pipe(words: list[str]) -> tuple[int, str]:
    """Exit code and everything printed, off a terminal."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = guarded(main, words)
    out.seek(0)
    return code, out.read() + err.getvalue()


def on_terminal(words: list[str]) -> tuple[int, str]:
    """The same on a terminal of 80 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while block := os.read(ours, 65536):
                shown.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as screen:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            code = guarded(main, words)
        screen.flush()
    reader.join(10)
    os.close(ours)
    return code, b"".join(shown).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("lang", ["nb", "en"])
@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_nothing_from_the_network_moves_the_cursor(
    network: Network, calls: list[list[str]], where: str, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every list and every screen, people's and pipes': printable characters, line ends, tabs, and our own colours."""
    client = Evil(network.socket)
    monkeypatch.setattr(Settings, "client", lambda settings: client)
    monkeypatch.setenv("XDG_STATE_HOME", str(network.place / "me"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    run = on_pipe if where == "pipe" else on_terminal
    wrong = []
    for words in calls:
        code, shown = run([*words, "--config", str(network.config), "--lang", lang])
        name = " ".join(words)
        if code not in (0, 1) or "internal error" in shown:
            wrong.append(f"{name}: exit {code}: {shown[-400:]!r}")
        clean = COLOURS.sub("", shown) if where == "terminal" else shown
        bad = {char for char in clean if not (char.isprintable() or char in "\n\t")}
        if bad:
            wrong.append(f"{name}: {sorted(bad)!r}")
        if re.search(r"^forged", clean, re.MULTILINE):
            wrong.append(f"{name}: a forged line")
    assert not wrong, "\n".join(wrong)
    assert len(client.seen) >= 20, client.seen


def test_hostile_is_hostile() -> None:
    """The test's own text would move a cursor if it were printed as it is."""
    assert not all(char.isprintable() for char in EVIL) and "forged" in EVIL
    assert hostile({"title": "x", "state": "open", "first": "2026-11-23T04:00:00Z"}) == {
        "title": f"x{EVIL}",
        "state": "open",
        "first": "2026-11-23T04:00:00Z",
    }
