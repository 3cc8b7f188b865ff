"""The analysis of several nodes: what one daemon finds, however the input is dealt to them, whoever leads, whoever is
killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from csirt.clock import SECOND, Frozen
from csirt.config import Config
from csirt.control import trouble
from csirt.errors import Conflict
from csirt.nodes import NodeAnalysis, unlike
from csirt.stores.base import Commit
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.shared import lease, nodes
from csirt.stores.elastic.shared.store import NodeStore
from csirt.stores.embedded import open_embedded
from csirt.watermark import tick
from tests.elastic import desk as clusters
from tests.elastic.shared import desk
from tests.stores import build
from tests.test_analysis import HITS_IN_ALL, MINUTE, analyst, hits

pytestmark = pytest.mark.timeout(300)
FOUND = ["alert", "incident", "notification", "run"]
END = (HITS_IN_ALL + 600) * MINUTE


class Sources:
    """The watermark of a node whose sources are active."""

    def slowest(self, now: float) -> tuple[str, int]:
        """One."""
        return "source", 0


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, list[bytes]]:
    """What one daemon finds, by kind."""
    with open_embedded(tmp_path / "single", clock=Frozen(build.START)) as store:
        store.commit(Commit(hits=hits(list(range(HITS_IN_ALL)))))
        analyst().advance(store, END, 1)
        return lines(store)


def lines(store: object) -> dict[str, list[bytes]]:
    """The canonical lines of what the analysis finds, from a folder."""
    from csirt.stores.embedded.dump import dump

    return {kind: list(dump(store, [kind])) for kind in FOUND}  # type: ignore[arg-type]


class Node:
    """A daemon with its part of the input: it reads, says how far it is, and analyses where it leads."""

    def __init__(self, folder: Path, where: tuple[str, str], name: str, numbers: list[int], clock: Frozen):
        self.folder, self.where, self.name, self.left, self.clock = folder, where, name, list(numbers), clock
        self.rules = "same"
        self.start()

    def start(self) -> None:
        """As a fresh process does."""
        self.store: NodeStore = desk.node(self.folder, *self.where, self.name, self.clock)
        self.analysis = NodeAnalysis(analyst(), Sources(), self.clock, lambda: self.rules)  # type: ignore[arg-type]
        self.store.tail.turn()

    def kill(self) -> None:
        """SIGKILL: nothing is handed over or given back, and the lock of the folder falls."""
        self.store.shipper.close(0)
        self.store.database.close()
        self.store._lock.release()
        self.start()

    def read(self, count: int) -> None:
        """The next hits, then the analysis."""
        part, self.left = self.left[:count], self.left[count:]
        if part:
            self.store.commit(Commit(hits=hits(part)))
        self.advance()

    def advance(self) -> None:
        """A turn of the daemon's loop, as long as analysts are quicker."""
        until = tick(self.left[0] * MINUTE - 1) if self.left else END
        for _ in range(5):
            try:
                self.analysis.advance(self.store, until, 1)
                return
            except Conflict:
                continue

    def turn(self) -> None:
        """A turn of its threads."""
        self.store.present.turn()
        self.store.tail.turn()


@pytest.mark.parametrize("seed", range(3))
def test_any_interleaving_finds_what_one_daemon_finds(
    place: tuple[str, str], tmp_path: Path, expected: dict[str, list[bytes]], seed: int
) -> None:
    """Hits dealt at random; reading, turns, kills, leaders that fall silent and notes of analysts in any order: alerts,
    incidents and notifications are those of one daemon, on both nodes and in the cluster."""
    rng = random.Random(seed)
    dealt: tuple[list[int], list[int]] = [], []
    for number in range(HITS_IN_ALL):
        dealt[rng.randrange(2)].append(number)
    clock = Frozen(build.START)
    nodes = [Node(tmp_path, place, name, part, clock) for name, part in zip("ab", dealt, strict=True)]
    leaders: set[str] = set()
    try:
        for step in range(90):
            one = rng.choice(nodes)
            act = rng.choice(["read", "read", "turn", "turn", "turn", "kill", "silent", "note"])
            if act == "read":
                one.read(rng.randrange(1, 5))
            elif act == "turn":
                one.turn()
                clock.time += int(lease.RENEW * SECOND)
            elif act == "kill":
                one.kill()
            elif act == "silent":
                for _ in range(12):
                    one.turn()
                    clock.time += int(lease.RENEW * SECOND)
            elif cases := one.store.find("case"):
                case = rng.choice(cases)
                record, event = desk.noted(case, one.store.case_events(case["id"]), str(step))
                try:
                    one.store.commit(Commit(cases=[record], case_events=[event]))
                except Conflict:
                    one.turn()
            leaders |= {node.name for node in nodes if node.store.journal.leads}
        finish(nodes, clock)
        assert leaders == {"a", "b"}
        for node in nodes:
            assert lines(node.store) == expected
        leader = next(node for node in nodes if node.store.journal.leads)
        found = clusters.reader(leader.store)
        assert found.count("incident") == len(expected["incident"]) > 0
    finally:
        for node in nodes:
            node.store.close()


