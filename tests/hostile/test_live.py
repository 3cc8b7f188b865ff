"""A running daemon under hostile input goes on and loses nothing else; its counters add up, also after a restart."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

from csirt.control.client import SocketClient
from csirt.demo.show import free_port
from tests.hostile.bench import balanced
from tests.hostile.test_captures import garbage, valid
from tests.hostile.test_logs import BROKEN, good
from tests.live import daemon, until


def configuration(folder: Path) -> tuple[Path, dict[str, int]]:
    """Both listeners, a log, a watched folder."""
    ports = {kind: free_port(socket.SOCK_DGRAM) for kind in ("netflow", "syslog")}
    (folder / "captures").mkdir()
    (folder / "mail.log").touch()
    text = f'state = "{folder / "state"}"\n[control]\nsocket = "{folder / "csirt.sock"}"\n[health]\nlisten = ""\n'
    for kind, port in ports.items():
        text += f'[[collect.listeners]]\nsource = "{kind}"\nkind = "{kind}"\nlisten = "127.0.0.1:{port}"\n'
        text += 'receive_buffer = "4MiB"\n'
    text += '[[sources]]\nid = "netflow"\ntype = "netflow"\n'
    text += '[[sources]]\nid = "syslog"\ntype = "syslog"\nparser = "postfix"\n'
    text += f'[[sources]]\nid = "relay"\ntype = "log"\nparser = "postfix"\npath = "{folder / "mail.log"}"\n'
    text += f'[[sources]]\nid = "tap"\ntype = "capture"\npath = "{folder / "captures"}"\nsettle = "200ms"\n'
    path = folder / "csirt.toml"
    path.write_text(text)
    return path, ports


def at_rest(client: SocketClient, entered: int, log: Path) -> dict[str, object]:
    """The status once `entered` units have been decoded or dropped."""

    def settled() -> bool:
        document = client.call("status.show")
        return next(item for item in document["stages"] if item["name"] == "decode")["in"] >= entered

    until(settled, 40, lambda: (client.call("status.show"), log.read_text()[-3_000:]))
    time.sleep(1.2)  # the receivers' own counters are written once a second
    document: dict[str, object] = client.call("status.show")
    return document


def test_a_daemon_takes_garbage_and_goes_on(tmp_path: Path) -> None:
    """Noise between datagrams, lines and captures: every valid flow is stored, every stage adds up, the daemon's log
    has no traceback, and a restart keeps the counts."""
    config, ports = configuration(tmp_path)
    rng = random.Random(5)
    clean = valid(60)
    mixed = [raw for item in clean for raw in (*garbage(rng)[:6], item)]
    lines = [line.encode() for line in good("mail.log")]
    log = tmp_path / "daemon.log"
    with daemon(config, tmp_path / "csirt.sock", log=log) as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for raw in mixed:
                sender.sendto(raw, ("127.0.0.1", ports["netflow"]))
            for raw in [line for line in BROKEN if len(line) < 60_000]:
                sender.sendto(raw, ("127.0.0.1", ports["syslog"]))
        (tmp_path / "captures" / "noise.pcap").write_bytes(rng.randbytes(5_000))
        (tmp_path / "captures" / "empty.pcap").touch()
        with (tmp_path / "mail.log").open("ab") as handle:
            for number, line in enumerate(lines):
                handle.write(line[:10])
                handle.flush()
                handle.write(line[10:] + b"\n" + BROKEN[number % len(BROKEN)] + b"\n")
        document = at_rest(client, len(mixed) + 2 * len(lines) + 10, log)
        balanced(document)
        assert document["events"]["flow"] == len(clean), document  # type: ignore[index]
        sources = next(item for item in document["stages"] if item["name"] == "sources")  # type: ignore[attr-defined]
        assert sources["dropped"]["not_a_capture"] >= 1
    assert "Traceback" not in log.read_text()
    with daemon(config, tmp_path / "csirt.sock", log=log) as client:
        again = client.call("status.show")
        balanced(again)
        for name in ("collect", "sources", "decode", "stores"):
            one, other = (next(i for i in d["stages"] if i["name"] == name) for d in (document, again))  # type: ignore[attr-defined]
            assert (other["in"], other["out"], other["dropped"]) == (one["in"], one["out"], one["dropped"]), name
    words = ["status", "--json", "--config", str(config), "--store", str(tmp_path / "state" / "store")]
    done = subprocess.run([sys.executable, "-m", "csirt", *words], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    balanced(said)
    assert said["exporters"] == document["exporters"]
