"""`csirt bench quiet`: what the rules find in a week in which nothing happens, hits and alerts a day.

The week is generated (`week.py`), or a folder of captures and a register of one's own; it is replayed as
`csirt replay` does, and every rule is then held against the events that were stored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from csirt.bench import captures, pipeline, process, week
from csirt.clock import DAY

FLOOR = 2.0  # alerts a day, of all rules together


def run(work: Path, task: pipeline.Task) -> list[dict[str, Any]]:
    """The one result of `csirt.bench/1`; the task as the pipeline's, run once. Raises NotFound without captures."""
    given = task.given
    paths = captures.paths(given) if given else week.write(work / "corpus", seed=task.seed, records=task.records)
    folder = (given if given.is_dir() else given.parent) if given else work / "corpus"
    config = pipeline.configuration(work, folder, task)
    words = [sys.executable, "-m", "csirt.bench.quiet_child", str(work / "store"), str(config), *map(str, paths)]
    spent = process.run(words, environment=process.environment(work))
    found: dict[str, Any] = json.loads(spent.output)
    days = max((found["last"] - found["first"]) / DAY, 1 / 24)
    total = sum(item["alerts"] for item in found["rules"])
    alerts = total / days
    return [
        {
            "name": "quiet",
            "unit": "alerts a day",
            "floor": FLOOR,
            "pass": alerts <= FLOOR,
            "equal_work": True,
            "ratio": None,
            "ratio_min": None,
            "peer": None,
            "days": round(days, 2),
            "flows": found["flows"],
            "alerts": total,
            "rules": found["loaded"],
            "found": [_a_day(item, days) for item in found["rules"]],
            "ours": {"median": round(alerts, 3), "digest": "", "cpu_s": [spent.cpu_s], "wall_s": [spent.wall_s]},
        }
    ]


def _a_day(item: dict[str, Any], days: float) -> dict[str, Any]:
    return {"title": item["title"], "hits": round(item["hits"] / days, 2), "alerts": round(item["alerts"] / days, 3)}
