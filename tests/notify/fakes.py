"""What the notify tests stand on: a store in memory, a real SMTP server and a real HTTP server on loopback."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from csirt.clock import Clock
from csirt.config import Config
from csirt.model.audit import AuditEntry
from csirt.model.records import Alert, Case, Incident
from csirt.stores.base import Commit

START = 1_795_400_000_000_000  # 2026-11-23T02:13:20Z


class MemoryStore:
    """The part of the store contract that notifications use. `before_commit` may raise, as a crash would."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}
        self.states: dict[str, bytes | None] = {}
        self.entries: list[AuditEntry] = []
        self.before_commit: Any = lambda change: None

    def commit(self, change: Commit) -> None:
        """All of it or none of it."""
        self.before_commit(change)
        for kind in ("cases", "incidents", "notifications"):
            for record in getattr(change, kind):
                table = self.documents.setdefault(kind.removesuffix("s"), {})
                document = record.model_dump()
                document["created"] = table.get(record.id, document)["created"] or self.clock.now()
                document["updated"] = self.clock.now()
                table[record.id] = json.loads(json.dumps(document))
        self.states.update(change.states)
        self.entries += change.audit

    def append_audit(self, entries: list[AuditEntry]) -> None:
        """Entries outside a commit."""
        self.entries += entries

    def state(self, key: str) -> bytes | None:
        """A committed state."""
        return self.states.get(key)

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """One document, a copy."""
        found = self.documents.get(kind, {}).get(id)
        return json.loads(json.dumps(found)) if found else None

    def find(
        self, kind: str, where: dict[str, Any] | None = None, *, order: str = "id", **_: Any
    ) -> list[dict[str, Any]]:
        """Documents that match, ordered."""
        rows = [json.loads(json.dumps(row)) for row in self.documents.get(kind, {}).values()]
        for key, value in (where or {}).items():
            name, _, how = key.partition("__")
            test = {
                "": lambda have, want: have in want if isinstance(want, list) else have == want,
                "gte": lambda have, want: have >= want,
                "lt": lambda have, want: have < want,
            }[how]
            rows = [row for row in rows if test(row[name], value)]
        return sorted(rows, key=lambda row: (row[order], row["id"]))

    def resolve(self, kind: str, text: str) -> list[str]:
        """Ids whose id or number starts with the text."""
        return [
            row["id"]
            for row in self.find(kind)
            if any(str(row.get(key, "")).lower().startswith(text.lower()) for key in ("id", "number"))
        ]

    def actions(self) -> list[str]:
        """The audit's actions in order."""
        return [entry.action for entry in self.entries]


class SmtpServer(socketserver.ThreadingTCPServer):
    """Enough of RFC 5321 to take mail. `answers`: what to say instead to a verb, once per entry, or for ever."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[dict[str, Any]] = []
        self.answers: dict[str, str] = {}
        self.hello: list[str] = []
        super().__init__(("127.0.0.1", 0), _Smtp)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Smtp(socketserver.StreamRequestHandler):
    server: SmtpServer

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self) -> None:
        self._say(self.server.answers.get("CONNECT", "220 test"))
        mail: dict[str, Any] = {"to": []}
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            answer = self.server.answers.get(verb)
            if answer == "close":
                return
            if answer:
                self._say(answer)
                continue
            if verb in ("EHLO", "HELO"):
                self.server.hello.append(line)
                self._say("250 test")
            elif verb == "MAIL":
                mail["from"] = line
                self._say("250 ok")
            elif verb == "RCPT":
                mail["to"].append(line)
                self._say("250 ok")
            elif verb == "DATA":
                self._say("354 go on")
                lines = []
                while (data := self.rfile.readline()) != b".\r\n":
                    lines.append(data[1:] if data.startswith(b"..") else data)
                self.server.mails.append({**mail, "raw": b"".join(lines)})
                if self.server.answers.get("TAKEN") == "close":
                    return
                self._say("250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("502 no")


class WebServer(HTTPServer):
    """Takes POSTs and answers `status`."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Web)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.server_port}/page"


class _Web(BaseHTTPRequestHandler):
    server: WebServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running(server: Any) -> Iterator[Any]:
    """A server in its own thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def config(**notify: Any) -> Config:
    """A configuration with two contacts on one route, unless told otherwise."""
    settings = {
        "smtp": "127.0.0.1:9",
        "sender": "csirt@csirt.example",
        "timeout": "2s",
        "contacts": [
            {"name": "first", "channel": "mail", "address": "first@csirt.example", "user": "ola"},
            {"name": "second", "channel": "mail", "address": "second@csirt.example"},
        ],
        "routes": [{"name": "all", "contacts": ["first", "second"]}],
        **notify,
    }
    return Config.parse({"notify": settings})


def case(id: str = "ca5e", **changes: Any) -> Case:
    """An open critical case."""
    fields: dict[str, Any] = {
        "id": id,
        "number": "C-2026-0412",
        "severity": "critical",
        "title": "SMB spreads from 10.1.2.3",
        "incidents": ["inc1"],
        "members": ["m1"],
        "first": START,
        "last": START,
        "alerts": 1,
        **changes,
    }
    return Case.model_validate(fields)


def incident(**changes: Any) -> Incident:
    """The case's incident."""
    fields: dict[str, Any] = {
        "id": "inc1",
        "first": START,
        "last": START,
        "severity": "critical",
        "title": "SMB spreads from 10.1.2.3",
        "members": ["m1"],
        "rules": ["net-05"],
        "case": "ca5e",
        **changes,
    }
    return Incident.model_validate(fields)


def alert(id: str = "a1", **changes: Any) -> Alert:
    """One alert."""
    fields: dict[str, Any] = {
        "id": id,
        "rule_id": "net-05",
        "rule_name": "SMB between members",
        "severity": "critical",
        "dataset": "flow",
        "first": START,
        "last": START,
        "facts": {"email.from.address": ["someone@private.example"]},
        **changes,
    }
    return Alert.model_validate(fields)
