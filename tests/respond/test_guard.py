"""No plan, however written, touches what must never be touched."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.config import Config, Respond
from csirt.model.records import Action
from csirt.respond.acl import BadLine, Entry, parse
from csirt.respond.guard import Guard
from csirt.respond.plan import Responder
from csirt.respond.playbook import Playbook, Step
from tests.respond.members import CASE, REGISTER, alert, incident

HOUR = 3_600_000_000
NEVER = [ipaddress.ip_network(text) for text in ("10.21.0.0/16", "2001:db8:21::/48", "10.32.0.9/32", "192.0.2.0/24")]
CONFIG = Respond(never_touch=["10.32.0.9", "192.0.2.0/24", "clinic"], members_per_hour=2)
GUARD = Guard(CONFIG, REGISTER)


def acl(*lines: str, **more: Any) -> Action:
    """A containment action with these lines."""
    parameters: dict[str, Any] = {
        "lines": list(lines), "rollback": [f"no {line}" for line in reversed(lines)], "expiry_us": HOUR, **more,
    }  # fmt: skip
    return Action(step="s", name="n", kind="acl", containment=True, parameters=parameters)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (acl("deny tcp host 10.21.3.3 any eq 445"), "hospital"),
        (acl("deny tcp host 10.31.0.7 host 10.21.3.3"), "hospital"),
        (acl("deny ipv6 host 2001:db8:21::5 any"), "laboratory"),
        (acl("deny tcp host 10.32.0.9 any"), "never_touch 10.32.0.9"),
        (acl("deny tcp 10.32.0.8/29 any"), "never_touch 10.32.0.9"),
        (acl("deny tcp host 192.0.2.200 any"), "never_touch 192.0.2.0/24"),
        (acl("deny tcp host 10.33.0.1 any"), "never_touch clinic"),
        (acl("deny tcp 10.31.0.0/24 any eq 445"), "too broad"),
        (acl("deny tcp host 10.31.0.7 10.0.0.0/8"), "too broad"),
        (acl("deny ipv6 2001:db8:31::/48 any"), "too broad"),
        (acl("deny tcp any any eq 445"), "'any'"),
        (acl("deny tcp host 10.31.0.7 any", expiry_us=0), "no expiry"),
        (acl("deny tcp host 10.31.0.7 any", expiry_us="4h"), "no expiry"),
        (acl("deny tcp host 10.31.0.7 any", expiry_us=8 * 24 * HOUR), "beyond 7 days"),
        (acl("deny tcp host 10.31.0.7 any", rollback=[]), "rollback"),
        (acl("reload in 5"), "unreadable"),
        (acl(), "no lines"),
        (Action(step="s", name="n", kind="manual", containment=True), "only an access list"),
    ],
)
def test_each_limit_refuses_with_its_reason(action: Action, reason: str) -> None:
    """The reason names the asset, the breadth, the end or the form."""
    assert reason in GUARD.refuse(action)


def test_what_is_narrow_ended_and_undoable_passes() -> None:
    """One host of an ordinary member, or a handful, with an end and a rollback; a manual step needs no guard."""
    assert GUARD.refuse(acl("deny tcp host 10.31.0.7 any eq 445", "deny tcp 10.31.0.8/29 any eq 445")) == ""
    assert GUARD.refuse(Action(step="s", name="n", kind="manual")) == ""


def test_members_are_counted_over_the_hour() -> None:
    """Members already cut count; the same member again does not count twice."""
    action = acl("deny tcp host 10.31.0.7 any")
    assert GUARD.refuse(action, ["dental"]) == ""
    assert GUARD.refuse(action, ["dental", "gp"]) == ""
    assert "members_per_hour is 2" in GUARD.refuse(action, ["dental", "x"])


ADDRESSES = st.one_of(
    st.sampled_from(
        ["10.21.4.4", "10.32.0.9", "10.31.0.77", "10.33.0.5", "192.0.2.9", "2001:db8:21::9", "pc-17", "", "10.0.0.0/8"]
    ),
    st.sampled_from(
        ["10.21.0.0/29", "10.32.0.8/29", "0.0.0.0/0", "::/0", "10.31.0.8/29", "10.20.255.248/28", "192.0.2.0/31"]
    ),
    st.ip_addresses().map(str),
)
STEPS = st.builds(
    lambda hosts, protocol, ports, expiry, facts: Step(
        "action--1", "action", name="x", kind="acl", hosts=tuple(hosts), protocol=protocol, ports=tuple(ports),
        expiry_us=expiry, ports_from_facts=facts,
    ),
    st.lists(st.one_of(st.just("actors"), ADDRESSES), min_size=1, max_size=4),
    st.sampled_from(["tcp", "udp", "ip", "icmp", "ipv6"]),
    st.lists(st.integers(0, 65535), max_size=3),
    st.one_of(st.integers(-5, 10 * 24 * HOUR), st.just(HOUR)),
    st.booleans(),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(STEPS, st.lists(ADDRESSES, max_size=4))
def test_no_playbook_however_written_passes_with_a_never_touch_asset(step: Step, actors: list[str]) -> None:
    """Whatever hosts, prefixes, ports and ends a playbook writes: what is not refused overlaps nothing protected,
    has an end, and can be taken back."""
    start = Step("start--1", "start", next=("action--1",))
    playbook = Playbook("playbook--1", "PB-X", {}, "", "start--1", {"start--1": start, "action--1": step})
    config = Config(respond=CONFIG)
    responder = Responder({"PB-X": playbook}, register=REGISTER, config=config)
    run = responder.plan(incident(*actors), CASE, [alert(*actors, playbook="PB-X")], 0).runs[0]
    for action in run.actions:
        if action.refused:
            continue
        _harmless(action)
    assert (run.state == "awaiting_approval") == any(not action.refused for action in run.actions)


TEXT_LINES = st.one_of(
    st.text(max_size=40),
    st.builds("deny {} {} {}{}".format, st.sampled_from(["tcp", "ip", "udp", "TCP", "gre"]),
              st.one_of(st.just("any"), ADDRESSES, ADDRESSES.map("host {}".format)),
              st.one_of(st.just("any"), ADDRESSES, ADDRESSES.map("host {}".format)),
              st.sampled_from(["", " eq 445", " eq 0", " log", "\nno acl"])),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT_LINES, max_size=3))
def test_no_text_passes_that_overlaps_the_protected(lines: list[str]) -> None:
    """The guard reads the text itself: any lines it lets pass are understood, narrow, and miss everything protected."""
    action = acl(*lines)
    if not GUARD.refuse(action):
        _harmless(action)


def _harmless(action: Action) -> None:
    assert action.parameters["lines"] and 0 < action.parameters["expiry_us"] <= 7 * 24 * HOUR
    for line in action.parameters["lines"]:
        entry: Entry = parse(line)
        assert entry.source is not None
        for end in (entry.source, entry.destination):
            if end is not None:
                assert not any(end.version == never.version and end.overlaps(never) for never in NEVER)
                assert end.num_addresses <= 8 or end.version == 6
                assert not end.overlaps(ipaddress.ip_network("10.33.0.0/24")) if end.version == 4 else True
    rollback = [line.removeprefix("no ") for line in reversed(action.parameters["rollback"])]
    assert rollback == action.parameters["lines"]


def test_a_name_that_protects_nothing_is_told() -> None:
    """A slip in never_touch must not look like protection."""
    assert GUARD.problems() == []
    (problem,) = Guard(Respond(never_touch=["clinc", "10.0.0.0/8"]), REGISTER).problems()
    assert "'clinc'" in problem and "protects nothing" in problem


def test_an_unreadable_line_is_an_error_for_a_person_too() -> None:
    """The same reader serves tests and guard: it raises, it does not guess."""
    with pytest.raises(BadLine):
        parse("deny tcp 10.0.0.1 any")
