"""The daemon's side of the command socket: who speaks is known from the kernel (`SO_PEERCRED`, decision 6)."""

from __future__ import annotations

import grp
import json
import logging
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from csirt.config import Control
from csirt.control import protocol
from csirt.control.callers import principal_for, user_name
from csirt.control.verbs import Context, call
from csirt.errors import Conflict, CsirtError, NotAllowed, Usage
from csirt.model.audit import AuditEntry
from csirt.model.principal import Principal

LOG = logging.getLogger("csirt.control")
CONNECTIONS = 64


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        """One request, one answer or stream."""
        if not self.server.slots.acquire(blocking=False):
            self._write({"error": {"code": "unreachable", "message": "too many callers; retry", "exit_code": 6}})
            return
        try:
            self.connection.settimeout(30.0)
            line = self.rfile.readline(protocol.MAX_REQUEST + 1)
            if not line:
                return
            self.connection.settimeout(300.0)
            self._answer(line)
        except (BrokenPipeError, ConnectionError, TimeoutError):
            LOG.info("a caller went away before the end of its answer")
        finally:
            self.server.slots.release()

    def _answer(self, line: bytes) -> None:
        credentials = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        try:
            if len(line) > protocol.MAX_REQUEST:
                raise Usage(f"the request is larger than {protocol.MAX_REQUEST} bytes")
            try:
                request = json.loads(line)
                verb, arguments = str(request["verb"]), dict(request.get("args") or {})
            except (ValueError, KeyError, TypeError) as error:
                raise Usage("the request is not a JSON object with a verb") from error
            result = self.server.run(uid, verb, arguments, str(request.get("as") or ""), str(request.get("lang") or ""))
            if isinstance(result, Iterator):
                self._stream(result)
            else:
                self._write({"ok": result})
        except (BrokenPipeError, ConnectionError, TimeoutError):
            raise
        except Exception as error:
            answer = protocol.failure(error)
            if answer["code"] == "internal":
                LOG.exception("a verb failed")
            self._write({"error": answer})

    def _stream(self, items: Iterator[Any]) -> None:
        number = 0
        for item in items:
            self._write({"item": item})
            number += 1
        self._write({"end": number})

    def _write(self, message: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


class Server(socketserver.ThreadingUnixStreamServer):
    """Listens at `control.socket`. `context` makes the Context of a call from (principal, language)."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, control: Control, context: Callable[[Principal, str], Context]) -> None:
        self.control = control
        self.slots = threading.BoundedSemaphore(CONNECTIONS)
        self._context = context
        path = Path(control.socket)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(path)
            super().__init__(str(path), _Handler)
            if control.group:
                os.chown(path, -1, grp.getgrnam(control.group).gr_gid)
        except OSError as error:
            why = error.strerror or str(error)  # "AF_UNIX path too long" has no number
            raise CsirtError(
                f"[control] socket: {path}: {why}; its folder must belong to the user who runs this, its path "
                "be short, and that user be in `group`"
            ) from error
        except KeyError as error:
            raise CsirtError(f"[control] group: there is no group {control.group!r} on this machine") from error
        # Roles, not file modes, decide what a caller may do; with a group, others cannot even ask.
        path.chmod(0o660 if control.group else 0o666)

    def run(self, uid: int, verb: str, arguments: dict[str, Any], as_user: str, lang: str) -> Any:
        """Run a verb for a caller; a refused delegation is audited like every other refusal."""
        owner = os.getuid()
        try:
            principal = principal_for(uid, self.control, owner, as_user)
        except NotAllowed as error:
            name = user_name(uid)
            context = self._context(Principal(name, uid, "none"), lang)
            context.store.append_audit(
                [
                    AuditEntry(
                        time=context.clock.now(),
                        actor=name,
                        uid=uid,
                        on_behalf=as_user,
                        category="refused",
                        action=verb,
                        detail={"reason": error.message},
                    )
                ]
            )
            raise
        return call(self._context(principal, lang), verb, arguments)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self.shutdown()
        self.server_close()
        Path(self.control.socket).unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise Usage(f"{path} exists and is not a socket; name another under [control] socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise Conflict(f"another daemon answers at {path}; stop it first, or name another [control] socket")
    finally:
        probe.close()
