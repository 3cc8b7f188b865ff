"""The daemon with a cluster: it works while the cluster is away, says so, and is killed without a loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.control.client import SocketClient
from csirt.errors import Unreachable
from tests.demonet import Network, copy
from tests.elastic import desk, proxy
from tests.live import daemon, until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The demo's network, with cases, plans and a report, from before there was a cluster."""
    return copy(tmp_path_factory, "elastic")


def follow(network: Network, url: str, prefix: str) -> None:
    """Let a cluster follow its store."""
    text = network.config.read_text()
    assert text.count("\n[stores]\n") == 1
    kind = '\n[stores]\nkind = "elasticsearch"\n'
    section = f'[stores.elasticsearch]\nurls = ["{url}"]\nprefix = "{prefix}"\ntimeout = "5s"\n'
    network.config.write_text(text.replace("\n[stores]\n", kind) + section)


def counts(network: Network, *more: str, config: str = "csirt.toml") -> dict[str, Any]:
    """The dump's counts and digest."""
    done = network.run("store", "dump", "--canonical", "--counts", "--json", *more, CSIRT_CONFIG=config)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_work_goes_on_without_the_cluster(network: Network, elasticsearch: str, installed: str, tmp_path: Path) -> None:
    """Away from the start: status says so (exit 6), an analyst's note is kept, SIGKILL loses nothing; when the cluster
    is there, it has the store as it is in the folder."""
    desk.empty(elasticsearch, installed)
    with proxy.before(elasticsearch) as bad:
        bad.mode = "away"
        alone = network.place / "alone.toml"  # as before there was a cluster: the folder, and nothing else
        alone.write_text(network.config.read_text())
        follow(network, bad.url, installed)
        kill_at_work(network, tmp_path / "log")
        bad.mode = "well"
        with daemon(network.config, network.socket, log=tmp_path / "log") as client:
            until(lambda: not client.call("status.show")["cluster"]["waiting"], 60)
            assert network.run("status", "--check").returncode != 6
            held = counts(network)["counts"]
            assert held["case"] > 0 and held["event"] > 0
            case = network.json("cases", "list")["items"][0]
            assert case["notes"] == 1
    store = "--store", str(network.store)
    assert counts(network, *store) == counts(network, *store, config="alone.toml")


def kill_at_work(network: Network, log: Path) -> None:
    """A daemon whose cluster is away, with a person at work, killed."""
    with log.open("ab") as output:
        command = [sys.executable, "-m", "csirt", "run", "--config", str(network.config)]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ))
    try:
        client = SocketClient(str(network.socket))
        until(lambda: troubled(client), 60, lambda: log.read_text()[-2_000:])
        done = network.run("status", "--check", "--json")
        assert done.returncode == 6, done.stderr
        (said,) = [item for item in json.loads(done.stdout)["warnings"] if item["what"] == "cluster"]
        assert "cannot be reached" in said["reason"] and said["count"] > 0
        case = network.json("cases", "list")["items"][0]["number"]
        assert network.run("cases", "note", case, "-m", "still at work").returncode == 0
        assert network.run("store", "dump", "--canonical", "--counts").returncode == 6
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def troubled(client: SocketClient) -> bool:
    """Whether the daemon runs and says that the cluster is away."""
    try:
        return bool(client.call("status.show")["cluster"]["trouble"])
    except Unreachable:
        return False
