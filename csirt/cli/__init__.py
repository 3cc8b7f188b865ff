"""The analyst's, operator's and rule author's hands: `csirt NOUN VERB` (design: the command contract).

Nothing here imports numba, polars, pydantic or elasticsearch; a command's module is imported when it is called.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from csirt import __version__
from csirt.cli.command import Group

COMPLETE = "_CSIRT_COMPLETE"  # set by the scripts of `csirt completion`
# noun -> (module under csirt.cli, one-line help). The module has a click command or group named as the noun.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Build a small closed network, attack it, show the case."),
    "run": ("run", "The daemon."),
    "collect": ("collect", "A receiver alone: netflow, syslog."),
    "check": ("check", "Read configuration and content, build everything, start nothing."),
    "status": ("status", "Stages, rates, losses, blind spots."),
    "decode": ("decode", "Bytes to events, without a store."),
    "replay": ("replay", "The whole pipeline over files, deterministic."),
    "events": ("events", "Hunt in stored events."),
    "alerts": ("alerts", "What rules found."),
    "cases": ("cases", "Triage."),
    "rules": ("rules", "Check, test, run and explain Sigma rules."),
    "parsers": ("parsers", "Check and test log parsers."),
    "playbooks": ("playbooks", "Plans, approvals, runs."),
    "notify": ("notify", "Routes, on call, acknowledgements, silences."),
    "report": ("report", "What a member may read."),
    "indicators": ("indicators", "Lists of addresses and domains that others call bad."),
    "members": ("members", "The address register."),
    "messages": ("messages", "EDI messages hop by hop."),
    "store": ("store", "The store: info, dump, fsck, backup, retention, cluster."),
    "audit": ("audit", "Who did what; verify the chain."),
    "bench": ("bench", "Ours beside the peers."),
    "completion": ("completion", "Shell completion for bash, zsh and fish."),
    "help": ("help", "Topics: filters, times, exit-codes, environment."),
}


class Lazy(Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All nouns in the order of the contract."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the noun's module and return its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"csirt.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the nouns with their help without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, invoke_without_command=True)
@click.option("--config", metavar="FILE", envvar="CSIRT_CONFIG", help="Configuration file (TOML).")
@click.option("--socket", "socket_path", metavar="PATH", envvar="CSIRT_SOCKET", help="The daemon's command socket.")
@click.option("--store", metavar="DIR", envvar="CSIRT_STORE", help="A store that no daemon owns, opened directly.")
@click.option("--lang", type=click.Choice(["nb", "en"]), envvar="CSIRT_LANG", help="Language of what people read.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour on terminals.")
@click.option("--utc", is_flag=True, help="Times for people in UTC.")
@click.option("--iso", is_flag=True, help="Times for people as pipes get them: ISO 8601 in UTC.")
@click.option(
    "--as", "as_user", metavar="USER", help="Act for USER; needs the right to delegate; the audit names both."
)
@click.version_option(__version__, prog_name="csirt")
@click.pass_context
def main(ctx: click.Context, /, **options: Any) -> None:
    """Security monitoring for the CSIRT of a closed health network.

    Without a command: the open cases, most urgent first. The options below may also follow the verb.

    \b
    Examples:
      csirt
      csirt cases show C-2026-0412 --lang nb
    """
    from csirt.cli.common import Settings

    ctx.obj = Settings(**options)
    if ctx.invoked_subcommand is None:
        from csirt.cli.cases import show_list

        show_list(ctx.obj)


def run() -> None:
    """Entry point: run the group, turn expected failures into one sentence and their exit code."""
    if COMPLETE in os.environ:
        from csirt.cli.completion import answer

        sys.exit(answer(main))
    from csirt.cli.common import guarded

    sys.exit(guarded(main))
