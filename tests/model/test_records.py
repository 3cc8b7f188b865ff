"""Records: what is written of them."""

from __future__ import annotations

import typing
from dataclasses import is_dataclass

import pytest
from pydantic import ValidationError

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

    def has_fields(part: typing.Any) -> bool:
        return isinstance(part, type) and (issubclass(part, Record) or is_dataclass(part))

    def inner(kind: type) -> list[type]:
        types = typing.get_type_hints(kind).values()
        return [part for info in types for part in typing.get_args(info) or [info] if has_fields(part)]

    kinds = [kind for kind in vars(known).values() if has_fields(kind)]
    assert len(kinds) > 10
    assert [deep for kind in kinds for part in inner(kind) for deep in inner(part)] == []


def test_a_trusted_record_is_the_checked_one() -> None:
    """What is made without checks equals what is made with them, is written, copied and dumped alike."""
    checked = Case(id="c", severity="low", title="t", first=1, last=2, members=["m1"])
    trusted = Case.trusted({name: getattr(checked, name) for name in Case.model_fields})
    assert trusted == checked and trusted.plain() == checked.plain()
    assert trusted.model_dump_json() == checked.model_dump_json()
    assert trusted.model_copy(update={"title": "b"}) == checked.model_copy(update={"title": "b"})


def test_what_is_read_of_parts_is_checked() -> None:
    """Entities and links of a stored document are checked with it: unknown fields and roles are refused, what is left
    out has its default, and what is written is what was read."""
    values = {"id": "a", "rule_id": "r", "rule_name": "R", "severity": "low", "dataset": "flow", "first": 1, "last": 2}
    entity = {"kind": "host", "value": "10.0.0.1", "role": "actor"}
    alert = Alert.model_validate({**values, "entities": [entity]})
    assert alert.entities == [Entity("host", "10.0.0.1", "actor")]
    assert alert.plain()["entities"] == [{**entity, "member": None, "alert": ""}]
    for wrong in ({**entity, "role": "victim"}, {**entity, "port": 1}, {"kind": "host", "role": "actor"}):
        with pytest.raises(ValidationError):
            Alert.model_validate({**values, "entities": [wrong]})
    incident = {"id": "i", "first": 1, "last": 2, "severity": "low", "title": "t"}
    with pytest.raises(ValidationError):
        Incident.model_validate({**incident, "links": [{"alert": "a", "reason": "first", "why": ""}]})


def test_every_list_of_records_is_known() -> None:
    """`holds` names exactly the fields whose items are records."""
    assert (Alert.holds, Incident.holds, Run.holds, Case.holds) == (
        ("entities",),
        ("links", "entities"),
        ("actions",),
        (),
    )
