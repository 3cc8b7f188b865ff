"""How long a program takes by itself, on a machine that does other things too."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def alone(words: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Seconds from start to end, less those in which it could have gone on and others had the processor. It must
    succeed."""
    begin = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its account is there until it is waited for
        wall = time.perf_counter() - begin
        stood = Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]
        said = process.communicate()[1]
    assert process.returncode == 0, said.decode()
    return wall - int(stood) / 1e9
