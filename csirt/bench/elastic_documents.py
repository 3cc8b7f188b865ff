"""What `csirt bench elastic` writes: minute sums of flows, alerts as rules bring them, and cases. All depend on
the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from csirt import ids
from csirt.cases.fold import fold, summary
from csirt.clock import MINUTE, SECOND
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Case, CaseEvent, Entity, Incident
from csirt.model.severity import SEVERITIES

START = 1_763_942_400_000_000
MEMBERS = 2_500
SERVICES = ("tcp/25", "tcp/443", "tcp/445", "tcp/3389", "udp/53", "tcp/5672")
RULES = 60
STEP = 20_000  # aggregates given to our writer at once
TICK, WINDOW = 10 * SECOND, 60 * MINUTE  # of event time; how long an incident stays open
BURST, WITHIN = 10, 8 * SECOND  # alerts of one actor, and how soon they follow each other


def aggregates(seed: int, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Ids and documents of so many sums of a minute, a pair of members and a service, as the follower sends them."""
    import orjson

    from csirt.stores.elastic.events.minutes import documents

    chance = random.Random(seed)  # noqa: S311
    rows = [_row(chance, number) for number in range(count)]
    return [(id, orjson.loads(body)) for id, _, body in documents(rows, START, ids.digest("store"))]


def _row(chance: random.Random, number: int) -> dict[str, Any]:
    transport, _, port = chance.choice(SERVICES).partition("/")
    flows = 1 + int(chance.expovariate(0.05))
    row: dict[str, Any] = {"minute": START + number // 1_000 * MINUTE, "records": flows, "port": int(port)}
    row["number"] = {"tcp": 6, "udp": 17}[transport]
    # No member twice as the source in a minute: every sum has a key of its own.
    members = {"source": number * 7 % MEMBERS, "destination": chance.randrange(MEMBERS)}
    for end, zone in (("source", "clinical"), ("destination", "server")):
        member = members[end]
        row |= {f"{end}.member.id": f"m{member:04}", f"{end}.member.name": f"Member {member}", f"{end}.zone": zone}
        row[f"{end}.bytes"] = flows * chance.randrange(100, 50_000)
        row[f"{end}.packets"] = flows * chance.randrange(1, 60)
    return row


def alerts(seed: int, count: int) -> Iterator[AlertChange]:
    """Alerts in order of time: every actor brings ten within seconds, of several rules, at several targets."""
    chance = random.Random(seed)  # noqa: S311
    made = [alert(chance, number) for number in range(count)]
    for one in sorted(made, key=lambda item: (item.last, item.id)):
        yield AlertChange(one.last, True, one)


def alert(chance: random.Random, number: int) -> Alert:
    """The alert of that number; ten in a row are one actor's."""
    actor = number // BURST
    member, other = f"m{actor % MEMBERS:04}", f"m{chance.randrange(MEMBERS):04}"
    rule = chance.randrange(RULES)
    time = START + actor * SECOND + chance.randrange(WITHIN)
    address = f"10.{actor >> 16 & 255}.{actor >> 8 & 255}.{actor & 255}"
    target = f"10.200.{chance.randrange(256)}.{chance.randrange(256)}"
    return Alert(
        id=ids.digest("alert", f"{number}"),
        rule_id=f"net-{rule:02}",
        rule_name=f"NET-{rule:02} rule of a benchmark",
        rule_version="1",
        rule_author="csirt",
        severity=SEVERITIES[1 + rule % 3],
        rsit="intrusion-attempts",
        tactics=["lateral-movement"],
        techniques=["T1021"],
        dataset="flow",
        group={"source.ip": address},
        first=time,
        last=time,
        count=1 + chance.randrange(40),
        events=[ids.digest("event", f"{number}", f"{n}") for n in range(3)],
        entities=[
            Entity(kind="host", value=address, role="actor", member=member),
            Entity(kind="host", value=target, role="target", member=other),
        ],
        members=sorted({member, other}),
        facts={"destination.port": ["445"], "network.bytes": [str(chance.randrange(1 << 20))]},
    )


def steps(seed: int, count: int, size: int) -> Iterator[list[list[AlertChange]]]:
    """The alerts of one commit after the other, each step by step of event time."""
    found: list[list[AlertChange]] = []
    held, tick = 0, -1
    for change in alerts(seed, count):
        if change.at // TICK != tick:
            if held >= size:
                yield found
                found, held = [], 0
            found.append([])
            tick = change.at // TICK
        found[-1].append(change)
        held += 1
    if found:
        yield found


def case(seed: int, number: int) -> tuple[Case, CaseEvent]:
    """An open case, and the event that opened it."""
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311
    name, member = ids.digest("case", f"{number}"), f"m{chance.randrange(MEMBERS):04}"
    time = START + number * SECOND
    incident = Incident(
        id=ids.digest("incident", f"{number}"),
        first=time,
        last=time + chance.randrange(MINUTE),
        severity=SEVERITIES[chance.randrange(1, 5)],
        title=f"NET-{chance.randrange(RULES):02} rule of a benchmark: {member}",
        alerts=[ids.digest("alert", f"{number}")],
        members=[member],
    )
    data = {"incident": incident.id, "summary": summary(incident)}
    event = CaseEvent(case=name, seq=1, time=incident.last, actor="system", kind="opened", data=data)
    return fold([event]), event
