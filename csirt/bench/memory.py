"""Whether memory grows: many passes over one corpus, and many broken datagrams, in one process each.

The resident set after the fifth pass, when everything has been loaded once, is compared with that after the last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from csirt.bench import exports, pairs, process

MOST_MIB = 64
PASSES, EARLY = 100, 5
MUTANTS = 1_000_000


def run(work: Path, *, seed: int, records: int, passes: int = PASSES, mutants: int = MUTANTS) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`: `memory-passes`, `memory-mutants`."""
    exports.write(work / "corpus", seed=seed, records=records, kinds=("v5", "v9", "ipfix"))
    exports.write(work / "small", seed=seed, records=20_000, kinds=("v5", "v9", "ipfix"))
    found: list[dict[str, Any]] = []
    for name, folder, count in (("passes", "corpus", passes), ("mutants", "small", mutants)):
        words = [sys.executable, "-m", "csirt.bench.memory_child", name, str(work / folder), str(count), str(seed)]
        spent = process.run(words, environment=process.environment(work))
        said = json.loads(spent.output)
        grown = said["late_mib"] - said["early_mib"]
        work_done = {key: said[key] for key in ("datagrams", "records")}
        ours = {"wall_s": [round(spent.wall_s, 2)], "cpu_s": [round(spent.cpu_s, 2)], "median": grown}
        found.append(
            {
                "name": f"memory-{name}",
                "unit": "MiB grown",
                "ours": {**ours, "digest": pairs.digest(work_done), "work": work_done, "rss_mib": [spent.rss_mib]},
                **dict.fromkeys(("peer", "ratio", "ratio_min")),
                "floor": MOST_MIB,
                "equal_work": True,
                "pass": grown <= MOST_MIB,
                "early_mib": said["early_mib"],
                "late_mib": said["late_mib"],
            }
        )
    return found
