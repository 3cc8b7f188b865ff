"""A reload: what has an error keeps its old version, what is right takes effect, what needs a restart is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from csirt import config
from csirt.app import App
from csirt.demo.network import register

RULE = """title: Rejected
id: 11111111-1111-4111-8111-{number:012d}
status: experimental
logsource: {{product: csirt, service: mail}}
detection:
  s: {{csirt.mail.status: {status}}}
  condition: s
level: high
"""
FILE = """state = "{folder}/state"
[control.users]
kari = "{role}"
[enrich]
register = "{folder}/register.yml"
[detect]
shipped = false
rules = ["{folder}/rules"]
lateness = "{lateness}"
[notify]
smtp = "127.0.0.1:25"
[[notify.contacts]]
name = "duty"
channel = "mail"
address = "{address}"
[[notify.routes]]
name = "all"
contacts = ["duty"]
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app with one rule, a register and one route, all of them in files."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yml").write_text(RULE.format(number=1, status="reject"))
    (tmp_path / "register.yml").write_text(register())
    app = App(config.load(write(tmp_path)), config_file=str(tmp_path / "csirt.toml"))
    for part in ("register", "ruleset", "responder", "router", "deliverer"):
        app.part(part)
    return app


def write(folder: Path, *, role: str = "analyst", lateness: str = "5m", address: str = "duty@csirt.example") -> Path:
    """The configuration file."""
    path = folder / "csirt.toml"
    path.write_text(FILE.format(folder=folder, role=role, lateness=lateness, address=address))
    return path


def test_a_broken_rule_takes_no_rule_away(app: App, tmp_path: Path) -> None:
    """With an error the whole old set stays, windows and all, until it is mended; then the new one takes effect."""
    before, matching = app.part("ruleset"), app.detector()
    (tmp_path / "rules" / "a.yml").write_text(RULE.format(number=1, status="[reject"))
    (tmp_path / "rules" / "b.yml").write_text(RULE.format(number=2, status="sent"))
    notes = app.reload()
    assert any("a.yml:" in note for note in notes) and any(note.startswith("ruleset not reloaded") for note in notes)
    assert app.part("ruleset") is before and len(before.rules) == 1 and not app.left_out()
    assert app.detector() is matching
    (tmp_path / "rules" / "a.yml").write_text(RULE.format(number=1, status="bounced"))
    assert app.reload() == []
    assert len(app.part("ruleset").rules) == 2 and app.detector() is not matching


def test_a_rule_that_was_broken_at_the_start_stops_no_reload(app: App, tmp_path: Path) -> None:
    """It is left out and named by `left_out`, at the start and at every reload."""
    (tmp_path / "rules" / "a.yml").write_text("title: [")
    fresh = App(app.config, config_file=app.config_file)
    assert fresh.part("ruleset").rules == [] or not fresh.part("ruleset").rules
    assert [str(problem) for problem in fresh.left_out()["ruleset"]]
    (tmp_path / "rules" / "b.yml").write_text(RULE.format(number=2, status="sent"))
    notes = fresh.reload()
    assert any("a.yml:" in note for note in notes) and not any("not reloaded" in note for note in notes)
    assert len(fresh.part("ruleset").rules) == 1


def test_people_and_users_change_at_once_and_the_rest_waits(app: App, tmp_path: Path) -> None:
    """Contacts, routes and users of the changed file are used; keys that need a restart are named and keep their
    value; a file with an error changes nothing."""
    write(tmp_path, role="approver", lateness="1m", address="night@csirt.example")
    assert app.reload() == ["detect.lateness changed: it takes effect at the next start"]
    assert app.config.notify.contacts[0].address == "night@csirt.example"
    assert app.config.control.users == {"kari": "approver"} and app.config.detect.lateness == "5m"
    held = app.config
    (tmp_path / "csirt.toml").write_text('stat = "/"\n')
    notes = app.reload()
    assert len(notes) == 1 and notes[0].startswith("configuration not reloaded") and "csirt.toml:1" in notes[0]
    assert app.config is held


def test_every_changed_key_is_taken_over_or_named(tmp_path: Path) -> None:
    """No section can be forgotten: what differs after a reload is in the list."""
    old = config.Config()
    new = replace(old, timezone="UTC", state="/elsewhere", language="nb", health=config.Health(listen=""))
    merged, waiting = config.taken_over(old, new)
    assert merged.language == "nb" and waiting == ["timezone", "state", "health.listen"]
    assert config.taken_over(old, old) == (old, [])
