"""What `csirt check` looks at: all content and every part of the configuration is built, nothing is started."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from csirt.config import Config
from csirt.content import folder
from csirt.errors import CsirtError, Problem, Unreachable, Usage

if TYPE_CHECKING:
    from csirt.app import App
    from csirt.detect.rules.ruleset import Ruleset

EVERYBODY = Problem(
    "configuration",
    1,
    "no exporter is listed: whoever can reach the port is believed",
    level="warning",
    advice="list your routers under [[decode.exporters]]; then nobody else is",
)


def check(app: App) -> list[Problem]:
    """Everything that is wrong with the content and the configuration."""
    from csirt.decode.parser_files import load_parsers
    from csirt.detect.rules import deploy
    from csirt.detect.rules.load import load_rules
    from csirt.respond.folders import load_playbooks
    from csirt.scope import problems as unlooked

    config = app.config
    problems: list[Problem] = []
    if config.enrich.register_file:
        problems += app.read_register()[1]
    problems += load_parsers(folder("parsers"))[1]
    ruleset = load_rules(app.rule_folders(), **app.rule_options())
    problems += ruleset.problems + deploy.ended(ruleset.deployment, app.clock.now())
    problems += unlooked(ruleset, config)
    playbooks, broken = load_playbooks(app.playbook_folders())
    problems += broken + _without_playbook(ruleset, playbooks)
    problems += [problem for source in config.sources for problem in _source(source)]
    problems += [problem for listener in config.collect.listeners for problem in _listener(listener)]
    if any(source.type == "netflow" for source in config.sources) and not config.decode.exporters:
        problems.append(EVERYBODY)
    problems += _cluster(config)
    problems += [Problem("configuration", 1, text) for text in app.make("router").check()]
    problems += [Problem("configuration", 1, text) for text in app.make("responder").guard.problems()]
    return problems


def _without_playbook(ruleset: Ruleset, playbooks: Collection[str]) -> list[Problem]:
    """Rules that name a playbook there is not: their incidents get no plan."""
    return [
        Problem(
            item.meta.file,
            item.meta.line,
            f"{item.meta.title}: there is no playbook {item.meta.custom.playbook}",
            level="warning",
            advice="correct the name, or write the playbook into a folder of [respond] playbooks",
        )
        for item in ruleset.everything()
        if item.meta.custom.playbook and item.meta.custom.playbook not in playbooks
    ]


def _source(source: Any) -> list[Problem]:
    from csirt.decode.build import check_source

    try:
        check_source(source)
    except Usage as error:
        return [Problem("configuration", 1, line) for line in error.message.split("\n")]
    return []


def _listener(listener: Any) -> list[Problem]:
    from csirt.collect.tls import server_context

    try:
        if listener.transport == "tls":
            server_context(listener)
    except CsirtError as error:
        level = _level(listener.certificate, listener.key, listener.client_ca)
        return [Problem("configuration", 1, error.message, level=level)]
    return []


def _cluster(config: Config) -> list[Problem]:
    if config.stores.kind != "elasticsearch":
        return []
    from csirt.stores.elastic import connect

    try:
        connect.client(config.stores.elasticsearch).close()
    except CsirtError as error:
        section = config.stores.elasticsearch
        level = _level(section.ca, section.api_key)
        return [Problem("configuration", 1, line, level=level) for line in error.message.split("\n")]
    return []


def unreachable(config: Config) -> Unreachable | None:
    """Why the cluster of a configuration without errors cannot be worked with; None when it can."""
    if config.stores.kind != "elasticsearch":
        return None
    from csirt.stores.elastic import connect

    section = config.stores.elasticsearch
    try:
        with connect.client(section) as client:
            connect.probe(client, section)
    except Unreachable as error:
        return error
    except CsirtError:  # a credential that only the unit has; said by `check`
        return None
    return None


def rights(config: Config) -> list[Problem]:
    """What the key of a cluster that can be reached may not do, a warning."""
    if config.stores.kind != "elasticsearch":
        return []
    from csirt.stores.elastic import connect, roles

    section = config.stores.elasticsearch
    try:
        with connect.client(section) as client:
            lacks = roles.lacking(client, section.prefix)
    except Exception as error:
        if not (isinstance(error, CsirtError) or connect.of_cluster(error)):
            raise
        return []
    said = f"the API key lacks the right {lacks}; make one with the rights that `csirt store roles` prints"
    return [Problem("cluster", 1, said, level="warning")] if lacks else []


def _level(*files: str) -> str:
    """How bad it is that one of these cannot be used: a unit's credentials are the unit's alone."""
    elsewhere = any(name and "/" not in name for name in files) and "CREDENTIALS_DIRECTORY" not in os.environ
    return "warning" if elsewhere else "error"
