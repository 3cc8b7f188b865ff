"""`csirt bench pipeline` on a tiny corpus: its shape, that all work is done and counted, never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.bench import captures, corpus, pipeline
from csirt.errors import NotFound
from tests import conform

RECORDS = 3_000

RULE = """
title: Flows to port 443
id: 5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a11
status: test
level: low
logsource: {product: csirt, service: flow}
detection:
  selection: {destination.port: 443}
  condition: selection
"""


def bench(runs: int, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `csirt bench pipeline --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "csirt", "bench", "pipeline", "--json", "--runs", str(runs), *words],
        capture_output=True,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_every_run_does_the_work_of_a_plain_replay() -> None:
    """The document has its schema; all flows are counted; each run ends in the store of an unmeasured replay; a floor
    that so few records cannot reach is exit 1."""
    code, document = bench(2, "--records", str(RECORDS), "--seed", "5")
    conform.check(document)
    result = document["results"][0]
    assert document["seed"] == 5 and result["name"] == "pipeline"
    assert 0.9 * RECORDS < result["flows"] <= RECORDS
    assert len(result["ours"]["cpu_s"]) == len(result["ours"]["wall_s"]) == len(result["ours"]["rss_mib"]) == 2
    assert result["equal_work"] and result["ours"]["digest"] == result["unmeasured_digest"]
    assert {"sources", "decode", "enrich", "biflow", "detect", "stores", "correlate", "other"} == result["share"].keys()
    assert abs(sum(result["share"].values()) - 1) < 0.01
    assert result["pass"] is False and code == 1


@pytest.mark.timeout(300)
def test_given_captures_and_rules(tmp_path: Path) -> None:
    """A folder of captures without a register, and another folder of rules instead of the shipped ones."""
    corpus.write(tmp_path / "captures", seed=2, records=RECORDS)
    (tmp_path / "captures" / "register.yml").unlink()
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "https.yml").write_text(RULE)
    given = ["--corpus", str(tmp_path / "captures"), "--rules", str(tmp_path / "rules")]
    alone = bench(1, *given, "--only-rules")[1]["results"][0]
    assert alone["rules"] == 1 and alone["refused_rules"] == 0 and alone["alerts"] > 0 and alone["equal_work"]


def test_a_corpus_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Captures and register depend on the seed alone."""
    one, other, third = (
        [path.read_bytes() for path in corpus.write(tmp_path / name, seed=seed, records=RECORDS)]
        for name, seed in (("one", 1), ("other", 1), ("third", 2))
    )
    assert one == other != third


def test_what_a_corpus_folder_gives(tmp_path: Path) -> None:
    """Captures by name, the register beside them, nothing else; a folder without captures is refused."""
    for name in ("b.pcapng", "a.pcap", "manifest.json", "register.yml"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in captures.paths(tmp_path)] == ["a.pcap", "b.pcapng"]
    text = pipeline.configuration(tmp_path / "work", tmp_path, pipeline.Task(shipped=False)).read_text()
    assert "register.yml" in text and "shipped = false" in text
    with pytest.raises(NotFound):
        captures.paths(tmp_path / "work")
