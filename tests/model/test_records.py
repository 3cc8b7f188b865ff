"""Records: what is written of them."""

from __future__ import annotations

import typing

from csirt.model import records as known
from csirt.model.records import Action, Alert, Case, Entity, Incident, Link, Record, Run


def test_what_is_written_of_a_record_is_its_whole_value() -> None:
    """`plain` says of every record, with records in it, empty lists and dicts, what `model_dump` says."""
    entities = [
        Entity(kind="host", value="10.0.0.1", role="actor", alert="a"),
        Entity(kind="her", value="1", role="target"),
    ]
    records: list[Record] = [
        Alert(id="a", rule_id="r", rule_name="R", severity="low", dataset="flow", first=1, last=2, entities=entities),
        Incident(id="i", first=1, last=2, severity="low", title="t", links=[Link(alert="a", reason="first")]),
        Case(id="c", severity="low", title="t", first=1, last=2),
        Run(
            id="r",
            playbook="p",
            incident="i",
            case="c",
            state="planned",
            actions=[Action(step="s", name="n", kind="note")],
        ),
    ]
    for record in records:
        assert record.plain() == record.model_dump()


def test_records_in_records_have_no_others() -> None:
    """The short way looks one level deep: no list of records holds records that hold records."""

    def inner(kind: type[Record]) -> list[type[Record]]:
        found = [
            part
            for info in kind.model_fields.values()
            for part in typing.get_args(info.annotation) or [info.annotation]
        ]
        return [part for part in found if isinstance(part, type) and issubclass(part, Record)]

    kinds = [kind for kind in vars(known).values() if isinstance(kind, type) and issubclass(kind, Record)]
    assert len(kinds) > 8
    assert [deep for kind in kinds for part in inner(kind) for deep in inner(part)] == []


def test_a_trusted_record_is_the_checked_one() -> None:
    """What is made without checks equals what is made with them, is written, copied and dumped alike."""
    values: dict[str, typing.Any] = {"kind": "host", "value": "10.0.0.1", "role": "actor", "member": None, "alert": "a"}
    trusted, checked = Entity.trusted(**values), Entity(**values)
    assert trusted == checked and trusted.plain() == checked.plain()
    assert trusted.model_dump_json() == checked.model_dump_json()
    assert trusted.model_copy(update={"alert": "b"}) == checked.model_copy(update={"alert": "b"})


def test_every_list_of_records_is_known() -> None:
    """`holds` names exactly the fields whose items are records."""
    assert (Alert.holds, Incident.holds, Run.holds, Case.holds) == (
        ("entities",),
        ("links", "entities"),
        ("actions",),
        (),
    )
