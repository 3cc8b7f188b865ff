"""What a benchmark ran on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """`commit` and `machine` of `csirt.bench/1`; the commit is empty outside a checkout."""
    return {
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count() or 1, "load1": round(os.getloadavg()[0], 2)},
    }


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
