"""Troubles of a cluster are one sentence each with the next step, in `csirt check`, exit 6: told
by a real server in that trouble, but for the wrong version."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from csirt.stores.base import Commit
from tests.elastic import cluster, desk
from tests.elastic.test_commands import Desk
from tests.live import until
from tests.stores import build

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def at(tmp_path: Path, elasticsearch: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A desk whose cluster is well."""
    desk.install(elasticsearch, prefix)
    return Desk(tmp_path, elasticsearch, prefix, capsys)


def said(at: Desk) -> str:
    """What check says of the cluster: one sentence, exit 6."""
    code, document = at.json("check")
    assert code == 6, document
    message = str(document["items"][-1]["message"])
    assert "\n" not in message and ";" in message, message
    return message


def test_unreachable(at: Desk, prefix: str) -> None:
    """Nobody listens."""
    at.name(f"http://127.0.0.1:{cluster.free_port()}", prefix)
    assert "cannot be reached" in said(at) and "see that its nodes run" in said(at)


@pytest.mark.parametrize(
    ("block", "why"),
    [("write", "a disk is full or somebody set a block"), ("read_only_allow_delete", "a disk is full")],
)
def test_read_only(at: Desk, elasticsearch: str, prefix: str, tmp_path: Path, block: str, why: str) -> None:
    """Somebody set a block, or the cluster did, as at the flood stage of a full disk; when it is taken away, everything
    that waited arrives."""
    index = f"{prefix}-alert-000001"
    put(elasticsearch, f"/{index}/_settings", {f"index.blocks.{block}": True})
    sentence = said(at)
    assert f"is read-only ({index}): {why}" in sentence and "give its nodes room" in sentence
    assert "then take index.blocks away" in sentence
    with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
        store.commit(Commit(alerts=[build.alert("a")]))
        until(lambda: "is read-only" in store.cluster()["trouble"], 30)
        put(elasticsearch, f"/{index}/_settings", {f"index.blocks.{block}": None})
        store.shipper.settle(desk.SECONDS, patient=True)
        until(lambda: store.cluster()["trouble"] == "", 5)
    assert at.run("check")[0] == 0


def test_red(at: Desk, elasticsearch: str, prefix: str) -> None:
    """An index has a shard that no node may hold, as when the node that held its only copy is gone."""
    index = f"{prefix}-case-000002"
    nowhere = {"settings": {"index.routing.allocation.require._name": "gone"}}
    put(elasticsearch, f"/{index}?wait_for_active_shards=0", nowhere)
    assert f"is red: {index} has a shard without a copy" in said(at) and "bring back the node" in said(at)
    put(elasticsearch, f"/{index}/_settings", {"index.routing.allocation.require._name": None})
    until(lambda: at.run("check")[0] == 0, 30)


def test_wrong_version(at: Desk, prefix: str) -> None:
    """An old cluster."""
    with old("7.17.29") as url:
        at.name(url, prefix)
        assert "has version 7.17.29" in said(at) and "upgrade it" in said(at)


def put(url: str, path: str, body: Any) -> None:
    """Make an index, or change a setting."""
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers, method="PUT")):
        pass


@contextmanager
def old(version: str) -> Iterator[str]:
    """A stand-in that says it is that version."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = json.dumps({"version": {"number": version}, "tagline": "You Know, for Search"}).encode()
            self.send_response(200)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
