"""The same traffic seen by one router and by two, whose clocks, timeouts and luck differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from csirt.clock import SECOND, SYSTEM
from csirt.demo.exporter import FLOW, Exporter
from csirt.demo.network import register
from csirt.stores.embedded import open_embedded
from csirt.stores.hunt.select import Question
from csirt.stores.hunt.top import top
from tests.spool import write_segment

START = 1_763_974_800 * SECOND
ONE, TWO = "10.255.0.1", "10.255.0.2"


@dataclass(frozen=True)
class Talk:
    """Packets both ways, `pause` seconds apart: how many each way, 0 back for what nobody answers."""

    at: float
    client: str
    server: str
    ports: tuple[int, int]
    out: int
    back: int
    pause: float = 0.01
    protocol: int = 6


@dataclass(frozen=True)
class Router:
    """An exporter: how far its clock is ahead, its active timeout, every how many records one is lost, and
    which direction it sees, if not both."""

    address: str
    ahead: float = 0.0
    timeout: float = 60.0
    version: int = 10
    loses: int = 0
    only: int | None = None  # 0: what clients send, 1: what servers send


def traffic() -> list[Talk]:
    """Two file-sharing sessions, one of them for ten minutes; a scan of hosts and one of ports; and lawful talk."""
    found = [
        Talk(5, "10.31.0.77", "10.21.0.12", (50001, 445), 40, 30),
        Talk(9, "10.33.0.5", "10.41.0.30", (50002, 445), 6_000, 3_000, 0.1),
        Talk(11, "10.31.0.9", "10.21.0.12", (50003, 445), 2, 2),
        Talk(30, "10.31.0.10", "10.21.0.13", (50003, 8080), 400, 900, 0.5),
    ]
    found += [Talk(60 + n, "10.31.0.78", f"10.21.{n // 100}.{n % 100 + 1}", (50100, 22), 1, 0) for n in range(110)]
    found += [Talk(300 + n, "10.33.0.79", "10.41.0.44", (50200, 1000 + n), 2, 0, 0.5) for n in range(60)]
    found += [Talk(7 * n, "10.31.0.11", f"10.5.0.{n % 9 + 1}", (50300 + n, 443), 12, 15) for n in range(60)]
    found += [Talk(2 * n, "10.31.0.12", "10.5.0.53", (51000 + n, 53), 1, 1, 0.02, 17) for n in range(200)]
    return found


def records(talk: Talk, router: Router) -> list[tuple[Any, ...]]:
    """What a router exports of it: both directions, each cut at the active timeout."""
    found = []
    for way, (packets, ends, ports, late) in enumerate(
        (
            (talk.out, (talk.client, talk.server), talk.ports, 0.0),
            (talk.back, (talk.server, talk.client), talk.ports[::-1], 0.005),
        )
    ):
        if router.only not in (None, way):
            continue
        times = [talk.at + late + n * talk.pause * talk.out / max(packets, 1) for n in range(packets)]
        while times:
            part = [time for time in times if time < times[0] + router.timeout]
            times = times[len(part) :]
            begin, end = (START + round((time + router.ahead) * SECOND) for time in (part[0], part[-1]))
            flags = 2 if not talk.back else 27 if talk.protocol == 6 else 0
            numbers = [int.from_bytes(bytes(map(int, end_.split(".")))) for end_ in ends]
            found.append((begin, end, *numbers, *ports, talk.protocol, flags, 100 * len(part), len(part), 1, 2))
    return found


def export(folder: Path, router: Router, talks: list[Talk]) -> Path:
    """A spool segment with the router's datagrams, received when they were sent."""
    rows = np.array([record for talk in talks for record in records(talk, router)], FLOW)
    rows = np.sort(rows, order="end", kind="stable")
    if router.loses:
        rows = np.delete(rows, np.arange(0, len(rows), router.loses))
    boot = START - 3_600 * SECOND
    sent = [
        (moment - round(router.ahead * SECOND), data)
        for moment, data in Exporter(router.version, 0, boot).datagrams(rows)
    ]
    path = folder / f"{router.address}.pcapng"
    write_segment(path, router.address, sent, uuid=bytes([int(router.address[-1])] * 16))
    return path


