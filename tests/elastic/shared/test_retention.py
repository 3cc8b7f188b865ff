"""What all nodes share is deleted for all, once, by the clock of the node that leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.clock import DAY
from csirt.config import Retention
from csirt.stores.base import Commit
from csirt.stores.embedded.retention import apply
from tests.elastic.shared.model import Model, model, same
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(300)
KEEP = Retention(cases="10d")


def closed(name: str) -> Commit:
    """As `opened`, and the case is closed."""
    change = opened(name)
    change.cases = [case.model_copy(update={"state": "closed"}) for case in change.cases]
    return change


def test_cases_go_by_the_leaders_clock(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose clock is wrong, or that applies retention while the cluster is away, deletes nothing that others
    have; its own events go all the same. What the leader deletes is gone in all folders and in the cluster, and does
    not come back with a node that joins."""
    with model(memory, monkeypatch, "ab") as found:
        a, b = found.nodes["a"], found.nodes["b"]
        a.commit(closed("old"))
        b.commit(Commit(batches=[build.mails(3)]))
        found.turn()
        late = found.clock.now() + 300 * DAY
        said = apply(b, KEEP, late)
        assert said["documents"] == {} and said["events"][0]["rows"] == 3
        assert apply(b, KEEP, late, dry_run=True)["documents"]["case"] == 1
        found.clients["a"].hook = away
        assert apply(a, KEEP, late)["documents"] == {} and len(a.find("case")) == 1
        found.clients["a"].hook = lambda now, place: None
        found.turn()
        assert len(a.find("case")) == len(b.find("case")) == 1
        assert apply(a, KEEP, late)["documents"] == dict.fromkeys(("alert", "incident", "case", "notification"), 1)
        found.turn()
        gone(found)
        a.commit(opened("new"))
        found.cases.add("Incident new")
        found.turn()
        found.join("c")
        same(found)


def away(now: int, place: str) -> None:
    """The cluster does not answer."""
    import elasticsearch as es

    raise es.ConnectionError("away")


def gone(found: Model) -> None:
    """Nothing is left of it."""
    for store in found.nodes.values():
        assert not any(store.find(kind) for kind in ("alert", "incident", "case"))
        assert store.case_events(build.opened("old")[0].id) == []
    for kind in ("alert", "incident", "case", "case-event"):
        assert found.cluster.indices[f"model-{kind}"] == {}
