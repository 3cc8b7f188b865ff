"""`python -m tests.kernels`: compile what most tests run, once. It takes most of a minute, and tests that begin side by
side in a clean checkout would each do it for themselves.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.corpus import make


def main() -> int:
    """Replay a little of everything; numba keeps what was compiled for it beside the source."""
    with tempfile.TemporaryDirectory(prefix="csirt-kernels-") as name:
        inputs = make(Path(name), flows=200)
        words = [*map(str, inputs.files), "--config", str(inputs.config), "--store", str(inputs.folder / "store")]
        return subprocess.run(
            [sys.executable, "-m", "csirt", "replay", "--json", *words], stdout=subprocess.DEVNULL
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
