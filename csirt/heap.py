"""Memory that a process takes again and again: each chunk of a decoder fills as much as the one before.

glibc gives a large block back to the kernel as soon as it is freed, and every page of the next one costs a fault, which
on a virtual machine is dearer than what is then decoded into it.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_KEPT = 256 << 20
_STEP = 16 << 20


def keep_freed() -> None:
    """Let the C library keep what is freed, up to some hundred MiB, for what is asked next; where it is not glibc,
    nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, value in ((_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STEP)):
        mallopt(option, value)
