"""tshark as its own process, one pass per capture file, within limits."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from csirt.clock import Clock
from csirt.content import BadContent
from csirt.model import tshark
from csirt.safety import log as clean
from csirt.sources.base import LOG

NICE = 10
MEMORY = 4 << 30
OUTPUT = 8 << 30
TIMEOUT = 60.0  # seconds, and one more for each PACE bytes of the capture
PACE = 500_000
DAMAGE = (b"cut short", b"damaged or corrupt")  # tshark's words for a capture that is whole up to some packet
READ = 8 << 20


class Dissector:
    """What to ask tshark for; says once what is missing. The constructor looks nothing up.

    `scratch`: the spool folder. What tshark prints holds what must not leave decode, such as the queries of URLs
    (decision 15), so it lies there, without a name; in memory where there is no spool.
    """

    def __init__(self, dissect: list[str], binary: str, clock: Clock, scratch: Path | None = None) -> None:
        self._wanted = dissect
        self._scratch = scratch
        self._binary = binary
        self._clock = clock
        self._fields: tshark.Fields | None = None
        self._available: bool | None = None
        self._running: list[Pass] = []

    def available(self) -> bool:
        """Whether captures are dissected: something is asked for and tshark is there."""
        if self._available is None:
            self._available = self._look()
        return self._available

    @property
    def asked(self) -> bool:
        """Whether the configuration asks for any dissection."""
        return bool(self._wanted)

    def start(self, path: Path) -> Pass:
        """Begin the pass over a file. Raises OSError when tshark cannot be started."""
        assert self._fields is not None
        # tshark works in /, so a path as the user typed it would name another file, or none.
        arguments = tshark.tshark_arguments(self._fields, path.absolute(), self._wanted, binary=self._binary)
        started = Pass(arguments, path.stat().st_size, self._clock, self._scratch)
        self._running.append(started)
        return started

    def busy(self) -> bool:
        """Whether a pass is running: one at a time, unless somebody waits for the next."""
        self._running = [item for item in self._running if item.running]
        return bool(self._running)

    def _look(self) -> bool:
        if not self._wanted:
            return False
        if shutil.which(self._binary) is None:
            LOG.warning(
                "%s is not installed: captures give flows but no dns, tls or http rows; "
                "install tshark, or set decode.dissect = []",
                clean(self._binary),
            )
            return False
        try:
            self._fields = tshark.load()
        except BadContent as error:
            LOG.warning("%s: captures are not dissected", clean(error))
            return False
        unknown = self._fields.unknown(self._wanted)
        if unknown:
            LOG.warning("decode.dissect: parsers/tshark/fields.yml has no %s", clean(", ".join(unknown)))
            self._wanted = [name for name in self._wanted if name not in unknown]
        return bool(self._wanted)


class Pass:
    """One running or finished tshark. Its output lies in a file without a name: nobody else can read it, and it is
    gone with this process, however that ends."""

    def __init__(self, arguments: list[str], size: int, clock: Clock, scratch: Path | None) -> None:
        self._clock = clock
        self._output = _unnamed("csirt-dissection", scratch)
        self._errors = _unnamed("csirt-tshark", None)
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            env=tshark.environment(dict(os.environ)),
            cwd="/",
        )
        allowed = TIMEOUT + size / PACE
        self._deadline = clock.monotonic() + allowed
        self._limit(int(allowed) + 1)
        self._lost: dict[str, int] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait for the end at most so long; whether it has ended. Past its time it is killed."""
        if self._lost is not None:
            return True
        left = self._deadline - self._clock.monotonic()
        try:
            code = self._process.wait(max(min(seconds, left), 0.0))
        except subprocess.TimeoutExpired:
            if self._clock.monotonic() < self._deadline:
                return False
            self._process.kill()
            self._process.wait()
            self._lost = {"tshark_timeout": 1}
            self._output.truncate(0)
            return True
        self._lost = self._judge(code)
        return True

    def lost(self) -> dict[str, int]:
        """Why its output is missing; empty when it is there."""
        return dict(self._lost or {})

    def lines(self, offset: int, limit: int) -> tuple[bytes, bool]:
        """At most `limit` whole lines of the output from a byte offset, and whether they are the last."""
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), min(READ, max(size - offset, 0)), offset)
        end = len(text) if offset + len(text) >= size else text.rfind(b"\n") + 1
        if end == 0 and text:
            end = len(text)  # a line longer than the window: the decoder refuses it in pieces
        text = text[:end]
        if text.count(b"\n") > limit:
            at = -1
            for _ in range(limit):
                at = text.index(b"\n", at + 1)
            text = text[: at + 1]
        return text, offset + len(text) >= size

    def close(self) -> None:
        """End it and forget its output."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._errors.close()

    def _limit(self, seconds: int) -> None:
        """Set from outside, because code between fork and exec is not safe in a process with threads."""
        number = self._process.pid
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, number, NICE)
        for kind, value in (
            (resource.RLIMIT_AS, MEMORY),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_FSIZE, OUTPUT),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(number, kind, (value, value))

    def _judge(self, code: int) -> dict[str, int]:
        """0: done. 2 with one of the sentences of DAMAGE: everything before the damage was printed. Anything else, such
        as a 2 for a file it could not open: nothing of it is used, for where it stopped depends on more than the
        file."""
        said = os.pread(self._errors.fileno(), 65_536, 0)
        if code == 0 or (code == 2 and any(words in said for words in DAMAGE)):
            return {}
        tail = said.decode("utf-8", "replace").strip().split("\n")[-1]
        LOG.warning("tshark ended with %d: %s", code, clean(tail, 200))
        self._output.truncate(0)
        return {"tshark_failed": 1}


def _unnamed(name: str, folder: Path | None) -> IO[bytes]:
    """A file without a name in `folder` (mode 0600), or in memory when that is none, or cannot be written."""
    if folder is not None:
        with contextlib.suppress(OSError):
            return tempfile.TemporaryFile(dir=folder)
    return os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b")
