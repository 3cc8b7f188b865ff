"""`csirt collect netflow|syslog`: a receiver alone, for another host or another privilege."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, shared

if TYPE_CHECKING:
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


def _tls(command: Any) -> Any:
    """The options of a listener by TLS."""
    for name, key, help in (
        ("--client-ca", "client_ca", "PEM file of the authority that senders' certificates must come from."),
        ("--key", "key", "PEM file of its key."),
        ("--cert", "certificate", "PEM file of our certificate, for --transport tls."),
    ):
        command = click.option(name, key, metavar="FILE", help=help)(command)
    return command


@collect.command()
@click.option("--source", required=True, metavar="ID", help="The source that reads this spool.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Default: the source's listener in the configuration.")
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), help="Default: the listener's, else udp.")
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Sockets on the port, each with a thread and a lane; udp only."
)
@_tls
@shared
def netflow(settings: Settings, **given: Any) -> int:
    """NetFlow v5, v9 and IPFIX over UDP, IPFIX over TCP or TLS, until SIGTERM.

    \b
    Examples:
      csirt collect netflow --source edge --listen '[::]:2055' --workers 4
      csirt collect netflow --source edge --listen '[::]:4740' --transport tls --cert cert.pem --key key.pem
    """
    return _collect(settings, "netflow", given)


@collect.command()
@click.option("--source", required=True, metavar="ID", help="The source that reads this spool.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Default: the source's listener in the configuration.")
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), help="Default: the listener's, else udp.")
@_tls
@shared
def syslog(settings: Settings, **given: Any) -> int:
    """Syslog messages (RFC 3164, RFC 5424) over UDP, TCP or TLS, until SIGTERM.

    \b
    Examples:
      csirt collect syslog --source relay --listen 127.0.0.1:5514
      csirt collect syslog --source relay --listen '[::]:6514' --transport tls --cert cert.pem --key key.pem
    """
    return _collect(settings, "syslog", given)


def _collect(settings: Settings, kind: str, given: dict[str, Any]) -> int:
    import logging
    import os
    import signal
    import threading

    from csirt import configfile, logs, systemd
    from csirt.clock import SYSTEM
    from csirt.collect import lanes
    from csirt.metrics import Metrics

    logs.configure(logging.INFO)
    os.umask(0o077)
    loaded = configfile.load(settings.config_file())
    handed = [opened for _, opened in systemd.listen_fds()]
    listener = _listener(loaded, kind, given, handed=bool(handed))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    receivers = lanes.start(listener, loaded.collect.spool, loaded.path("spool"), Metrics(), SYSTEM, handed=handed)
    systemd.notify("READY=1\n" + _status(receivers))
    _watch(receivers, stop)
    systemd.notify("STOPPING=1")
    for receiver in receivers:
        receiver.stop()
    return _finish(settings, receivers)


def _watch(receivers: list[Receiver], stop: threading.Event) -> None:
    """Wait for the end. The watchdog is fed only while every receive loop and side thread makes progress."""
    from csirt import systemd
    from csirt.clock import SYSTEM

    interval = min(systemd.watchdog_interval() or 10.0, 10.0)
    before, due = [-1] * len(receivers), 0.0
    while all(receiver.alive for receiver in receivers) and not stop.wait(0.25):
        updated = [receiver.stats()["updated"] for receiver in receivers]
        moved = all(now != then for now, then in zip(updated, before, strict=True))
        if moved and SYSTEM.monotonic() >= due:
            before, due = updated, SYSTEM.monotonic() + interval
            systemd.notify("WATCHDOG=1\n" + _status(receivers))


def _counts(receivers: list[Receiver]) -> dict[str, Any]:
    from csirt.collect.stats import together

    return together([receiver.stats() for receiver in receivers])


def _status(receivers: list[Receiver]) -> str:
    counts = _counts(receivers)
    lost = counts["kernel_dropped"] + sum(counts["spool_dropped"].values())
    return f"STATUS={', '.join(counts['listen'])}: {counts['received']} received, {lost} lost"


def _finish(settings: Settings, receivers: list[Receiver]) -> int:
    from csirt.cli.common import say, write_json
    from csirt.messages import text

    counts = _counts(receivers)
    if settings.as_json:
        write_json(counts)
    else:
        lost = counts["kernel_dropped"] + sum(counts["spool_dropped"].values())
        known = {name: counts[name] for name in ("source", "received", "spooled")}
        say(text("collect.done", settings.language(), lost=lost, **known))
    failed = next((receiver.failed for receiver in receivers if receiver.failed), None)
    if failed is None:
        return 0
    say(failed.message)
    return FATAL_EXIT


def _listener(loaded: Config, kind: str, given: dict[str, Any], *, handed: bool) -> Listener:
    """What to listen on: the options, else the configuration's listener of that source. Raises Usage."""
    import dataclasses

    from csirt.config import Listener, source_id
    from csirt.errors import Usage

    source = given["source"]
    try:
        source_id(source)
    except ValueError as error:
        raise Usage(str(error)) from error
    known = [item for item in loaded.collect.listeners if item.source == source and item.kind == kind]
    known = [item for item in known if given["transport"] in (None, item.transport)]
    if not given["listen"] and not known and not handed:
        raise Usage(
            f"nothing says where to listen for {source!r}: give --listen ADDRESS:PORT, or add a "
            "[[collect.listeners]] with that source to the configuration"
        )
    base = known[0] if known else Listener(source=source, kind="netflow", listen="")
    return dataclasses.replace(base, **{"kind": kind, **{name: value for name, value in given.items() if value}})
