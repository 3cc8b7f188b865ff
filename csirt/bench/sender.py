"""A cheap exporter: `python -m csirt.bench.sender PORT RATE COUNT FILE` sends datagrams of FILE, again and again.

FILE is as csirt/bench/captures.py `plain` writes it. RATE is in datagrams a second, 0 for as fast as it goes. Many
datagrams go out per system call (sendmmsg(2)); the addresses of all of them are prepared once. Prints JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from pathlib import Path

import numpy as np

from csirt.clock import SYSTEM
from csirt.model.batch import Array

HEAD = 22
BATCH = 64
SLACK = 0.0002  # seconds that sleeping may overshoot


def main() -> None:
    """Send, and say how much and for how long."""
    port, rate, count = (int(word) for word in sys.argv[1:4])
    sys.stdout.write(json.dumps(send(port, rate, count, Path(sys.argv[4]).read_bytes())))


def send(port: int, rate: int, count: int, raw: bytes) -> dict[str, float]:
    """`count` datagrams, evenly over the time that they take at this rate. A full send queue is waited for."""
    offsets, sizes = layout(raw)
    memory = np.frombuffer(raw, np.uint8)
    vectors = np.zeros((len(offsets), 2), np.uint64)
    vectors[:, 0], vectors[:, 1] = memory.ctypes.data + offsets.astype(np.uint64), sizes
    headers = np.zeros((len(offsets), 8), np.uint64)  # struct mmsghdr: msghdr (56 octets), length and padding (8)
    headers[:, 2] = vectors.ctypes.data + np.arange(len(offsets), dtype=np.uint64) * np.uint64(16)
    headers[:, 3] = 1
    call = ctypes.CDLL(None, use_errno=True).sendmmsg
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        out.connect(("127.0.0.1", port))
        begin, sent, octets, at = SYSTEM.monotonic(), 0, 0, 0
        while sent < count:
            many = min(BATCH, count - sent, len(offsets) - at)
            done = int(call(out.fileno(), ctypes.c_void_p(headers.ctypes.data + at * 64), many, 0))
            if done < 0:
                code = ctypes.get_errno()
                if code in (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ECONNREFUSED):
                    continue
                raise OSError(code, os.strerror(code))
            octets += int(sizes[at : at + done].sum())
            sent, at = sent + done, (at + done) % len(offsets)
            if rate:
                wait = begin + sent / rate - SYSTEM.monotonic()
                if wait > SLACK:
                    SYSTEM.sleep(wait - SLACK / 2)
        return {"sent": sent, "octets": octets, "seconds": SYSTEM.monotonic() - begin}


def layout(raw: bytes) -> tuple[Array, Array]:
    """Where each datagram's payload begins and how long it is."""
    offsets: list[int] = []
    sizes: list[int] = []
    at = 0
    while at + HEAD <= len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        offsets.append(at + HEAD)
        sizes.append(size)
        at += HEAD + size
    return np.array(offsets, np.int64), np.array(sizes, np.int64)


if __name__ == "__main__":
    main()