def finish(nodes: list[Node], clock: Frozen) -> None:
    """Read everything, and let it be analysed and followed."""
    for node in nodes:
        node.read(HITS_IN_ALL)
    for _ in range(14):
        for node in nodes:
            node.turn()
            node.advance()
        clock.time += int(lease.RENEW * SECOND)


def test_a_dead_leader_is_replaced_within_half_a_minute(place: tuple[str, str], tmp_path: Path) -> None:
    """Its successor knows what it had claimed; what it wakes up to claim is refused."""
    clock = Frozen(build.START)
    a, b = (Node(tmp_path, place, name, [], clock) for name in "ab")
    try:
        desk.turn(a.store, b.store)
        desk.turn(a.store, b.store)
        assert a.store.journal.leads and not b.store.journal.leads
        with a.store.leading() as leads:
            assert leads
            case, events = build.opened("one")
            a.store.commit(Commit(cases=[case], case_events=events, notifications=[build.notification("one")]))
            died = clock.monotonic()
            while not b.store.journal.leads:
                b.turn()
                clock.time += int(lease.RENEW * SECOND)
                assert clock.monotonic() - died <= 30
                assert not (a.store.journal.leads and b.store.journal.leads)
            assert b.store.find("notification")[0]["state"] == "pending"
            claim = desk.renewed(a.store.find("notification")[0], state="sending")
            with pytest.raises(Conflict, match="leads now"):
                a.store.commit(Commit(notifications=[claim]))
        desk.turn(a.store, b.store)
        assert not a.store.journal.leads and a.store.find("notification")[0]["state"] == "pending"
        b.store.close()  # it gives the lease back: nobody waits
        desk.turn(a.store)
        desk.turn(a.store)
        assert a.store.journal.leads
    finally:
        a.store.close()
        b.store.close()


def test_a_node_that_is_not_heard_of_is_waited_for_and_then_not(place: tuple[str, str], tmp_path: Path) -> None:
    """Event time waits for the slowest node, so a short absence costs no order; a long one costs no alerts."""
    clock = Frozen(build.START)
    a, b = Node(tmp_path, place, "a", [1, 3], clock), Node(tmp_path, place, "b", [2, 4], clock)
    try:
        for node in (a, b):
            node.turn()
            node.turn()
        b.advance()
        b.turn()
        a.read(2)
        a.turn()
        a.advance()
        assert a.store.journal.leads and len(a.store.find("alert")) == 1  # of minute 1; b has come to minute 2
        for _ in range(160):
            a.store.present.turn()
            a.store.tail.turn()
            clock.time += int(lease.RENEW * SECOND)
        a.advance()
        assert len(a.store.find("alert")) == 2
        assert [item["absent"] for item in a.store.cluster()["nodes"]] == [False, True]
    finally:
        a.store.close()
        b.store.close()


def test_a_node_with_other_rules_is_named(place: tuple[str, str], tmp_path: Path) -> None:
    """`status` says which node runs other rules than this one, on both; nothing while they are the same or not known;
    nothing of a node that is gone."""
    clock = Frozen(build.START)
    a, b = Node(tmp_path, place, "a", [], clock), Node(tmp_path, place, "b", [], clock)

    def said(node: Node) -> list[str]:
        for one in (a, b):
            one.advance()
            one.turn()
            one.turn()
        clock.time += int(lease.RENEW * SECOND)
        a.turn()
        return [item["subject"] for item in trouble.of_cluster(node.store.cluster()) if item["what"] == "node_rules"]

    try:
        assert said(a) == []
        b.rules = "others"
        assert (said(a), said(b)) == (["b"], ["a"])
        with connect.client(a.store.config.elasticsearch) as client:
            index = layout.alias(place[1], layout.META)
            client.indices.refresh(index=index)
            assert [one["rules"] for one in nodes.others(client, index, "a", 0)] == ["others"]
            assert nodes.others(client, index, "a", clock.now() + 1) == []
        for name, rules, count in (("a", "same", 1), ("a", "others", 0), ("b", "others", 1)):
            config = Config(stores=clusters.settings(*place, node=name))
            assert len(unlike(config, rules, clock)) == count
        b.rules = "same"
        assert said(a) == []
    finally:
        a.store.close()
        b.store.close()
