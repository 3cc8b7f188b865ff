"""Growing logs: nothing lost, nothing doubled, whatever rotation does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.clock import Frozen
from csirt.model.chunk import Position
from csirt.sources import logfile
from csirt.sources.logfile import LogSource, split


class Reader:
    """Reads a source as the pipeline does: committed positions, inputs listed anew at every turn."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self.options = path, options
        self.positions: dict[str, Position] = {}
        self.lines: list[bytes] = []
        self.ids: list[tuple[str, int]] = []
        self.lost: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        """A new process: only the positions are left."""
        if hasattr(self, "source"):
            self.source.close()
        self.source = LogSource("log", str(self.path), **self.options)

    def turn(self, limit: int = 1000, *, resolve: bool = True) -> int:
        """One pass over the inputs, until each gives nothing."""
        moved = 0
        for item in self.source.inputs():
            while True:
                get = self.positions.get
                position = item.resolve(get) if resolve else get(item.fingerprint)
                chunk = item.read(position, limit)
                if chunk is None:
                    break
                moved += 1
                assert chunk.start == (position.offset if position else 0)
                raw = chunk.data.buffer.tobytes() if chunk.data is not None else b""  # type: ignore[union-attr]
                if chunk.data is not None:
                    spans = zip(chunk.data.offset.tolist(), chunk.data.length.tolist(), strict=True)  # type: ignore[union-attr]
                    self.lines += [raw[start : start + size] for start, size in spans]
                    self.ids += [(chunk.segment, at) for at in chunk.data.position.tolist()]  # type: ignore[union-attr]
                for reason, number in chunk.lost.items():
                    self.lost[reason] = self.lost.get(reason, 0) + number
                self.positions[chunk.fingerprint] = Position(
                    "log", chunk.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra)
                )
        return moved

    def drain(self, **options: Any) -> list[bytes]:
        """Turns until nothing more comes."""
        while self.turn(**options) or not self.source.exhausted():
            pass
        assert len(set(self.ids)) == len(self.ids), "a line was read twice"
        return self.lines


def _append(path: Path, text: bytes) -> None:
    with path.open("ab") as handle:
        handle.write(text)


def test_growth_with_partial_lines(tmp_path: Path) -> None:
    """A line is read when its end is there, once, however it was written."""
    log = tmp_path / "mail.log"
    reader = Reader(log)
    assert reader.drain() == []
    text = b"first line\nsecond\r\n\nfourth line\nlast"
    for at in range(len(text)):
        _append(log, text[at : at + 1])
        reader.drain()
        if at % 7 == 0:
            reader.restart()
    assert reader.lines == [b"first line", b"second", b"", b"fourth line"]


def test_rename_rotation(tmp_path: Path) -> None:
    """The end of the renamed log is read, before the new one; also when we were away meanwhile; nothing twice."""
    log = tmp_path / "mail.log"
    reader = Reader(log)
    _append(log, b"a1\na2\npart")
    reader.drain()
    log.rename(tmp_path / "mail.log.1")
    _append(tmp_path / "mail.log.1", b"ial\na4\n")
    _append(log, b"b1\n")
    assert reader.drain() == [b"a1", b"a2", b"partial", b"a4", b"b1"]
    reader.restart()
    (tmp_path / "mail.log.1").rename(tmp_path / "mail.log.2")
    log.rename(tmp_path / "mail.log.1")
    _append(tmp_path / "mail.log.1", b"b2\n")
    _append(log, b"c1\n")
    assert reader.drain()[5:] == [b"b2", b"c1"]


def test_a_log_moved_out_of_sight_is_read_to_its_end(tmp_path: Path) -> None:
    """Held open, it is followed for a minute even where no name leads to it."""
    log, clock = tmp_path / "mail.log", Frozen(0)
    (tmp_path / "archive").mkdir()
    reader = Reader(log, clock=clock)
    _append(log, b"a1\n")
    reader.drain()
    log.rename(tmp_path / "archive/old")
    _append(tmp_path / "archive/old", b"a2\n")
    _append(log, b"b1\n")
    assert reader.drain() == [b"a1", b"a2", b"b1"]
    clock.sleep(120)
    reader.drain()
    clock.sleep(120)
    _append(tmp_path / "archive/old", b"too late\n")
    assert reader.drain() == [b"a1", b"a2", b"b1"] and len(reader.source._files) == 1


