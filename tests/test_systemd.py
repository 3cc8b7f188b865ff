"""What systemd and a service say to each other, and the collectors' units."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csirt import systemd

UNITS = Path(__file__).parents[1] / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """The state arrives at the manager's socket, whether a path or an abstract name."""
    name = f"@csirt-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert systemd.notify("READY=1\nSTATUS=ok")
        assert manager.recv(100) == b"READY=1\nSTATUS=ok"


def test_without_a_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, or a dead one, is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    assert not systemd.notify("READY=1")


def test_the_watchdog_interval_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings come at twice the rate the unit asks for; another process's watchdog is not ours."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval() is None


def test_sockets_meant_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID decides, and the variables are gone afterwards."""
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd.listen_fds() == [] and "LISTEN_FDS" not in os.environ


def test_a_collector_takes_the_units_socket(tmp_path: Path) -> None:
    """Started as a socket unit starts it, it receives on the socket handed over, also what arrived before it ran; it
    says READY, and STATUS when it is asked to stop; the handed socket outlives it."""
    (tmp_path / "csirt.toml").write_text(f'state = "{tmp_path}"\n')
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        handed.bind(("127.0.0.1", 0))
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        sender.sendto(b"early", handed.getsockname())
        script = (
            f"import os; os.dup2({handed.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid());"
            f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'csirt', 'collect', 'netflow', '--source', 'edge'"
            ","
            f" '--config', {str(tmp_path / 'csirt.toml')!r}])"
        )
        environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = subprocess.Popen(
            [sys.executable, "-c", script], pass_fds=[handed.fileno(), *([3] if handed.fileno() == 3 else [])],
            env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ready = manager.recv(1000)
        assert ready.startswith(b"READY=1\nSTATUS=udp 127.0.0.1:")
        sender.sendto(b"late", handed.getsockname())
        time.sleep(0.2)
        process.terminate()
        assert process.wait(20) == 0
        said = [manager.recv(1000)]
        while said[-1].startswith(b"WATCHDOG=1\nSTATUS="):
            said.append(manager.recv(1000))
        assert said[-1] == b"STOPPING=1"
        (segment,) = (tmp_path / "spool/edge").glob("*.pcapng")
        raw = segment.read_bytes()
        assert b"early" in raw and b"late" in raw
        sender.sendto(b"kept for the next start", handed.getsockname())
        handed.settimeout(5)
        assert handed.recv(100) == b"kept for the next start"


@needs_systemd
@pytest.mark.parametrize("kind", ["netflow", "syslog"])
def test_collector_units(tmp_path: Path, kind: str) -> None:
    """The units are well formed, and their exposure is at most 2.0."""
    for path in UNITS.glob("csirt-collect-*"):
        text = path.read_text().replace("/usr/bin/csirt", sys.executable)
        (tmp_path / path.name).write_text(text)
    unit = tmp_path / f"csirt-collect-{kind}.service"
    command = ["systemd-analyze", "verify", str(unit), str(unit.with_suffix(".socket"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    level = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert done.returncode == 0 and level is not None and float(level[1]) <= 2.0, done.stdout[-300:]
