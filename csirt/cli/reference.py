"""The reference of all commands as Markdown: `python -m csirt.cli.reference > docs/cli.md` (`make docs`)."""

from __future__ import annotations

import sys

import click

from csirt.cli import COMMANDS, main
from csirt.cli.command import EVERYWHERE, examples, sentence
from csirt.errors import EXIT_CODES

INTRODUCTION = """# Commands

Made by `make docs` from the command line itself; a test checks that it is. `csirt NOUN VERB -h` is the short help,
`--help` the whole one, `csirt help TOPIC` explains filters, times, exit codes and the environment.

Options that every command takes, before or after the verb:
"""


def page() -> str:
    """The whole page."""
    root = click.Context(main, info_name="csirt")
    lines = [INTRODUCTION, *_options(main, root), "", f"After the verb: `{EVERYWHERE}`.", "", "| exit code | means |"]
    lines += ["|---|---|", *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())]
    for noun in COMMANDS:
        command = main.get_command(root, noun)
        assert command is not None
        lines += ["", f"## csirt {noun}", "", sentence(command)]
        context = click.Context(command, info_name=noun, parent=root)
        if isinstance(command, click.Group):
            for verb in command.list_commands(context):
                found = command.get_command(context, verb)
                assert found is not None
                lines += ["", f"### csirt {noun} {verb}", "", *_paragraphs(found)]
                lines += _command(found, click.Context(found, info_name=verb, parent=context))
        else:
            lines += [*_paragraphs(command)[1:], *_command(command, context)]
    return "\n".join(lines) + "\n"


def _paragraphs(command: click.Command) -> list[str]:
    """The help up to its examples, a paragraph per line, blank lines between."""
    text = (command.help or "").partition("Examples:\n")[0]
    parts = [" ".join(part.replace("\b", "").split()) for part in text.split("\n\n")]
    return "\n\n".join(part for part in parts if part).split("\n")


def _command(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    lines = ["", "```text", f"{context.command_path} {usage}", "```"]
    options = _options(command, context)
    if options:
        lines += ["", *options]
    shown = examples(command)
    if shown:
        lines += ["", "```text", *shown, "```"]
    return lines


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = []
    for param in command.get_params(context):
        if not isinstance(param, click.Option) or param.hidden or param.name in ("help_asked", "h_asked"):
            continue
        record = param.get_help_record(context)
        if record is None or ("--json" in param.opts and context.parent is not None):
            continue
        name, text = record
        rows.append(f"| `{name.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |")
    return ["| option | does |", "|---|---|", *rows] if rows else []


if __name__ == "__main__":
    sys.stdout.write(page())
