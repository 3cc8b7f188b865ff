"""The demo's folder: the address register, the configuration, the empty logs; all as a user would write them."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from csirt.demo.scenario import COMMON, EDGES, EDI_DOMAIN, MEMBERS, Member


def lay_out(folder: Path, *, netflow: int, health: int, webhook: int) -> Path:
    """Write everything below `folder`; the configuration's path. The arguments are the ports to use on loopback."""
    for name in ("logs", "captures", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "register.yml").write_text(register(), encoding="utf-8")
    for name in ("mail.log", "msh.ndjson"):
        (folder / "logs" / name).touch()
    path = folder / "csirt.toml"
    path.write_text(configuration(folder, netflow=netflow, health=health, webhook=webhook), encoding="utf-8")
    return path


def register() -> str:
    """The address register (YAML): the members, the common services, one agreement, one supplier window."""
    lines = ["register: csirt.register/1", "timezone: Europe/Oslo", "mail:", f"  production: [{EDI_DOMAIN}]"]
    lines += ["  test: [test.edi.helsenett.example]", "resolvers: [10.5.0.53]", "members:"]
    for member in MEMBERS:
        lines += _member(member)
    lines += [
        "  - id: s001",
        "    name: Fellestjenester",
        "    kind: service",
        "    sites:",
        "      - id: common",
        "        zone: common",
        f"        prefixes: [{COMMON}]",
        "        assets:",
        "          - {address: 10.5.0.1, role: gateway, zone: gateway}",
        "          - {address: 10.5.0.25, role: relay}",
        "          - {address: 10.5.0.53, role: resolver}",
        "          - {address: 10.5.0.80, role: register}",
        "agreements:",
    ]
    lines += [f"  - {{id: a-{m.id}, from: {m.id}, to: m001, ports: [443]}}" for m in MEMBERS if m.id != "m001"]
    lines += ["supplier_windows:", '  - {supplier: m060, member: m010, days: [tue], hours: "20:00-22:00"}']
    return "\n".join(lines) + "\n"


def _member(member: Member) -> list[str]:
    server = str(ipaddress.ip_address(member.host(25)))
    return [
        f"  - id: {member.id}",
        f"    name: {json.dumps(member.name, ensure_ascii=False)}",
        f"    kind: {member.kind}",
        f"    language: {member.language}",
        "    contacts:",
        f'      - {{name: Vakt, mail: "vakt@{member.id}.helsenett.example", phone: "+47 00 00 {member.id[1:3]} '
        f'{member.id[2:]}0", out_of_band: true}}',
        "    sites:",
        f"      - id: {member.id}-main",
        f"        prefixes: [{member.prefix}]",
        f"        assets: [{{address: {server}, role: msh}}]",
        f'    her: [{{id: {member.her}, edi: "{member.id}@{EDI_DOMAIN}"}}]',
        f"    domains: [{member.id}.helsenett.example]",
    ]


def configuration(folder: Path, *, netflow: int, health: int, webhook: int) -> str:
    """The daemon's configuration (TOML)."""
    q = json.dumps
    exporters = "\n".join(
        f'[[decode.exporters]]\naddress = "{address}"\nname = "edge{number}"\n'
        '# the scenario\'s hour has passed when it is played\nclock_offset = "-1h"\n'
        for number, address in enumerate(EDGES, 1)
    )
    return f"""# The demo's network: everything on loopback, everything below this folder.
language = "en"
timezone = "Europe/Oslo"
state = {q(str(folder / "state"))}

[control]
socket = {q(str(folder / "csirt.sock"))}

[[collect.listeners]]
source = "edge"
kind = "netflow"
listen = "127.0.0.1:{netflow}"
receive_buffer = "4MiB"

[[sources]]
id = "edge"
type = "netflow"

[[sources]]
id = "captures"
type = "capture"
path = {q(str(folder / "captures"))}
observer = "span01"
settle = "500ms"

[[sources]]
id = "relay"
type = "log"
path = {q(str(folder / "logs" / "mail.log"))}
parser = "postfix"

[[sources]]
id = "handler"
type = "log"
path = {q(str(folder / "logs" / "msh.ndjson"))}
parser = "msh"

[decode]
accept_unknown_exporters = false
organisation_domains = ["{EDI_DOMAIN}", "helsenett.example"]

{exporters}
[enrich]
register = {q(str(folder / "register.yml"))}

[detect]
lateness = "2m"
idle_after = "3s"
# An hour is played in seconds, and then the exporters fall silent: that their clocks are not ours is no incident here.
disabled = ["093c036f-5bad-563f-a638-a577fd457cde"]  # SELF-01

[notify]
[[notify.contacts]]
name = "duty"
channel = "webhook"
address = "http://127.0.0.1:{webhook}/page"

[[notify.routes]]
name = "csirt"
contacts = ["duty"]
group_wait = "1s"

[report]
issuer = "Demo CSIRT"
phone = "+47 00 00 00 00"

[stores]
gather = "2s"

[health]
listen = "127.0.0.1:{health}"
"""
