"""The two things systemd and a service say to each other: sd_notify(3) and socket activation (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket

FIRST_FD = 3


def notify(state: str) -> bool:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1` (lines) to the service manager.

    False, and nothing else, when there is none: `NOTIFY_SOCKET` is not set or does not answer.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(address)
            sender.sendall(state.encode("utf-8", "replace"))
        except OSError:
            return False
    return True


def listen_fds() -> list[tuple[str, socket.socket]]:
    """The sockets handed over by a socket unit, each with its name (`FileDescriptorName=`; the unit's by default), in
    the unit's order; empty when the process was started without.

    The environment variables are removed, so that a child process does not take them for its own.
    """
    owner = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if owner != str(os.getpid()) or not count.isdigit():
        return []
    sockets: list[tuple[str, socket.socket]] = []
    for number in range(FIRST_FD, FIRST_FD + int(count)):
        os.set_inheritable(number, False)
        name = names[number - FIRST_FD] if number - FIRST_FD < len(names) else ""
        sockets.append((name, socket.socket(fileno=number)))
    return sockets


def watchdog_interval() -> float | None:
    """Half of the unit's `WatchdogSec=` in seconds; None when the unit has none for this process."""
    interval = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(interval) / 2e6 if interval.isdigit() and int(interval) and owner == str(os.getpid()) else None
