"""What every store must do, whatever it is made of.

A test module of a store subclasses `Contract`, gives it the fixture `reopen`, and passes all of it unchanged.
`reopen()` returns the store, closing and opening it again when it was open."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa
import pytest

from csirt.errors import Conflict, Usage
from csirt.model import ecs
from csirt.model.batch import event_ids
from csirt.model.chunk import Position
from csirt.stores.base import Commit, Settled, Store
from tests.stores import build

Reopen = Callable[[], Store]


def rows_of(store: Store, **where: object) -> int:
    return sum(batch.rows for batch in store.events(**where))  # type: ignore[arg-type]


def names_of(store: Store, **where: object) -> list[str]:
    return sorted(name for batch in store.events(**where) for name in event_ids(batch.table).to_pylist())  # type: ignore[arg-type]


class Contract:
    """The promises of `stores/base.py`."""

    # positions and state

    def test_position_moves_with_the_commit(self, reopen: Reopen) -> None:
        """A commit moves the input's position, which is there after a restart."""
        store = reopen()
        assert store.position("s", "f") is None
        store.commit(Commit(position=Position("s", "f", 100, extra={"events": 3}), previous=0))
        store = reopen()
        assert store.position("s", "f") == Position("s", "f", 100, extra={"events": 3})
        store.commit(Commit(position=Position("s", "f", 200, done=True), previous=100))
        assert store.position("s", "f") == Position("s", "f", 200, done=True)
        assert store.positions() == [Position("s", "f", 200, done=True)]
        assert store.find_input("f") == Position("s", "f", 200, done=True)
        assert store.find_input("g") is None

    def test_hand_over_from_another_offset_is_refused(self, reopen: Reopen) -> None:
        """A chunk that does not start where the last commit ended changes nothing at all."""
        store = reopen()
        store.commit(Commit(position=Position("s", "f", 100), previous=0))
        for previous in (0, 50, 101):
            change = Commit(
                batches=[build.flows(10), build.flows(3_000, name="two")],
                position=Position("s", "f", 300),
                previous=previous,
                states={"decoder:s": b"new"},
                counts={"decode.in": 1},
                alerts=[build.alert("a")],
                audit=[build.entry()],
            )
            with pytest.raises(Conflict):
                store.commit(change)
        store = reopen()
        assert store.position("s", "f") == Position("s", "f", 100)
        assert rows_of(store) == 0
        assert store.state("decoder:s") is None
        assert store.counts() == {}
        assert store.find("alert") == []
        assert list(store.audit()) == []

    def test_changes_are_prepared_side_by_side_and_committed_one_by_one(self, reopen: Reopen) -> None:
        """Nothing of a prepared change is seen before its commit; two threads prepare at once; of two changes for the
        same stretch one is refused, and nothing of it stays; a discarded one leaves nothing either."""
        store = reopen()

        def change(name: str, source: str) -> Commit:
            batches = [build.flows(10, name=name), build.flows(3_000, name=name + "-many")]
            return Commit(batches=batches, position=Position(source, "f", 300), counts={"n": 1})

        changes = [change("a", "s"), change("b", "t"), change("c", "s"), change("d", "u")]
        threads = [threading.Thread(target=store.prepare, args=(item,)) for item in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows_of(store) == 0 and store.positions() == []
        store.commit(changes[0])
        store.commit(changes[1])
        with pytest.raises(Conflict):
            store.commit(changes[2])
        store.discard(changes[3])
        assert (rows_of(store), store.counts()) == (2 * 3_010, {"n": 2})
        store = reopen()
        assert rows_of(store) == 2 * 3_010

    def test_states_are_replaced_and_removed(self, reopen: Reopen) -> None:
        """A state is the last committed bytes; None removes it."""
        store = reopen()
        store.commit(Commit(states={"windows": b"\x00\xff", "watermark": b"1"}))
        store.commit(Commit(states={"watermark": b"2", "windows": None}))
        store = reopen()
        assert store.state("watermark") == b"2"
        assert store.state("windows") is None

    def test_counters_accumulate(self, reopen: Reopen) -> None:
        """Counters of all commits add up over restarts."""
        store = reopen()
        store.commit(Commit(counts={"decode.in": 5, "decode.dropped.short": 1}))
        store = reopen()
        store.commit(Commit(counts={"decode.in": 7}))
        assert store.counts() == {"decode.in": 12, "decode.dropped.short": 1}

    # hits

    def test_hits_wait_for_the_watermark(self, reopen: Reopen) -> None:
        """Hits are given out once their least time is reached, with every value, and go when they are consumed."""
        store = reopen()
        table = build.hits([10, 30])
        store.commit(Commit(hits=table))
        store.commit(Commit(hits=build.hits([20])))
        store.commit(Commit(hits=build.hits([])))
        store = reopen()
        assert store.pending(9) == []
        assert [(blob.least, blob.greatest) for blob in store.pending(15)] == [(10, 30)]
        both = store.pending(20)
        assert [(blob.least, blob.greatest) for blob in both] == [(10, 30), (20, 20)]
        assert both[0].hits.equals(table)
        store.commit(Commit(consumed=[both[0].id], hits=build.hits([30])))
        assert [blob.least for blob in store.pending(100)] == [20, 30]

    def test_the_earliest_hits_without_all_the_others(self, reopen: Reopen) -> None:
        """Asked for so many rows, the store gives what holds the earliest of them and one more, and not everything."""
        store = reopen()
        for times in ([50, 60], [10, 40], [20, 70], [80, 90], [30]):
            store.commit(Commit(hits=build.hits(times)))
        assert [blob.least for blob in store.pending(100, 1)] == [10, 20]
        assert [blob.least for blob in store.pending(100, 3)] == [10, 20, 30]
        assert len(store.pending(100, 8)) == len(store.pending(100)) == 5
        assert [blob.least for blob in store.pending(20, 8)] == [10, 20]

    def test_hits_are_consumed_once(self, reopen: Reopen) -> None:
        """A step that uses up hits another step has used is refused as a whole."""
        store = reopen()
        store.commit(Commit(hits=build.hits([10])))
        blob = store.pending(10)[0]
        store.commit(Commit(consumed=[blob.id]))
        with pytest.raises(Conflict):
            store.commit(Commit(consumed=[blob.id], states={"windows": b"x"}))
        assert store.state("windows") is None

    # rows that wait to be settled

    def test_fresh_rows_are_seen_at_once_and_wait(self, reopen: Reopen) -> None:
        """Rows that wait to be settled are read like any others, without the time they are due at, small and large."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(10)]))
        store.commit(Commit(fresh=[build.fresh(3_000, name="two", first=100)], batches=[build.flows(5, name="three")]))
        store = reopen()
        assert rows_of(store) == rows_of(store, dataset="flow") == 3_015
        assert all(ecs.DUE not in batch.table.column_names for batch in store.events())
        assert names_of(store, ids=names_of(store)[:7]) == names_of(store)[:7]
        with store.waiting() as found:
            assert [(part.dataset, part.rows, part.least) for part in found] == [
                ("flow", 10, build.START),
                ("flow", 3_000, build.START + 100_000),
            ]
            assert found[0].load(None).drop_columns(ecs.DUE).equals(build.flows(10).table)
            assert found[1].load({"source.port"}).column(ecs.DUE).null_count == 0
        with store.waiting(build.START + 50_000) as found:
            assert [part.rows for part in found] == [10]

    def test_a_settled_row_is_seen_once_at_any_moment(self, reopen: Reopen) -> None:
        """Settled rows take the place of the fresh ones in the same commit, in part or in whole."""
        store = reopen()
        for size in (100, 3_000):
            name = f"of{size}"
            store.commit(Commit(fresh=[build.fresh(size, name=name, delay=7)]))
            whole = names_of(store)
            with store.waiting() as found:
                part = found[0].id
            for begin, end in ((0, 40), (40, size)):
                until = build.START + (end - 1) * 1_000 + 7
                done = Commit(batches=[build.flows(end - begin, name=name, first=begin)])
                done.settled = Settled(until, {part: end - begin})
                done.states["settled"] = str(until).encode()
                store.commit(done)
                assert names_of(store) == whole
                with store.waiting() as found:
                    assert sum(item.rows for item in found) == size - end
                    assert sum(item.load({"source.port"}).num_rows for item in found) == size - end
                store = reopen()
                assert names_of(store) == whole
        store.maintain()
        assert len(names_of(reopen())) == 3_100

    def test_rows_are_settled_once(self, reopen: Reopen) -> None:
        """A step over rows that another step has settled is refused as a whole."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(10)]))
        with store.waiting() as found:
            part = found[0].id
        until = build.START + 4_000
        store.commit(Commit(batches=[build.flows(5)], settled=Settled(until, {part: 5})))
        for late, rows in ((until, 1), (until - 1, 1), (until + 5_000, 6)):
            with pytest.raises(Conflict):
                store.commit(Commit(batches=[build.flows(3_000, name="no")], settled=Settled(late, {part: rows})))
        assert rows_of(store) == 10
        store.commit(Commit(batches=[build.flows(5, first=5)], settled=Settled(until + 5_000, {part: 5})))
        with pytest.raises(Conflict):
            store.commit(Commit(batches=[build.flows(1)], settled=Settled(until + 9_000, {part: 1})))
        assert rows_of(store) == 10

    def test_the_dump_does_not_tell_fresh_rows_from_settled_ones(self, reopen: Reopen) -> None:
        """What waits is in the dump as what was settled is."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(3_000), build.fresh(20, name="two")]))
        before = list(store.dump(["event"]))
        with store.waiting() as found:
            until, rows = max(part.greatest for part in found), {part.id: part.rows for part in found}
        change = Commit(batches=[build.flows(3_000), build.flows(20, name="two")], settled=Settled(until, rows))
        store.commit(change)
        assert list(store.dump(["event"])) == before and len(before) == 3_020

    # documents

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

    # cases

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

    # events

    def test_events_come_back_by_dataset_time_id_and_column(self, reopen: Reopen) -> None:
        """Every row and value of large and small batches is read back, cut as asked."""
        store = reopen()
        flow, mail = build.flows(5_000), build.mails(20)
        store.commit(Commit(batches=[flow, mail]))
        store = reopen()
        (back,) = list(store.events("flow"))
        assert back.table.select(flow.table.column_names).equals(flow.table)
        (back,) = list(store.events("mail"))
        assert back.table.select(mail.table.column_names).equals(mail.table)
        assert rows_of(store) == 5_020
        assert rows_of(store, since=build.START + 1_000_000, until=build.START + 2_000_000) == 1_000
        assert rows_of(store, dataset="flow", until=build.START) == 0
        wanted = event_ids(flow.table).to_pylist()[40:43] + event_ids(mail.table).to_pylist()[3:4]
        assert names_of(store, ids=[*wanted, "f" * 32, "not an id"]) == sorted(wanted)
        (narrow,) = list(store.events("flow", columns=["source.ip", "no.such"]))
        assert set(narrow.table.column_names) == {
            "@timestamp",
            "csirt.segment",
            "csirt.ordinal",
            "source.ip:f",
            "source.ip:hi",
            "source.ip:lo",
        }

    def test_large_ordinals_keep_their_order(self, reopen: Reopen) -> None:
        """Ordinals above 2^63 (rows dissected from packets) are found by id."""
        store = reopen()
        low, high = build.mails(3), build.mails(3, first=1 << 55)
        store.commit(Commit(batches=[low, high]))
        name = event_ids(high.table).to_pylist()[1]
        assert names_of(store, ids=[name]) == [name]
        assert rows_of(store) == 6

    def test_maintaining_changes_no_event(self, reopen: Reopen) -> None:
        """Gathering and merging keep every row, id and value, over a restart as well."""
        store = reopen()
        for n in range(30):
            store.commit(Commit(batches=[build.flows(2_500, first=n * 2_500), build.mails(7, first=n * 7)]))
        before = names_of(store)
        total = sum(pa.compute.sum(b.table.column("network.bytes")).as_py() for b in store.events("flow"))
        for _ in range(5):
            self.pass_time(store)
            store.maintain()
        store = reopen()
        assert names_of(store) == before
        assert total == sum(pa.compute.sum(b.table.column("network.bytes")).as_py() for b in store.events("flow"))

    def pass_time(self, store: Store) -> None:
        """Let enough time pass for gathering and merging; stores with a clock of their own override it."""

    # audit

    def test_the_audit_is_a_chain(self, reopen: Reopen) -> None:
        """Entries of commits and others get consecutive numbers, each bound to the one before."""
        store = reopen()
        store.commit(Commit(audit=[build.entry("one"), build.entry("two")]))
        store.append_audit([build.entry("three", category="access", actor="kari")])
        store = reopen()
        store.append_audit([build.entry("four")])
        chain = list(store.audit())
        assert [item.seq for item in chain] == [1, 2, 3, 4]
        assert [item.action for item in chain] == ["one", "two", "three", "four"]
        assert [item.previous for item in chain] == ["", *(item.hash for item in chain[:-1])]
        assert [item.seq for item in store.audit(since_seq=1, limit=2)] == [2, 3]

    def test_audit_of_hostile_text(self, reopen: Reopen) -> None:
        """What JSON cannot hold does not stop an access from being recorded."""
        store = reopen()
        store.append_audit([build.entry("x", detail={"where": "a\ud800b", "n": 1 << 80, "list": [{"t": (1, 2)}]})])
        (found,) = list(store.audit())
        assert found.detail["list"] == [{"t": [1, 2]}]

    # concurrency

    def test_readers_see_whole_commits(self, reopen: Reopen) -> None:
        """Threads that read while another commits see each commit entirely or not at all."""
        store = reopen()
        done = threading.Event()
        torn: list[str] = []

        def read() -> None:
            while not done.is_set():
                rows = rows_of(store, dataset="mail")
                if rows % 5:
                    torn.append(f"{rows} rows")
                if len(store.find("alert")) % 2:
                    torn.append("half the alerts")

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(40):
            store.commit(
                Commit(
                    batches=[build.mails(5, first=n * 5)],
                    alerts=[build.alert(f"{n}-a"), build.alert(f"{n}-b")],
                )
            )
            if n % 10 == 0:
                store.maintain()
        done.set()
        for thread in threads:
            thread.join()
        assert torn == []
        assert rows_of(store) == 200