@pytest.mark.parametrize("away", [False, True])
def test_copytruncate_rotation(tmp_path: Path, away: bool) -> None:
    """The copy is recognised by its content and read on from where we were; the truncated log is a new one."""
    log, copy = tmp_path / "mail.log", tmp_path / "mail.log.1"
    reader = Reader(log)
    _append(log, b"a1\na2\n")
    reader.drain()
    _append(log, b"a3\n")  # not yet read when the rotation comes
    shutil.copy(log, copy)
    os.truncate(log, 0)
    if away:
        reader.restart()
    else:
        reader.turn()
    _append(log, b"b1\nb2\n")
    reader.drain()
    assert sorted(reader.lines) == [b"a1", b"a2", b"a3", b"b1", b"b2"]
    reader.restart()
    assert len(reader.drain()) == 5


@pytest.mark.parametrize("resolve", [True, False])
def test_the_same_first_line_again_is_another_generation(tmp_path: Path, resolve: bool) -> None:
    """A log that begins like the one before it is read from its beginning, and after a restart both go on where they
    were."""
    log = tmp_path / "app.log"
    reader = Reader(log)
    for round_ in range(3):
        _append(log, b"# header\n%d\n" % round_)
        reader.drain(resolve=resolve)
        os.truncate(log, 0)
        reader.turn(resolve=resolve)
    _append(log, b"# header\n3\n")
    reader.drain(resolve=resolve)
    reader.restart()
    _append(log, b"more\n")
    reader.drain(resolve=resolve)
    assert reader.lines == [x for n in range(4) for x in (b"# header", b"%d" % n)] + [b"more"]
    assert len(reader.positions) == 4


def test_two_logs_with_the_same_first_line(tmp_path: Path) -> None:
    """Side by side they are two; each goes on after a restart although the shorter has become the longer."""
    for name, body in (("a.log", b"# h\na1\na2\n"), ("b.log", b"# h\nb1\n")):
        _append(tmp_path / name, body)
    reader = Reader(tmp_path / "*.log")
    assert sorted(reader.drain()) == [b"# h", b"# h", b"a1", b"a2", b"b1"]
    reader.restart()
    _append(tmp_path / "b.log", b"b2 is a longer line than all the others\n")
    _append(tmp_path / "a.log", b"a3\n")
    assert sorted(reader.drain())[2:] == [b"a1", b"a2", b"a3", b"b1", b"b2 is a longer line than all the others"]


def test_a_copy_is_not_read_again(tmp_path: Path) -> None:
    """A copy under any name the glob covers adds nothing, whole or half made."""
    log = tmp_path / "mail.log"
    _append(log, b"a1\na2\na3\n")
    reader = Reader(tmp_path / "mail.log*")
    reader.drain()
    (tmp_path / "mail.log.save").write_bytes(b"a1\na2\n")
    reader.drain()
    reader.restart()
    shutil.copy(log, tmp_path / "mail.log.save")
    assert reader.drain() == [b"a1", b"a2", b"a3"]


def test_compressed_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    """`.gz` copies were read before they were packed; hidden and temporary names are not looked at."""
    for name in ("mail.log.2.gz", ".mail.log.swp", "mail.log.tmp"):
        (tmp_path / name).write_bytes(b"x\n")
    (tmp_path / "mail.log").write_bytes(b"a1\n")
    assert Reader(tmp_path / "mail.log*").drain() == [b"a1"]


