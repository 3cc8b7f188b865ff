"""Cases: their numbers, their versions, and what an analyst may type for one."""

from __future__ import annotations

import pytest

from csirt.errors import Conflict
from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen


class Cases:
    """One number for each, and no change lost."""

    def test_cases_get_sayable_numbers_once(self, reopen: Reopen) -> None:
        """New cases and runs get the year's next number, keep it, and the caller's record learns it."""
        store = reopen()
        numbers = []
        for name in ("a", "b"):
            case, events = build.opened(name)
            run = build.run(name)
            store.commit(Commit(cases=[case], case_events=events, runs=[run]))
            numbers += [case.number, run.number]
        year = numbers[0][2:6]
        assert numbers == [f"C-{year}-0001", f"R-{year}-0001", f"C-{year}-0002", f"R-{year}-0002"]
        case, _ = build.opened("a", version=2, owner="kari")
        event = build.opened("a")[1][0].model_copy(update={"seq": 2, "kind": "assigned"})
        store.commit(Commit(cases=[case], case_events=[event]))
        found = store.get("case", case.id)
        assert found is not None and found["number"] == numbers[0]

    def test_stale_case_versions_are_refused(self, reopen: Reopen) -> None:
        """Of two changes that start from the same version the second is refused and changes nothing."""
        store = reopen()
        case, events = build.opened("a")
        store.commit(Commit(cases=[case], case_events=events))
        second = case.model_copy(update={"version": 2, "owner": "kari"})
        event = events[0].model_copy(update={"seq": 2, "kind": "assigned"})
        store.commit(Commit(cases=[second], case_events=[event]))
        stale = case.model_copy(update={"version": 2, "owner": "ola"})
        with pytest.raises(Conflict) as refused:
            store.commit(Commit(cases=[stale], case_events=[event], audit=[build.entry()]))
        assert refused.value.details["stored"] == 2
        found = store.get("case", case.id)
        assert found is not None and found["owner"] == "kari"
        assert len(store.case_events(case.id)) == 2
        assert list(store.audit()) == []

    def test_resolve_by_prefix(self, reopen: Reopen) -> None:
        """Numbers and ids resolve by prefix in any letter case; a whole one stands alone; at most twenty."""
        store = reopen()
        for n in range(30):
            case, events = build.opened(f"{n}")
            store.commit(Commit(cases=[case], case_events=events))
        first = store.find("case", order="number", limit=1)[0]
        assert store.resolve("case", first["number"].lower()) == [first["id"]]
        assert store.resolve("case", first["number"][:-1]) != []
        assert store.resolve("case", first["id"][:12].upper()) == [first["id"]]
        assert len(store.resolve("case", "C-")) == 20
        assert store.resolve("case", "X-") == []
