"""`csirt bench quiet`: a week without incidents."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.bench import week
from tests import conform

LOUD = """
title: Any answer of the portal
id: 5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a12
status: test
level: low
logsource: {product: csirt, service: flow}
detection:
  selection: {source.port: 443}
  condition: selection
"""


def bench(*words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the one result of `csirt bench quiet --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "csirt", "bench", "quiet", "--json", "--records", "3000", *words],
        capture_output=True,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    document = json.loads(done.stdout)
    conform.check(document)
    return done.returncode, document["results"][0]


@pytest.mark.timeout(300)
def test_a_quiet_week_gives_no_alert() -> None:
    """The shipped rules see the week's small faults and alert of none; how often each matches a day is said."""
    code, result = bench()
    assert (code, result["alerts"], result["pass"]) == (0, 0, True)
    assert 6 < result["days"] <= 7.1 and result["flows"] > 3_000
    found = {item["title"]: item["hits"] for item in result["found"]}
    assert found["NET-07 Unanswered Connection Attempt Towards Another Member"] >= 600 / 7


@pytest.mark.timeout(300)
def test_a_rule_that_alerts_too_often_is_a_failure(tmp_path: Path) -> None:
    """An alert for every answer of a service: exit 1, and which rule it was."""
    (tmp_path / "loud.yml").write_text(LOUD)
    code, result = bench("--only-rules", "--rules", str(tmp_path))
    assert code == 1 and result["pass"] is False and result["alerts"] > 14
    assert [item["title"] for item in result["found"]] == ["Any answer of the portal"]


def test_the_same_seed_is_the_same_week(tmp_path: Path) -> None:
    """Weeks can be compared: only the seed decides."""
    weeks = [[path.read_bytes() for path in week.write(tmp_path / name, seed=seed, records=2_000)]
             for name, seed in (("a", 1), ("b", 1), ("c", 2))]  # fmt: skip
    assert weeks[0] == weeks[1] != weeks[2]
