"""How much of what is sent is in memory at once, and what a request is made of: no server is needed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.config import ElasticCluster
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.bulk import START, Bulk
from csirt.stores.elastic.outbox import Waiting
from tests.live import until

COUNT, SIZE = 240, 64 * 1024  # documents of fifteen requests


class Cluster:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.bodies: list[bytes] = []

    def bulk(self, operations: bytes, filter_path: str) -> Any:
        """One request."""
        self.bodies.append(operations)
        assert self.gate.wait(60)
        return SimpleNamespace(body={"errors": False, "items": [{}] * operations.count(b"\n")})


def test_requests_are_made_when_their_turn_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the cluster is slow, no more is made of the documents that wait than is under way and one request more; in
    the end each was sent once."""
    made: list[str] = []

    def action(config: Any, kind: str, key: str, version: int, text: str | None) -> bytes:
        made.append(key)
        return f"{key}:{text}".encode()

    monkeypatch.setattr(layout, "action", action)
    cluster, config = Cluster(), ElasticCluster(in_flight=2)
    bulk = Bulk(cluster, config, threading.Event())  # type: ignore[arg-type]
    documents = [Waiting("alert", f"{number:04}", 1, 1, "x" * SIZE) for number in range(COUNT)]
    sending = threading.Thread(target=bulk.send, args=(documents,))
    sending.start()
    until(lambda: len(cluster.bodies) == config.in_flight, 30)
    sending.join(0.3)
    assert sending.is_alive()
    assert len(made) <= (config.in_flight + 2) * START // SIZE
    cluster.gate.set()
    sending.join(60)
    bulk.close()
    assert len(cluster.bodies) > COUNT * SIZE // START
    sent = sorted(line[:4].decode() for body in cluster.bodies for line in body.splitlines())
    assert sent == made == [one.key for one in documents]


def test_encoded_lines_go_as_they_are() -> None:
    """The client copies no request that is made already, and still ends the lines of any other."""
    with connect.client(ElasticCluster(urls=["http://127.0.0.1:9"])) as client:
        dumps = client.transport.serializers.dumps
        for kind in ("application/x-ndjson", "application/vnd.elasticsearch+x-ndjson"):
            lines = b'{"create":{}}\n{}\n'
            assert dumps(lines, mimetype=kind) is lines
            assert dumps(b"{}", mimetype=kind) == dumps([{}], mimetype=kind) == b"{}\n"
