"""Correlation: what is tied, what never is, and that no cutting or reordering of the input changes it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csirt import ids
from csirt.correlate.fold import correlate
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Entity, Incident

HOUR = 3_600_000_000
WINDOW = 24 * HOUR


class Shelf:
    """Incidents as a store would keep them, with the lookup the store contract states."""

    def __init__(self) -> None:
        self.items: dict[str, Incident] = {}

    def put(self, incidents: list[Incident]) -> None:
        """Store whole values."""
        for incident in incidents:
            self.items[incident.id] = Incident.model_validate_json(incident.model_dump_json())

    def candidates(self, wanted: list[tuple[str, str]], since: int, until: int) -> list[Incident]:
        """Not merged, any of the entities or alerts, overlapping the interval."""
        alerts = {value for kind, value in wanted if kind == "alert"}
        return [
            incident
            for incident in self.items.values()
            if not incident.merged_into
            and incident.last >= since
            and incident.first <= until
            and (
                not alerts.isdisjoint(incident.alerts)
                or any((entity.kind, entity.value) in wanted for entity in incident.entities)
            )
        ]

    def dump(self) -> list[str]:
        """Everything, as text that can be compared."""
        return [self.items[key].model_dump_json() for key in sorted(self.items)]


def alert(
    name: str,
    first: int,
    *,
    actor: str | None = None,
    targets: tuple[str, ...] = (),
    members: tuple[str, ...] = (),
    entities: tuple[Entity, ...] = (),
    **more: Any,
) -> Alert:
    """An alert with one acting host and some target hosts."""
    made = [Entity(kind="host", value=actor, role="actor", member=members[0] if members else None)] if actor else []
    made += [Entity(kind="host", value=target, role="target") for target in targets]
    fields = {"severity": "medium", "last": first, "dataset": "flow", **more}
    return Alert(
        id=name,
        rule_id=name,
        rule_name=f"rule {name}",
        first=first,
        members=list(members),
        entities=[*made, *entities],
        **fields,
    )


def opened(*alerts: Alert) -> list[AlertChange]:
    """Changes that open these alerts at their first event."""
    return [AlertChange(one.first, True, one) for one in alerts]


def run(*alerts: Alert, shelf: Shelf | None = None, window: int = WINDOW) -> Shelf:
    """Correlate the opening of these alerts in one go."""
    shelf = shelf or Shelf()
    shelf.put(correlate(opened(*alerts), shelf.candidates, window_us=window))
    return shelf


def open_incidents(shelf: Shelf) -> list[Incident]:
    """Incidents not merged into another."""
    return [incident for incident in shelf.items.values() if not incident.merged_into]


def test_one_actor_makes_one_incident_with_the_reason() -> None:
    """Two alerts of one acting host are one incident, named after its first alert; the link says why."""
    shelf = run(alert("a", 0, actor="10.0.0.1"), alert("b", HOUR, actor="10.0.0.1"))
    (incident,) = shelf.items.values()
    assert incident.id == ids.incident("a")
    assert [(link.alert, link.reason, link.value, link.to) for link in incident.links] == [
        ("a", "first", "", ""),
        ("b", "shared_actor", "10.0.0.1", "a"),
    ]


def test_a_target_that_starts_to_act_is_tied() -> None:
    """The spread from host to host is followed: a target of an earlier alert that acts joins its incident."""
    shelf = run(alert("a", 0, actor="10.0.0.1", targets=("10.0.0.2",)), alert("b", HOUR, actor="10.0.0.2"))
    (incident,) = shelf.items.values()
    assert [link.reason for link in incident.links] == ["first", "target_became_actor"]


def test_a_common_target_or_member_ties_nothing() -> None:
    """Everybody talks to the same resolver, and a hospital has many hosts: neither makes one incident of two."""
    shelf = run(
        alert("a", 0, actor="10.0.0.1", targets=("10.9.9.9",), members=("gp",)),
        alert("b", 1, actor="10.0.0.2", targets=("10.9.9.9",), members=("gp",)),
        alert("c", 2, entities=(Entity(kind="her", value="910060", role="actor"),)),
        alert("d", 3, entities=(Entity(kind="her", value="910060", role="actor"),)),
        alert("e", 4, entities=(Entity(kind="domain", value="edi.example", role="actor"),)),
        alert("f", 5, entities=(Entity(kind="domain", value="edi.example", role="actor"),)),
    )
    assert len(shelf.items) == 6


def test_one_message_ties_relay_and_handler() -> None:
    """Alerts about the same message are one incident whoever acted."""
    message = Entity(kind="message", value="7104acf8", role="target")
    shelf = run(
        alert("a", 0, actor="10.0.0.1", entities=(message,)), alert("b", 1, actor="10.0.0.2", entities=(message,))
    )
    (incident,) = shelf.items.values()
    assert incident.links[1].reason == "shared_message"


def test_the_same_two_her_ids_are_tied_in_either_direction() -> None:
    """A conversation is a pair: its receipts may be missing one way and its errors come the other way."""

    def pair(one: str, other: str) -> tuple[Entity, ...]:
        return (Entity(kind="her", value=one, role="actor"), Entity(kind="her", value=other, role="target"))

    shelf = run(
        alert("a", 0, entities=pair("910060", "910250")),
        alert("b", 1, entities=pair("910250", "910060")),
        alert("c", 2, entities=pair("910060", "910999")),
    )
    incidents = sorted(open_incidents(shelf), key=lambda one: one.first)
    assert [one.alerts for one in incidents] == [["a", "b"], ["c"]]
    assert incidents[0].links[1].reason == "shared_her"


def test_the_window_ends_an_incident() -> None:
    """An actor that was quiet for longer than the window starts a new incident; exactly the window still ties."""
    assert len(run(alert("a", 0, actor="x"), alert("b", WINDOW, actor="x")).items) == 1
    assert len(run(alert("a", 0, actor="x"), alert("b", WINDOW + 1, actor="x")).items) == 2


def test_overlapping_networks_of_two_members_stay_apart() -> None:
    """The same private address in two members is two hosts."""
    shelf = run(alert("a", 0, actor="10.0.0.1", members=("gp",)), alert("b", 1, actor="10.0.0.1", members=("hf",)))
    assert len(shelf.items) == 2


def test_a_bridge_merges_the_younger_into_the_older() -> None:
    """An alert tied to two incidents makes them one; the younger keeps its document, the older its alias."""
    message = Entity(kind="message", value="m1", role="target")
    shelf = run(alert("a", 0, actor="x"), alert("b", 1, actor="y", entities=(message,)))
    assert len(open_incidents(shelf)) == 2
    bridge = alert("c", 2, actor="x", entities=(message,))
    run(bridge, shelf=shelf)
    (older,) = open_incidents(shelf)
    younger = shelf.items[ids.incident("b")]
    assert older.id == ids.incident("a") and younger.merged_into == older.id and older.aliases == [younger.id]
    assert older.alerts == ["a", "c", "b"] and bridge.incident == older.id
    assert ("c", "merged", younger.id) in [(link.alert, link.reason, link.value) for link in older.links]
    later = alert("d", 3, actor="y")
    run(later, shelf=shelf)
    assert later.incident == older.id


def test_an_extension_updates_and_repeats_nothing() -> None:
    """More matches of a known alert move its end, severity, members and targets, and add no alert and no link."""
    shelf = run(alert("a", 0, actor="x", targets=("1",), members=("gp",)))
    longer = alert("a", 0, actor="x", targets=("1", "2"), members=("gp", "hf"), last=2 * HOUR, count=9)
    shelf.put(correlate([AlertChange(2 * HOUR, False, longer)], shelf.candidates, window_us=WINDOW))
    (incident,) = shelf.items.values()
    assert (incident.alerts, len(incident.links), incident.last, incident.members) == (["a"], 1, 2 * HOUR, ["gp", "hf"])
    assert {entity.value for entity in incident.entities if entity.role == "target"} == {"1", "2"}


def test_an_alert_without_anything_to_tie_finds_its_incident_again() -> None:
    """An alert of the daemon's own sight has no host; its extension still belongs to the incident it opened."""
    shelf = run(alert("a", 0))
    shelf.put(correlate([AlertChange(9, False, alert("a", 0, last=9))], shelf.candidates, window_us=WINDOW))
    (incident,) = shelf.items.values()
    assert incident.last == 9


