"""What a member's page says, and what it must never say."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.clock import SECOND, parse_iso
from csirt.errors import NotFound, Usage
from csirt.model.severity import SEVERITIES
from csirt.report.build import build
from csirt.report.facts import facts
from csirt.report.html import TLP, Sender
from csirt.report.kinds import KINDS, PLAIN, advice_for, kind_of

ISSUED = parse_iso("2026-03-10T09:00:00Z")
SENDER = Sender("HelseCSIRT", "+47 24 20 00 00")
INVOLVED = ("m001", "m010", "m020", "m030")
# Which addresses of other members are in a member's own flows and messages.
OWN_COUNTERPARTS = {"m001": {"910170"}, "m010": {"10.31.0.77"}, "m020": {"*"}, "m030": {"10.31.0.77"}}


def page(world: SimpleNamespace, member: str, lang: str = "en", **more: Any) -> str:
    sender = more.pop("sender", SENDER)
    html, _ = build(
        more.pop("case", world.case),
        [world.incident],
        more.pop("alerts", world.alerts),
        more.pop("events", world.events),
        world.register,
        world.register.member(member),
        lang,
        sender=sender,
        issued=ISSUED,
        **more,
    )
    return html


def of(world: SimpleNamespace, member: str) -> Any:
    found = facts(
        world.case, [world.incident], world.alerts, world.events, world.register, world.register.member(member)
    )
    assert found is not None
    return found


@pytest.mark.parametrize("lang", ["nb", "en"])
@pytest.mark.parametrize("member", INVOLVED)
def test_nothing_of_another_member_appears(world: SimpleNamespace, member: str, lang: str) -> None:
    """No other member's name, id, telephone, domain, HER-id or address that is not in the reader's own rows."""
    html = page(world, member, lang)
    own = world.register.member(member)
    for other, (name, _, prefix, her) in world.members.items():
        if other == member:
            assert name in html
            continue
        stem = prefix.split(".0.")[0] + "."
        allowed = OWN_COUNTERPARTS[member]
        hidden = [f"{other}-site", f"{other}-post"]
        if other != own.supplier:
            hidden += [name.split()[0], f"+47 99 00 {other[1:]}", name.split()[0].lower() + ".example"]
        assert not re.search(rf"\b{other}\b", html)
        for text in hidden:
            assert text not in html, text
        if "*" in allowed and other in ("m001", "m010", "m030"):
            continue
        seen = set(re.findall(rf"\b{re.escape(stem)}[0-9.]+", html)) | set(re.findall(rf"\b{her}\b", html))
        assert seen <= allowed, seen


def test_the_suppliers_name_is_the_members_own(world: SimpleNamespace) -> None:
    """A member's own supplier is named as the one to call, unless the supplier is a counterpart in the case."""
    assert "Strutsedrift AS, +47 99 00 060" in page(world, "m030")
    flow = world.enricher.apply(world.flows([("10.81.0.5", "10.51.0.9", 3389, SECOND)]))
    alert = world.alerts[0].model_copy(
        update={
            "dataset": "flow",
            "events": [f"{flow.table.column('csirt.segment')[0].as_py()}{0:016x}"],
            "count": 1,
            "members": ["m030", "m060"],
        }
    )
    html = page(world, "m030", alerts=[alert], events=type(world.events)([flow]))
    assert "10.81.0.5" in html and "Strutsedrift" not in html


