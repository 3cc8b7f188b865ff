"""The register file: what it says, and every way it can be wrong, with the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csirt.clock import parse_iso
from csirt.enrich.register import Register

Load = Callable[..., Any]

TWO = """
members:
  - id: a
    name: A
    kind: gp
    sites:
      - id: a1
        prefixes: [10.0.0.0/16]
  - id: b
    name: B
    kind: gp
    sites:
      - id: b1
{site}        prefixes:
          - 10.0.5.0/24
"""


def test_the_sample_of_the_documentation_loads(register: Register) -> None:
    """docs/register.md holds a register that is valid and means what it says."""
    assert len(register.members()) == 6
    gp = register.member("m017")
    assert gp is not None and gp.supplier == "s01" and gp.contacts[0].phone == "+47 55 50 17 00"
    host = register.host("10.21.8.77")
    assert host is not None and (host.member, host.site, host.role, host.asset) == (
        "m001",
        "m001-main",
        "medical_device",
        "radiologi",
    )


def test_hosts_by_address_vrf_and_interface(register: Register) -> None:
    """The same address is another member's in another VRF; behind an interface it has a space of its own."""
    assert register.host("10.37.0.25").member == "m017"  # type: ignore[union-attr]
    assert register.host("10.37.0.25", "blue").member == "m018"  # type: ignore[union-attr]
    assert register.host("::ffff:10.37.0.25").role == "msh"  # type: ignore[union-attr]
    assert register.host("192.168.1.9") is None
    assert register.host("192.168.1.9", "10.255.0.1 interface 12").site == "m018-home"  # type: ignore[union-attr]
    assert register.host("2001:db8:21::60").role == "studio"  # type: ignore[union-attr]
    assert register.host("10.21.16.4").nat  # type: ignore[union-attr]
    assert register.host("10.0.0.53").role == "resolver"  # type: ignore[union-attr]
    assert register.host("10.0.1.1").zone == "gateway"  # type: ignore[union-attr]
    assert register.host("10.200.1.10").zone == "supplier"  # type: ignore[union-attr]
    assert register.host("8.8.8.8", "no such VRF") is None
    with pytest.raises(ValueError, match="does not appear"):
        register.host("not an address")


def test_parties_addresses_and_domains(register: Register) -> None:
    """HER-ids, EDI addresses and domains answer with their members; shared ones say so; subdomains count."""
    assert register.her("910170").member == "m017"  # type: ignore[union-attr]
    assert not register.her("910179").active  # type: ignore[union-attr]
    assert register.her("1") is None
    assert register.edi_address("M001-HF@edi.helsenett.example").members == ("m001",)  # type: ignore[union-attr]
    shared = register.edi_address("meldingstjener-api@edi.helsenett.example")
    assert shared is not None and shared.shared and shared.members == ("m018",)
    assert register.domain("mx.M001.example.").members == ("m001",)  # type: ignore[union-attr]
    assert register.domain("ikt1.example").members == ("ikt1", "m017", "m018")  # type: ignore[union-attr]
    assert register.domain("edi-test.helsenett.example").use == "test"  # type: ignore[union-attr]
    assert register.domain("legacy.example").until == parse_iso("2030-06-30T22:00:00+00:00")  # type: ignore[union-attr]
    assert register.domain("example") is None


def test_open_hours_and_operators(register: Register) -> None:
    """Open hours are local; without them a member is always open; operator and supplier act for a member."""
    assert register.is_open("m017", parse_iso("2026-03-10T07:30:00Z"))  # 08:30 on a Tuesday
    assert not register.is_open("m017", parse_iso("2026-03-10T15:00:00Z"))
    assert not register.is_open("m017", parse_iso("2026-03-14T09:00:00Z"))  # a Saturday
    assert register.is_open("m001", 0)
    assert register.operated_by("m017") == {"ikt1", "s01"}


