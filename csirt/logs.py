"""Log lines: one line per event on stderr, untrusted text already made safe by who logs it."""

from __future__ import annotations

import logging
import sys

from csirt.safety import log as clean


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """`LEVEL logger: message`, control characters made visible; a traceback keeps its lines, indented."""
        text = f"{record.levelname.lower()} {record.name}: {clean(record.getMessage(), 2_000)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += "\n" + "\n".join("    " + clean(line) for line in trace.split("\n"))
        return text


def configure(level: int) -> None:
    """Send the log of this process to stderr (the journal adds the time)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("apscheduler", "numba", "asyncio", "pyshark"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
