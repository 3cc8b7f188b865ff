"""The compiler's cache: used where it can be written, done without where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import csirt
from csirt.model import jit

PACKAGE = Path(csirt.__file__).parent
PROGRAM = (
    "from csirt.decode.netflow.scan import be16\n"
    "import numpy as np\n"
    "print(be16(np.array([1, 2], np.uint8), 0), be16._cache.cache_path if hasattr(be16._cache, 'cache_path') else '')"
)


def run(**environment: str) -> str:
    """The program's output in an environment of its own."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE.parent), **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_cache_goes_where_the_environment_says(tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR is where compiled code lands."""
    assert run(NUMBA_CACHE_DIR=str(tmp_path)).startswith("258 " + str(tmp_path))
    assert list(tmp_path.rglob("*.nbi"))


def test_without_any_place_for_a_cache_the_code_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba refuses to decorate when it finds no cache folder (a read-only install without a home); the kernel is then
    compiled without a cache."""
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @jit.kernel
    def double(value: int) -> int:
        return value * 2

    assert double(21) == 42


def test_memory_fetched_ahead_is_as_it_was() -> None:
    """It is a hint, also far beyond the end."""
    import numpy as np

    @jit.kernel
    def look(octets: np.ndarray, at: int) -> int:  # type: ignore[type-arg]
        jit.fetch_ahead(octets, np.uint64(at))
        return int(octets[0])

    memory = np.arange(7, 107, dtype=np.uint8)
    assert [look(memory, at) for at in (0, 99, 1 << 40)] == [7, 7, 7]
    assert memory.tolist() == list(range(7, 107))
