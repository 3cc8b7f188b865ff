"""One long-running decoder: `python -m csirt.bench.memory_child passes|mutants FOLDER COUNT SEED`; JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from csirt.bench import captures
from csirt.bench.memory import EARLY
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.heap import prepare
from csirt.model.batch import Array
from csirt.model.chunk import Chunk, Datagrams

CHUNK = 2_000
STEPS = 20  # of the mutants, the fifth of which is the early one


def main() -> None:
    """Run, and say {early_mib, late_mib, datagrams, records}."""
    prepare()
    kind, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    paths = captures.paths(folder)
    decoder = NetflowDecoder("memory")
    rng = np.random.default_rng(seed)
    early = datagrams = records = turn = 0
    steps = count if kind == "passes" else STEPS
    for step in range(steps):
        target = count * (step + 1) // steps
        while (turn if kind == "passes" else datagrams) < target:
            turn += 1
            for path in paths:
                for chunk, data in captures.chunks(path, CHUNK):
                    given = chunk if kind == "passes" else _mutated(chunk, data, rng)
                    datagrams += len(data.offset)
                    records += sum(batch.rows for batch in decoder.decode(given).batches)
        if step + 1 == min(EARLY, steps):
            early = resident()
    document = {"early_mib": early, "late_mib": resident(), "datagrams": datagrams, "records": records}
    sys.stdout.write(json.dumps(document))


def _mutated(chunk: Chunk, data: Datagrams, rng: np.random.Generator) -> Chunk:
    """Bits flipped, lengths wrong, exporters and domains that nobody has seen, in every datagram."""
    buffer: Array = data.buffer.copy()
    count = len(data.offset)
    for _ in range(3):
        at = data.offset + rng.integers(0, np.maximum(data.length, 1))
        buffer[at] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    cut = rng.random(count) < 0.1
    length = np.where(cut, data.length * rng.integers(0, 100, count) // 100, data.length)
    low = data.low ^ rng.integers(0, 1 << 20, count, dtype=np.uint64)
    changed = Datagrams(
        buffer, data.offset, length, data.frame, data.time, data.family, data.high, low, data.port
    )  # fmt: skip
    return Chunk(chunk.source, chunk.fingerprint, chunk.segment, chunk.start, chunk.end, changed)


def resident() -> int:
    """The resident set now, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