def test_many_members_or_tactics_raise_the_severity_one_step() -> None:
    """Three members touched, or three tactics seen, make an incident one step worse than its worst alert, once."""
    (plain,) = run(alert("a", 0, actor="x", members=("p", "q"))).items.values()
    (wide,) = run(alert("a", 0, actor="x", members=("p", "q", "r"))).items.values()
    (deep,) = run(
        alert("a", 0, actor="x", tactics=["discovery", "lateral-movement"]),
        alert("b", 1, actor="x", tactics=["exfiltration"], members=("p",)),
        alert("c", 2, actor="x", members=("p", "q", "r")),
    ).items.values()
    assert (plain.severity, wide.severity, deep.severity) == ("medium", "high", "high")


def test_the_worst_rule_leads_the_title() -> None:
    """The title names the worst rule, how many more there are, who acts and who is hit, with register names."""
    shelf = Shelf()
    alerts = [
        alert("scan", 0, actor="x", members=("gp", "hf"), rsit="scanner"),
        alert("worm", 1, actor="x", members=("gp", "hf", "dental", "lab"), severity="critical", rsit="infected-system"),
    ]
    shelf.put(correlate(opened(*alerts), shelf.candidates, window_us=WINDOW, names={"gp": "Solberg legekontor"}))
    (incident,) = shelf.items.values()
    assert incident.title == "rule worm (+1): Solberg legekontor -> hf, dental +1"
    assert (incident.rules, incident.rsit) == (["rule worm", "rule scan"], "infected-system")


