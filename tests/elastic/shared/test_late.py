"""Who comes too late for a log that was cut is told so, and can do nothing that others do not know of."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.config import Config
from csirt.control import trouble
from csirt.errors import Conflict, CsirtError
from csirt.stores.base import Commit
from csirt.stores.elastic.shared import recover
from csirt.stores.elastic.shared.log import Cut
from tests.elastic import desk as clusters
from tests.elastic.shared.model import PREFIX, URL, Model, loaded, model, same, work
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(300)
SHORT = {"absent_after": "60s", "forget_after": "10m"}


def cut_without(found: Model, name: str) -> None:
    """Let the others go on for so long that the log is no longer kept for that node."""
    rest = [one for one in found.nodes if one != name]
    for round_ in range(4):
        work(found, "a", 11, 200 + round_ * 11)
        found.wait(180, *rest)


def test_the_log_is_kept_for_a_node_that_is_away(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as was configured, and `status` says for whom; a new leader knows how long that is already. Then it is
    cut."""
    with model(memory, monkeypatch, "abc", **SHORT) as found:
        loaded(found)
        first = found.nodes["c"].journal.place.applied
        found.kill("c")
        work(found, "a", 22, 100)
        found.wait(120)
        cluster = found.nodes["a"].cluster()
        assert cluster["log"]["first"] <= first and cluster["log"]["held_by"] == ["c"]
        said = [(item["what"], item["subject"]) for item in trouble.of_cluster(cluster)]
        assert ("log_held", "c") in said and ("node_absent", "c") in said
        found.join("c")
        same(found)
        found.kill("c")
        found.wait(400)
        found.kill("a")
        found.wait(30, "b")
        assert found.leader is found.nodes["b"]
        assert found.nodes["b"].cluster()["log"]["held_by"] in ([], ["c"])
        found.wait(220, "b")
        cluster = found.nodes["b"].cluster()
        assert cluster["log"]["first"] > first and cluster["log"]["held_by"] == []


@pytest.mark.parametrize("makes", [False, True], ids=["forbidden", "made"])
def test_a_late_write_is_never_accepted(memory: Path, monkeypatch: pytest.MonkeyPatch, makes: bool) -> None:
    """A node that was away writes with its old view where nothing is any more: refused with a sentence, also where
    something else than csirt's template lets a write make the index anew, and no number is given twice. It does not
    lead, though it is alone. `store recover` makes it follow; its own stays, and its hits arrive."""
    with model(memory, monkeypatch, "abc", **SHORT) as found:
        loaded(found)
        c = found.nodes["c"]
        c.commit(Commit(hits=build.hits([build.START + 900])))
        cut_without(found, "c")
        found.cluster.makes = makes
        with pytest.raises(Cut, match="store recover"):
            c.commit(opened("late"))
        assert c.find("case") and not any("late" in case["title"] for case in c.find("case"))
        found.cluster.makes = False
        with pytest.raises(Cut):
            c.tail.turn()
        for name in "ab":
            found.kill(name)
        for _ in range(30):
            found.clock.time += 2_000_000
            c.present.turn()
        assert not c.lease.mine
        for name in "ab":
            found.join(name)
        found.wait(30, "a", "b")
        config = Config(stores=clusters.settings(URL, PREFIX, node="c", **found.more))
        found.kill("c")
        said = recover.rebuild(memory / "c", config, dry_run=True, clock=found.clock)
        assert said["state"] == "cut" and said["counts"]["case"] == len(found.cases) and said["only_here"] == {}
        said = recover.rebuild(memory / "c", config, dry_run=False, clock=found.clock)
        assert said["equal"] and Path(said["kept"]).exists()
        assert recover.rebuild(memory / "c", config, dry_run=True, clock=found.clock)["state"] == "follows"
        found.join("c")
        found.turn()
        found.turn()
        same(found)
        times = [row["time"] for blob in found.nodes["a"].pending(1 << 62) for row in blob.hits.to_pylist()]
        assert times.count(build.START + 900) == 1
        assert found.nodes["c"].verify_audit().first_bad is None


def test_a_writer_that_sleeps_while_the_log_is_cut(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any request of a change; it wakes up and goes on with that request: the change is in the log once, or it was
    refused and is nowhere."""
    for number in (1, 2, 3):
        with model(memory / str(number), monkeypatch, "abc", **SHORT) as found:
            loaded(found)
            found.nodes["c"].tail.turn()
            if number > 1:  # it has to follow first
                work(found, "b", 1)
            end = found.clients["c"].calls + number

            def hook(now: int, place: str, found: Model = found, end: int = end) -> None:
                if (now, place) == (end, "before"):
                    cut_without(found, "c")

            found.clients["c"].hook = hook
            with pytest.raises(CsirtError) as refused:
                found.nodes["c"].commit(opened("late"))
            assert isinstance(refused.value, Cut)
            found.kill("c")
            found.turn()
            same(found)
            assert not any("late" in case["title"] for case in found.nodes["a"].find("case"))


def test_new_indices_get_everything(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The indices were lost, or the prefix is another: the first node to come begins a log with all that its folder
    holds, cases with their numbers and hits that wait, and the cluster has it; the other is told, made to follow, and
    one that is new joins. Where only part was lost nobody begins anything."""
    with model(memory, monkeypatch, "ab") as found:
        loaded(found)
        found.nodes["b"].commit(Commit(hits=build.hits([build.START + 900])))
        found.turn()
        found.turn()
        before = {case["id"]: (case["number"], case["version"]) for case in found.nodes["a"].find("case")}
        pending = [row for blob in found.nodes["a"].pending(1 << 62) for row in blob.hits.to_pylist()]
        meta = found.cluster.indices["model-meta"]
        found.cluster.indices["model-meta"] = {}
        for name in "ab":
            found.kill(name)
            with pytest.raises(Conflict, match="prefix"):
                found.join(name)
            found.kill(name)
        assert meta and found.cluster.indices["model-meta"] == {}
        for index in found.cluster.segments():
            del found.cluster.indices[index]
        found.cluster.indices |= {index: {} for index in found.cluster.aliased}
        found.cluster.accepted = {}
        a = found.join("a")
        b = found.start("b")
        with pytest.raises(Conflict, match="store recover"):
            b.tail.turn()
        found.wait(6, "a")
        assert {case["id"]: (case["number"], case["version"]) for case in a.find("case")} == before
        assert [row for blob in a.pending(1 << 62) for row in blob.hits.to_pylist()] == pending
        assert found.cluster.indices["model-case"].keys() == before.keys()
        assert len(found.cluster.indices["model-audit"]) == len(list(a.audit()))
        config = Config(stores=clusters.settings(URL, PREFIX, node="b", **found.more))
        found.kill("b")
        assert recover.rebuild(memory / "b", config, dry_run=False, clock=found.clock)["state"] == "other_log"
        found.join("b")
        found.join("c")
        for round_ in range(4):
            work(found, "b", 11, 500 + 11 * round_)
            found.turn()
            found.turn()
        same(found)
        assert found.nodes["a"].cluster()["log"]["first"] > 1
