"""Nodes that cut their log on a real server, and one that joins then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csirt.stores.base import Commit
from csirt.stores.elastic.shared.store import NodeStore
from tests.elastic.shared import desk
from tests.elastic.shared.test_log import opened
from tests.stores import build


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


def joined(folder: Path, url: str, prefix: str, **more: Any) -> int:
    """Two nodes fill the log and cut it, a third joins and opens a case; how many numbers cases have then."""
    with desk.nodes(folder, url, prefix, "ab", log_entries=10, log_tail=2, **more) as (a, b):
        grow(a, b, 9)
        kept = a.cluster()["log"]
        assert kept["first"] > 20 and kept["entries"] < 40 and kept["snapshot"]["octets"] > 100
        assert len(a.journal.log.names(a.journal.place.log)) == kept["segments"] <= 4
        c = desk.node(folder, url, prefix, "c", a.clock, **more)  # type: ignore[arg-type]
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
            return len({case["number"] for case in a.find("case")})
        finally:
            c.close()
