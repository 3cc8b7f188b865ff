"""Sockets of receivers: addresses, receive buffers, and what the kernel says it dropped."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
from pathlib import Path

from csirt.errors import CsirtError, Usage

LOG = logging.getLogger("csirt.collect")
SO_RCVBUFFORCE = 33
SO_RXQ_OVFL = 40


def parse_listen(text: str) -> tuple[str, int]:
    """`127.0.0.1:2055`, `[::]:514`, `:2055` (every address) to (host, port). Raises Usage."""
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*)):(\d{1,5})", text)
    port = int(match[3]) if match else 0
    if match is None or port > 65_535:
        raise Usage(f"{text!r} is no address to listen on: write ADDRESS:PORT, such as 127.0.0.1:2055 or [::]:2055")
    return (match[1] if match[1] is not None else match[2]) or "::", port


def open_socket(listen: str, transport: str) -> socket.socket:
    """A bound socket: UDP, shared by SO_REUSEPORT, or TCP (for `tls` too). `[::]` also takes IPv4. Raises Usage,
    CsirtError."""
    host, port = parse_listen(listen)
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        raise Usage(f"{listen!r}: {host!r} is no IP address; names are not looked up here") from error
    family, _, _, _, address = found[0]
    opened = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6 and host == "::":
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if transport == "udp":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        if transport != "udp":
            opened.listen(128)
    except OSError as error:
        opened.close()
        raise _refused(listen, transport, error) from error
    return opened


def _refused(listen: str, transport: str, error: OSError) -> CsirtError:
    advice = {
        errno.EADDRINUSE: f"another program listens there; `ss -lnp | grep {listen.rpartition(':')[2]}` names it",
        errno.EACCES: "a port below 1024 needs the socket unit or CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }.get(error.errno or 0, "see docs/operators-collect.md")
    return CsirtError(f"cannot listen on {transport} {listen}: {os.strerror(error.errno or 0)}; {advice}")


def set_buffer(opened: socket.socket, wanted: int) -> int:
    """Ask for a receive buffer, past the system's limit where we may; the bytes the kernel granted.

    A buffer that a socket unit has already made larger is never made smaller.
    """
    wanted = min(wanted, 0x3FFF_FFFF)
    if _granted(opened) < wanted:
        try:
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)
        except OSError:
            if _granted(opened) < min(wanted, _greatest()):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    granted = _granted(opened)
    if granted < wanted:
        LOG.warning(
            "receive buffer: asked for %d bytes, granted %d; raise net.core.rmem_max or give CAP_NET_ADMIN",
            wanted,
            granted,
        )
    return granted


def _granted(opened: socket.socket) -> int:
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it for its own needs


def _greatest(limit: Path = Path("/proc/sys/net/core/rmem_max")) -> int:
    try:
        return int(limit.read_text())
    except (OSError, ValueError):
        return 212_992  # the kernel's default


def count_overflows(opened: socket.socket) -> None:
    """Ask the kernel to report its drops with each datagram; without it the table is what remains."""
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def own(opened: socket.socket) -> tuple[bytes, int]:
    """Where a socket is bound: address (4 or 16 octets) and port."""
    host, port = opened.getsockname()[:2]
    return socket.inet_pton(opened.family, host.partition("%")[0]), int(port)


def inode(opened: socket.socket) -> str:
    """The socket's inode, as the kernel's tables name it."""
    return str(os.fstat(opened.fileno()).st_ino)


def table_drops(number: str, table: Path = Path("/proc/self/net")) -> int | None:
    """The drops column of the UDP socket with that inode; None when the tables cannot be read or lack it."""
    for name in ("udp", "udp6"):
        try:
            lines = (table / name).read_text("ascii", "replace").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            parts = line.split()
            if len(parts) >= 13 and parts[9] == number and parts[-1].isdigit():
                return int(parts[-1])
    return None


def grown(now: int, before: int) -> int:
    """By how much a drop counter (u32) grew. One that is smaller wrapped around when it was near its end; else it is
    another socket's, which began at zero: inodes are given again, after a reboot at the latest."""
    if now >= before:
        return now - before
    return now + (1 << 32) - before if before >= 1 << 31 else now


def name_of(opened: socket.socket) -> str:
    """`udp 127.0.0.1:2055`, for people."""
    transport = "udp" if opened.type == socket.SOCK_DGRAM else "tcp"
    host, port = opened.getsockname()[:2]
    return f"{transport} [{host}]:{port}" if ":" in host else f"{transport} {host}:{port}"
