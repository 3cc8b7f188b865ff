"""Documents of every kind: what is written is read back, replaced and found."""

from __future__ import annotations

import pytest

from csirt.errors import Usage
from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen


class Documents:
    """One document for an id, found inside the store."""

    def test_documents_of_every_kind_come_back(self, reopen: Reopen) -> None:
        """Alerts, incidents, cases, runs, receipts and notifications are read back with every field."""
        store = reopen()
        case, events = build.opened("a")
        change = Commit(
            alerts=[build.alert("a")],
            incidents=[build.incident("a", case=case.id)],
            cases=[case],
            case_events=events,
            runs=[build.run("a")],
            receipts=[build.receipt("a")],
            notifications=[build.notification("a")],
        )
        given = {
            "alert": change.alerts[0].model_dump(),
            "incident": change.incidents[0].model_dump(),
            "case": case.model_dump(),
            "run": change.runs[0].model_dump(),
            "receipt": change.receipts[0].model_dump(),
            "notification": change.notifications[0].model_dump(),
        }
        store.commit(change)
        store = reopen()
        for kind, wanted in given.items():
            found = store.get(kind, str(wanted["id"]))
            assert found is not None, kind
            set_by_store = {"created", "updated", "number", "state_since"}
            assert {k: v for k, v in found.items() if k not in set_by_store} == {
                k: v for k, v in wanted.items() if k not in set_by_store
            }
            assert store.find(kind) == [found]
        assert store.case_events(case.id) == [event.model_dump() for event in events]
        assert store.get("alert", "none") is None

    def test_a_document_committed_again_is_replaced(self, reopen: Reopen) -> None:
        """The same id is one document, with the newest content and the first commit's creation time."""
        store = reopen()
        store.commit(Commit(alerts=[build.alert("a")]))
        first = store.find("alert")[0]
        store.commit(Commit(alerts=[build.alert("a", severity="critical", count=9)]))
        (found,) = store.find("alert")
        assert (found["severity"], found["count"], found["created"]) == ("critical", 9, first["created"])

    def test_many_documents_of_which_some_are_there(self, reopen: Reopen) -> None:
        """Of hundreds that are committed at once, those that were there are replaced and keep their first commit's
        creation time, wherever they are among them; all others are new, and incidents are found by what they have."""
        store = reopen()
        names = [f"n{number:03}" for number in range(250)]
        old = names[3:5] + names[130:132]
        store.commit(Commit(alerts=[build.alert(name) for name in old], incidents=list(map(build.incident, old))))
        kinds = ("alert", "incident")
        first = {one["id"]: one["created"] for kind in kinds for one in store.find(kind)}
        later = max(first.values()) + 1
        alerts = [build.alert(name, count=7, created=later) for name in names]
        incidents = [build.incident(name, title="again", created=later) for name in names]
        store.commit(Commit(alerts=alerts, incidents=incidents))
        found = {kind: store.find(kind) for kind in kinds}
        assert {one["count"] for one in found["alert"]} == {7}
        assert {one["title"] for one in found["incident"]} == {"again"}
        assert [len(some) for some in found.values()] == [250, 250]
        created = {one["id"]: one["created"] for some in found.values() for one in some}
        assert {name: created[name] for name in first} == first
        assert {time for name, time in created.items() if name not in first} == {later}
        wanted = sorted({(entity.kind, entity.value) for one in incidents for entity in one.entities})
        last = max(one.last for one in incidents)
        assert [one["id"] for one in store.incidents_with(wanted, 0, last)] == sorted(one.id for one in incidents)

    def test_which_documents_are_there(self, reopen: Reopen) -> None:
        """Of ids, those that have a document of the kind, however often they are asked for."""
        store = reopen()
        one, other = build.alert("a"), build.alert("b")
        store.commit(Commit(alerts=[one, other]))
        assert store.having("alert", [other.id, "c", other.id]) == {other.id}
        assert store.having("incident", [one.id]) == store.having("alert", []) == set()

    def test_find_filters_and_orders_inside_the_store(self, reopen: Reopen) -> None:
        """Equality, lists, ranges, order, limit and offset; severities order by rank, not by name."""
        store = reopen()
        severities = ["low", "critical", "medium", "high", "informational"]
        store.commit(
            Commit(alerts=[build.alert(f"{n}", severity=s, first=build.START + n) for n, s in enumerate(severities)])
        )

        def found(where: dict[str, object] | None = None, **more: object) -> list[str]:
            return [item["severity"] for item in store.find("alert", where, **more)]  # type: ignore[arg-type]

        assert found({"severity": "low"}) == ["low"]
        assert sorted(found({"severity": ["low", "high", "none"]})) == ["high", "low"]
        assert found({"first__gte": build.START + 3}, order="first") == ["high", "informational"]
        assert found({"first__gte": build.START + 1, "first__lt": build.START + 3}, order="first") == [
            "critical",
            "medium",
        ]
        assert found(order="severity", descending=True) == ["critical", "high", "medium", "low", "informational"]
        assert found(order="first", descending=True, limit=2, offset=1) == ["high", "medium"]
        assert found({"severity": []}) == []
        with pytest.raises(Usage):
            found({"facts": "x"})
        with pytest.raises(Usage):
            store.find("nothing")
