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
