"""A relay sends its log by syslog to the running daemon, over UDP and TCP, in every form relays use."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

from csirt.clock import SYSTEM, iso
from csirt.demo.network import register
from csirt.demo.show import free_port
from tests.live import daemon, until

CONFIG = """state = "{folder}/state"
timezone = "UTC"
[control]
socket = "{folder}/csirt.sock"
[[collect.listeners]]
source = "relay"
kind = "syslog"
listen = "127.0.0.1:{udp}"
[[collect.listeners]]
source = "relay"
kind = "syslog"
transport = "tcp"
listen = "127.0.0.1:{tcp}"
[[sources]]
id = "relay"
type = "syslog"
parser = "postfix"
[decode]
organisation_domains = ["edi.helsenett.example"]
[enrich]
register = "{folder}/register.yml"
[detect]
lateness = "2s"
idle_after = "2s"
[stores]
gather = "1s"
[health]
listen = ""
"""


def transaction(queue: str, host: str, *, modern: bool) -> Iterator[bytes]:
    """The lines of one mail to a foreign domain, by RFC 5424 or RFC 3164."""
    for program, body in (
        ("smtpd", "client=pc.m020.example[10.31.0.77]"),
        ("qmgr", "from=<m020@edi.helsenett.example>, size=301, nrcpt=1 (queue active)"),
        (
            "smtp",
            "to=<x@evil.example.net>, relay=mx[203.0.113.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)",
        ),
        ("qmgr", "removed"),
    ):
        now = iso(SYSTEM.now())
        month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][int(now[5:7]) - 1]
        if modern:
            yield f"<22>1 {now} {host} postfix/{program} 12 - - {queue}: {body}".encode()
        else:
            yield f"<22>{month} {int(now[8:10]):2d} {now[11:19]} {host} postfix/{program}[12]: {queue}: {body}".encode()


def test_syslog_of_every_form_becomes_mail_rows_and_a_live_alert(tmp_path: Path) -> None:
    """UDP, TCP by octet counting, TCP by lines; RFC 3164, RFC 5424, and without a host name: one row each, with the
    sender's address as the observer's; SMTP-05 alerts while the daemon runs; received = spooled = read."""
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    (tmp_path / "register.yml").write_text(register())
    config = tmp_path / "csirt.toml"
    config.write_text(CONFIG.format(folder=tmp_path, udp=udp, tcp=tcp))
    log = tmp_path / "daemon.log"
    with daemon(config, tmp_path / "csirt.sock", log=log) as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.7", 0))
            for queue, host in (("A1A1A1A1A", "relay-udp"), ("B1B1B1B1B", "-")):
                for line in transaction(queue, host, modern=True):
                    sender.sendto(line, ("127.0.0.1", udp))
        with socket.create_connection(("127.0.0.1", tcp), source_address=("127.0.0.8", 0)) as stream:
            for line in transaction("C1C1C1C1C", "relay-counted", modern=True):
                stream.sendall(b"%d %s" % (len(line), line))
        with socket.create_connection(("127.0.0.1", tcp), source_address=("127.0.0.9", 0)) as stream:
            for line in transaction("D1D1D1D1D", "relay-lines", modern=False):
                stream.sendall(line + b"\n")
        until(lambda: client.call("status.show")["events"].get("mail") == 4, 30, log.read_text)
        until(lambda: len(client.call("alerts.list")["items"]) >= 1, 30, log.read_text)
        alerts = client.call("alerts.list")["items"]
        status = client.call("status.show")
        answer = list(client.stream("events.query", dataset="mail"))
    assert {alert["rule_name"] for alert in alerts} == {"SMTP-05 Mail Accepted To A Foreign Domain"}
    rows = [json.loads(line) for item in answer for line in item.get("lines", "").splitlines()]
    seen = {(row["observer"]["name"], row["observer"]["ip"]) for row in rows}
    assert seen == {
        ("relay-udp", "127.0.0.7"),
        ("127.0.0.7", "127.0.0.7"),
        ("relay-counted", "127.0.0.8"),
        ("relay-lines", "127.0.0.9"),
    }
    collected, read = status["stages"][0], status["stages"][1]
    assert collected["in"] == collected["out"] == read["in"] == read["out"] == 16 and not any(
        status["backlog"].values()
    )
