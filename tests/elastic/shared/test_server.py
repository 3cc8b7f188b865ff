"""The log is cut on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.stores.base import Commit
from csirt.stores.elastic import layout
from csirt.stores.elastic.roles import lacking
from csirt.stores.elastic.shared.log import Cut
from csirt.stores.elastic.shared.store import NodeStore
from tests.elastic.shared import desk
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def test_an_index_that_is_gone_takes_nothing(place: tuple[str, str], tmp_path: Path) -> None:
    """A segment that was deleted: writing, reading and looking are refused as such, and make no index; deleting it
    again is no failure. What is not a segment of this log is not listed as one."""
    with desk.nodes(tmp_path, *place, "a") as (a,):
        assert lacking(a.shipper.client, place[1]) == ""  # it has no security
        log, ours = a.journal.log, a.journal.place
        client = a.shipper.client
        other = f"{layout.alias(place[1], layout.LOG)}-000000000000-0123456789"
        client.indices.create(index=other)
        name = log.begin(ours.log, 7)
        assert log.names(ours.log) == sorted([ours.segment.name, name])
        piece = log.at(name)
        assert piece.created("x", {"a": 1}) == 1 and piece.created("x", {"a": 2}) is None
        for _ in range(2):
            log.drop(name)
        for ask in (
            lambda: piece.created("y", {"a": 1}),
            lambda: piece.get("x"),
            lambda: piece.several(["x", "y"]),
            lambda: log.read(8, name),
            lambda: log.token(8, name),
        ):
            with pytest.raises(Cut, match="store recover"):
                ask()
        assert log.names(ours.log) == [ours.segment.name]
        client.indices.delete(index=other)


def grow(a: NodeStore, b: NodeStore, rounds: int) -> None:
    """Entries of both, and turns."""
    for number in range(rounds):
        a.commit(opened(f"a{number}"))
        b.commit(opened(f"b{number}"))
        b.commit(Commit(hits=build.hits([build.START + number]), states={"windows": b"%d" % number}))
        for _ in range(3):
            a.commit(Commit(states={"sector:x": b"%d" % number}))
        a.shipper.settle(30, patient=True)
        desk.turn(a, b)
        a.cutter.turn()


def test_a_node_joins_a_log_that_was_cut(place: tuple[str, str], tmp_path: Path) -> None:
    """From the documents of the cluster, a snapshot and the entries after it: its folder holds what the others' do.
    Only the indices that the log names are there."""
    with desk.nodes(tmp_path, *place, "ab", log_entries=10, log_tail=2) as (a, b):
        grow(a, b, 9)
        kept = a.cluster()["log"]
        assert kept["first"] > 20 and kept["entries"] < 40 and kept["snapshot"]["octets"] > 100
        assert len(a.journal.log.names(a.journal.place.log)) == kept["segments"] <= 4
        c = desk.node(tmp_path, *place, "c", a.clock)  # type: ignore[arg-type]
        try:
            c.tail.turn()
            documents = [
                [line for line in desk.documents(store) if b'"kind":"audit"' not in line] for store in (a, b, c)
            ]
            assert documents[0] == documents[1] == documents[2] and len(c.find("case")) == 18
            assert [blob.id for blob in c.pending(1 << 62)] == [blob.id for blob in a.pending(1 << 62)]
            assert c.state("windows") == a.state("windows") and c.verify_audit().first_bad is None
            c.commit(opened("c"))
            desk.turn(a, b, c)
            assert len({case["number"] for case in a.find("case")}) == 19
        finally:
            c.close()
