"""What every command shares: settings, the client, output and errors. Imports only click and the standard library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from csirt.errors import CsirtError, Usage

if TYPE_CHECKING:
    from csirt.control.client import Client

DEFAULT_CONFIG = ("csirt.toml", "/etc/csirt/csirt.toml")
LISTING = ("fields", "jsonl", "header")
DEFAULT_SOCKET = "/run/csirt/csirt.sock"


@dataclass
class Settings:
    """The global options; also reachable behind a command's own `--json`, `--store` and so on (see `shared`)."""

    config: str | None = None
    socket_path: str | None = None
    store: str | None = None
    lang: str | None = None
    as_json: bool = False
    color: str = "auto"
    as_user: str | None = None
    utc: bool = False
    iso: bool = False
    fields: str = ""
    jsonl: bool = False
    header: bool = False

    def config_file(self) -> str | None:
        """The configuration file: the option, or the first default that exists."""
        if self.config:
            return self.config
        return next((name for name in DEFAULT_CONFIG if os.path.isfile(name)), None)  # noqa: PTH113 pathlib costs start time

    def raw_config(self) -> dict[str, Any]:
        """The configuration as plain TOML, without validation: enough to find the socket quickly."""
        name = self.config_file()
        if not name:
            return {}
        try:
            status = os.stat(name)  # noqa: PTH116 pathlib costs start time
        except OSError as error:
            raise Usage(f"{name}: {error.strerror}") from error
        return _toml(name, status.st_mtime_ns, status.st_size)

    def timezone(self) -> str:
        """The zone of times for people."""
        return str(self.raw_config().get("timezone", "Europe/Oslo"))

    def language(self) -> str:
        """`nb` or `en`: option, configuration, else English."""
        return self.lang or str(self.raw_config().get("language", "en"))

    def client(self) -> Client:
        """A client for the daemon, or for the store named with --store."""
        from csirt.control.client import LocalClient, SocketClient

        if self.store:
            return LocalClient(self.store, self.config_file(), as_user=self.as_user or "", lang=self.language())
        path = self.socket_path or str(self.raw_config().get("control", {}).get("socket", DEFAULT_SOCKET))
        return SocketClient(path, as_user=self.as_user or "", lang=self.language())


@cache
def _toml(name: str, changed: int, size: int) -> dict[str, Any]:
    """A file is read once as long as it stays as it is."""
    import tomllib

    try:
        with open(name, "rb") as handle:  # noqa: PTH123 pathlib costs start time
            return tomllib.load(handle)
    except OSError as error:
        raise Usage(f"{name}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Usage(f"{name}: {error}") from error


def shared(function: Callable[..., Any], *, delegate: bool = True) -> Callable[..., Any]:
    """Decorator: the global options may also follow the verb; the command gets `settings` as its first argument.

    `delegate` False leaves out `--as USER`, for commands whose own `--as` says what their files hold.
    """

    def wrapper(ctx: click.Context, /, **kwargs: Any) -> Any:
        settings: Settings = ctx.find_object(Settings) or Settings()
        for name in ("config", "socket_path", "store", "lang", "as_user", "color", "as_json", "utc", "iso", *LISTING):
            value = kwargs.pop(f"_{name}", None)
            if value:
                setattr(settings, name, value)
        return ctx.invoke(function, settings, **kwargs)

    wrapper.__doc__ = function.__doc__
    wrapper.__name__ = function.__name__
    wrapper.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
    decorated: Callable[..., Any] = click.pass_context(wrapper)
    decorated.__click_params__ = wrapper.__click_params__  # type: ignore[attr-defined]
    delegation = (click.option("--as", "_as_user", metavar="USER", hidden=True),) if delegate else ()
    for option in (
        click.option("--config", "_config", metavar="FILE", hidden=True),
        click.option("--socket", "_socket_path", metavar="PATH", hidden=True),
        click.option("--store", "_store", metavar="DIR", hidden=True),
        click.option("--lang", "_lang", type=click.Choice(["nb", "en"]), hidden=True),
        click.option("--color", "_color", type=click.Choice(["auto", "always", "never"]), hidden=True),
        click.option("--utc", "_utc", is_flag=True, hidden=True),
        click.option("--iso", "_iso", is_flag=True, hidden=True),
        *delegation,
        click.option("--json", "_as_json", is_flag=True, help="One JSON document on stdout."),
    ):
        decorated = option(decorated)
    return decorated


def listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for lists, above `shared`: which fields, JSON lines, a header line; see `csirt.cli.lists`."""
    for option in (
        click.option("--header", "_header", is_flag=True, help="Name the columns when this is no terminal."),
        click.option("--jsonl", "_jsonl", is_flag=True, help="One JSON object per line."),
        click.option("--fields", "_fields", metavar="A,B", help="Only these fields, in this order."),
    ):
        function = option(function)
    return function


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def colour(settings: Settings) -> bool:
    """Whether to colour: --color, then NO_COLOR and TERM=dumb, then whether stdout is a terminal."""
    if settings.color != "auto":
        return settings.color == "always"
    return is_terminal() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns to fill: the terminal's, at most 120, or 80."""
    import shutil

    return min(shutil.get_terminal_size((80, 24)).columns, 120) if is_terminal() else 80


def write(text: str = "") -> None:
    """One line of already safe text to stdout."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say(text: str) -> None:
    """One line for people to stderr: what changed, how to undo it, progress."""
    from csirt.safety import terminal

    sys.stderr.write(terminal(text) + "\n")


def write_json(document: Any) -> None:
    """One JSON document, keys sorted, UTF-8."""
    write(json.dumps(document, sort_keys=True, ensure_ascii=False))


def write_rows(rows: Iterable[Sequence[object]]) -> None:
    """Tab-separated records, one per line, every cell made safe."""
    from csirt.safety import terminal

    for row in rows:
        write("\t".join(terminal("" if cell is None else cell) for cell in row))


def failed_as_json(args: list[str]) -> bool:
    """Whether the caller asked for JSON, so that errors are JSON too."""
    return "--json" in args or "--jsonl" in args


def guarded(command: click.Command, args: list[str] | None = None) -> int:
    """Run a command; expected failures become one sentence on stderr (or JSON) and their exit code."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        result = command.main(args=args, prog_name="csirt", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        hint = f"\n{error.ctx.command_path} --help shows how" if error.ctx else ""
        return _report(given, "usage", error.format_message() + hint, 2)
    except click.ClickException as error:
        return _report(given, "failed", error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except CsirtError as error:
        return _report(given, error.code, error.message, error.exit_code, error.details)
    except Exception as error:
        if os.environ.get("CSIRT_DEBUG"):
            raise
        from csirt.logs import trace

        return _report(given, "internal", f"internal error: {trace(error)}; CSIRT_DEBUG=1 shows all of it", 1)


def _report(args: list[str], code: str, message: str, exit_code: int, details: dict[str, Any] | None = None) -> int:
    """Say what failed, on stderr."""
    if failed_as_json(args):
        error = {"code": code, "message": message, "exit_code": exit_code, "details": details or {}}
        document = {"schema": "csirt.error/1", "error": error}
        sys.stderr.write(json.dumps(document, sort_keys=True, ensure_ascii=False, default=str) + "\n")
        return exit_code
    from csirt.safety import terminal

    for line in message.split("\n"):
        sys.stderr.write(f"csirt: {terminal(line)}\n")
    return exit_code
