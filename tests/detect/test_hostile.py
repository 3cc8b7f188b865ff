"""Two hundred hostile rule files: each is refused with its place, cheaply, and none disturbs the rule beside it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.detect.rules.load import load_rules
from tests.detect.hostile import GOOD, LARGE, files

SECONDS, MEBIBYTES = 2.0, 100


def test_every_hostile_file_is_refused_with_its_place_within_its_bounds(tmp_path: Path) -> None:
    """File and line are said, in two seconds of CPU and 100 MiB more than a good rule needs; the good rule loads."""
    good = tmp_path / "good.yml"
    good.write_text(GOOD)
    assert len(load_rules([good]).rules) == 1
    bad = tmp_path / "bad.yml"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 0
    for trick, content in files():
        bad.write_bytes(content)
        begin = SYSTEM.cpu()
        loaded = load_rules([tmp_path])
        spent = SYSTEM.cpu() - begin
        assert [item.meta.title for item in loaded.rules] == ["Good"], trick
        assert loaded.refused >= 1, trick
        assert all(problem.file == str(bad) and problem.line >= 1 for problem in loaded.problems), trick
        assert spent < SECONDS, f"{trick}: {spent:.2f} s"
        # What is printed cannot move a cursor or forge a line.
        assert all(len(str(problem)) < 5_000 for problem in loaded.problems), trick
        count += 1
    assert count >= 200
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEBIBYTES, f"{grown:.0f} MiB"


@pytest.mark.parametrize("part", LARGE, ids=["a key", "line ends", "a nest", "zeros", "rules"])
def test_fifty_megabytes_are_refused_unread(tmp_path: Path, part: bytes) -> None:
    """A file above the bound costs what its first megabyte costs."""
    bad = tmp_path / "bad.yml"
    with bad.open("wb") as out:
        for _ in range(50):
            out.write(part * ((1 << 20) // len(part)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = SYSTEM.cpu()
    loaded = load_rules([bad])
    assert SYSTEM.cpu() - begin < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES
    assert [str(problem).removeprefix(f"{bad}:1:1: error: ")[:11] for problem in loaded.problems] == ["larger than"]


@pytest.mark.parametrize("trick", ["link", "up", "device", "pipe", "folder", "loop"])
def test_a_file_that_is_elsewhere_or_no_file_is_refused(tmp_path: Path, trick: str) -> None:
    """Links out of the folder, devices, pipes and folders named like rules do not hang or leak."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "good.yml").write_text(GOOD)
    secret = tmp_path / "secret.yml"
    secret.write_text(GOOD.replace("00a", "00c"))
    bad = rules / "bad.yml"
    if trick == "link":
        bad.symlink_to(secret)
    elif trick == "up":
        bad.symlink_to("../secret.yml")
    elif trick == "device":
        bad.symlink_to("/dev/zero")
    elif trick == "pipe":
        os.mkfifo(bad)
    elif trick == "folder":
        bad.mkdir()
    else:
        bad.symlink_to(bad)
    loaded = load_rules([rules])
    assert [rule.id[-1] for rule in loaded.rules] == ["a"]
    assert [Path(problem.file).name for problem in loaded.problems] == ["bad.yml"]