def test_many_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More logs than we may hold open are read all the same."""
    monkeypatch.setattr(logfile, "MAX_HANDLES", 3)
    reader = Reader(tmp_path / "*.log")
    for round_ in range(3):
        for number in range(12):
            _append(tmp_path / f"{number}.log", b"%d.%d\n" % (number, round_))
        reader.drain()
    assert sorted(reader.lines) == sorted(b"%d.%d" % (n, r) for n in range(12) for r in range(3))
    assert sum(file.handle >= 0 for file in reader.source._files.values()) <= 3


@pytest.mark.parametrize("size", [logfile.MAX_LINE - 1, logfile.MAX_LINE, logfile.MAX_LINE + 1, 3_000_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("pieces", [1, 40])
def test_long_lines(tmp_path: Path, size: int, end: bytes, pieces: int) -> None:
    """Of a longer line 64 KiB are kept and it is counted once, whether it comes at once or grows; its neighbours are
    whole."""
    log = tmp_path / "a.log"
    text = b"before\n" + b"x" * size + end + b"after\n"
    reader = Reader(log)
    step = -(-len(text) // pieces)
    for at in range(0, len(text), step):
        _append(log, text[at : at + step])
        reader.drain()
        reader.restart()
    assert [len(line) for line in reader.lines] == [6, min(size, logfile.MAX_LINE), 5]
    assert reader.lost == ({"line_cut": 1} if size > logfile.MAX_LINE else {})


_LINES = st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_LINES, limits=st.tuples(st.integers(1, 5), st.integers(1, 100)), final=st.booleans())
def test_any_limit_gives_the_same(tmp_path: Path, lines: list[bytes], limits: tuple[int, int], final: bool) -> None:
    """Lines, their offsets and their ids do not depend on how many are asked for."""
    log = tmp_path / "any.log"
    raw = b"head\n" + b"\n".join(lines)
    log.write_bytes(raw)
    results = []
    for limit in limits:
        reader = Reader(log, final=final)
        reader.drain(limit=limit)
        results.append((reader.lines, reader.ids))
        reader.source.close()
    assert results[0] == results[1]
    whole = raw.split(b"\n")
    expected = whole[:-1] if not final or not whole[-1] else whole
    assert results[0][0] == [line.removesuffix(b"\r") for line in expected]
    starts = [sum(len(line) + 1 for line in whole[:number]) for number in range(len(expected))]
    assert [at for _, at in results[0][1]] == starts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.sampled_from(["write", "part", "rename", "copytruncate", "read", "restart"]), max_size=25))
def test_any_rotation_loses_and_doubles_nothing(tmp_path: Path, script: list[str]) -> None:
    """Whatever order of writing, rotating, reading and restarting: every complete line once."""
    folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    log, written, number, partial = folder / "mail.log", [], 0, b""
    reader = Reader(log)

    def rotate(copy: bool) -> None:
        for index in range(40, 0, -1):
            if (folder / f"mail.log.{index}").exists():
                (folder / f"mail.log.{index}").rename(folder / f"mail.log.{index + 1}")
        if copy:
            shutil.copy(log, folder / "mail.log.1")
            os.truncate(log, 0)
        else:
            log.rename(folder / "mail.log.1")

    for step in script:
        if step in ("write", "part"):
            number += 1
            body = partial + b"line %d" % number
            if step == "write":
                _append(log, body[len(partial) :] + b"\n")
                written.append(body)
                partial = b""
            else:
                _append(log, body[len(partial) :])
                partial = body
        elif step in ("rename", "copytruncate") and log.exists() and not partial:
            rotate(step == "copytruncate")
        elif step == "read":
            reader.drain()
        elif step == "restart":
            reader.restart()
    reader.drain()
    reader.restart()
    reader.drain()
    reader.source.close()
    assert sorted(reader.lines) == sorted(written)


def test_split_marks_nothing_without_lines() -> None:
    """An empty or partial window gives no line and uses nothing."""
    for raw in (b"", b"partial"):
        found = split(np.frombuffer(raw, np.uint8), 10, skipping=False, whole=False)
        assert (len(found.offset), found.used, found.skipping) == (0, 0, False)