def test_facts_are_the_members_own_rows(world: SimpleNamespace) -> None:
    """Counts, times, exchanges and messages are those of rows with the member at one end, and of no others."""
    gp, municipality, dentist, hospital = (of(world, id) for id in ("m020", "m010", "m030", "m001"))
    assert [(f.kind, f.count) for f in gp.findings] == [("worm", 45), ("leak", 1), ("edi_out", 1)]
    assert sum(e.count for e in gp.exchanges) == 45 and {e.direction for e in gp.exchanges} == {"out"}
    assert [(m.dataset, m.other, m.what) for m in gp.messages] == [
        ("mail", "evil.test", ""),
        ("edi", "910011", "Henvisning"),
    ]
    assert gp.messages[1].ids == ("urn:uuid:ref-1",) and gp.clinical and gp.acting
    assert [(f.kind, f.count, f.acting) for f in municipality.findings] == [("worm", 40, False), ("relay", 1, True)]
    assert municipality.exchanges[0].octets == 1500 and municipality.exchanges[0].packets == 3
    assert [m.other for m in municipality.messages] == ["evil.test"]  # not the hospital's domain
    assert [(f.kind, f.count) for f in dentist.findings] == [("worm", 5)]
    assert dentist.first - world.case.first == 41 * SECOND and not dentist.messages
    assert [(f.kind, f.acting) for f in hospital.findings] == [("edi_out", False)]
    assert hospital.severity == "medium" and not hospital.exchanges and hospital.messages[0].ids == ()
    assert [(m.address, m.acting) for m in gp.machines] == [("10.31.0.77", True)]
    assert not any(m.acting for m in dentist.machines) and len(dentist.machines) == 5
    assert gp.counterparts == {"m001", "m010", "m030"} and hospital.counterparts == {"m020"}


def test_a_sampled_alert_is_completed_from_the_lake(world: SimpleNamespace) -> None:
    """When an alert keeps only some of its events, the member's other rows with the same actor and port are found, and
    rows of other actors and services are not."""
    worm = world.alerts[0]
    sampled = worm.model_copy(update={"events": worm.events[:3]})
    alerts = [sampled, *world.alerts[1:]]
    member = world.register.member("m030")
    found = facts(world.case, [world.incident], alerts, world.events, world.register, member)
    assert found is not None and found.findings[0].count == 5
    other = facts(world.case, [world.incident], alerts, world.events, world.register, world.register.member("m010"))
    assert other is not None and other.findings[0].count == 40
    assert {e.other for e in other.exchanges} == {"10.31.0.77"}


def test_a_member_without_part_gets_no_page(world: SimpleNamespace) -> None:
    """Traffic that is no part of the case gives no report, even to an address that is; nor does a deleted lake."""
    with pytest.raises(NotFound, match="nothing to report"):
        page(world, "m099")
    with pytest.raises(NotFound):
        page(world, "m020", events=type(world.events)([]))


def test_a_released_name_is_shown_to_that_member_only_when_asked(world: SimpleNamespace) -> None:
    """A counterpart is named by id or whole name; the rest stay addresses; a stranger to the case cannot be named."""
    for said in ("m020", "undulatbakken LEGEKONTOR"):
        html = page(world, "m010", release=[said])
        assert "Undulatbakken legekontor (10.31.0.77)" in html and "Flamingo" not in html
    for stranger in ("m030", "Flamingo tannhelse", "m099", "nobody", "Undulat"):
        with pytest.raises(Usage, match="no counterpart"):
            page(world, "m010", release=[stranger])