@dataclass(frozen=True)
class Seen:
    """What a store says afterwards."""

    alerts: list[tuple[str, str]]
    cases: int
    sums: dict[tuple[str, str], tuple[int, int]]
    left_out: int


def replayed(
    folder: Path, routers: list[Router], capfd: pytest.CaptureFixture[str], talks: list[Talk] | None = None
) -> Seen:
    """The store's alerts, cases and sums after a replay of what these routers sent."""
    folder.mkdir()
    (folder / "register.yml").write_text(register())
    config = folder / "csirt.toml"
    config.write_text(
        f"state = {json.dumps(str(folder))}\n[enrich]\nregister = {json.dumps(str(folder / 'register.yml'))}\n"
        + "".join(f'[[decode.exporters]]\naddress = "{address}"\n' for address in (ONE, TWO))
    )
    paths = [str(export(folder, router, talks or traffic())) for router in routers]
    assert guarded(main, ["replay", *paths, "--store", str(folder / "store"), "--config", str(config)]) == 0
    capfd.readouterr()
    with open_embedded(folder / "store", clock=SYSTEM) as store:
        found = top(store, Question("flow"), ["source.ip", "destination.ip"])
        return Seen(
            sorted((item["rule_name"][:6], json.dumps(item["group"], sort_keys=True)) for item in store.find("alert")),
            store.count("case"),
            {(item["source.ip"], item["destination.ip"]): (item["bytes"], item["packets"]) for item in found["items"]},
            found["duplicates"],
        )


@pytest.mark.parametrize(
    "other",
    [
        Router(TWO),
        Router(TWO, ahead=3, timeout=120),
        Router(TWO, ahead=-40, version=9),
        Router(TWO, ahead=240, timeout=300, loses=9),
        Router(TWO, ahead=-120.4, timeout=1_800, version=9, loses=5),
    ],
    ids=["same", "3s-120s", "-40s-v9", "4min-300s-loss", "-2min-30min-v9-loss"],
)
def test_two_routers_say_what_one_says(other: Router, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same traffic exported by two routers with skewed clocks, other timeouts and some loss on one gives the same
    alerts, cases and byte totals as by one."""
    alone = replayed(tmp_path / "one", [Router(ONE)], capfd)
    assert {rule for rule, _ in alone.alerts} == {"NET-01", "NET-03", "NET-07"} and alone.left_out == 0
    assert alone.sums["10.33.0.5", "10.41.0.30"] == (600_000, 6_000)
    both = replayed(tmp_path / "two", [Router(ONE), other], capfd)
    assert (both.alerts, both.cases, both.sums) == (alone.alerts, alone.cases, alone.sums)
    assert both.left_out > 0


def test_a_shorter_timeout_decides_and_its_totals_count(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The router that speaks of a flow first counts it: totals and alerts are the same, whoever that is."""
    alone = replayed(tmp_path / "one", [Router(ONE, timeout=600)], capfd)
    both = replayed(tmp_path / "two", [Router(ONE, timeout=600), Router(TWO, ahead=-7, timeout=20)], capfd)
    assert (both.alerts, both.cases, both.sums) == (alone.alerts, alone.cases, alone.sums)


def test_each_direction_by_a_router_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Routers that meter only one direction are paired with each other, with clocks minutes apart."""
    alone = replayed(tmp_path / "one", [Router(ONE)], capfd)
    halves = [Router(ONE, only=0), Router(TWO, ahead=-150, version=9, only=1)]
    both = replayed(tmp_path / "two", halves, capfd)
    assert (both.alerts, both.cases, both.sums, both.left_out) == (alone.alerts, alone.cases, alone.sums, 0)
