"""Two daemons and four analysts on one cluster, with SIGKILL, while the log is cut again and again: nothing is lost or
done twice, and what is found is what one daemon finds, also on a node that joins in the end. A few kills here; `make
chaos` kills ten times, servers of a cluster of three as well."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import MINUTE, SECOND, SYSTEM, iso
from csirt.control.client import SocketClient
from csirt.errors import CsirtError
from csirt.stores.embedded import open_embedded
from tests.elastic import cluster, desk
from tests.live import until

KILLS = int(os.environ.get("CSIRT_NODE_KILLS", "1"))
SERVERS = 3 if KILLS >= 10 else 1
SEED = int(os.environ.get("CSIRT_SEED", "20261123"))
ATTACKERS, LINES = 24, 12  # SMTP-01 fires at ten refused lines: no node alone ever sees ten
ENTRIES = 20  # of a segment of the log
SAME = ("alert", "incident", "run")

pytestmark = pytest.mark.timeout(3600)


def lines(begin: int) -> list[tuple[int, str]]:
    """(relay, line): every attacker is refused by both relays in turn; in the end both say that time has passed."""
    found = []
    for attacker, number in itertools.product(range(ATTACKERS), range(LINES)):
        when = begin + attacker * MINUTE + number * 2 * SECOND
        found.append((when, number % 2, f"10.66.{attacker}.1"))
    found += [(begin + (ATTACKERS + 60) * MINUTE, relay, f"10.77.{relay}.1") for relay in (0, 1)]
    return [(relay, refused(when, relay, client)) for when, relay, client in sorted(found)]


def refused(when: int, relay: int, client: str) -> str:
    """What a relay writes when it will not carry a client's mail."""
    return (
        f"{iso(when).removesuffix('Z')}+00:00 relay{relay} postfix/smtpd[77]: NOQUEUE: reject: RCPT from "
        f"unknown[{client}]: 554 5.7.1 <a@far.example>: Relay access denied; from=<b@c.example> to=<a@far.example> "
        "proto=SMTP helo=<x>"
    )


