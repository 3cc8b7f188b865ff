"""The demo's folder: the address register, the configuration, the empty logs; all as a user would write them."""

from __future__ import annotations

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
