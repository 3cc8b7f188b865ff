"""`csirt bench live`: a real daemon, its receiver and a paced exporter; that all is counted, never how fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.bench import corpus, live
from tests import conform


@pytest.mark.timeout(180)
def test_everything_sent_is_stored(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A thousand records a second for two seconds: each is stored, and the result has the shape of every benchmark."""
    work = tmp_path_factory.mktemp("b")
    result = live.run(work, seed=3, rate=1_000, seconds=2)
    assert result[0]["stored"] == result[0]["sent"] > 1_500 and result[0]["equal_work"]
    machine = {"cpu": "", "cores": 1, "load1": 0.0}
    conform.check({"schema": "csirt.bench/1", "commit": "", "seed": 3, "machine": machine, "results": result})


def test_datagrams_end_in_the_time_asked_for(tmp_path: Path) -> None:
    """One sequence, templates first, export times that rise from the start over the seconds given."""
    payloads = corpus.datagrams(seed=1, records=2_400, start=1_800_000_000, seconds=10)
    times = [int.from_bytes(payload[8:12], "big") for payload in payloads[4:]]
    assert times == sorted(times) and times[0] >= 1_800_000_000 and times[-1] <= 1_800_000_011
    assert [int.from_bytes(payload[12:16], "big") for payload in payloads] == list(range(len(payloads)))
    assert sum(int.from_bytes(payload[2:4], "big") for payload in payloads[4:]) == 2_400
