"""`/healthz` and Prometheus `/metrics`, on loopback only."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from csirt.errors import CsirtError, Usage
from csirt.metrics import Metrics


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def _server_of(host: str) -> type[ThreadingHTTPServer]:
    return _Server6 if ":" in host else ThreadingHTTPServer


class HealthServer:
    """Answers GET /healthz (200 or 503 with one sentence) and GET /metrics. Raises Usage for an address that is not
    loopback, CsirtError when it cannot be listened on."""

    def __init__(self, listen: str, metrics: Metrics, healthy: Callable[[], tuple[bool, str]]) -> None:
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        try:
            loopback = ipaddress.ip_address(host).is_loopback
            number = int(port)
        except ValueError as error:
            raise Usage(f"[health] listen: {listen!r} is not ADDRESS:PORT") from error
        if not loopback:
            raise Usage(f"[health] listen: {host} is not a loopback address; use 127.0.0.1 and a local agent")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """The two pages."""
                if self.path == "/metrics":
                    self._answer(200, metrics.prometheus(), "text/plain; version=0.0.4; charset=utf-8")
                elif self.path == "/healthz":
                    good, sentence = healthy()
                    self._answer(200 if good else 503, sentence + "\n", "text/plain; charset=utf-8")
                else:
                    self._answer(404, "there are /healthz and /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, body: str, kind: str) -> None:
                raw = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                """Scrapes are not logged."""

        try:
            self._server = _server_of(host)((host, number), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CsirtError(
                f"[health] listen: {listen}: {why}; choose another port, or `ss -ltnp` names who has it"
            ) from error
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
