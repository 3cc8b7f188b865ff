"""Incidents, as the correlator looks them up."""

from __future__ import annotations

from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen


class Incidents:
    """Found by entity, by alert, and through what was merged."""

    def test_merged_incidents_resolve(self, reopen: Reopen) -> None:
        """The id of an incident that was merged into another leads to that one."""
        store = reopen()
        young, old = build.incident("young"), build.incident("old")
        store.commit(Commit(incidents=[young, old]))
        store.commit(
            Commit(
                incidents=[
                    young.model_copy(update={"merged_into": old.id}),
                    old.model_copy(update={"aliases": [young.id, "gone"]}),
                ]
            )
        )
        for name in (young.id, old.id, "gone"):
            found = store.get("incident", name)
            assert found is not None and found["id"] == old.id

    def test_incidents_with_shared_entities(self, reopen: Reopen) -> None:
        """Candidates share an entity, overlap the window, and are not merged away."""
        store = reopen()
        store.commit(
            Commit(
                incidents=[
                    build.incident("a", first=100, last=200),
                    build.incident("b", first=500, last=600),
                    build.incident("c", first=100, last=200, merged_into="x"),
                ]
            )
        )

        def titles(entities: list[tuple[str, str]], since: int, until: int) -> list[str]:
            return sorted(item["title"] for item in store.incidents_with(entities, since, until))

        everyone = [("host", "host-a"), ("host", "host-b"), ("host", "host-c")]
        assert titles(everyone, 0, 1000) == ["Incident a", "Incident b"]
        assert titles(everyone, 200, 499) == ["Incident a"]
        assert titles(everyone, 201, 499) == []
        assert titles([("member", "host-a")], 0, 1000) == []
        assert titles([], 0, 1000) == []

    def test_incidents_that_hold_an_alert(self, reopen: Reopen) -> None:
        """An alert finds the incident it is in, through every merger since, within the window; one that is in none, or
        not stored, finds nothing."""
        store = reopen()
        a, b, c, d = (build.incident(name, first=100, last=200) for name in "abcd")
        merged = [a.model_copy(update={"merged_into": b.id}), b.model_copy(update={"merged_into": c.id})]
        store.commit(
            Commit(
                alerts=[build.alert(name, incident=one.id) for name, one in zip("abcd", (a, b, c, d), strict=True)]
                + [build.alert("none")],
                incidents=[*merged, c.model_copy(update={"aliases": [b.id, a.id]}), d],
            )
        )

        def titles(names: str, *more: tuple[str, str], since: int = 0) -> list[str]:
            wanted = [("alert", build.alert(name).id) for name in names.split()]
            return [item["title"] for item in store.incidents_with([*wanted, *more], since, 1000)]

        for name in "abc":
            assert titles(name) == ["Incident c"]
        assert titles("d") == ["Incident d"] and titles("d", since=201) == []
        assert sorted(titles("a d")) == sorted(titles("a", ("host", "host-d"))) == ["Incident c", "Incident d"]
        assert titles("none") == titles("unknown") == []
