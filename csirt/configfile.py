"""The configuration file, TOML: read and checked whole, unknown keys refused, and taken over when it changed."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from csirt.config import Config, Listener
from csirt.errors import Usage
from csirt.section import read


def load(path: str | Path | None) -> Config:
    """Read and check a configuration file; None gives the defaults.

    Raises Usage with every problem at once, each with file, key and the nearest known name.
    """
    if path is None:
        return Config()
    import tomllib

    name = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise Usage(f"{name}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage(f"{name}: {error}; correct the TOML") from error
    config, faults = read(Config, data)
    if config is None:
        raise Usage("\n".join(f"{name}:{_line_of(text, fault.path)}: {fault}" for fault in faults))
    problems = _references(config)
    if problems:
        raise Usage("\n".join(f"{name}: {problem}" for problem in problems))
    return config


def taken_over(old: Config, new: Config) -> tuple[Config, list[str]]:
    """What a reload makes of a changed file: the configuration from now on, and the keys that wait for a restart.

    Users, register, rules, playbooks, people, reports, language and retention change at once; what is open or
    listening (sockets, sources, decoders, the store) and what decides in which order things are seen stays."""
    config = replace(
        old,
        language=new.language,
        control=replace(old.control, users=new.control.users),
        enrich=new.enrich,
        detect=replace(new.detect, **{name: getattr(old.detect, name) for name in _AT_START}),
        respond=new.respond,
        notify=new.notify,
        report=new.report,
        retention=new.retention,
    )
    waiting: list[str] = []
    for section in fields(Config):
        now: Any = getattr(config, section.name)
        wanted: Any = getattr(new, section.name)
        if now == wanted:
            continue
        keys = [item.name for item in fields(wanted)] if is_dataclass(wanted) else []
        changed = [key for key in keys if getattr(now, key) != getattr(wanted, key)]
        waiting += [f"{section.name}.{key}" for key in changed] or [section.name]
    return config, waiting


_AT_START = ("lateness", "idle_after", "regex_budget", "sector_every")


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """The line of a dotted key in TOML text: the last part, below its table header and array index; 1 when unsure."""
    names = [part for part in path if not part.isdigit()]
    indices = [int(part) for part in path if part.isdigit()]
    table, wanted = ".".join(names[:-1]), names[-1] if names else ""
    current, seen, best = "", -1, 1
    for number, line in enumerate(text.split("\n"), 1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            current = header.group(1)
            seen = seen + 1 if current == table else seen
            if current in (table, ".".join(names)):
                best = number
        elif (
            current == table
            and re.match(rf"\s*[\"']?{re.escape(wanted)}[\"']?\s*=", line)
            and (not indices or seen == indices[-1])
        ):
            return number
    return best


def _listener(item: Listener) -> list[str]:
    """What of a listener's keys does not fit its transport."""
    where = f"collect.listeners {item.source}"
    problems: list[str] = []
    if item.workers > 1 and (item.kind, item.transport) != ("netflow", "udp"):
        problems.append(f"{where}: only netflow over udp has several workers; leave `workers` out")
    files = [name for name in ("certificate", "key", "client_ca") if getattr(item, name)]
    if item.transport == "tls" and not (item.certificate and item.key):
        problems.append(f"{where}: tls needs `certificate` and `key`, PEM files")
    if item.transport != "tls" and files:
        problems.append(f'{where}: `{files[0]}` is for transport = "tls" only')
    return problems


def _references(config: Config) -> list[str]:
    """References between sections, and what a section needs beside another value in it."""
    problems: list[str] = []
    ids = [source.id for source in config.sources]
    problems += [
        f"sources: the id {name!r} occurs twice" for name in sorted({name for name in ids if ids.count(name) > 1})
    ]
    for source in config.sources:
        if source.type in ("log", "syslog") and not source.parser:
            problems.append(
                f"sources {source.id}: a {source.type} source needs `parser`; `csirt parsers list` names them"
            )
        if not source.path and not any(item.source == source.id for item in config.collect.listeners):
            problems.append(f"sources {source.id}: needs `path`, or a listener that fills its spool")
    problems += [
        f"collect.listeners: no source has the id {item.source!r}"
        for item in config.collect.listeners
        if item.source not in ids
    ]
    problems += [problem for item in config.collect.listeners for problem in _listener(item)]
    contacts = {contact.name for contact in config.notify.contacts}
    routes = {route.name for route in config.notify.routes}
    for route in config.notify.routes:
        problems += [
            f"notify.routes {route.name}: no contact {name!r}" for name in route.contacts if name not in contacts
        ]
    for shift in config.notify.shifts:
        problems += [f"notify.shifts: no contact {name!r}" for name in shift.contacts if name not in contacts]
        if shift.route not in routes:
            problems.append(f"notify.shifts: no route {shift.route!r}")
    return problems
