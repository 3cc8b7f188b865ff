"""The log's protocol in any order of what may happen, on a cluster in memory."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import elasticsearch as es
import pytest

from csirt.config import Config
from csirt.errors import Conflict, Unreachable
from csirt.stores.base import Commit
from csirt.stores.elastic.shared import recover
from csirt.stores.elastic.shared.log import Cut
from tests.elastic import desk as clusters
from tests.elastic.shared import desk
from tests.elastic.shared.model import PREFIX, URL, Model, model, same, work
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(3600)
RUNS = int(os.environ.get("CSIRT_LOG_RUNS", "3"))
STEPS = 60
NAMES = "abcd"
SHORT = {"absent_after": "20s", "forget_after": "60s"}
ACTS = ["work", "work", "work", "turn", "turn", "turn", "cut", "cut", "hits", "note", "restart", "away", "wait"]


class Killed(BaseException):
    """As if the process had ended here."""


class Happening:
    """Nodes to which anything happens. `doubtful`: titles of cases whose opening was begun, and not accepted as far as
    somebody was told."""

    def __init__(self, found: Model, seed: int) -> None:
        self.found, self.rng = found, random.Random(seed)
        self.doubtful: set[str] = set()
        self.count, self.deep = 0, False
        self.seen: list[str] = []

    def step(self) -> None:
        """Something, at some node."""
        act, name = self.rng.choice(ACTS), self.rng.choice(NAMES)
        if name not in self.found.nodes:
            if self.rng.random() < 0.6:
                return
            act = "start"
        self.seen.append(f"{act} {name}")
        if act in ("work", "turn", "cut", "hits", "note") and self.rng.random() < 0.4:
            self.disturb(name)
        try:
            self.act(act, name)
        except Killed:
            self.found.kill(name)
        except (Unreachable, Conflict, Cut, es.TransportError) as error:  # as the threads take it
            self.seen.append(f"  {type(error).__name__}: {error}")
        finally:
            self.found.clients[name].hook = lambda now, place: None

    def act(self, act: str, name: str) -> None:
        """One."""
        found, rng = self.found, self.rng
        if act == "start":
            found.join(name)
        elif act == "restart":
            found.kill(name)
        elif act == "work":
            for _ in range(rng.randrange(1, 6)):
                self.opens(name)
        elif act == "turn":
            found.turn(name)
        elif act == "cut":
            found.nodes[name].cutter.turn()
        elif act == "hits":
            self.count += 1
            found.nodes[name].commit(Commit(hits=build.hits([build.START + self.count])))
        elif act == "note":
            self.notes(name)
        elif act == "away":
            self.others(name, rng.choice([10, 90]))
        else:
            found.clock.time += rng.randrange(1, 10) * 1_000_000

    def notes(self, name: str) -> None:
        """A note on some case, and a state."""
        self.count += 1
        store = self.found.nodes[name]
        if cases := store.find("case"):
            case = self.rng.choice(cases)
            record, event = desk.noted(case, store.case_events(case["id"]), f"{name}{self.count}")
            store.commit(Commit(cases=[record], case_events=[event], states={"windows": b"%d" % self.count}))

    def opens(self, name: str) -> None:
        """A case, with a title of its own."""
        self.count += 1
        title = f"{name}-{self.count}"
        self.doubtful.add(f"Incident {title}")
        self.found.nodes[name].commit(opened(title))
        self.found.cases.add(f"Incident {title}")

    def others(self, name: str, seconds: int) -> None:
        """They go on for so long, without one."""
        for _ in range(seconds // 4):
            for other in sorted(self.found.nodes.keys() - {name}):
                with suppress(Unreachable, Conflict, Cut):
                    self.opens(other)
                    self.found.turn(other)

    def disturb(self, name: str) -> None:
        """Let one of the node's next requests be its last, get no answer, or be asleep while others go on."""
        client, rng = self.found.clients[name], self.rng
        end, what = client.calls + rng.randrange(1, 20), rng.choice(["kill", "lost", "asleep", "asleep"])
        when, seconds = rng.choice(["before", "after"]), rng.choice([24, 90])
        self.seen.append(f"  {what} {when} {end - client.calls}")

        def hook(now: int, place: str) -> None:
            if (now, place) != (end, when):
                return
            if what == "kill":
                raise Killed
            if what == "lost":
                raise es.ConnectionError("lost")
            self.others(name, seconds)

        client.hook = hook


@pytest.mark.parametrize("seed", range(RUNS))
def test_any_order(memory: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Commits, turns, cuts, kills, lost answers, nodes that sleep within a request or are away too long, and nodes that
    join: no number is given twice, all that was accepted is there once, all folders and the cluster hold the same, and
    the log is short in the end. A node that came too late is made to follow."""
    with model(memory, monkeypatch, "ab", log_tail=seed % 3 * 5, **SHORT) as found:
        run = Happening(found, seed)
        try:
            for _ in range(STEPS):
                run.step()
                assert all(len(tokens) == 1 for tokens in found.cluster.accepted.values())
            finish(found, memory)
            there = {case["title"] for case in found.leader.find("case")}
            found.cases |= there & run.doubtful
            same(found)
            assert len(found.cluster.indices["model-case"]) == len(found.cases)
            assert len(found.cluster.segments()) == found.leader.cluster()["log"]["segments"] <= 4
        except BaseException:
            print("\n".join(run.seen))
            raise


def finish(found: Model, memory: Path) -> None:
    """All nodes are there, follow, and have time."""
    for name in NAMES:
        store = found.nodes[name] if name in found.nodes else found.start(name)
        try:
            store.tail.turn()
        except Cut:
            found.kill(name)
            config = Config(stores=clusters.settings(URL, PREFIX, node=name, **found.more))
            assert recover.rebuild(memory / name, config, dry_run=False, clock=found.clock)["equal"]
            found.join(name)
    for round_ in range(2):
        found.wait(40)
        work(found, found.leader.node, 12, 1_000 + 12 * round_)
        found.turn()
    found.wait(20)