@contextlib.contextmanager
def pager() -> Iterator[tuple[str, list[str]]]:
    """A webhook: its address, and the id of everything it was told."""
    told: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take the page."""
            told.append(json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))["id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/page", told
    finally:
        server.shutdown()
        server.server_close()


class Daemon:
    """A daemon with the inputs of some relays."""

    def __init__(self, folder: Path, logs: dict[int, Path], page: str, cluster: str = "") -> None:
        self.folder, self.logs = folder, logs
        folder.mkdir()
        self.config = folder / "csirt.toml"
        sources = "".join(
            f'[[sources]]\nid = "relay{relay}"\ntype = "log"\nparser = "postfix"\npath = "{path}"\n'
            for relay, path in logs.items()
        )
        self.config.write_text(
            f'state = "{folder}/state"\n[control]\nsocket = "{folder}/s"\n{sources}'
            '[detect]\nlateness = "10s"\nidle_after = "1h"\n'
            f'[[notify.contacts]]\nname = "duty"\nchannel = "webhook"\naddress = "{page}"\n'
            '[[notify.routes]]\nname = "all"\ncontacts = ["duty"]\ngroup_wait = "0s"\n'
            f'[stores]\ngather = "1s"\n{cluster}[health]\nlisten = ""\n'
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.client = SocketClient(str(folder / "s"))

    def start(self, *more: str) -> None:
        """`csirt run`."""
        with (self.folder / "log").open("ab") as output:
            command = [sys.executable, "-m", "csirt", "run", "--config", str(self.config), *more]
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def end(self, number: int) -> None:
        """A signal, and wait."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def status(self) -> dict[str, Any]:
        """`csirt status`; nothing while it does not answer."""
        try:
            found: dict[str, Any] = self.client.call("status.show")
        except CsirtError:
            return {}
        return found

    def said(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text()[-3_000:]

    def dump(self) -> dict[str, list[str]]:
        """The canonical lines of its folder, by kind."""
        command = [sys.executable, "-m", "csirt", "store", "dump", "--canonical", "--config", str(self.config)]
        done = subprocess.run(
            [*command, "--store", str(self.folder / "state/store")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            found.setdefault(json.loads(line)["kind"], []).append(line)
        return found


class Analyst(threading.Thread):
    """Notes on whatever case there is, again and again, each text once; `done`: those that were accepted."""

    def __init__(self, name: str, client: SocketClient, stop: threading.Event, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.who, self.client, self.stop, self.rng = name, client, stop, rng
        self.done: list[str] = []
        self.doubtful: list[str] = []

    def run(self) -> None:
        """Until stopped."""
        for number in itertools.count():
            if self.stop.wait(0.2):
                return
            text = f"{self.who} {number}"
            try:
                cases = self.client.call("cases.list")["items"]
                if cases:
                    self.doubtful.append(text)
                    answer = self.client.call("cases.note", cases=[self.rng.choice(cases)["id"]], text=text)
                    if answer["items"]:
                        self.done.append(text)
            except (CsirtError, OSError):
                continue  # refused, or nobody answered


@contextlib.contextmanager
def servers(single: str) -> Iterator[list[cluster.Server]]:
    """A cluster of three, or none: then the one that all tests share is used."""
    if SERVERS == 1:
        yield []
        return
    ports = [cluster.free_port() for _ in range(SERVERS)]
    names = [f"es-{number}" for number in range(SERVERS)]
    seeds = ",".join(f"127.0.0.1:{port}" for port in ports)
    with contextlib.ExitStack() as stack:
        found = []
        for name, port in zip(names, ports, strict=True):
            one = stack.enter_context(
                cluster.made(
                    f"node.name={name}",
                    "cluster.name=csirt-chaos",
                    f"discovery.seed_hosts={seeds}",
                    f"cluster.initial_master_nodes={','.join(names)}",
                )
            )
            one.transport = port
            found.append(one)
        for one in found:
            one.start(lambda one=one: one.port > 0)  # type: ignore[misc]
        until(lambda: all(one.answers() for one in found), 180, lambda: found[0].said())
        yield found


def log_of(node: Daemon) -> dict[str, Any]:
    """What a node says of the log that all share; nothing while it does not answer."""
    found: dict[str, Any] = (node.status().get("cluster") or {}).get("log") or {}
    return found


def short(node: Daemon) -> bool:
    """Whether the log was cut, and is as short as it should be."""
    log = log_of(node)
    return bool(log) and log["first"] > 1 and log["entries"] <= 10 + 4 * ENTRIES


def test_two_daemons_and_four_analysts(elasticsearch: str, installed: str, tmp_path: Path) -> None:
    """SIGKILL of daemons (and servers) in turn: alerts, incidents and runs are those of one daemon with all inputs, on
    both nodes, on one that joins from a snapshot, and in the cluster; every note that was accepted is there once;
    nobody was told twice, but what a kill left unknown."""
    print(f"seed {SEED}, {KILLS} kills, {SERVERS} servers")
    rng = random.Random(SEED)
    todo = lines((SYSTEM.now() // MINUTE - 180) * MINUTE)
    logs = {relay: tmp_path / f"relay{relay}.log" for relay in (0, 1)}
    with pager() as (page, told), servers(elasticsearch) as found:
        urls, prefix = [one.url for one in found] or [elasticsearch], installed if not found else "chaos"
        if found:
            desk.install(urls[0], prefix)
        else:
            desk.empty(urls[0], prefix)
        section = f'kind = "elasticsearch"\n[stores.elasticsearch]\nurls = {json.dumps(urls)}\nprefix = "{prefix}"\n'
        section += f"log_entries = {ENTRIES}\nlog_tail = 10\n"
        nodes = [
            Daemon(tmp_path / name, {relay: logs[relay]}, page, f'{section}timeout = "5s"\nnode = "{name}"\n')
            for relay, name in enumerate("ab")
        ]
        for relay, line in todo[:2]:
            with logs[relay].open("a") as log:
                log.write(line + "\n")
        stop = threading.Event()
        analysts = [Analyst(f"analyst{n}", nodes[n % 2].client, stop, random.Random(SEED + n)) for n in range(4)]
        try:
            for node in nodes:
                node.start()
            until(lambda: all(node.status().get("watermark") or node.status() for node in nodes), 90, nodes[0].said)
            until(lambda: any(joined(node) for node in nodes), 60, nodes[0].said)
            for analyst in analysts:
                analyst.start()
            feed(todo[2:], logs, nodes, found, rng)
            until(lambda: all(whole(node) for node in nodes), 180, lambda: nodes[0].said() + nodes[1].said())
            # What came while nobody led lies in one segment, however much it was; it goes once others follow.
            until(lambda: all(short(node) for node in nodes), 120, lambda: json.dumps([log_of(node) for node in nodes]))
            stop.set()
            for analyst in analysts:
                analyst.join(60)
            until(lambda: settled(nodes), 120, lambda: json.dumps([node.status().get("cluster") for node in nodes]))
            check_notes(nodes, analysts)
            nodes.append(Daemon(tmp_path / "c", {}, page, f'{section}timeout = "5s"\nnode = "c"\n'))
            nodes[-1].start()
            until(lambda: settled(nodes), 120, lambda: json.dumps([node.status().get("cluster") for node in nodes]))
            logs_kept = [log_of(node) for node in nodes]
        finally:
            stop.set()
            for node in nodes:
                node.end(signal.SIGTERM)
        single = Daemon(tmp_path / "single", logs, page)
        heard = Counter(told)
        single.start("--once")
        assert single.process is not None
        assert single.process.wait(120) == 0, single.said()
        expected, dumps = single.dump(), [node.dump() for node in nodes]
    assert len(expected["alert"]) == ATTACKERS
    print(logs_kept[0])
    assert all(log["first"] > 1 and log["entries"] <= 10 + 4 * ENTRIES for log in logs_kept)
    with open_embedded(nodes[-1].folder / "state/store", clock=SYSTEM, read_only=True) as store:
        assert [entry.action for entry in store.audit()].count("store.joined") == 1
    for dump in dumps:
        assert {kind: dump.get(kind) for kind in SAME} == {kind: expected.get(kind) for kind in SAME}
    for kind in ("case", "notification"):
        assert dumps[0][kind] == dumps[1][kind] == dumps[2][kind]
    assert {json.loads(line)["id"] for line in dumps[0]["notification"]} == {
        json.loads(line)["id"] for line in expected["notification"]
    }
    with open_embedded(nodes[0].folder / "state/store", clock=SYSTEM, read_only=True) as store:
        unknown = [entry.subject for entry in store.audit() if entry.action == "notify.unknown"]
    assert heard, "nobody was told anything"
    assert all(times <= 1 + unknown.count(name) for name, times in heard.items()), (heard, unknown)
    print(f"notes {sum(len(a.done) for a in analysts)}, told {len(heard)}, unknown {len(unknown)}")


def joined(node: Daemon) -> bool:
    """Whether its log has a leader."""
    return bool(node.status().get("cluster", {}).get("leader"))


def feed(
    todo: list[tuple[int, str]],
    logs: dict[int, Path],
    nodes: list[Daemon],
    found: list[cluster.Server],
    rng: random.Random,
) -> None:
    """The lines in time order, and kills evenly between them."""
    at = {len(todo) * (number + 1) // (KILLS + 1): number for number in range(KILLS)}
    for place, (relay, line) in enumerate(todo):
        with logs[relay].open("a") as log:
            log.write(line + "\n")
        time.sleep(0.02)
        if place in at:
            strike(nodes, found, rng)


def strike(nodes: list[Daemon], found: list[cluster.Server], rng: random.Random) -> None:
    """SIGKILL of a daemon, and of a server; both come back."""
    victim = rng.choice(nodes)
    victim.end(signal.SIGKILL)
    if found:
        server = rng.choice(found)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.process = None
        server.start()
        until(lambda: all(one.answers() for one in found), 180, server.said)
    victim.start()
    until(lambda: bool(victim.status()), 90, victim.said)


def whole(node: Daemon) -> bool:
    """Whether it has the alerts of all attackers."""
    try:
        return int(node.client.call("alerts.list")["count"]) >= ATTACKERS
    except CsirtError:
        return False


def settled(nodes: list[Daemon]) -> bool:
    """Whether both have the same entries, and the cluster everything."""
    found = [node.status().get("cluster", {"waiting": 1}) for node in nodes]
    return len({one.get("applied") for one in found}) == 1 and not any(one["waiting"] for one in found)


def check_notes(nodes: list[Daemon], analysts: list[Analyst]) -> None:
    """What was accepted is there once; what was refused at most once."""
    for node in nodes:
        texts: Counter[str] = Counter()
        for case in node.client.call("cases.list", everything=True)["items"]:
            history = node.client.call("cases.show", case=case["id"])["history"]
            texts.update(event["data"]["text"] for event in history if event["kind"] == "noted")
        done = {text for analyst in analysts for text in analyst.done}
        assert done and {text: texts[text] for text in done} == dict.fromkeys(done, 1)
        assert max(texts.values()) == 1
        assert set(texts) <= {text for analyst in analysts for text in analyst.doubtful}
