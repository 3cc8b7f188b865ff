"""A reload: what has an error keeps its old version, what is right takes effect, what needs a restart is said."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from csirt import config, configfile
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
    app = App(configfile.load(write(tmp_path)), config_file=str(tmp_path / "csirt.toml"))
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
    merged, waiting = configfile.taken_over(old, new)
    assert merged.language == "nb" and waiting == ["timezone", "state", "health.listen"]
    assert configfile.taken_over(old, old) == (old, [])


LINE = (
    "Nov 24 16:{:02d}:{:02d} relay postfix/smtp[1]: A{:08d}: to=<post@x.example>, relay=mx[10.1.1.{}]:25, delay=1, "
    "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
)
LINES = 200


def mail_app(folder: Path) -> App:
    """An app that reads a relay's log and has a rule that matches every line."""
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "a.yml").write_text(RULE.format(number=1, status="sent"))
    (folder / "register.yml").write_text(register())
    text = "\n".join(LINE.format(n // 60, n % 60, n, n % 9) for n in range(LINES)) + "\n"
    (folder.parent / "relay.log").write_text(text)
    path = write(folder)
    source = f'[[sources]]\nid = "relay"\ntype = "log"\npath = "{folder.parent}/relay.log"\nparser = "postfix"\n'
    path.write_text(path.read_text() + source + '[stores]\ngather = "0s"\n')
    return App(configfile.load(path), config_file=str(path))


def drained(app: App, between: Callable[[], None]) -> list[bytes]:
    """The canonical dump after everything was read in small pieces, `between` after each of them."""
    pipeline = app.pipeline(app.feeds(), deliver=False)
    (feed,) = pipeline.feeds
    while True:
        feed.limit = 7
        between()
        if not pipeline.turn():
            break
        pipeline.advance(pipeline.until())
    pipeline.drain()
    found = list(app.store.dump(["event", "alert", "incident", "position"]))
    counts = app.store.counts()
    assert counts["events.mail"] == counts["detect.rows"] == LINES
    app.close()
    return found


def test_a_reload_loses_no_batch(tmp_path: Path) -> None:
    """Reloads from another thread, all the time, with rules that come, go and are broken, and with one that is deployed
    anew: every line is stored and matched once, and what a rule that stays finds is what it finds without a reload."""
    expected = drained(mail_app(tmp_path / "still"), lambda: None)
    app = mail_app(tmp_path / "moving")
    app.part("ruleset")
    stop, reloads = threading.Event(), Counter[bool]()

    def keep_reloading() -> None:
        for number in itertools.count():
            extra = tmp_path / "moving" / "rules" / "b.yml"
            extra.write_text(["title: [", RULE.format(number=2, status="bounced"), ""][number % 3])
            (tmp_path / "moving" / "state").mkdir(exist_ok=True)
            state, second = ("on", "shadow")[number % 2], "11111111-1111-4111-8111-000000000002"
            (tmp_path / "moving" / "state" / "deploy.yml").write_text(f"rules: {{{second}: {state}}}\n")
            reloads[bool(app.reload())] += 1
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=keep_reloading)
    thread.start()
    seen: set[int] = set()
    try:
        found = drained(app, lambda: seen.add(id(app.part("ruleset"))))
    finally:
        stop.set()
        thread.join()
    assert found == expected
    assert min(reloads.values()) > 3 and len(reloads) == 2 and len(seen) > 3


def test_what_is_deployed_takes_effect_at_a_reload(app: App, tmp_path: Path) -> None:
    """The detector and the analysis see the same rules, and go on with the old ones when deploy.yml has an error."""
    rule = app.part("ruleset").rules[0].id
    deployed = tmp_path / "state" / "deploy.yml"
    deployed.write_text(f"rules: {{{rule}: shadow}}\n")
    assert app.reload() == []
    (running,) = app.part("ruleset").running.rules
    assert running.meta.shadow and running.alerts
    deployed.write_text(f"rules: {{{rule}: of}}\n")
    assert any("deploy.yml:1" in note for note in app.reload())
    assert app.part("ruleset").running.rules == [running]
    deployed.write_text(f"rules: {{{rule}: off}}\n")
    assert app.reload() == [] and app.part("ruleset").running.rules == []
    assert app.part("ruleset").rules
