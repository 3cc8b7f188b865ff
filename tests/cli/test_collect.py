"""`csirt collect`: a receiver alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csirt.cli import main
from csirt.cli.common import guarded


def _start(tmp_path: Path, *arguments: str) -> tuple[subprocess.Popen[str], tuple[str, int]]:
    (tmp_path / "csirt.toml").write_text(f'state = "{tmp_path}"\n')
    command = [sys.executable, "-m", "csirt", "collect", *arguments, "--config", str(tmp_path / "csirt.toml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline, found = time.monotonic() + 30, {}
    while not found:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
        for path in (tmp_path / "spool").glob("*/stats*.json"):
            found = json.loads(path.read_text())
    host, _, port = found["listen"][0].rpartition(" ")[2].rpartition(":")
    return process, (host, int(port))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_syslog_until_sigterm(tmp_path: Path, transport: str) -> None:
    """Messages are spooled, SIGTERM ends it with 0, and the counters are one JSON document."""
    options = ["--listen", "127.0.0.1:0", "--transport", transport, "--json"]
    process, address = _start(tmp_path, "syslog", "--source", "relay", *options)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as sender:
        sender.connect(address)
        sender.sendall(b"<13>hello\n")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    document = json.loads(out)
    assert process.returncode == 0 and document["schema"] == "csirt.collect-stats/1"
    assert (document["received"], document["spooled"], document["source"]) == (1, 1, "relay")
    (segment,) = (tmp_path / "spool/relay").glob("*.frames")
    assert segment.read_bytes().endswith(b"<13>hello") and segment.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_ends_it_with_its_own_code(tmp_path: Path) -> None:
    """When the kernel refuses a sync the collector says so and exits with 74, for systemd to start it again."""
    if not Path("/usr/bin/strace").exists():
        pytest.skip("strace is not installed")
    process, address = _start(tmp_path, "netflow", "--source", "edge", "--listen", "127.0.0.1:0")
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-p", str(process.pid)],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(1)
    if tracer.poll() is not None:
        process.kill()
        process.communicate()
        pytest.skip("strace may not attach here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", address)
    sent = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    tracer.wait(10)
    assert process.returncode == 74 and "Input/output error" in err and "check the disk" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["netflow", "--source", "edge"], "nothing says where to listen"),
        (["netflow", "--source", "../etc", "--listen", "127.0.0.1:0"], "is no source id"),
        (["syslog", "--source", "relay", "--listen", "5514"], "write ADDRESS:PORT"),
        (["netflow", "--source", "edge", "--listen", "127.0.0.1:0", "--transport", "tls"], "tls needs `certificate`"),
        (
            ["netflow", "--source", "e", "--listen", ":0", "--transport", "tcp", "--workers", "2"],
            "only netflow over udp",
        ),
    ],
)
def test_usage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """What is missing or wrong is said with the next step, exit 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "csirt.toml").write_text(f'state = "{tmp_path / "state"}"\n')
    assert guarded(main, ["collect", *arguments]) == 2
    assert message in capsys.readouterr().err and os.listdir(tmp_path) == ["csirt.toml"]


@pytest.mark.parametrize(("key", "level"), [("/nowhere/edge.key", "error"), ("edge.key", "warning")])
def test_check_names_a_file_that_tls_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, level: str
) -> None:
    """`csirt check` says which file will not do before a start does; what may be a credential, which only the unit can
    read, is no error."""
    file = tmp_path / "csirt.toml"
    (tmp_path / "edge.pem").write_text("")
    file.write_text(
        f'state = "{tmp_path}"\n[[sources]]\nid = "edge"\ntype = "netflow"\n[[collect.listeners]]\nsource = "edge"\n'
        f'kind = "netflow"\nlisten = "127.0.0.1:0"\ntransport = "tls"\ncertificate = "{tmp_path}/edge.pem"\n'
        f'key = "{key}"\n'
    )
    assert guarded(main, ["check", "--config", str(file)]) == (1 if level == "error" else 0)
    assert f"{level}: collect.listeners edge: {key}: cannot be read: No such file" in capsys.readouterr().out


def test_the_configuration_says_where(tmp_path: Path) -> None:
    """Without --listen the source's listener in the configuration is opened."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "csirt.toml").write_text(
        f'state = "{tmp_path}"\n[[sources]]\nid = "edge"\ntype = "netflow"\n'
        f'[[collect.listeners]]\nsource = "edge"\nkind = "netflow"\nlisten = "127.0.0.1:{port}"\n'
    )
    command = [sys.executable, "-m", "csirt", "collect", "netflow", "--source", "edge"]
    process = subprocess.Popen([*command, "--config", str(tmp_path / "csirt.toml")], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert f"receiving netflow on udp 127.0.0.1:{port}" in process.stderr.readline()
    process.terminate()
    assert process.wait(20) == 0
