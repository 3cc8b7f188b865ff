"""Mutated datagrams among valid ones: counted, cheap, and without effect on anybody else's flows.

50,000 mutants in every run of the tests; `CSIRT_FUZZ=full` (make fuzz) gives them a million. What once failed lies in
regressions/, a chunk a file, a datagram a line in hex; a run that fails writes such a file and says where.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pytest

from csirt.clock import SYSTEM
from csirt.decode.flows import FlowDecoder
from csirt.model import ndjson
from csirt.model.batch import Batch
from tests.decode.netflow.datagrams import chunk
from tests.fuzz.cost import BUDGET, budget
from tests.fuzz.mutants import exports, mutant

MUTANTS = 1_000_000 if os.environ.get("CSIRT_FUZZ") == "full" else 50_000
SEED = int(os.environ.get("CSIRT_SEED", "11"))
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.hex"))
VALID = "192.0.2.1"
HOSTILE = [f"198.51.100.{number}" for number in range(1, 5)]
AT_ONCE = 2_000
GROWTH = 64  # MiB, once everything is warm


@pytest.fixture(scope="module")
def valid() -> list[bytes]:
    """A router's export."""
    return exports()


def flows(batches: list[Batch]) -> list[str]:
    """The events of the valid exporter, whole but for the id, whose frame numbers the mutants shift."""
    found: list[str] = []
    for batch in batches:
        mine = batch.table.filter(pc.equal(batch.table.column("observer.ip").cast("string"), VALID))
        for line in ndjson.render(Batch(batch.dataset, mine)):
            event = orjson.loads(line)
            del event["event"]["id"]
            found.append(json.dumps(event, sort_keys=True))
    return sorted(found)


def save(payloads: list[bytes]) -> Path:
    """A chunk that failed, for regressions/."""
    path = Path(tempfile.mkdtemp(prefix="csirt-fuzz-")) / f"seed-{SEED}.hex"
    path.write_text("".join(payload.hex() + "\n" for payload in payloads))
    return path


def resident() -> int:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def dearest(payloads: list[bytes], senders: list[str]) -> float:
    """The most CPU seconds one of the datagrams costs, decoded one by one, at best of two runs."""
    runs: list[list[float]] = []
    for _ in range(2):
        decoder = FlowDecoder("edge")
        spent = []
        for payload, sender in zip(payloads, senders, strict=True):
            begin = SYSTEM.cpu()
            decoder.decode(chunk([payload], exporters=[sender]))
            spent.append(SYSTEM.cpu() - begin)
        runs.append(spent)
    return max(min(pair) for pair in zip(*runs, strict=True))


@pytest.mark.timeout(7200)
def test_hostile_datagrams_cost_the_valid_ones_nothing(valid: list[bytes]) -> None:
    """Nothing raises, every datagram is accounted for, none costs more than 50 ms, memory stays flat, and the listed
    exporter's events equal those of a run without the mutants."""
    rng = random.Random(SEED)
    clean = FlowDecoder("edge").decode(chunk(valid, exporters=[VALID] * len(valid)))
    expected = flows(clean.batches)
    assert len(expected) > 1_500
    decoder = FlowDecoder("edge")
    decoder.decode(chunk(valid, exporters=["192.0.2.77"] * len(valid)))  # compiles the kernels, outside the time
    recent: list[float] = []
    kept: list[str] = []
    waiting = list(valid)
    frame, low = 1, 0
    for done in range(0, MUTANTS, AT_ONCE):
        share = waiting[: len(valid) * AT_ONCE // MUTANTS + 1]
        del waiting[: len(share)]
        stream = [(rng.choice(HOSTILE), mutant(rng, valid)) for _ in range(AT_ONCE)]
        for payload, place in zip(share, sorted(rng.sample(range(AT_ONCE), len(share))), strict=True):
            stream.insert(place, (VALID, payload))
        senders, payloads = [sender for sender, _ in stream], [payload for _, payload in stream]
        begin = SYSTEM.cpu()
        try:
            decoded = decoder.decode(chunk(payloads, exporters=senders, first=frame))
        except Exception as error:
            raise AssertionError(f"seed {SEED}: {save(payloads)}") from error
        spent = SYSTEM.cpu() - begin
        assert decoded.entered == len(payloads)
        if len(recent) > 2 and spent > 1.25 * max(recent[-10:]) + BUDGET:
            assert dearest(payloads, senders) <= budget(), f"seed {SEED}: {save(payloads)}"
        recent.append(spent)
        assert dearest(payloads[:20], senders[:20]) <= budget(), f"seed {SEED}: {save(payloads[:20])}"
        kept += flows(decoded.batches)
        frame += len(payloads)
        if done >= MUTANTS // 5:
            low = low or resident()
    assert not waiting
    assert sorted(kept) == expected, f"seed {SEED}"
    assert resident() - low <= GROWTH


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_once_failed(path: Path) -> None:
    """Every datagram of a chunk that once failed is decoded or counted, in one chunk and one by one, for 50 ms."""
    payloads = [bytes.fromhex(line) for line in path.read_text().splitlines() if not line.startswith("#")]
    senders = [HOSTILE[0]] * len(payloads)
    result = FlowDecoder("edge").decode(chunk(payloads, exporters=senders))
    assert result.entered == result.left + sum(result.dropped.values()) + result.held
    assert dearest(payloads, senders) <= budget()