class Strict(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


def check_page(html: str) -> Strict:
    """Well-formed, and nothing in it that runs, loads or leaves."""
    ET.fromstring(html)
    found = Strict()
    found.feed(html)
    assert not {"script", "iframe", "object", "embed", "link", "base", "img", "form", "a", "svg", "input"} & set(
        found.tags
    )
    for _, name, value in found.attributes:
        assert not name.startswith("on") and name not in ("style", "href", "src", "srcset", "action", "background")
        assert "javascript:" not in (value or "")
    assert not re.search(r"https?:|//|url\(|@import", html.replace("<!DOCTYPE html>", ""))
    return found


@pytest.mark.parametrize("lang", ["nb", "en"])
@pytest.mark.parametrize("member", INVOLVED)
def test_pages_are_strict_html(world: SimpleNamespace, member: str, lang: str) -> None:
    """Well-formed, accessible structure, a policy that allows nothing but its own style, TLP at head and foot."""
    html = page(world, member, lang)
    found = check_page(html)
    attributes = {(tag, name): value for tag, name, value in found.attributes}
    assert attributes["html", "lang"] == lang
    policies = [value for tag, name, value in found.attributes if value and "default-src" in value]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policies[0]
    assert found.tags.count("h1") == 1 and found.tags.count("main") == 1
    assert found.tags.count("caption") == found.tags.count("table") == found.tags.count("thead")
    assert all(value == "col" for tag, name, value in found.attributes if (tag, name) == ("th", "scope"))
    assert html.count("TLP:AMBER</span>") == 2 and html.index("<header>") < html.index("TLP:AMBER</span>")
    assert "C-2026-0412" in html and "CET" in html


def test_the_policy_covers_exactly_the_style(world: SimpleNamespace) -> None:
    """The hash in the policy is that of the page's only style, so that a browser applies it and nothing else."""
    import base64
    import hashlib

    html = page(world, "m020")
    style = re.findall(r"<style>(.*?)</style>", html, re.S)
    assert len(style) == 1
    assert base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode() in html


def test_two_registers_of_language(world: SimpleNamespace) -> None:
    """An office without IT staff gets five steps and no tables; those with security people get the whole."""
    plain, full = page(world, "m020", "nb"), page(world, "m001", "nb")
    assert plain.count("<li>Ikke slå av maskinen.") == 1 and "<table>" not in plain
    assert len(re.findall(r"<li>", plain.split("<ol>")[1].split("</ol>")[0])) == 5
    assert "Trekk ut nettverkskabelen" in plain and "+47 24 20 00 00" in plain and "10.31.0.77" in plain
    for word in ("SMB", "HER-id", "MITRE", "T1210", "kompromittert"):
        assert word not in re.sub(r"<ul class=\"small\">.*?</ul>", "", plain, flags=re.S), word
    assert full.count("<table>") >= 4 and "behandlingsansvarlig og avgjør" in full
    assert len(re.sub(r"<style>.*?</style>|<[^>]+>|\s+", " ", plain)) < 4500  # fits one page of A4
    assert "Availability/Outage" in full


def test_deadlines_count_from_awareness(world: SimpleNamespace) -> None:
    """24 and 72 hours from when the member became aware, in local time, across the change to summer time."""
    html = page(world, "m001", "en")
    assert "11 Mar 2026 10:00 CET (24 h)" in html and "13 Mar 2026 10:00 CET (72 h)" in html
    html = page(world, "m001", "nb", aware=parse_iso("2026-03-28T02:40:00Z"))
    assert "29. mars 2026 kl. 04:40 CEST (24 t)" in html and "31. mars 2026 kl. 04:40 CEST (72 t)" in html
    assert "13. mars 2026 kl. 10:00" in page(world, "m020", "nb")


def test_same_input_same_bytes(world: SimpleNamespace) -> None:
    """The page depends on its arguments alone, not on the order of alerts or batches."""
    first = page(world, "m020", "nb")
    turned = type(world.events)(list(reversed(world.events.batches)))
    assert first == page(world, "m020", "nb", alerts=list(reversed(world.alerts)), events=turned)


@pytest.mark.parametrize("tlp", list(TLP))
def test_tlp_labels(world: SimpleNamespace, tlp: str) -> None:
    """Every label has its colour on black and its sentence; RED needs the person's name, which is on the page."""
    case = world.case.model_copy(update={"tlp": tlp})
    if tlp == "RED":
        with pytest.raises(Usage, match="TLP:RED"):
            page(world, "m020", case=case, recipient="  ")
    html = page(world, "m020", case=case, recipient="Kari Nordmann" if tlp == "RED" else "")
    assert html.count(f">TLP:{tlp}</span>") == 2 and ("Kari Nordmann" in html) == (tlp == "RED")
    assert f".tlp-{tlp.lower().replace('+', '-')}" in html and TLP[tlp] in html
    with pytest.raises(Usage, match="unknown label"):
        page(world, "m020", case=world.case.model_copy(update={"tlp": "WHITE"}))


PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{background:red}</style>",
    "{{ 7*7 }}{% raw %}",
    "'onmouseover='x",
    "a\u202egnp.exe\u0000\x1b[31m",
    "]]><!--",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_stays_text(world: SimpleNamespace, payload: str) -> None:
    """Names, domains, message types, rule names and recipients cannot become markup, on either page."""
    import dataclasses

    for id in ("m020", "m001"):
        member = dataclasses.replace(world.register.member(id), name=f"X {payload}")
        alerts = [
            a.model_copy(update={"rule_name": payload, "rule_author": payload, "rsit": payload}) for a in world.alerts
        ]
        batches = []
        for batch in world.events.batches:
            table = batch.table
            for name in ("csirt.edi.action", "csirt.edi.message_id", "csirt.mail.status", "event.action"):
                if name in table.column_names:
                    import pyarrow as pa

                    table = table.set_column(
                        table.column_names.index(name), name, pa.array([payload] * table.num_rows).dictionary_encode()
                    )
            batches.append(type(batch)(batch.dataset, table))
        html, _ = build(
            world.case,
            [world.incident],
            alerts,
            type(world.events)(batches),
            world.register,
            member,
            "en",
            sender=Sender(payload, payload),
            issued=ISSUED,
            recipient=payload,
        )
        found = check_page(html)
        assert found.tags.count("style") == 1 and "49" not in re.sub(r"[0-9a-f]{16,}", "", html.split("<main>")[1])
        assert "\x1b" not in html and "\u202e" not in html and "\u0000" not in html
        if "<" in payload:
            assert payload not in html


def test_both_languages_are_complete() -> None:
    """Every sentence exists in both, with the same fields; every kind, severity, label and step has its sentences."""
    catalogue = json.loads(files("csirt.messages").joinpath("report.json").read_text("utf-8"))
    for key, both in catalogue.items():
        assert set(both) == {"nb", "en"} and all(both.values()), key
        fields = [set(re.findall(r"{(\w+)", text)) for text in both.values()]
        assert fields[0] == fields[1], key
    for kind in KINDS:
        for name in ("title", "acting", "reached", "plain_acting", "plain_reached"):
            assert f"report.kind.{kind}.{name}" in catalogue
        for acting in (True, False):
            group = advice_for(kind, acting)
            assert all(f"report.step.{group}.{n}" in catalogue for n in range(1, 6))
            assert all(f"report.do.{group}.{n}" in catalogue for n in range(1, 5))
    assert all(f"report.severity.{severity}" in catalogue for severity in SEVERITIES)
    assert all(f"report.tlp.{label}" in catalogue for label in TLP)


def test_every_kind_makes_both_pages(world: SimpleNamespace) -> None:
    """Whatever the playbook, both pages come out in both languages, for those who act and those who are reached."""
    playbooks = ["PB-WORM", "PB-LATERAL", "PB-SCAN", "PB-SUPPLIER", "PB-POLICY", "PB-C2", "PB-RELAY", "PB-EXFIL"]
    playbooks += [
        "PB-EXPOSE",
        "PB-DDOS",
        "PB-ROUTE",
        "PB-SECTOR",
        "PB-VIDEO",
        "PB-EDI-FIX",
        "PB-EDI-INT",
        "PB-EDI-OUT",
        "PB-SOMETHING",
        "",
    ]
    for playbook in playbooks:
        alerts = [alert.model_copy(update={"playbook": playbook}) for alert in world.alerts]
        assert kind_of(alerts[0]) in KINDS
        for member in ("m020", "m030", "m010", "m001"):
            for lang in ("nb", "en"):
                check_page(page(world, member, lang, alerts=alerts))


def test_shipped_playbooks_are_known() -> None:
    """Every playbook the rules may name has words of its own for members."""
    from csirt.content import folder
    from csirt.report import kinds

    shipped = [path.stem for path in folder("playbooks").glob("PB-*.yml")]
    assert shipped and set(shipped) <= set(kinds._PLAYBOOKS)
    assert {"gp", "dental", "pharmacy"} <= PLAIN
