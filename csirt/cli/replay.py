"""`csirt replay FILE…`: the whole pipeline over files, deterministic, then exit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write_json, write_rows

if TYPE_CHECKING:
    from csirt.app import App


@command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--parser", default="", help="Log files are in this parser's format; `csirt parsers list` names them.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "netflow", "packets", "log", "syslog"]),
    default="auto",
    help="What the files hold.",
)
@click.option("--batch-rows", type=click.IntRange(100, 2_000_000), help="Rows of one commit; changes no result.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Threads; each kind of file, and each parser, has one at most. Changes no result.",
)
@shared
def replay(
    settings: Settings, files: tuple[str, ...], parser: str, kind: str, batch_rows: int | None, workers: int | None
) -> int:
    """Run the whole pipeline over FILEs into the store named with --store.

    The same files again change nothing. Nobody is notified; plans stay plans.

    \b
    Examples:
      csirt replay edge.pcap --store /srv/case-17
      csirt replay mail.log --parser postfix --store /srv/case-17 --json
    """
    from csirt.app import App
    from csirt.cli.progress import progress
    from csirt.configfile import load
    from csirt.errors import Usage
    from csirt.logs import configure
    from csirt.replay import run

    if not settings.store:
        raise Usage("replay needs a store of its own: add --store DIR")
    import logging

    configure(logging.WARNING)
    name = settings.config_file()
    config = load(name)
    if batch_rows:
        config.stores.batch_rows = batch_rows
    if workers:
        config.decode.workers = workers
    app = App(config, store_directory=Path(settings.store))
    try:
        with progress(settings, "replay.progress", lambda: _numbers(app)):
            result = run(app, [Path(file) for file in files], kind=kind, parser=parser, configured=name is not None)
    finally:
        app.close()
    if settings.as_json:
        write_json(result)
    else:
        from csirt.messages import text

        lang = settings.language()
        for path, file in zip(files, result["files"], strict=True):
            state = text("replay.already" if file["already"] else "replay.read", lang)
            write_rows([[path, file["events"], state]])
        counts = {name: result[name] for name in ("events", "alerts", "incidents")}
        say(text("replay.done", lang, store=settings.store, **counts))
    return 0


def _numbers(app: App) -> dict[str, int]:
    """How far the pipeline is."""
    done = {str(stage["name"]): stage for stage in app.metrics.stages()}
    return {"read": int(str(done["decode"]["in"])), "events": int(str(done["stores"]["in"]))}
