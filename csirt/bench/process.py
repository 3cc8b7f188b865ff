"""One measured process: what it printed, and what it cost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csirt.clock import SYSTEM
from csirt.errors import CsirtError
from csirt.heap import LARGE_PAGES

# One thread per library, for work that is compared on one core.
_THREADS = "POLARS_MAX_THREADS NUMBA_NUM_THREADS OMP_NUM_THREADS RAYON_NUM_THREADS ARROW_IO_THREADS GOMAXPROCS"
ONE_THREAD = dict.fromkeys(_THREADS.split(), "1")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process printed on standard output, and its whole life's wall and CPU seconds (children too) and greatest
    resident set."""

    output: bytes
    wall_s: float
    cpu_s: float
    rss_mib: int


def run(words: Sequence[str], *, environment: Mapping[str, str] | None = None, core: int | None = None) -> Spent:
    """Run a program to its end; `core`: on that core only. Raises CsirtError when it does not end with 0."""
    words = [*pinned(core), *words]
    begin = SYSTEM.monotonic()
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    except OSError as error:
        raise CsirtError(f"{words[0]}: {error.strerror}") from error
    assert process.stdout is not None
    with process.stdout as stream:
        output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = SYSTEM.monotonic() - begin
    if process.returncode:
        raise CsirtError(f"`{Path(words[0]).name}` ended with {process.returncode}: {' '.join(words)}")
    return Spent(output, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)


def pinned(core: int | None) -> list[str]:
    """The words before a program that keep it on one core; none without a core. Raises CsirtError without taskset."""
    if core is None:
        return []
    if shutil.which("taskset") is None:
        raise CsirtError("taskset is not here (Debian: apt-get install util-linux); one core cannot be promised")
    return ["taskset", "-c", str(core)]


def environment(work: Path, *, threads: bool = True, large: bool = True) -> dict[str, str]:
    """For measured runs of ours: modules are compiled once, by the warm-up, even where the install is read-only or
    nothing may be written beside it; Arrow takes memory from where `csirt.heap.prepare` says, in large pages, as the
    daemon's unit asks for them, unless `large` is False: a run that takes memory as it goes pays more for fresh ones
    than it gains. `threads` False: one thread per library."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found.setdefault("PYTHONPYCACHEPREFIX", str(work / "modules"))
    found.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if large:
        found.setdefault("GLIBC_TUNABLES", LARGE_PAGES)
    return found if threads else found | ONE_THREAD


def cores() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0))
