"""A listener with several workers: as many sockets on one port, each with its thread, spool folder and counters.

The kernel chooses the socket by the sender's address alone (a classic BPF program on the SO_REUSEPORT group), so that
an exporter stays in one lane whatever its source port is, over restarts too, and its templates, its options and its
sequence numbers are seen in order by one decoder.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from csirt import config
from csirt.clock import Clock
from csirt.collect import sockets
from csirt.collect.receiver import Receiver
from csirt.errors import Usage
from csirt.metrics import Metrics

LOG = logging.getLogger("csirt.collect")
SO_ATTACH_REUSEPORT_CBPF = 51
MULTIPLIER = 0x9E3779B1  # spreads neighbouring addresses
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the network header (linux/filter.h)
# Instructions of linux/bpf_common.h.
_LOAD, _LOAD_BYTE, _TO_X, _XOR, _MULTIPLY, _SHIFT, _MODULO, _IF_EQUAL, _GO, _RETURN = (
    0x20, 0x30, 0x07, 0xAC, 0x24, 0x74, 0x94, 0x15, 0x05, 0x16,
)  # fmt: skip


def start(
    listener: config.Listener,
    spool: config.Spool,
    directory: Path,
    metrics: Metrics,
    clock: Clock,
    *,
    handed: Sequence[socket.socket] = (),
) -> list[Receiver]:
    """Start what a listener needs: one receiver, or one for each lane. Raises Usage, CsirtError; then none is left.

    `handed`: the sockets a socket unit passed in for this listener.
    """
    opened = list(handed)
    _check(listener, opened)
    if listener.workers == 1:
        made = [Receiver(listener, spool, directory, metrics, clock, handed=opened)]
    else:
        opened = opened or _open(listener)
        spread(opened)
        made = [
            Receiver(listener, spool, directory, metrics, clock, handed=[item], lane=lane, kept=bool(handed))
            for lane, item in zip(listener.lanes(), opened, strict=True)
        ]
    started: list[Receiver] = []
    try:
        for item in made:
            item.start()
            started.append(item)
    except BaseException:
        for item in started:
            item.stop()
        for one in opened[len(started) :]:
            one.close()
        raise
    return made


def share(
    listeners: Sequence[config.Listener], handed: Sequence[tuple[str, socket.socket]]
) -> list[list[socket.socket]]:
    """Who gets which of a socket unit's sockets: those named after a listener's source (`FileDescriptorName=`), and of
    its transport, are that listener's; the others go to the listeners in their order, one for each worker. Raises Usage
    when one is left that nobody would read."""
    left = list(handed)
    shares: list[list[socket.socket]] = []
    for listener in listeners:
        mine = [item for item in left if item[0] == listener.source and _fits(listener, item[1])]
        if not mine:
            named = {item.source for item in listeners}
            mine = [item for item in left if item[0] not in named][: listener.workers]
        left = [item for item in left if item not in mine]
        shares.append([opened for _, opened in mine])
    if left:
        names = ", ".join(f"{sockets.name_of(opened)} ({name or 'no name'})" for name, opened in left)
        raise Usage(
            f"the socket unit passes sockets that no listener takes: {names}; add a [[collect.listeners]] for each, or "
            "name them after their source (FileDescriptorName=)"
        )
    return shares


def spread(opened: Sequence[socket.socket]) -> None:
    """Let the kernel choose among the sockets of one port by the sender's address."""
    code = program(len(opened))
    memory = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    try:
        opened[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, filter_)
    except OSError as error:
        LOG.warning(
            "%s: the kernel does not divide exporters by address (%s) but by address and port: data of one that "
            "changes its port waits until its templates come again",
            sockets.name_of(opened[0]),
            error.strerror,
        )


def program(count: int) -> bytes:
    """Classic BPF: the lane of a datagram. The twin of `lane_of`."""
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD_BYTE, 0, 0, _NETWORK),
        (_SHIFT, 0, 0, 4),
        (_IF_EQUAL, 2, 0, 6),
        (_LOAD, 0, 0, _NETWORK + 12),  # IPv4: the source address
        (_GO, 0, 0, 10),  # to the multiplication
        (_LOAD, 0, 0, _NETWORK + 8),  # IPv6: its four words
    ]
    for word in (12, 16, 20):
        steps += [(_TO_X, 0, 0, 0), (_LOAD, 0, 0, _NETWORK + word), (_XOR, 0, 0, 0)]
    steps += [(_MULTIPLY, 0, 0, MULTIPLIER), (_SHIFT, 0, 0, 16), (_MODULO, 0, 0, count), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def lane_of(address: str, count: int) -> int:
    """Which of `count` lanes an exporter's datagrams go to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    value = 0
    for (word,) in struct.iter_unpack(">I", socket.inet_pton(family, address)):
        value ^= word
    return ((value * MULTIPLIER & 0xFFFFFFFF) >> 16) % count


def _open(listener: config.Listener) -> list[socket.socket]:
    """As many sockets on one port as the listener has workers, in the order of their lanes."""
    opened: list[socket.socket] = []
    listen = listener.listen
    try:
        for _ in range(listener.workers):
            opened.append(sockets.open_socket(listen, "udp"))
            host, port = opened[0].getsockname()[:2]
            listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    except BaseException:
        for item in opened:
            item.close()
        raise
    return opened


def _check(listener: config.Listener, handed: list[socket.socket]) -> None:
    if listener.workers > 1 and (listener.kind, listener.transport) != ("netflow", "udp"):
        raise Usage(
            f"collect.listeners {listener.source}: only netflow over udp has several workers; leave `workers` out"
        )
    if not handed:
        return
    wrong = [sockets.name_of(item) for item in handed if not _fits(listener, item)]
    if wrong:
        wanted = "ListenDatagram=" if listener.transport == "udp" else "ListenStream="
        raise Usage(
            f"the socket unit passes {', '.join(wrong)} to {listener.source}, which listens by {listener.transport}: "
            f"it needs {wanted}, or another `transport`"
        )
    if listener.workers > 1 and len(handed) != listener.workers:
        raise Usage(
            f"{listener.source} has {listener.workers} workers and the socket unit passes {len(handed)} sockets: give "
            "it one ListenDatagram= line for each, all with the same address, and ReusePort=yes"
        )


def _fits(listener: config.Listener, opened: socket.socket) -> bool:
    """A syslog listener without TLS takes both kinds of sockets from a unit."""
    if listener.kind == "syslog" and listener.transport != "tls":
        return True
    return (opened.type == socket.SOCK_DGRAM) == (listener.transport == "udp")
