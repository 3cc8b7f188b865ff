"""The demo's network, built and left behind: a real store with cases, plans, a report, events of every kind."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest

from csirt.cli import main
from csirt.cli.common import guarded

SCHEMAS = Path(__file__).parents[1] / "csirt" / "schemas"


@dataclass
class Network:
    """A folder the demo has built."""

    place: Path

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.place / "csirt.toml"

    @property
    def socket(self) -> Path:
        """Its daemon's socket."""
        return self.place / "csirt.sock"

    @property
    def store(self) -> Path:
        """Its store."""
        return self.place / "state" / "store"

    def run(self, *words: str, timeout: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
        """One command as a user types it, off a terminal. `more`: environment."""
        environment = {**os.environ, "CSIRT_CONFIG": "csirt.toml", "XDG_STATE_HOME": str(self.place / "me"), **more}
        return subprocess.run(
            [sys.executable, "-m", "csirt", *words],
            cwd=self.place, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same over the socket and in this process, for tests of what is said and not of how a process ends."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        environment = {"CSIRT_CONFIG": "csirt.toml", "XDG_STATE_HOME": str(self.place / "me")}
        with (
            contextlib.chdir(self.place),
            mock.patch.dict(os.environ, environment),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = guarded(main, list(words))
        out.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.getvalue())

    def json(self, *words: str) -> Any:
        """The document of a command that must succeed."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def copy(factory: pytest.TempPathFactory, name: str) -> Network:
    """A network of one's own, no daemon running: the demo runs once for all tests, here it is copied."""
    base = factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "demo-network"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "built").exists():
            _build(shared / "network")
            (shared / "built").touch()
    place = factory.mktemp(name) / "network"
    shutil.copytree(shared / "network", place, ignore=shutil.ignore_patterns("*.sock"))
    config = place / "csirt.toml"
    text = config.read_text().replace(str(shared / "network"), str(place))
    for old in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", text))):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{_port()}")
    config.write_text(text)
    return Network(place)


def _port() -> int:
    """A loopback port that is free for UDP and TCP: copies run at the same time."""
    with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        stream.bind(("127.0.0.1", 0))
        port = int(stream.getsockname()[1])
        datagram.bind(("127.0.0.1", port))
    return port


def _build(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "csirt", "demo", "--keep", str(place), "--json", "--seconds", "6"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    log = place / "daemon.log"
    assert done.returncode == 0, done.stderr + (log.read_text()[-2_000:] if log.exists() else "")
    validate(json.loads(done.stdout))


@contextlib.contextmanager
def pager(network: Network) -> Iterator[list[bytes]]:
    """The webhook that the network's configuration names, answering again; what it was sent."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)/page", network.config.read_text())
    assert found is not None
    pages: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take the page."""
            pages.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", int(found.group(1))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield pages
    finally:
        server.shutdown()
        server.server_close()


def validate(document: dict[str, Any]) -> None:
    """Raise unless a document is as the schema file it names says."""
    name = document["schema"].removeprefix("csirt.").replace("/", "-")
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text()))
