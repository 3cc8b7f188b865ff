"""The machinery of every comparison: order of the runs, ratios, equal work, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from csirt.bench import pairs, process
from csirt.errors import CsirtError


def side(name: str, rates: list[float], called: list[str], work: dict[str, Any] | None = None) -> pairs.Side:
    """A side whose runs have these rates, the warm-up's first."""
    left: Iterator[float] = iter(rates)

    def once() -> pairs.Run:
        called.append(name)
        return pairs.Run(next(left), 1.0, 0.5, work or {"records": 10, name: 1})

    return pairs.Side(name, "1", [name], once)


def test_pairs_are_interleaved_and_the_median_of_their_ratios_counts() -> None:
    """One warm-up of each, then A B A B; a slow moment of the machine that hits one pair does not decide."""
    called: list[str] = []
    ours, peer = side("a", [1, 10, 2, 30], called), side("b", [1, 5, 1, 10], called)
    entry = pairs.result(pairs.Contest("x", "y", 2.0, 3, ours, peer))
    assert called == ["a", "b"] * 4
    assert entry["ratios"] == [2.0, 2.0, 3.0] and entry["ratio"] == 2.0 and entry["ratio_min"] == 2.0
    assert entry["pass"] is True and entry["peer"]["name"] == "b" and entry["ours"]["median"] == 10


def test_unequal_work_fails_whatever_the_ratio() -> None:
    """Runs that count different things together are not comparable."""
    ours = side("a", [9, 9], [], {"records": 10})
    entry = pairs.result(pairs.Contest("x", "y", 0.1, 1, ours, side("b", [1, 1], [], {"records": 11})))
    assert entry["equal_work"] is False and entry["pass"] is False
    assert not pairs.same_work([pairs.Run(1, 1, 1, {"a": 1}), pairs.Run(1, 1, 1, {"b": 1})]), "nothing in common"


def test_exit_codes() -> None:
    """0 all well, 1 a floor missed or work unequal, 7 a peer absent, 6 where it is required."""
    ours, slow = side("a", [1] * 9, []), side("b", [2] * 9, [])
    missed = pairs.result(pairs.Contest("x", "y", 1.0, 1, ours, slow))
    absent = pairs.result(pairs.Contest("x", "y", 1.0, 1, ours, absent="b is not here"))
    alone = pairs.result(pairs.Contest("x", "y", 1.0, 1, ours, alone=True))
    assert absent["pass"] is None and absent["ratio"] is None and absent["absent"] == "b is not here"
    assert pairs.exit_code([alone], require_peers=True) == 0
    assert pairs.exit_code([alone, absent], require_peers=False) == 7
    assert pairs.exit_code([alone, absent], require_peers=True) == 6
    assert pairs.exit_code([missed, absent], require_peers=True) == 1


def test_a_measured_process() -> None:
    """Its output, its time, its memory; a failure is said and not measured."""
    spent = process.run([sys.executable, "-c", "print(sum(range(3_000_000)))"], core=process.cores()[0])
    assert spent.output.strip() == b"4499998500000" and spent.cpu_s > 0 and spent.rss_mib > 1
    with pytest.raises(CsirtError, match="ended with 3"):
        process.run([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(CsirtError, match="No such file"):
        process.run(["no-such-program"])