def test_the_worst_rule_leads_even_when_the_incident_was_already_critical() -> None:
    """A high alert raised to critical by its reach gives way to one critical by itself, also in a later step."""
    shelf = run(alert("a", 0, actor="x", severity="high", members=("p", "q", "r")))
    run(alert("b", 1, actor="x", severity="critical", members=("p",)), shelf=shelf)
    (incident,) = shelf.items.values()
    assert (incident.severity, incident.worst, incident.rules[0]) == ("critical", "critical", "rule b")


def test_targets_are_bounded_and_ties_are_not() -> None:
    """A scan of thousands of hosts keeps a bounded incident; later alerts of its actor still find it."""
    crowd = [
        alert(f"a{n:02}", n, actor="x", targets=tuple(f"10.{n}.{m // 250}.{m % 250}" for m in range(200)))
        for n in range(12)
    ]
    (incident,) = run(*crowd).items.values()
    assert len(incident.entities) == 1001 and len(incident.alerts) == 12


HOSTS = ["h1", "h2", "h3", "h4"]


def data_size(entities: list[Entity], step: int) -> int:
    """How many of its entities an alert shows at each step: the first few when it opens, all in the end."""
    return max(len(entities) - 2 + step, 0)


@st.composite
def histories(draw: Any) -> list[AlertChange]:
    """Alerts of few hosts, messages and HER-ids, opened and extended at few times, so that much is shared."""
    changes: list[AlertChange] = []
    for number in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, 6)) * HOUR
        entities: list[Entity] = []
        for role in ("actor", "target"):
            for host in draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True)):
                entities.append(Entity(kind="host", value=host, role=role))
        if draw(st.booleans()):
            entities.append(Entity(kind="message", value=draw(st.sampled_from(["m1", "m2"])), role="target"))
        if draw(st.booleans()):
            entities.append(Entity(kind="her", value=draw(st.sampled_from(["1", "2"])), role="actor"))
            entities.append(Entity(kind="her", value=draw(st.sampled_from(["2", "3"])), role="target"))
        base = {
            "id": f"{number:02}", "rule_id": "r", "rule_name": draw(st.sampled_from(["R1", "R2", "R3"])),
            "severity": draw(st.sampled_from(["low", "medium", "high", "critical"])), "dataset": "flow", "first": first,
            "members": draw(st.lists(st.sampled_from(["p", "q", "r"]), max_size=3, unique=True)),
            "tactics": draw(st.lists(st.sampled_from(["t1", "t2", "t3"]), max_size=2, unique=True)),
        }  # fmt: skip
        last = first
        for step in range(draw(st.integers(1, 3))):
            seen = entities[: data_size(entities, step)]
            changes.append(AlertChange(last, step == 0, Alert(**base, last=last, count=step + 1, entities=seen)))
            last += draw(st.integers(0, 4)) * HOUR
    return sorted(changes, key=lambda one: (one.at, one.alert.id, one.alert.count))


def fold(pieces: list[list[AlertChange]]) -> tuple[list[str], list[str]]:
    """Correlate piece by piece through a shelf; the incidents, and each change's incident."""
    shelf = Shelf()
    where = []
    for piece in pieces:
        fresh = [AlertChange(one.at, one.opened, one.alert.model_copy(deep=True)) for one in piece]
        shelf.put(correlate(fresh, shelf.candidates, window_us=5 * HOUR))
        where += sorted((one.at, one.alert.id, one.alert.count, one.alert.incident) for one in fresh)
    return shelf.dump(), [str(item) for item in where]


@settings(max_examples=400, deadline=None)
@given(histories(), st.data())
def test_no_cutting_or_reordering_changes_the_incidents(changes: list[AlertChange], data: Any) -> None:
    """Any partition of the changes, stored in between, and any order within a piece give the same incidents."""
    whole = fold([changes])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(changes)), max_size=3)))
    pieces = [changes[a:b] for a, b in zip([0, *cuts], [*cuts, len(changes)], strict=True)]
    shuffled = [data.draw(st.permutations(piece)) for piece in pieces]
    assert fold(shuffled) == whole


@settings(max_examples=200, deadline=None)
@given(histories())
def test_every_alert_is_in_one_incident_with_a_reason(changes: list[AlertChange]) -> None:
    """Nothing is lost or counted twice: each alert is in exactly one open incident and has a link there."""
    shelf = Shelf()
    shelf.put(correlate(changes, shelf.candidates, window_us=5 * HOUR))
    homes: dict[str, list[str]] = {}
    for incident in open_incidents(shelf):
        for name in incident.alerts:
            homes.setdefault(name, []).append(incident.id)
        assert {link.alert for link in incident.links} == set(incident.alerts)
        assert len(incident.alerts) == len(set(incident.alerts))
    assert set(homes) == {one.alert.id for one in changes}
    assert all(len(found) == 1 for found in homes.values())
