"""The daemon's loop: what feeds the watchdog, and what a failing turn says."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt import config, systemd
from csirt.app import App
from csirt.clock import SYSTEM
from csirt.control import trouble
from csirt.daemon import Daemon
from csirt.errors import Unreachable
from csirt.model.records import Notification
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from csirt.watermark import Watermark
from tests.stores import build


class Turns:
    """A pipeline whose turns end as told; after the last one the daemon stops."""

    def __init__(self, daemon: Daemon, *ends: Exception | None) -> None:
        self.daemon, self.ends, self.seen = daemon, list(ends), []  # type: ignore[var-annotated]
        self.feeds: list[Any] = []
        self.lag: dict[str, float] = {}
        self.watermark: Any = Watermark(daemon.app.store, [], lateness_us=0, idle_after_s=30.0)

    def turn(self) -> int:
        """The next end; what status and health said before it is kept."""
        self.seen.append(([item["what"] for item in self.troubles()], self.daemon.healthy()))
        if not self.ends:
            self.daemon.stop.set()
            return 0
        end = self.ends.pop(0)
        if end is not None:
            raise end
        return 1

    def until(self) -> int | None:
        return None

    def worked(self) -> float:
        return SYSTEM.monotonic()

    def rest(self, seconds: float, stop: Any) -> None:
        stop.wait(seconds)

    def close(self) -> None:
        pass

    def advance(self, until: int | None) -> None:
        """Nothing is pending."""

    def troubles(self) -> list[dict[str, Any]]:
        """What status calls wrong with the pipeline."""
        return trouble.pipeline(self.daemon, self.daemon.app.config, SYSTEM)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that is not started, on its own state folder."""
    monkeypatch.setattr("csirt.daemon.RETRY", 0.01)
    return Daemon(App(config.Config(state=str(tmp_path))))


@pytest.mark.parametrize(
    ("failure", "fed"), [(Unreachable("the disk of the store is full; free space"), True), (KeyError("kari"), False)]
)
def test_a_turn_that_waits_feeds_the_watchdog_and_one_that_fails_does_not(
    failure: Exception, fed: bool, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is no reason for a restart, an error in the program is; both are said at once in status, health and
    the service manager's status, once in the log, and are over when a turn succeeds."""
    told: list[str] = []
    monkeypatch.setattr(systemd, "notify", lambda text: told.append(text) or True)
    daemon.pipeline = turns = Turns(daemon, failure, failure, None)
    with caplog.at_level(logging.INFO):
        daemon._loop()
    after_failure, after_success = turns.seen[1], turns.seen[3]
    assert after_failure[0] == ["waiting"] and not after_failure[1][0]
    assert ("free space" if fed else "the log says where") in after_failure[1][1]
    assert after_success == ([], (True, "ok"))
    assert told.count("WATCHDOG=1") == (4 if fed else 2)
    assert any(text.startswith("STATUS=") and text != "STATUS=running" for text in told) and "STATUS=running" in told
    assert len([item for item in caplog.records if item.levelno >= logging.WARNING]) <= 2
    assert "kari" not in "".join(told) + str(turns.seen)
    daemon.app.close()


def test_a_source_that_holds_event_time_back_is_named(daemon: Daemon) -> None:
    """A log whose clock or zone is wrong makes every alert late: status says which source it is."""
    daemon.pipeline = turns = Turns(daemon)
    turns.watermark.saw("relay", SYSTEM.now() - 3_600_000_000, SYSTEM.monotonic())
    (found,) = turns.troubles()
    assert (found["kind"], found["what"], found["subject"]) == ("behind", "held_back", "relay")
    assert 3590 <= found["seconds"] <= 3700
    turns.watermark.saw("relay", SYSTEM.now(), SYSTEM.monotonic())
    assert turns.troubles() == []
    daemon.app.close()


def test_stopping_does_not_wait_for_a_relay_that_does_not_answer(tmp_path: Path) -> None:
    """SIGTERM while a mail is being sent ends the daemon within ten seconds with exit code 0; the notification is
    sent again under its id at the next start, for nobody knows whether it arrived."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        path = tmp_path / "csirt.toml"
        path.write_text(
            f"""state = "{tmp_path}/state"
[control]
socket = "{tmp_path}/s.sock"
[notify]
smtp = "127.0.0.1:{silent.getsockname()[1]}"
timeout = "60s"
[[notify.contacts]]
name = "duty"
channel = "mail"
address = "duty@csirt.example"
[[notify.routes]]
name = "all"
contacts = ["duty"]
[health]
listen = ""
"""
        )
        case, events = build.opened("a")
        with open_embedded(tmp_path / "state" / "store", clock=SYSTEM) as store:
            waiting = Notification(id="n" * 32, case=case.id, route="all", channel="mail", recipient="duty")
            store.commit(Commit(cases=[case], case_events=events, notifications=[waiting]))
        command = [sys.executable, "-m", "csirt", "run", "--config", str(path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            began = SYSTEM.monotonic()
            process.terminate()
            assert process.wait(30) == 0
            assert SYSTEM.monotonic() - began < 10
            assert process.stderr is not None and "not waiting for the job deliver" in process.stderr.read()
            connection.close()
    with open_embedded(tmp_path / "state" / "store", clock=SYSTEM) as store:
        found = store.get("notification", "n" * 32)
        assert found is not None and found["state"] == "sending"
        assert [entry.action for entry in store.audit()] == ["daemon.start", "daemon.stop"]
