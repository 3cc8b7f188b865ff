"""`csirt store recover`: a lost folder from the cluster's documents, as an operator types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.fsck import fsck
from tests.elastic import desk
from tests.elastic.test_commands import Desk, fill
from tests.stores import build

pytestmark = pytest.mark.timeout(300)

COPY = ("store", "copy", "--from", "embedded", "--to", "elasticsearch")


@pytest.fixture
def at(tmp_path: Path, elasticsearch: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A store of 30 cases whose cluster has it all, and whose folder was lost."""
    found = Desk(tmp_path, elasticsearch, prefix, capsys)
    found.run("store", "init")
    fill(tmp_path / "store")
    assert found.json(*COPY)[1]["equal"]
    (tmp_path / "store").rename(tmp_path / "lost")
    return found


def test_a_lost_folder_comes_back(at: Desk, tmp_path: Path, elasticsearch: str, prefix: str) -> None:
    """A dry run makes nothing. Then the folder has every document, case event, position and audit entry of the lost
    one, octet by octet; the chain is whole and goes on; the next numbers follow; the cluster takes it for the store
    that it holds, and what is committed from then on arrives there."""
    code, document = at.json("store", "recover", "--dry-run")
    assert code == 0 and document["state"] == "lost" and "events" in document["lost"]
    assert not (tmp_path / "store" / "catalogue.sqlite").exists()
    code, document = at.json("store", "recover")
    assert (code, document["equal"]) == (0, True)
    tables = ("alerts", "incidents", "cases", "runs", "receipts", "notifications", "case_event", "incident_entity")
    queries = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables]
    queries += [
        "SELECT seq, hash, doc FROM audit WHERE seq <= 30",
        "SELECT source, fingerprint, offset FROM position ORDER BY 1, 2",
    ]
    with open_embedded(tmp_path / "lost", clock=SYSTEM) as old, open_embedded(tmp_path / "store", clock=SYSTEM) as new:
        for query in queries:
            with old.database.reading() as one, new.database.reading() as other:
                assert one.execute(query).fetchall() == other.execute(query).fetchall(), query
        assert new.verify_audit().first_bad is None and new.verify_audit().entries > 30
        assert fsck(new) == []
        last = max(case["number"] for case in old.find("case"))
    with desk.opened(tmp_path / "store", elasticsearch, prefix, clock=SYSTEM) as store:
        case, events = build.opened("later")
        store.commit(Commit(cases=[case], case_events=events))
        assert case.number > last
        reader = desk.reader(store)
        assert reader.count("case") == 31 and store.cluster()["dead_letters"] == 0
    assert at.json(*COPY)[1]["equal"]


def test_a_folder_that_is_there_is_not_touched(at: Desk, tmp_path: Path) -> None:
    """The command refuses a folder with a catalogue, and one with a lake, in a sentence."""
    (tmp_path / "store" / "lake" / "flow").mkdir(parents=True)
    code, _, err = at.run("store", "recover")
    assert code == 5 and "move it away" in err
    (tmp_path / "store").rename(tmp_path / "lake-only")
    (tmp_path / "lost").rename(tmp_path / "store")
    code, _, err = at.run("store", "recover")
    assert code == 5 and "has everything" in err
