"""Ours beside a peer: every run a fresh process, one warm-up of each, then pairs (ours, peer, ours, peer, …).

What counts is the median of the pairs' ratios: both sides of a pair saw the same machine a moment apart, whatever else
ran on it. A run also says what it did (`work`: counts, sums, checksums); work is equal when every run of both sides
says the same of what both of them count.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. `rate`: the figure that is compared, more is better. `wall_s`, `cpu_s`: of what is timed.
    `work`: what it did, by name. `more`: further figures by name, shown as lists in the result."""

    rate: float
    wall_s: float
    cpu_s: float
    work: dict[str, Any]
    rss_mib: int = 0
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """Ours or a peer. `once` makes one run, in a fresh process."""

    name: str
    version: str
    argv: Sequence[str]
    once: Callable[[], Run]


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared. `floor`: of the ratio, or of our own median where no peer is meant (`alone`). `core`: the one
    core both sides are kept on. `absent`: why there is no peer and how to get it."""

    name: str
    unit: str
    floor: float | None
    runs: int
    ours: Side
    peer: Side | None = None
    absent: str = ""
    alone: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def result(contest: Contest) -> dict[str, Any]:
    """One entry of `results` in `csirt.bench/1`."""
    ours, theirs = measure(contest.ours, contest.peer, contest.runs)
    ratios = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=False) if other.rate > 0]
    ratio = statistics.median(ratios) if ratios else None
    median = statistics.median(run.rate for run in ours)
    equal = same_work(ours + theirs)
    value = median if contest.alone else ratio
    reached: bool | None = None
    if contest.floor is not None and value is not None:
        reached = equal and value >= contest.floor
    entry: dict[str, Any] = {
        "name": contest.name,
        "unit": contest.unit,
        "ours": _figures(ours),
        "peer": None,
        "ratio": None if ratio is None else round(ratio, 3),
        "ratio_min": round(min(ratios), 3) if ratios else None,
        "floor": contest.floor,
        "equal_work": equal,
        "pass": reached if equal else False,
        **contest.more,
    }
    if contest.peer is not None:
        peer = contest.peer
        entry["peer"] = {"name": peer.name, "version": peer.version, "argv": [*peer.argv], **_figures(theirs)}
        entry["ratios"] = [round(one, 3) for one in ratios]
        walls = [other.wall_s / mine.wall_s for mine, other in zip(ours, theirs, strict=True) if mine.wall_s > 0]
        entry["ratio_wall"] = round(statistics.median(walls), 3) if walls else None
    elif contest.absent:
        entry["absent"] = contest.absent
    return entry


def measure(ours: Side, peer: Side | None, runs: int) -> tuple[list[Run], list[Run]]:
    """The measured runs of both, interleaved, after a warm-up of each that counts for nothing."""
    sides = [ours] if peer is None else [ours, peer]
    found: list[list[Run]] = [[] for _ in sides]
    for side in sides:
        side.once()
    for _ in range(runs):
        for side, kept in zip(sides, found, strict=True):
            kept.append(side.once())
    return found[0], found[1] if peer is not None else []


def same_work(runs: Sequence[Run]) -> bool:
    """Whether all runs say the same of everything they both count, and count something together."""
    if not runs:
        return False
    shared = set.intersection(*(set(run.work) for run in runs))
    return bool(shared) and all(run.work[name] == runs[0].work[name] for run in runs for name in shared)


def digest(work: dict[str, Any]) -> str:
    """SHA-256 of what was done."""
    return hashlib.sha256(orjson.dumps(work, option=orjson.OPT_SORT_KEYS)).hexdigest()


def exit_code(results: Sequence[dict[str, Any]], *, require_peers: bool) -> int:
    """1: a floor missed or work unequal; 7: a peer absent, 6 where peers are required."""
    if any(entry["pass"] is False or not entry["equal_work"] for entry in results):
        return 1
    if any(entry.get("absent") for entry in results):
        return 6 if require_peers else 7
    return 0


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    names = sorted({name for run in runs for name in run.more})
    return {
        "wall_s": [round(run.wall_s, 4) for run in runs],
        "cpu_s": [round(run.cpu_s, 4) for run in runs],
        "median": round(statistics.median(run.rate for run in runs), 4),
        "digest": digest(runs[0].work),
        "rss_mib": [run.rss_mib for run in runs],
        "work": runs[0].work,
        **{name: [round(run.more.get(name, 0.0), 4) for run in runs] for name in names},
    }
