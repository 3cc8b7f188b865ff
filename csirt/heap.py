"""Memory that a process takes again and again: each chunk of a decoder fills as much as the one before.

glibc gives a large block back to the kernel as soon as it is freed, and every page of the next one costs a fault, which
on a virtual machine is dearer than what is then decoded into it.
"""

from __future__ import annotations

import atexit
import gc
import os
from typing import Any

# Asks glibc to ask the kernel for large pages: the processor remembers where far more memory is. It is read when a
# process is loaded and never again: who starts the process has to set it, as the daemon's unit does.
LARGE_PAGES = "glibc.malloc.hugetlb=1"
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # mallopt(3)
_KEPT = 256 << 20
_STEP = 16 << 20
# Each arena keeps what was freed in it, and glibc makes eight a processor for the threads that come along: of a day's
# traffic nearly all of them would hold their part, and none would use it.
_ARENAS = 2
# Objects made, less those gone, between two looks for garbage among the youngest; looks between two at older ones.
_YOUNG, _OLDER = 20_000, 20


def keep_freed() -> None:
    """Let the C library keep what is freed, up to some hundred MiB, for what is asked next; where it is not glibc,
    nothing changes."""
    _set((_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STEP))


def give_back() -> None:
    """Give what is free at the moment back to the kernel; where it is not glibc, nothing changes. For now and then:
    what is free lies between what is used, and no block of another size fits, so that in hours what is kept grows to
    several times what is used."""
    trim = _library("malloc_trim")
    if trim is not None:
        trim(0)


def _set(*options: tuple[int, int]) -> None:
    mallopt = _library("mallopt")
    for option, value in options if mallopt is not None else ():
        mallopt(option, value)


def _library(name: str) -> Any:
    """A function of glibc; None where it is another library."""
    import ctypes

    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None


def prepare() -> None:
    """To be called first thing, before Arrow is imported.

    Garbage in cycles is looked for after some ten thousand new objects, not after some hundred: a start makes a million
    that stay, and looking among them again and again is a tenth of its time. Arrow takes its memory from the C library,
    where numpy has its own from: what one of them let go the other takes, whatever thread it was in."""
    _set((_ARENA_MAX, _ARENAS))  # glibc decides it once, when there are some threads
    gc.set_threshold(_YOUNG, _OLDER, _OLDER)
    atexit.register(gc.freeze)  # nor is it worth looking when all of it goes
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
