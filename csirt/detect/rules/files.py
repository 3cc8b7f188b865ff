"""The rule files of folders, as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from csirt.content import BadContent, read_bytes
from csirt.detect.rules import deploy
from csirt.errors import Problem

# The largest public rule, a list of vulnerable drivers, is 300 kB.
MAX_BYTES = 1024 * 1024
TEST_SUFFIXES = (".test.yml", ".test.yaml")
PIPELINES = "pipelines"  # a folder of these holds no rules


@dataclass(frozen=True, slots=True)
class File:
    """A rule file's bytes, or why there are none. `deploy`: it is no rules, but says how rules are deployed."""

    name: str
    raw: bytes | None
    problem: Problem | None = None
    deploy: bool = False


def rule_files(folder: Path) -> list[Path]:
    """The rule files below a folder, sorted by their path; a file is itself."""
    if not folder.is_dir():
        return [folder]
    own = folder / deploy.NAME
    return [path for path in sorted(folder.rglob("*.yml")) if path != own and not path.name.endswith(TEST_SUFFIXES)]


def read(folders: Sequence[Path], deployed: Path | None = None) -> list[File]:
    """The rule files below the folders, in order, with what cannot be read and what is not read, then each folder's
    `deploy.yml` and `deployed`, those that are there."""
    found = [file for folder in folders for file in _folder(folder)]
    places: list[tuple[Path, Path | None]] = [(folder / deploy.NAME, folder) for folder in folders if folder.is_dir()]
    places += [(deployed, None)] if deployed is not None else []
    return found + [_file(path, root, deploy=True) for path, root in places if path.exists()]


def _file(path: Path, root: Path | None, *, deploy: bool = False) -> File:
    try:
        return File(str(path), read_bytes(path, root=root, max_bytes=MAX_BYTES), deploy=deploy)
    except BadContent as error:
        return File(str(path), None, error.problem, deploy)


def _folder(folder: Path) -> Iterator[File]:
    if not folder.exists():
        problem = Problem(str(folder), 1, "no such folder or file", advice="correct [detect] rules")
        yield File(str(folder), None, problem)
        return
    root = folder if folder.is_dir() else None
    for path in rule_files(folder):
        yield _file(path, root)
    if root is not None:
        for path in sorted(root.rglob("*.yaml")):
            if not path.name.endswith(TEST_SUFFIXES) and path.parent.name != PIPELINES:
                advice = "name rule files .yml"
                problem = Problem(str(path), 1, "not read", advice=advice, check="file", level="warning")
                yield File(str(path), None, problem)
