"""Rules over what routers send: from datagrams through the register to alerts, each with its lawful neighbours.

The examples beside the rules are events as their authors thought of them; these are events as decode and enrich make
them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from csirt.clock import parse_iso
from csirt.demo.network import register
from tests.decode.netflow.datagrams import v5, v5_record
from tests.spool import write_segment

# A Tuesday; Oslo is at UTC+2, and the supplier m060 may work at m010 on Tuesdays from 20 to 22.
DAY = parse_iso("2025-05-05T22:00:00Z") // 1_000_000
MORE = """\
  - id: ikt9
    name: IKT
    kind: service
    sites:
      - id: ikt9-main
        prefixes: [10.90.0.0/24]
        assets: [{address: 10.90.0.20, role: scanner}, {address: 10.90.0.5, role: jump_host}]
agreements:
  - {id: a-vnc, from: m022, to: m040, ports: [5900]}
"""
Flow = tuple[float, str, str, int, int, int]  # hours into the day, source, destination, ports, protocol


def _flows() -> Iterator[tuple[Flow, tuple[str, ...]]]:
    """Flows with the rules each of them must lead to."""
    yield (10, "10.31.0.11", "10.32.0.9", 50001, 3389, 6), ("NET-02",)
    yield (10, "10.32.0.9", "10.31.0.11", 3389, 50001, 6), ()  # the answer
    yield (10, "10.31.0.12", "10.31.0.9", 50001, 3389, 6), ()  # one member
    yield (10, "10.31.0.13", "10.21.3.3", 50001, 5901, 6), ("NET-02",)  # the agreement is on 443
    yield (10, "10.90.0.5", "10.21.3.3", 50001, 3389, 6), ()  # a jump host
    yield (10, "10.33.0.14", "10.61.0.8", 50001, 5900, 6), ()  # agreed
    yield (10, "10.61.0.8", "10.33.0.14", 50001, 5900, 6), ("NET-02",)  # but not in this direction
    yield (10, "10.41.0.7", "10.42.0.7", 50002, 22, 6), ("NET-03",)
    yield (10, "10.41.0.8", "10.41.1.7", 50002, 5985, 6), ()
    yield (19.98, "10.81.0.9", "10.41.0.30", 50003, 3389, 6), ("NET-02", "NET-08 m010 m060")  # a minute early
    yield (20.02, "10.81.0.10", "10.41.0.30", 50003, 3389, 6), ()
    yield (21.99, "10.81.0.11", "10.41.0.30", 50003, 22, 6), ()
    yield (20.5, "10.81.0.12", "10.42.0.30", 50003, 8443, 6), ("NET-08 m011 m060",)  # no window there
    yield (12, "10.81.0.12", "10.21.0.30", 50003, 443, 6), ()  # agreed
    yield (12, "10.81.0.12", "10.5.0.80", 50003, 443, 6), ()  # common services
    yield (10, "10.33.0.5", "198.51.100.9", 50004, 443, 6), ("NET-13",)
    yield (10, "10.5.0.1", "198.51.100.9", 50004, 443, 6), ()  # the gateway
    yield (10, "10.33.0.6", "192.168.4.4", 50004, 443, 6), ()
    yield (10, "10.33.0.7", "198.51.100.9", 443, 51000, 6), ()  # an answer
    yield (10, "198.51.100.9", "10.33.0.8", 51000, 443, 6), ()
    yield (10, "10.33.0.9", "10.5.0.53", 50005, 53, 17), ()  # the network's resolver
    yield (10, "10.33.0.10", "10.21.0.99", 50005, 53, 17), ("NET-17",)  # another member's
    yield (10, "10.33.0.11", "10.33.0.99", 50005, 53, 17), ()  # the member's own
    yield (10, "10.33.0.12", "198.51.100.53", 50005, 53, 17), ("NET-13", "NET-17")  # nobody's
    yield (10, "10.33.0.13", "198.51.100.53", 50005, 853, 6), ("NET-13", "NET-17")
    second = 1 / 3600
    for n in range(20):
        alone = ("NET-05",) if n == 0 else ()
        yield (10 + n * 3 * second, "10.51.0.20", f"10.{(21, 22, 41, 42)[n % 4]}.1.{n + 1}", 40000, 445, 6), alone
        far = (60 if n == 19 else n) * second
        yield (11 + far, "10.61.0.27", f"10.42.1.{n + 1}", 40000, 139, 6), alone  # the last exactly a minute later
        yield (11 + (far if n < 19 else 61 * second), "10.51.0.22", f"10.41.1.{n + 1}", 40000, 445, 6), ()
        yield (10 + n * second, "10.51.0.21", f"10.41.1.{n % 19 + 1}", 40000, 445, 6), ()  # nineteen hosts
        yield (10 + n * second, "10.90.0.20", f"10.41.1.{n + 1}", 40000, 445, 6), ()  # the scanner
        yield (10 + n * second, "10.41.0.23", f"10.41.1.{n + 1}", 40000, 445, 6), ()  # one member


def _segment(path: Path, flows: list[Flow]) -> None:
    """The flows as v5 in an order of their own within the lateness that replays allow."""
    random.Random(9).shuffle(flows)
    datagrams = []
    for start in range(0, len(flows), 25):
        part = flows[start : start + 25]
        now = DAY + 24 * 3600
        uptime = 48 * 3600_000
        records = []
        for hours, source, destination, sport, dport, protocol in part:
            at = uptime - (now - DAY) * 1000 + round(hours * 3600) * 1000
            records.append(
                v5_record(source, destination, sport=sport, dport=dport, protocol=protocol, first=at, last=at)
            )
        datagrams.append((now * 1_000_000, v5(records, seconds=now, uptime=uptime, sequence=start)))
    write_segment(path, "10.255.0.1", datagrams, uuid=bytes(range(16)))


def test_each_rule_finds_its_flows_and_not_their_neighbours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """NET-02, 03, 05, 08, 13 and 17 alert on exactly the hosts and member pairs that broke the rule: not on an
    agreement, one member's own traffic, a supplier within its hours, a scanner, a jump host, or the gateway."""
    known = register()
    assert known.count("agreements:\n") == 1
    (tmp_path / "register.yml").write_text(known.replace("agreements:\n", MORE))
    config = tmp_path / "csirt.toml"
    config.write_text(
        f"state = {json.dumps(str(tmp_path))}\n[enrich]\nregister = {json.dumps(str(tmp_path / 'register.yml'))}\n"
    )
    expected = sorted((rule[:6], rule[7:] or flow[1]) for flow, rules in _flows() for rule in rules)
    _segment(tmp_path / "edge.pcapng", [flow for flow, _ in _flows()])
    store = ["--store", str(tmp_path / "store"), "--config", str(config)]
    assert guarded(main, ["replay", str(tmp_path / "edge.pcapng"), *store]) == 0
    capfd.readouterr()
    assert guarded(main, ["alerts", "list", "--json", *store]) == 0
    alerts: list[dict[str, Any]] = json.loads(capfd.readouterr().out)["items"]
    found = sorted((alert["rule_name"][:6], " ".join(alert["group"].values())) for alert in alerts)
    expected.insert(0, ("COR-01", ""))  # hosts of more than two members broke NET-02 and NET-03
    assert [item for item in found if item[0] != "NET-01"] == expected
