"""`csirt collect netflow|syslog`: a receiver alone, for another host or another privilege."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, shared

if TYPE_CHECKING:
    import socket
    import threading

    from csirt.collect.receiver import Receiver
    from csirt.config import Config, Listener

FATAL_EXIT = 74  # EX_IOERR: the disk refused a write or sync


@group()
def collect() -> None:
    """A receiver alone: what arrives goes to the spool, nothing is parsed.

    \b
    Examples:
      csirt collect netflow --source edge --listen '[::]:2055'
      csirt collect syslog --source relay --listen 127.0.0.1:5514 --transport tcp
    """


@collect.command()
@click.option("--source", required=True, metavar="ID", help="The source that reads this spool.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Default: the source's listener in the configuration.")
@shared
def netflow(settings: Settings, source: str, listen: str | None) -> int:
    """NetFlow v5, v9 and IPFIX datagrams over UDP, until SIGTERM.

    \b
    Examples:
      csirt collect netflow --source edge --listen '[::]:2055'
      csirt collect netflow --source edge --config /etc/csirt/csirt.toml
    """
    return _collect(settings, "netflow", source, listen, None)


@collect.command()
@click.option("--source", required=True, metavar="ID", help="The source that reads this spool.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Default: the source's listener in the configuration.")
@click.option("--transport", type=click.Choice(["udp", "tcp"]), help="Default: the listener's, else udp.")
@shared
def syslog(settings: Settings, source: str, listen: str | None, transport: str | None) -> int:
    """Syslog messages (RFC 3164, RFC 5424) over UDP or TCP, until SIGTERM.

    \b
    Examples:
      csirt collect syslog --source relay --listen 127.0.0.1:5514
      csirt collect syslog --source relay --listen 127.0.0.1:5514 --transport tcp
    """
    return _collect(settings, "syslog", source, listen, transport)


def _collect(settings: Settings, kind: str, source: str, listen: str | None, transport: str | None) -> int:
    import logging
    import os
    import signal
    import threading

    from csirt import config, logs, systemd
    from csirt.clock import SYSTEM
    from csirt.collect.receiver import Receiver
    from csirt.metrics import Metrics

    logs.configure(logging.INFO)
    os.umask(0o077)
    loaded = config.load(settings.config_file())
    handed = systemd.listen_fds()
    listener = _listener(loaded, kind, source, listen, transport, handed)
    stop = threading.Event()
    receiver = Receiver(
        listener, loaded.collect.spool, loaded.path("spool"), Metrics(), SYSTEM, handed=_fitting(kind, handed)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    receiver.start()
    systemd.notify("READY=1\n" + _status(receiver))
    _watch(receiver, stop)
    systemd.notify("STOPPING=1")
    receiver.stop()
    return _finish(settings, receiver)


def _watch(receiver: Receiver, stop: threading.Event) -> None:
    """Wait for the end. The watchdog is fed only while the receive loop and the side thread make progress."""
    from csirt import systemd
    from csirt.clock import SYSTEM

    interval = min(systemd.watchdog_interval() or 10.0, 10.0)
    before, due = -1, 0.0
    while receiver.alive and not stop.wait(0.25):
        updated = receiver.stats()["updated"]
        if updated != before and SYSTEM.monotonic() >= due:
            before, due = updated, SYSTEM.monotonic() + interval
            systemd.notify("WATCHDOG=1\n" + _status(receiver))


def _status(receiver: Receiver) -> str:
    counts = receiver.stats()
    lost = counts["kernel_dropped"] + sum(counts["spool_dropped"].values())
    return f"STATUS={', '.join(counts['listen'])}: {counts['received']} received, {lost} lost"


def _finish(settings: Settings, receiver: Receiver) -> int:
    from csirt.cli.common import say, write_json
    from csirt.messages import text

    counts: dict[str, Any] = receiver.stats()
    if settings.as_json:
        write_json(counts)
    else:
        lost = counts["kernel_dropped"] + sum(counts["spool_dropped"].values())
        known = {name: counts[name] for name in ("source", "received", "spooled")}
        say(text("collect.done", settings.language(), lost=lost, **known))
    if receiver.failed is None:
        return 0
    say(receiver.failed.message)
    return FATAL_EXIT


def _listener(
    loaded: Config, kind: str, source: str, listen: str | None, transport: str | None, handed: list[socket.socket]
) -> Listener:
    """What to listen on: the options, else the configuration's listener of that source. Raises Usage."""
    import dataclasses
    import re

    from csirt.config import Listener
    from csirt.errors import Usage

    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", source):
        raise Usage(f"{source!r} is no source id: lower-case letters, digits and _ . - only, 64 at most")
    known = [item for item in loaded.collect.listeners if item.source == source]
    known = [item for item in known if transport is None or item.transport == transport]
    if not listen and not known and not handed:
        raise Usage(
            f"nothing says where to listen for {source!r}: give --listen ADDRESS:PORT, or add a "
            "[[collect.listeners]] with that source to the configuration"
        )
    base = known[0] if known else Listener(source=source, kind="netflow", listen="")
    values: dict[str, Any] = {"kind": kind, "listen": listen or base.listen, "transport": transport or base.transport}
    if kind == "netflow":
        values["transport"] = "udp"
    return dataclasses.replace(base, **values)


def _fitting(kind: str, handed: list[socket.socket]) -> list[socket.socket]:
    """The sockets of the unit; netflow takes datagram sockets only. Raises Usage."""
    import socket

    from csirt.errors import Usage

    streams = [item for item in handed if item.type != socket.SOCK_DGRAM]
    if kind == "netflow" and streams:
        raise Usage("the socket unit passes a stream socket; netflow needs ListenDatagram=")
    return handed
