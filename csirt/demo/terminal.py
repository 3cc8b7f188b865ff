"""A command run as on a terminal, so that the demo shows what a person would see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Mapping

SIZE = struct.pack("HHHH", 24, 80, 0, 0)  # rows, columns, and pixels that nobody reads


def on_terminal(command: list[str], environment: Mapping[str, str], limit: float) -> tuple[int, str]:
    """The exit code and what a terminal of 80 columns would show. Raises subprocess.TimeoutExpired after `limit` s."""
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, SIZE)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT, env=environment
        )
    finally:
        os.close(theirs)
    shown = b""
    # A terminal whose last writer has gone answers with EIO.
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while block := screen.read(65536):
            shown += block
    return process.wait(limit), shown.decode("utf-8", "replace").replace("\r\n", "\n")
