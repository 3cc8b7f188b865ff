"""`csirt bench elastic` on tiny inputs: that all is counted and compared, never how fast."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from csirt.bench import elastic
from csirt.cli import main
from csirt.cli.common import guarded
from tests import conform
from tests.elastic import cluster

pytestmark = pytest.mark.timeout(600)


def test_every_result_counts_what_arrived(elasticsearch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four results: all of it is in the cluster, both sides did the same, and nothing of the run is left there."""
    monkeypatch.setattr(elastic, "SETTINGS", [(2, 500)])
    monkeypatch.setattr(elastic, "FEW", 30)
    results = elastic.run(tmp_path, elastic.Task(elasticsearch, runs=1, documents=400, alerts=200, cases=40))
    machine = {"cpu": "", "cores": 1, "load1": 0.0}
    conform.check({"schema": "csirt.bench/1", "commit": "", "seed": 1, "machine": machine, "results": results})
    assert [entry["name"] for entry in results] == list(elastic.NAMES)
    assert all(entry["equal_work"] and entry["ratio"] > 0 for entry in results)
    assert results[0]["ours"]["work"] == results[0]["peer"]["work"] == {"documents": 400, "whole": True}
    for entry, cases in zip(results[1:3], (0, 20), strict=True):
        done = entry["ours"]["work"]
        assert (done["whole"], done["alert"], done["incident"], done["case"]) == (True, 200, 20, cases)
    assert results[3]["ours"]["work"] == {"whole": True, "shown": 25}
    with urllib.request.urlopen(f"{elasticsearch}/csirt-bench-*") as answer:
        assert json.load(answer) == {}


def test_without_a_server_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 6 and a sentence."""
    code = guarded(main, ["bench", "elastic", "--url", f"http://127.0.0.1:{cluster.free_port()}"])
    assert code == 6 and "cannot be reached" in capsys.readouterr().err