@pytest.mark.parametrize(("site", "error"), [("", True), ("        vrf: blue\n", False)])
def test_an_overlap_inside_one_vrf_names_both_lines(load: Load, site: str, error: bool) -> None:
    """Prefixes of two members overlap only in different VRFs; otherwise the file is refused, both lines named."""
    register, problems = load("register: csirt.register/1" + TWO.format(site=site))
    if error:
        assert register is None
        assert problems == [
            "/register.yaml:15:1: error: [register] 10.0.5.0/24 of b overlaps 10.0.0.0/16 of a (line 8) in the default "
            "VRF (correct one of them, or put them in different VRFs)"
        ]
    else:
        assert problems == [] and register is not None


BROKEN = [
    ("kind: hospital  ", "kind: hopsital", "did you mean 'hospital'"),
    ("10.21.0.0/20", "10.21.0.1/20", "10.21.0.1/20' has host bits set; write 10.21.0.0/20 or 10.21.0.1"),
    ("10.21.0.0/20", "300.1.1.1/20", "neither an address nor a prefix"),
    ("10.21.0.0/20", "'::ffff:10.21.0.0/116'", "write 10.21.0.0/20"),
    ("10.21.0.25, role: msh", "10.22.0.25, role: msh", "lies outside the prefixes of its site"),
    ("10.21.0.25, role: msh", "10.21.0.25, role: mhs", "did you mean 'msh'"),
    (
        "10.21.0.25, role: msh",
        "10.21.0.5, role: msh",
        "the asset 10.21.0.5/32 of m001 is already in line",
        "{address: 10.21.0.5, role: domain",
    ),
    ('"+47 55 50 17 00"', "+4755501700", "'phone' is not text but int (put it in quotation marks)"),
    ("id: 910012", "id: 910011", "the HER-id 910011 of m001 is already that of m001 in line"),
    ("id: 910012", "id: 091", "a HER-id is a number"),
    ("edi: m017-gp@", "edi: m001-hf@", "mail.shared_addresses"),
    ("supplier: s01                 #", "supplier: s99  #", "the supplier 's99' of m017 is not a member", "id: m017\n"),
    ("id: ikt1\n", "id: m018\n", "the member m018 is already in line"),
    ("id: s01-main", "id: ikt1-main", "the site ikt1-main of s01 is already in line"),
    ("to: m001, service: pas", "to: m404, service: pas", "names 'm404', which is not a member"),
    ("to: m001, service: pas", "to: m018, service: pas", "joins m018 with itself"),
    ("A-2026-002", "A-2026-001", "the agreement A-2026-001 is already in line"),
    ("ports: [3389]", "ports: [70000]", "not a range of ports"),
    ("ports: [3389]", "ports: [rdp]", "is not a port"),
    ("until: 2030-12-31", "until: 2030-13-31", "not a valid value"),
    ("until: 2030-12-31", "until: later", "'until' is not a time"),
    ("supplier: s01, member: m017", "supplier: m018, member: m017", "m018 is of kind municipality, not a supplier"),
    ('hours: "20:00-23:00"', 'hours: "20:00"', "'hours' is '20:00'"),
    ("days: [tue, thu]", "days: [tir]", "'days' holds 'tir'"),
    ("timezone: Europe/Oslo", "timezone: Europe/Olso", "is not a time zone"),
    (
        "shared_domains: [ikt1.example]\n\n  - id: m018",
        "domains: [ikt1.example]\n\n  - id: m018",
        "'shared_domains' at both",
        "shared_domains: [ikt1.example]\n\n  - id: ikt1",
    ),
    ("domains: [m001.example]", "domains: [edi.helsenett.example]", "already production in line"),
    ("resolvers: [10.0.0.53]", "resolvers: [9.9.9.9]", "lies in no member's prefix"),
    ("resolvers: [10.0.0.53]", "resolvers: [10.21.0.25]", "has the role msh at its site"),
    ("interface: 12", "interfaces: 12", "unknown key 'interfaces' (did you mean 'interface'?)"),
    ("out_of_band: true", "out_of_band: 1", "must be true or false"),
    ("vrf: blue  ", "vrf: blue\n        exporter: 10.0.0.1", "a site has one of them"),
    ("register: csirt.register/1", "register: csirt.register/9", "this is not csirt.register/1"),
    ("name: Fellestjenester", "name: ''", "'name' is missing", "id: common\n"),
]


