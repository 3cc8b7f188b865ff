"""`csirt run`: the daemon."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared


@command()
@click.option("--once", is_flag=True, help="Drain what is there and exit.")
@click.option("--verbose", "-v", is_flag=True, help="Log every step.")
@shared
def run(settings: Settings, once: bool, verbose: bool) -> int:
    """Run the daemon until it is stopped: receive, decode, detect, correlate, respond, notify.

    \b
    Examples:
      csirt run --config /etc/csirt/csirt.toml
      csirt run --once
    """
    import logging

    from csirt.app import App
    from csirt.checking import check
    from csirt.configfile import load
    from csirt.daemon import Daemon
    from csirt.logs import configure

    configure(logging.DEBUG if verbose else logging.INFO)
    app = App(load(settings.config_file()), config_file=settings.config_file())
    if settings.store:
        from pathlib import Path

        app.store_directory = Path(settings.store)
    problems = [problem for problem in check(app) if problem.level == "error"]
    for problem in problems:
        say(str(problem))  # a broken rule stops only itself; what the daemon cannot do without raises below
    return Daemon(app).run(once=once)
