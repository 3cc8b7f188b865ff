"""A loopback proxy before a cluster that behaves as clusters do on bad days."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LATE = 3.0  # seconds, longer than the clients of these tests wait
MODES = ("well", "away", "busy", "ill", "partly", "forgetful", "late")


class Proxy:
    """Forwards to `target`. `mode`: `well`; `away` (hangs up); `busy` (429); `ill` (503); `partly` (of every three
    documents one is written, one is turned away with 429, one fails with 503); `forgetful` (does what is asked and
    hangs up before it says so); `late` (does what is asked and says so when nobody waits any more)."""

    def __init__(self, target: str) -> None:
        self.mode = "well"
        self.target = target.removeprefix("http://")
        self.asked = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                """As the server's, for callers that hang up."""
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def do_any(self) -> None:
                """One request."""
                proxy.asked += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.answer(self, body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, caller: Any, body: bytes) -> None:
        """Behave as the mode says."""
        mode, bulk = self.mode, caller.path.startswith("/_bulk")
        if mode == "away":
            caller.close_connection = True
            return None
        if mode in ("busy", "ill"):
            status = 429 if mode == "busy" else 503
            return _reply(caller, status, {"error": {"type": "es_rejected_execution_exception"}, "status": status})
        if mode == "partly" and bulk:
            return self._partly(caller, body)
        status, headers, answer = self._forward(caller, body)
        if mode == "late" and bulk:
            time.sleep(LATE)
        if mode == "forgetful" or (mode == "late" and bulk):
            caller.close_connection = True
            return None
        return _reply(caller, status, answer, headers)

    def _forward(self, caller: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=30)
        headers = {key: value for key, value in caller.headers.items() if key.lower() not in ("host", "connection")}
        headers["Content-Length"] = str(len(body))
        connection.request(caller.command, caller.path, body, headers)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        skipped = ("content-length", "transfer-encoding", "connection")
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in skipped}, raw

    def _partly(self, caller: Any, body: bytes) -> None:
        if caller.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
            del caller.headers["Content-Encoding"]
        del caller.headers["Accept-Encoding"]
        actions = _actions(body.split(b"\n"))
        kept = b"".join(b"\n".join(lines) + b"\n" for place, (_, lines) in enumerate(actions) if place % 3 == 0)
        _, headers, raw = self._forward(caller, kept)
        done = iter(json.loads(raw)["items"])
        items = []
        for place, (name, _) in enumerate(actions):
            status = (0, 429, 503)[place % 3]
            items.append(next(done) if not status else {name: {"status": status, "error": {"type": "busy"}}})
        _reply(caller, 200, {"errors": True, "took": 1, "items": items}, headers)


def _actions(lines: list[bytes]) -> list[tuple[str, list[bytes]]]:
    found = []
    rest = iter(line for line in lines if line)
    for line in rest:
        name = next(iter(json.loads(line)))
        found.append((name, [line] if name == "delete" else [line, next(rest)]))
    return found


def _reply(caller: Any, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    caller.send_response(status)
    for key, value in (headers or {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}).items():
        caller.send_header(key, value)
    caller.send_header("Content-Length", "0" if caller.command == "HEAD" else str(len(raw)))
    caller.end_headers()
    if caller.command != "HEAD":
        caller.wfile.write(raw)


@contextlib.contextmanager
def before(target: str) -> Iterator[Proxy]:
    """A proxy before that server."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
