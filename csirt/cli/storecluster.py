"""`csirt store init|copy|migrate|recover|dead-letters|roles`: a store and the cluster that follows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write_json, write_rows

if TYPE_CHECKING:
    from csirt.config import Config


def _config(settings: Settings) -> Config:
    """The configuration, whose cluster must be named."""
    from csirt.configfile import load
    from csirt.errors import Usage

    config = load(settings.config_file())
    if not config.stores.elasticsearch.urls:
        raise Usage("no cluster is configured: name its nodes under [stores.elasticsearch] urls")
    return config


def _say(settings: Settings, key: str, **fields: Any) -> None:
    from csirt.messages import text

    say(text(key, settings.language(), **fields))


@command()
@click.option("--dry-run", is_flag=True, help="Only say what would be installed or changed.")
@shared
def init(settings: Settings, dry_run: bool) -> int:
    """Install csirt's templates and indices in the cluster of [stores.elasticsearch]. Needs no daemon.

    \b
    Examples:
      csirt store init --dry-run
      csirt store init --config csirt.toml --json
    """
    from csirt.stores.elastic import connect, templates

    config = _config(settings).stores.elasticsearch
    with connect.client(config) as client:
        connect.probe(client, config, indices=False)
        try:
            work = templates.difference if dry_run else templates.install
            items = work(client, config.prefix)
        except Exception as error:
            raise connect.failed(error, config) from error
    if settings.as_json:
        write_json({"schema": "csirt.store-init/1", "dry_run": dry_run, "items": items})
        return 0
    for item in items:
        write_rows([[item["state"], item["what"], item["name"]]])
        write_rows([["", "", change] for change in item["changes"]])
    count = sum(item["state"] != "same" for item in items)
    _say(settings, "store.would_install" if dry_run else "store.installed", count=count)
    return 0


@command()
@click.option("--from", "origin", type=click.Choice(["embedded"]), required=True, help="What is copied.")
@click.option("--to", "target", type=click.Choice(["elasticsearch"]), required=True, help="Where to.")
@click.option("--again", is_flag=True, help="Send everything, also what the cluster has acknowledged.")
@shared
def copy(settings: Settings, origin: str, target: str, again: bool) -> int:
    """Send a store's documents to the cluster and compare both; exit 1 when they differ. Events stay in the lake.

    \b
    Examples:
      csirt store copy --from embedded --to elasticsearch --store /srv/case-17
      csirt store copy --from embedded --to elasticsearch --again --json
    """
    from csirt.errors import NotFound
    from csirt.logs import configure
    from csirt.stores.elastic.copy import copy as send

    config = _config(settings)
    folder = Path(settings.store) if settings.store else config.path("store")
    if not (folder / "catalogue.sqlite").is_file():
        raise NotFound(f"{folder}: no store here; name it with --store DIR")
    configure(30)  # warnings

    def left(number: int) -> None:
        _say(settings, "store.copying", count=number)

    report = send(folder, config, again=again, progress=left)
    if settings.as_json:
        write_json(report)
    else:
        write_rows([kind, number] for kind, number in report["counts"].items())
        _say(settings, "store.copied" if report["equal"] else "store.differs", dead=report["dead_letters"])
    return 0 if report["equal"] else 1


@command()
@click.option("--dry-run", is_flag=True, help="Only say which indices differ, and in which fields.")
@click.option("--all", "every", is_flag=True, help="Every index, also where nothing differs.")
@shared
def migrate(settings: Settings, dry_run: bool, every: bool) -> int:
    """Copy indices whose mapping has changed into new ones and move the alias. The daemon goes on meanwhile; it needs
    none, but a key with the rights of `migrator` (csirt store roles).

    \b
    Examples:
      csirt store migrate --dry-run
      csirt store migrate --config csirt-migrate.toml --json
    """
    from csirt.stores.elastic import connect
    from csirt.stores.elastic import migrate as work

    config = _config(settings).stores.elasticsearch
    items: list[dict[str, Any]] = []
    with connect.client(config) as client:
        connect.probe(client, config, older=True)
        try:
            for step in work.needed(client, config.prefix, every=every):
                _say(settings, "store.migrating", old=step.old, new=step.new, fields=", ".join(step.fields) or "-")
                count = 0 if dry_run else work.migrate(client, step)
                items.append({"old": step.old, "new": step.new, "fields": step.fields, "documents": count})
        except Exception as error:
            raise connect.failed(error, config) from error
    if settings.as_json:
        write_json({"schema": "csirt.store-migrate/1", "dry_run": dry_run, "items": items})
    else:
        write_rows([item["old"], item["new"], item["documents"]] for item in items)
    return 0


@command()
@click.option("--dry-run", is_flag=True, help="Only say what would come back, and what would not.")
@shared
def recover(settings: Settings, dry_run: bool) -> int:
    """Make the store folder from what the cluster holds: a lost folder whole; of a node whose folder and the cluster's
    log went different ways (`csirt status` says so) what all nodes share. The daemon must not run. Exit 1: not equal
    afterwards.

    \b
    Examples:
      csirt store recover --dry-run
      csirt store recover --config csirt.toml --json
    """
    from csirt.clock import SYSTEM
    from csirt.logs import configure
    from csirt.stores.elastic import recover as alone
    from csirt.stores.elastic.shared import recover as nodes

    config = _config(settings)
    folder = Path(settings.store) if settings.store else config.path("store")
    configure(30)  # warnings
    work = nodes.rebuild if config.stores.elasticsearch.node else alone.rebuild
    report = work(folder, config, dry_run=dry_run, clock=SYSTEM)
    if settings.as_json:
        write_json(report)
        return 0 if report["equal"] else 1
    write_rows([kind, number] for kind, number in report["counts"].items())
    _say(settings, f"store.recover.{report['state']}")
    for what in report["lost"]:
        only = ", ".join(f"{number} {kind}" for kind, number in report["only_here"].items())
        _say(settings, f"store.not_recovered.{what}", only=only)
    if dry_run:
        _say(settings, "store.recover_dry")
    elif report["state"] in ("lost", "diverged", "other_log", "cut"):
        _say(settings, "store.recovered" if report["equal"] else "store.recover_differs", kept=report["kept"] or "-")
    return 0 if report["equal"] else 1


@command("dead-letters")
@click.option("--retry", is_flag=True, help="Send them again.")
@shared
def dead_letters(settings: Settings, retry: bool) -> int:
    """Documents that the cluster refused, one by one, with its reason; they are whole in the store itself.

    \b
    Examples:
      csirt store dead-letters
      csirt store dead-letters --retry
    """
    document = settings.client().call("store.dead_letters", retry=retry)
    if settings.as_json:
        write_json(document)
        return 0
    write_rows([item[name] for name in ("time", "kind", "id", "status", "reason")] for item in document["items"])
    if retry:
        _say(settings, "store.sent_again", count=document["count"])
    return 0


@command()
@shared
def roles(settings: Settings) -> int:
    """The rights that csirt's API keys need in the cluster, as role descriptors. Asks no cluster.

    \b
    Examples:
      csirt store roles
      csirt store roles --config csirt.toml --json
    """
    from csirt.configfile import load
    from csirt.stores.elastic.roles import roles as needed

    found = needed(load(settings.config_file()).stores.elasticsearch.prefix)
    if settings.as_json:
        write_json({"schema": "csirt.store-roles/1", "roles": found})
        return 0
    for name, role in found.items():
        write_rows([[name, "cluster", *role["cluster"]]])
        write_rows([[name, ",".join(one["names"]), *one["privileges"]] for one in role["indices"]])
    return 0
