"""Runs the demo: daemon, traffic, and the checks that everything came about."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from csirt.clock import Clock
from csirt.control.client import SocketClient
from csirt.demo.network import lay_out
from csirt.demo.play import play, scenario_start
from csirt.demo.prepare import compile_kernels
from csirt.demo.scenario import PATIENT_ZERO, build
from csirt.demo.terminal import on_terminal
from csirt.errors import CsirtError, Unreachable
from csirt.messages import text

START_LIMIT = 60.0
SETTLE_LIMIT = 30.0


class DemoFailed(CsirtError):
    """Something the demo promises did not come about."""


def run(folder: Path, *, clock: Clock, say: Callable[[str], None], seconds: float, lang: str) -> dict[str, Any]:
    """Play the scenario on a real daemon below `folder`; a `csirt.demo/1` document. Raises DemoFailed."""
    with _pager() as (webhook, pages):
        netflow, health = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        config = lay_out(folder, netflow=netflow, health=health, webhook=webhook)
        compile_kernels(folder, config, scenario_start(clock.now()))
        client = SocketClient(str(folder / "csirt.sock"), lang=lang)
        with _daemon(config, folder / "daemon.log") as process:
            _wait(lambda: _answers(client), START_LIMIT, clock, process, "the daemon did not start")
            begin = clock.monotonic()
            say(text("demo.up", lang))
            scenario = build(scenario_start(clock.now()))
            sent = play(
                scenario,
                clock=clock,
                port=netflow,
                logs=folder / "logs",
                watched=folder / "captures",
                seconds=seconds,
            )
            say(text("demo.sent", lang, **sent))
            _wait(lambda: _complete(client), SETTLE_LIMIT, clock, process, "the expected cases did not come about")
            cases = _cases(client)
            top = _case_of(client, cases, PATIENT_ZERO.id)
            plan = _plan(client, top)
            report = client.call("report.build", case=top["id"], member=PATIENT_ZERO.id, language=PATIENT_ZERO.language)
            result = {
                "schema": "csirt.demo/1",
                "store": str(folder / "state" / "store"),
                "seconds": round(clock.monotonic() - begin, 1),
                "cases": [case["number"] for case in cases],
                "plan": {"id": plan["number"], "case": top["number"], "state": plan["state"]},
                "report": report["path"],
                "sent": sent,
                "pages": len(pages),
            }
            result["screens"] = _screens(config, top["number"], lang)
    return result


def _screens(config: Path, case: str, lang: str) -> dict[str, str]:
    """What a user would see: the commands run as a user runs them, on a terminal of 80 columns."""
    screens = {}
    for name, words in {"cases": ["cases", "list"], "case": ["cases", "show", case]}.items():
        command = [sys.executable, "-m", "csirt", "--config", str(config), "--lang", lang, *words]
        code, shown = on_terminal(command, {**os.environ, "NO_COLOR": "1"}, limit=30.0)
        if code:
            raise DemoFailed(f"csirt {' '.join(words)} failed: {shown.strip()}")
        screens[name] = shown
    return screens


def _answers(client: SocketClient) -> bool:
    try:
        client.call("status.show")
    except Unreachable:
        return False
    return True


def _cases(client: SocketClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.call("cases.list")["items"]
    return items


def _case_of(client: SocketClient, cases: list[dict[str, Any]], member: str) -> dict[str, Any]:
    """The most urgent case that touches a member."""
    for case in cases:
        if member in case["members"]:
            return case
    raise DemoFailed(f"no case touches {member}")


def _plan(client: SocketClient, case: dict[str, Any]) -> dict[str, Any]:
    runs: list[dict[str, Any]] = client.call("playbooks.runs", case=case["id"])["items"]
    for run_ in runs:
        if run_["state"] == "awaiting_approval":
            return run_
    raise DemoFailed(f"no plan of {case['number']} awaits approval")


def _complete(client: SocketClient) -> bool:
    """The worm's case with a plan that awaits approval, foreign mail in it, and the overdue referral's case."""
    cases = _cases(client)
    rules = {alert["rule_name"] for alert in client.call("alerts.list")["items"]}
    datasets = {alert["dataset"] for alert in client.call("alerts.list")["items"]}
    if not {"flow", "mail", "edi"} <= datasets or len(cases) < 2 or len(rules) < 4:
        return False
    try:
        _plan(client, _case_of(client, cases, PATIENT_ZERO.id))
    except DemoFailed:
        return False
    return True


def _wait(
    done: Callable[[], bool], limit: float, clock: Clock, process: subprocess.Popen[bytes], otherwise: str
) -> None:
    end = clock.monotonic() + limit
    while not done():
        if process.poll() is not None:
            raise DemoFailed(f"{otherwise}: the daemon ended with {process.returncode}; see daemon.log")
        if clock.monotonic() > end:
            raise DemoFailed(f"{otherwise} within {limit:.0f} s; see daemon.log")
        clock.sleep(0.25)


@contextlib.contextmanager
def _daemon(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "csirt", "run", "--config", str(config)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _pager() -> Iterator[tuple[int, list[bytes]]]:
    """A webhook on loopback that stands for the person on call."""
    pages: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take the page."""
            pages.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1]), pages
    finally:
        server.shutdown()
        server.server_close()


def free_port(kind: int) -> int:
    """A loopback port that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