@pytest.mark.parametrize(("old", "new", "expected", "marker"), [(*case, "")[:4] for case in BROKEN])
def test_a_broken_entry_is_refused_with_its_line(
    load: Load, make: SimpleNamespace, old: str, new: str, expected: str, marker: str
) -> None:
    """Each mistake is one clear sentence at the line of the mistake, and the register is not used."""
    text = make.sample_text()
    start = text.index(old)
    broken = text[:start] + new + text[start + len(old) :]
    register, problems = load(broken)
    assert register is None
    found = [problem for problem in problems if expected in problem]
    assert found, problems
    first = broken[: broken.rindex(marker) if marker else start].count("\n") + 1
    last = first + (0 if marker else new.count("\n"))
    assert first <= int(found[0].split(":")[1]) <= last


def test_all_problems_are_told_at_once(load: Load, make: SimpleNamespace) -> None:
    """Two mistakes give two problems, in the order of their lines."""
    text = make.sample_text().replace("kind: gp", "kind: pg").replace("role: relay", "role: relai")
    register, problems = load(text)
    assert register is None and len(problems) == 2
    lines = [int(problem.split(":")[1]) for problem in problems]
    assert lines == sorted(lines)


def test_hostile_files_are_refused_quickly(load: Load) -> None:
    """Deep nests, aliases, several documents, no document and no YAML at all are one problem each, never a crash."""
    assert "nested deeper" in load("[" * 200_000)[1][0]
    assert "anchors and aliases" in load("members: &a [*a]")[1][0]
    assert "holds 2 documents" in load("members: []\n---\nmembers: []")[1][0]
    assert "empty" in load("# nothing")[1][0] or "0 documents" in load("# nothing")[1][0]
    assert load("members: [")[0] is None
    assert load("- a")[0] is None
    assert "not valid UTF-8" in load("x")[1][0] or load("x")[0] is None
    assert load("members: 5\nregister: csirt.register/1")[1][0].endswith("'members' must be a list")


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A file that is not there gives one problem that says so."""
    register, problems = Register.load(tmp_path / "none.yaml")
    assert register is None and "cannot be read" in str(problems[0])


TOML = """
register = "csirt.register/1"
[mail]
production = ["edi.example"]

[[members]]
id = "a"
name = '''
A
b = 1'''
kind = "gp"
open_hours = {days = "mon-fri", hours = "08:00-15:30"}
  [[members.sites]]
  id = "a1"
  prefixes = ["10.0.0.0/24"]
    [[members.sites.assets]]
    address = "10.0.0.9"
    role = "msh"
  [[members.her]]
  id = 910001

[[members]]
id = "b"
name = "B"
kind = "gp"
  [[members.sites]]
  id = "b1"
  prefixes = ["10.0.1.0/24"]
"""


def test_toml_says_the_same_and_has_lines(load: Load) -> None:
    """A TOML register is read by its suffix; problems carry the line of their key, below the right table."""
    register, problems = load(TOML, "register.toml")
    assert problems == [] and register.host("10.0.0.9").role == "msh"
    broken = TOML.replace(
        'kind = "gp"\n  [[members.sites]]\n  id = "b1"', 'kind = "pg"\n  [[members.sites]]\n  id = "b1"'
    )
    assert load(broken, "register.toml")[1][0].startswith("/register.toml:25:1: error:")
    overlap = TOML.replace("10.0.1.0/24", "10.0.0.0/25")
    assert load(overlap, "register.toml")[1][0].startswith("/register.toml:28:1: error:")
    assert "(line 15)" in load(overlap, "register.toml")[1][0]
    assert ":3:" in load("a = 1\nb = 2\nc = [", "register.toml")[1][0]


def test_the_version_is_the_content(load: Load, make: SimpleNamespace) -> None:
    """Equal bytes have equal versions wherever they lie; one changed byte changes it."""
    first = load(make.sample_text())[0].version
    assert first == load(make.sample_text(), "other.yaml")[0].version
    assert first != load(make.sample_text() + "\n")[0].version
