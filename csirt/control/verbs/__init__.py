"""Every verb the socket knows: a function of (Context, **arguments) that returns JSON-ready data or an iterator.

A module of this package registers its verbs with `@verb`; `find` imports the module of a verb's noun on first use.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from csirt.control import asked
from csirt.errors import NotAllowed, Usage

if TYPE_CHECKING:
    from csirt.clock import Clock
    from csirt.config import Config
    from csirt.model.principal import Principal
    from csirt.stores.base import Store


@dataclass(slots=True)
class Context:
    """What a verb works with. `parts`: live components by name (`register`, `detector`, `responder`, `notifier`,
    `daemon`); on a directly opened store they are built from the configuration on first use (`app.part`)."""

    store: Store
    config: Config
    principal: Principal
    clock: Clock
    part: Callable[[str], Any]
    lang: str = "en"
    live: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verb:
    """`right`: what the caller's role must hold (see `model/principal.py`). `access`: leave an access entry when it
    shows case or event data. `change`: the verb writes audit entries itself through the store's commit."""

    name: str
    run: Callable[..., Any]
    right: str
    access: bool
    stream: bool


_VERBS: dict[str, Verb] = {}


def verb(
    name: str, *, right: str, access: bool = False, stream: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the verb `noun.name`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _VERBS[name] = Verb(name, function, right, access, stream)
        return function

    return register


def find(name: str) -> Verb:
    """The verb of that name. Raises Usage when there is none."""
    noun = name.partition(".")[0]
    if name not in _VERBS and noun.isidentifier():
        known = {module.name for module in pkgutil.iter_modules(__path__)}
        if noun in known:
            importlib.import_module(f"{__name__}.{noun}")
    found = _VERBS.get(name)
    if found is None:
        raise Usage(f"unknown verb {name!r}: client and daemon may be of different versions")
    return found


def call(context: Context, name: str, arguments: dict[str, Any]) -> Any:
    """Check the caller's right, leave the access or refusal entry, run the verb."""
    from csirt.model.audit import AuditEntry

    found = find(name)
    who = context.principal

    def entry(category: Any, detail: dict[str, Any]) -> AuditEntry:
        return AuditEntry(
            time=context.clock.now(),
            actor=who.name,
            uid=who.uid,
            on_behalf=who.delegate,
            category=category,
            action=name,
            detail=detail,
        )

    shown = asked.shown(context.config, name, arguments)
    if not who.may(found.right):
        context.store.append_audit([entry("refused", {"right": found.right, "role": who.role})])
        raise NotAllowed(f"{who.name} ({who.role}) may not do {name}: it needs the right {found.right!r}")
    try:
        result = found.run(context, **arguments)
    except NotAllowed as error:
        context.store.append_audit([entry("refused", {"reason": error.message, "arguments": shown})])
        raise
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise Usage(f"{name}: {error}") from error
        raise
    if found.access and not found.stream:
        rows = len(result.get("items", [])) if isinstance(result, dict) and "items" in result else 1
        context.store.append_audit([entry("access", {"arguments": shown, "rows": rows})])
    if found.access and found.stream:
        return _counted(
            result, lambda rows: context.store.append_audit([entry("access", {"arguments": shown, "rows": rows})])
        )
    return result


def _counted(items: Iterator[Any], done: Callable[[int], None]) -> Iterator[Any]:
    rows = 0
    try:
        for item in items:
            rows += 1
            yield item
    finally:
        done(rows)
