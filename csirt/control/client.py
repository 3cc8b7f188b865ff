"""The command line's side: a socket to the daemon, or a store opened directly. Imports little, on purpose."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any, Protocol

from csirt.errors import Unreachable


class Client(Protocol):
    """Runs verbs."""

    def call(self, verb: str, **args: Any) -> Any:
        """One answer. Raises the CsirtError the verb raised."""

    def stream(self, verb: str, **args: Any) -> Iterator[Any]:
        """A stream of items."""


class SocketClient:
    """Speaks to the daemon at `path`, on behalf of `as_user` when given."""

    def __init__(self, path: str, *, as_user: str = "", lang: str = "en", timeout: float = 120.0) -> None:
        self._path = path
        self._as = as_user
        self._lang = lang
        self._timeout = timeout

    def _send(self, verb: str, args: dict[str, Any]) -> Any:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise Unreachable(
                f"no daemon answers at {self._path} ({reason}); start it with `csirt run`, "
                "or name a store that no daemon owns with --store DIR"
            ) from error
        request = {"verb": verb, "args": args, "as": self._as, "lang": self._lang}
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            connection.close()
            raise _lost(error) from error
        return connection.makefile("rb")

    def call(self, verb: str, **args: Any) -> Any:
        """One answer."""
        with self._send(verb, args) as answer:
            return _value(_line(answer))

    def stream(self, verb: str, **args: Any) -> Iterator[Any]:
        """Items until the end."""
        with self._send(verb, args) as answer:
            while (line := _line(answer)).endswith(b"\n"):
                message = json.loads(line)
                if "item" in message:
                    yield message["item"]
                elif "end" in message:
                    return
                else:
                    yield from _stream_error(message)
        raise Unreachable("the daemon closed the connection before the end")


def _line(answer: Any) -> bytes:
    """The next line, or what there is of it. Raises Unreachable when the daemon went away or answers no more."""
    try:
        line: bytes = answer.readline()
    except OSError as error:
        raise _lost(error) from error
    return line


def _lost(error: OSError) -> Unreachable:
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return Unreachable(f"the connection to the daemon was lost ({reason}); whether it did what was asked is not known")


def _stream_error(message: dict[str, Any]) -> Iterator[Any]:
    _raise(message)
    yield from ()


def _raise(message: dict[str, Any]) -> None:
    from csirt.control.protocol import raise_failure

    raise_failure(message["error"])


def _value(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise Unreachable("the daemon closed the connection before the end of its answer; try again")
    message = json.loads(line)
    if "error" in message:
        _raise(message)
    return message["ok"]


class LocalClient:
    """Runs verbs in this process on a store that no daemon owns. Everything heavy is imported here, on first use."""

    def __init__(self, store: str, config: str | None, *, as_user: str = "", lang: str = "en") -> None:
        self._store = store
        self._config = config
        self._as = as_user
        self._lang = lang
        self._session: Any = None

    def _open(self) -> Any:
        if self._session is None:
            from csirt.control.local import Session

            self._session = Session(self._store, self._config, as_user=self._as, lang=self._lang)
        return self._session

    def call(self, verb: str, **args: Any) -> Any:
        """One answer."""
        return self._open().call(verb, args)

    def stream(self, verb: str, **args: Any) -> Iterator[Any]:
        """A stream of items."""
        yield from self._open().call(verb, args)
