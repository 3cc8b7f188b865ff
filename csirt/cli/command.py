"""How every command helps: `-h` is short with two examples, `--help` is whole; the nearest verb or option is named.

Use `group` and `command` of this module in place of click's; verbs of a group get the same behaviour by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

EVERYWHERE = "--config FILE, --socket PATH, --store DIR, --lang nb|en, --json, --color auto|always|never, --utc, --iso"


def _show(text: Callable[[click.Context], str]) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(text(ctx).rstrip("\n"), color=ctx.color)
            ctx.exit()

    return callback


def _option(name: str, said: str, text: Callable[[click.Context], str]) -> click.Option:
    return click.Option(
        [name, name.lstrip("-") + "_asked"], is_flag=True, is_eager=True, expose_value=False, help=said,
        callback=_show(text),
    )  # fmt: skip


def examples(command: click.Command) -> list[str]:
    """The command lines under `Examples:` in a command's docstring."""
    _, _, tail = (command.help or "").partition("Examples:\n")
    return [line.strip() for line in tail.split("\n\n")[0].splitlines() if line.strip()]


def sentence(command: click.Command) -> str:
    """The first paragraph of the help, as one line."""
    return " ".join((command.help or "").split("\n\n")[0].replace("\b", "").split())


def short(ctx: click.Context) -> str:
    """Usage, what it does, two examples; a group's verbs by name."""
    command = ctx.command
    formatter = ctx.make_formatter()
    command.format_usage(ctx, formatter)
    with formatter.indentation():
        formatter.write("\n")
        formatter.write_text(sentence(command))
    if isinstance(command, click.Group):
        names = command.list_commands(ctx)
        with formatter.section("Commands" if ctx.parent is None else "Verbs"):
            formatter.write_text(" ".join(names))
    with formatter.section("Examples"):
        for line in examples(command)[:2]:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
    formatter.write(f"\n{ctx.command_path} --help has everything.\n")
    return formatter.getvalue()


_WHOLE = _option("--help", "All of this.", lambda ctx: ctx.get_help())
_SHORT = _option("-h", "In short, with two examples.", short)


def _near(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."


class Command(click.Command):
    """A verb, or a noun without verbs."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """`--help`: everything."""
        return _WHOLE

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's parameters, `--help`, and `-h`."""
        return [*super().get_params(ctx), _SHORT]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What every command accepts besides its own options."""
        super().format_epilog(ctx, formatter)
        if ctx.parent is not None:
            formatter.write("\n")
            formatter.write_text(f"Everywhere: {EVERYWHERE}; see csirt --help.")


class Group(Command, click.Group):
    """A noun with verbs, or the root."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.no_args_is_help = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order they are written."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; a noun alone is answered with its short help and exit 2."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            raise click.UsageError(f"which verb? There are: {', '.join(self.list_commands(ctx))}.", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for one that does not exist."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            kind = "command" if ctx.parent is None else "verb"
            raise click.UsageError(f"No such {kind} {name!r}.{_near(name, known)}", ctx)
        return super().resolve_command(ctx, args)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """As `click.command`."""
    return click.command(name, cls=Command)


def group(name: str | None = None) -> Callable[[Callable[..., Any]], click.Group]:
    """As `click.group`."""
    return click.group(name, cls=Group)
