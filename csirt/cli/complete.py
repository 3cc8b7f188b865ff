"""Live values for the shell: case ids with titles, members, rules, runs. Silent when no daemon answers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from csirt.cli.common import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE = 0.5  # seconds; a shell that hangs on a key is worse than one that offers nothing
MANY = 200
DATASETS = ("flow", "flow_options", "flow_counters", "dns", "tls", "http", "mail", "edi", "self")
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
CASE_FIELDS = ("severity>=", "state:", "member:", "rule:", "ip:", "owner:", "age<", "last<", "not:ack", "is:clinical")


def ask(ctx: click.Context, verb: str, **args: Any) -> Any:
    """The daemon's answer to a verb, or an empty document."""
    from csirt.cli.common import DEFAULT_SOCKET
    from csirt.control.client import SocketClient

    def given(name: str) -> Any:
        return ctx.params.get(f"_{name}") or ctx.find_root().params.get(name)

    try:
        if given("store"):
            return {}  # opening a store takes longer than a key may
        settings = Settings(config=given("config"), socket_path=given("socket_path"))
        path = settings.socket_path or str(settings.raw_config().get("control", {}).get("socket", DEFAULT_SOCKET))
        return SocketClient(path, timeout=PATIENCE).call(verb, **args)
    except Exception:
        return {}


def _items(ctx: click.Context, verb: str, key: str, said: str, begin: str, **args: Any) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from csirt.safety import terminal

    found = []
    for item in ask(ctx, verb, **args).get("items", []):
        value = str(item[key])
        if value and value.casefold().startswith(begin.casefold()):
            found.append(CompletionItem(terminal(value), help=terminal(item.get(said) or "")))
    return found


def values(verb: str, key: str, said: str, *others: str, **args: Any) -> Completer:
    """A completer over a list verb's items: `key` is offered, `said` explains it; `others` are fixed words."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        fixed = [CompletionItem(word) for word in others if incomplete and word.startswith(incomplete)]
        return fixed + _items(ctx, verb, key, said, incomplete, **args)

    return complete


cases = values("cases.list", "number", "title", "@last", "@mine", limit=MANY)
members = values("members.list", "id", "name")
runs = values("playbooks.runs", "number", "playbook")
playbooks = values("playbooks.list", "name", "description")
rules = values("rules.list", "title", "id")
reports = values("report.list", "id", "member")
alerts = values("alerts.list", "id", "rule_name", limit=MANY)
silences = values("notify.silences", "id", "filter")
routes = values("notify.oncall", "id", "id")


def member_filters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Fields of a member."""
    from click.shell_completion import CompletionItem

    fields = ("id:", "name:", "kind:", "language:", "operator:", "supplier:", "prefixes:", "her:", "phone:")
    start, space, term = incomplete.rpartition(" ")
    return [CompletionItem(f"{start}{space}{word}") for word in fields if word.startswith(term)]


def filters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The last term of a filter: its field, then members by id and rules by name."""
    from click.shell_completion import CompletionItem

    before, space, term = incomplete.rpartition(" ")
    start = before + space
    name, colon, begin = term.partition(":")
    if colon and name in ("member", "rule"):
        known = members(ctx, param, begin) if name == "member" else _rule_names(ctx, begin)
        return [CompletionItem(f"{start}{name}:{item.value}", help=item.help) for item in known]
    return [CompletionItem(f"{start}{word}") for word in CASE_FIELDS if word.startswith(term)]


def _rule_names(ctx: click.Context, begin: str) -> list[CompletionItem]:
    """Rules by the code their title begins with (`net-05`); titles without one in double quotes."""
    import re

    from click.shell_completion import CompletionItem

    found: dict[str, CompletionItem] = {}
    for item in _items(ctx, "rules.list", "title", "id", begin.lstrip('"')):
        code = re.match(r"[A-Z]+-\d+\b", item.value)
        value = code.group().lower() if code else f'"{item.value}"'
        found.setdefault(value, CompletionItem(value, help=item.value))
    return list(found.values())


def datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What events are of."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in DATASETS if name.startswith(incomplete)]
