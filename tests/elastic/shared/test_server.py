"""The log is cut on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.stores.elastic import layout
from csirt.stores.elastic.roles import lacking
from csirt.stores.elastic.shared.log import Cut
from tests.elastic.shared import cutting, desk

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


def test_a_node_joins_a_log_that_was_cut(place: tuple[str, str], tmp_path: Path) -> None:
    """From the documents of the cluster, a snapshot and the entries after it: its folder holds what the others' do.
    Only the indices that the log names are there."""
    assert cutting.joined(tmp_path, *place) == 19
