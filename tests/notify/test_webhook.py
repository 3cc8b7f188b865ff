"""Webhooks over real HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from csirt.notify import webhook
from tests.notify.fakes import WebServer, running


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A pager."""
    with running(WebServer()) as web:
        yield web


def test_posts_json_with_its_key(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One POST with the document and the idempotency key, whatever proxies the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert webhook.send(server.url + "?a=b", {"subject": "æ\ud800"}, key="k1", timeout=5).state == "sent"
    ((path, headers, document),) = server.posts
    assert path == "/page?a=b"
    assert headers["Idempotency-Key"] == "k1"
    assert document == {"subject": "æ\ud800"}


@pytest.mark.parametrize(
    ("status", "state"),
    [(204, "sent"), (302, "failed"), (400, "failed"), (404, "failed"), (408, "retry"), (429, "retry"), (503, "retry")],
)
def test_answers(server: WebServer, status: int, state: str) -> None:
    """2xx is sent; 408, 425, 429 and 5xx are for later; a redirect is not followed."""
    server.status = status
    server.headers = {"Location": server.url + "/elsewhere"}
    outcome = webhook.send(server.url, {}, key="k", timeout=5)
    assert outcome.state == state and not outcome.endpoint_down
    assert len(server.posts) == 1


def test_nobody_there_and_not_a_url() -> None:
    """A closed port, a silent server and a certificate that is none are for later; other schemes never work."""
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        port = quiet.getsockname()[1]
        assert webhook.send(f"http://127.0.0.1:{port}/", {}, key="k", timeout=0.3).endpoint_down
        quiet.listen(1)
        assert webhook.send(f"http://127.0.0.1:{port}/", {}, key="k", timeout=0.3).state == "retry"
        assert webhook.send(f"https://127.0.0.1:{port}/", {}, key="k", timeout=0.3).state == "retry"
    for url in ("file:///etc/hosts", "http://", "x", "http://127.0.0.1:99999/"):
        assert webhook.send(url, {}, key="k", timeout=0.3).state in ("failed", "retry")
    assert webhook.send("file:///etc/hosts", {}, key="k", timeout=0.3).state == "failed"
