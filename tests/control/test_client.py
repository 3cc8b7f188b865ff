"""The caller's side of the socket."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from csirt.control.client import SocketClient
from csirt.errors import Unreachable


def serve(path: Path, answer: bytes) -> None:
    """A daemon that answers one request with these bytes and goes away."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def work() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            lines.readline()
            connection.sendall(answer)
        server.close()

    threading.Thread(target=work, daemon=True).start()


def test_without_a_daemon_the_next_step_is_named(tmp_path: Path) -> None:
    """Nobody there is exit code 6, with what to do."""
    with pytest.raises(Unreachable, match="csirt run"):
        SocketClient(str(tmp_path / "none.sock")).call("status.show")


@pytest.mark.parametrize("answer", [b"", b'{"ok": [1, 2'])
def test_a_daemon_that_dies_in_mid_answer_is_unreachable(tmp_path: Path, answer: bytes) -> None:
    """Half an answer is none."""
    serve(tmp_path / "s", answer)
    with pytest.raises(Unreachable, match="before the end"):
        SocketClient(str(tmp_path / "s")).call("status.show")


def test_a_stream_without_its_end_is_said(tmp_path: Path) -> None:
    """Items that came are given; a missing end is an error, never a short list."""
    serve(tmp_path / "s", b'{"item": 1}\n{"item": ')
    found: list[object] = []
    with pytest.raises(Unreachable, match="before the end"):
        found.extend(SocketClient(str(tmp_path / "s")).stream("alerts.follow"))
    serve(tmp_path / "t", b'{"item": 1}\n{"end": 1}\n')
    assert list(SocketClient(str(tmp_path / "t")).stream("alerts.follow")) == [1]


def test_a_daemon_that_answers_no_more_is_unreachable(tmp_path: Path) -> None:
    """A connection that is cut, and one on which nothing comes in time: exit code 6, never a traceback."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(tmp_path / "s"))
    server.listen()

    def cut() -> None:
        connection, _ = server.accept()
        connection.close()  # the request is unread: the caller's end is reset

    threading.Thread(target=cut, daemon=True).start()
    with pytest.raises(Unreachable):
        SocketClient(str(tmp_path / "s")).call("status.show", text="x" * 1_000_000)
    with pytest.raises(Unreachable, match="not known"):
        SocketClient(str(tmp_path / "s"), timeout=0.1).call("status.show")
    server.close()
