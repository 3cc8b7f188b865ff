"""A real daemon for tests: started as a user would, on loopback, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from csirt.control.client import SocketClient
from csirt.errors import Unreachable


@contextlib.contextmanager
def daemon(
    config: Path, socket: Path, *, log: Path, environment: dict[str, str] | None = None
) -> Iterator[SocketClient]:
    """Run `csirt run --config`; a client once it answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "csirt", "run", "--config", str(config)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment or dict(os.environ),
        )
    client = SocketClient(str(socket))
    try:
        until(lambda: _answers(client, process), 60, lambda: log.read_text()[-2_000:])
        yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(client: SocketClient, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the daemon ended"
    try:
        client.call("status.show")
    except Unreachable:
        return False
    return True


def until(done: Callable[[], bool], seconds: float, otherwise: Callable[[], object] = lambda: "") -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.1)


def as_user(uid: int, work: Callable[[], str]) -> str:
    """Run `work` in a child that has become another user; what it returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as handle:
        text = handle.read().decode()
    os.waitpid(child, 0)
    return text
