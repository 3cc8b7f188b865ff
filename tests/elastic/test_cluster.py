"""The harness starts what it says: a real server of the version, on loopback only."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.elastic import cluster

pytestmark = pytest.mark.timeout(600)  # the first use fetches and lays out the server


def test_the_server_is_real_and_on_loopback_only(elasticsearch: str) -> None:
    """It says its version, and does not listen on the machine's other addresses."""
    with urllib.request.urlopen(elasticsearch) as answer:
        assert json.load(answer)["version"]["number"] == cluster.VERSION
    port = int(elasticsearch.rpartition(":")[2])
    listening = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    mine = [row[1].split(":")[0] for row in listening[1:] if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert mine in (["0100007F"], ["0000000000000000FFFF00000100007F"])
