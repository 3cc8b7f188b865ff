"""Log lines: one line per event on stderr, untrusted text already made safe by who logs it."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

from csirt.safety import log as clean


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """`LEVEL logger: message`, control characters made visible; a traceback keeps its lines, indented."""
        text = f"{record.levelname.lower()} {record.name}: {clean(record.getMessage(), 2_000)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += "\n" + "\n".join("    " + clean(line) for line in trace.split("\n"))
        return text


def trace(error: BaseException) -> str:
    """Where an exception was raised, innermost call last, and of which class it is; without its message, which may
    quote what must not leave decode (decision 15)."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    calls = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {calls}"


def configure(level: int) -> None:
    """Send the log of this process to stderr (the journal adds the time)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # that a job still works when it is due again is no news
    for noisy in ("numba", "asyncio", "pyshark"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
