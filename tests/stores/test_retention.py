"""Retention deletes what is over its time, nothing else, and proves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.clock import DAY, HOUR, Frozen
from csirt.config import Retention
from csirt.model.principal import Principal
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.fsck import fsck
from csirt.stores.embedded.retention import apply, reports
from tests.stores import build

KARI = Principal("kari", 1000, "operator")
START = build.START // HOUR * HOUR


@pytest.fixture
def clock() -> Frozen:
    return Frozen(START)


@pytest.fixture
def store(tmp_path: Path, clock: Frozen):  # type: ignore[no-untyped-def]
    with open_embedded(tmp_path / "store", clock=clock) as opened:
        yield opened


def rows(store: EmbeddedStore, dataset: str) -> int:
    return sum(batch.rows for batch in store.events(dataset))


def test_events_go_by_dataset_and_hour_of_receipt(store: EmbeddedStore, clock: Frozen) -> None:
    """Flows go after their 90 days, mail after its 180; event time, which can be forged, does not count."""
    store.commit(Commit(batches=[build.flows(3_000, start=0), build.mails(5, start=400 * DAY)]))
    clock.time += 10 * DAY
    store.commit(Commit(batches=[build.flows(2_500, name="two")]))
    retention = Retention()
    clock.time = START + 90 * DAY + HOUR - 1
    assert apply(store, retention, clock.time)["events"] == []
    clock.time += 1
    report = apply(store, retention, clock.time)
    assert [(item["dataset"], item["rows"]) for item in report["events"]] == [("flow", 3_000)]
    assert (rows(store, "flow"), rows(store, "mail")) == (2_500, 5)
    clock.time += HOUR
    store.maintain()
    assert len(list(store.lake.rglob("*.parquet"))) == 2 - 1 + (1 if rows(store, "mail") else 0)
    clock.time = START + 181 * DAY
    apply(store, retention, clock.time)
    assert (rows(store, "flow"), rows(store, "mail")) == (0, 0)
    assert fsck(store) == []


def test_a_dry_run_deletes_and_records_nothing(store: EmbeddedStore, clock: Frozen) -> None:
    """It reports exactly what a real run then deletes."""
    store.commit(Commit(batches=[build.flows(3_000)]))
    clock.time += 91 * DAY
    dry = apply(store, Retention(), clock.time, dry_run=True)
    assert rows(store, "flow") == 3_000
    assert (reports(store), list(store.audit())) == ([], [])
    real = apply(store, Retention(), clock.time, by=KARI)
    assert {**dry, "dry_run": False} == real
    assert rows(store, "flow") == 0


def test_the_report_is_kept_and_audited(store: EmbeddedStore, clock: Frozen) -> None:
    """Who, when, which dataset, how many rows and bytes, of which hours; a run that deletes nothing leaves nothing."""
    store.commit(Commit(batches=[build.flows(3_000)]))
    clock.time += 91 * DAY
    report = apply(store, Retention(), clock.time, by=KARI)
    apply(store, Retention(), clock.time)
    assert reports(store) == [report]
    (entry,) = list(store.audit())
    assert (entry.actor, entry.uid, entry.category, entry.action) == ("kari", 1000, "operation", "store.retention")
    assert entry.detail["events"][0]["rows"] == 3_000
    assert report["events"][0]["received_from"] == "2025-11-23T12:00:00Z"


def test_closed_cases_go_with_all_that_is_theirs(store: EmbeddedStore, clock: Frozen) -> None:
    """Case, events, incidents (merged ones too), alerts, runs, receipts, notifications; open cases stay, counted."""
    for name, state in (("old", "closed"), ("open", "open"), ("young", "closed")):
        clock.time += 100 * DAY if name == "young" else 0
        case, events = build.opened(name, state=state)
        aliases = ["alias"] if name == "old" else []
        merged = [build.incident(f"{name}-merged", merged_into=build.incident(name).id)]
        store.commit(
            Commit(
                alerts=[
                    build.alert(name, incident=build.incident(name).id),
                    build.alert(f"{name}-m", incident=merged[0].id),
                ],
                incidents=[build.incident(name, case=case.id, aliases=aliases), *merged],
                cases=[case],
                case_events=events,
                runs=[build.run(name)],
                receipts=[build.receipt(name)],
                notifications=[build.notification(name)],
            )
        )
    clock.time = START + 1_096 * DAY
    report = apply(store, Retention(), clock.time)
    assert report["documents"] == {
        "alert": 2,
        "incident": 2,
        "case": 1,
        "run": 1,
        "receipt": 1,
        "notification": 1,
    }
    assert report["open_cases_kept"] == 1
    assert sorted(item["title"] for item in store.find("case")) == ["Incident open", "Incident young"]
    assert store.get("incident", "alias") is None
    assert store.incidents_with([("host", "host-old")], 0, 1 << 62) == []
    assert store.case_events(build.opened("old")[0].id) == []
    assert len(store.case_events(build.opened("open")[0].id)) == 1


def test_the_audit_keeps_its_proof(store: EmbeddedStore, clock: Frozen) -> None:
    """Entries over their time go from the front; the chain still verifies, against heads sealed later too."""
    for n in range(5):
        store.append_audit([build.entry(f"old-{n}", time=clock.time)])
    clock.time += 1_000 * DAY
    for n in range(5):
        store.append_audit([build.entry(f"young-{n}", time=clock.time)])
    sealed = str(store.seal_audit())
    clock.time += 900 * DAY
    report = apply(store, Retention(), clock.time)
    assert report["audit"] == 5
    assert [entry.seq for entry in store.audit()] == [6, 7, 8, 9, 10, 11]
    verdict = store.verify_audit([sealed])
    assert (verdict.first_bad, verdict.first, verdict.entries) == (None, 6, 6)
    clock.time += 1_000 * DAY
    assert apply(store, Retention(), clock.time)["audit"] == 5
    assert store.verify_audit().first_bad is None
    clock.time += 3_000 * DAY
    apply(store, Retention(), clock.time)
    assert store.verify_audit().first_bad is None
    assert fsck(store) == []
