"""The rule files of folders, as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from csirt.content import BadContent, read_bytes
from csirt.errors import Problem

# The largest public rule, a list of vulnerable drivers, is 300 kB.
MAX_BYTES = 1024 * 1024
TEST_SUFFIXES = (".test.yml", ".test.yaml")
PIPELINES = "pipelines"  # a folder of these holds no rules


@dataclass(frozen=True, slots=True)
class File:
    """A rule file's bytes, or why there are none."""

    name: str
    raw: bytes | None
    problem: Problem | None = None


def rule_files(folder: Path) -> list[Path]:
    """The rule files below a folder, sorted by their path; a file is itself."""
    if not folder.is_dir():
        return [folder]
    return [path for path in sorted(folder.rglob("*.yml")) if not path.name.endswith(TEST_SUFFIXES)]


def read(folders: Sequence[Path]) -> list[File]:
    """The rule files below the folders, in order, with what cannot be read and what is not read."""
    return [file for folder in folders for file in _folder(folder)]


def _folder(folder: Path) -> Iterator[File]:
    if not folder.exists():
        problem = Problem(str(folder), 1, "no such folder or file", advice="correct [detect] rules")
        yield File(str(folder), None, problem)
        return
    root = folder if folder.is_dir() else None
    for path in rule_files(folder):
        try:
            yield File(str(path), read_bytes(path, root=root, max_bytes=MAX_BYTES))
        except BadContent as error:
            yield File(str(path), None, error.problem)
    if root is not None:
        for path in sorted(root.rglob("*.yaml")):
            if not path.name.endswith(TEST_SUFFIXES) and path.parent.name != PIPELINES:
                advice = "name rule files .yml"
                problem = Problem(str(path), 1, "not read", advice=advice, check="file", level="warning")
                yield File(str(path), None, problem)
