"""`csirt completion SHELL`: the script a shell sources."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import write


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      csirt completion bash > ~/.local/share/bash-completion/completions/csirt
      csirt completion fish > ~/.config/fish/completions/csirt.fish
    """
    from click.shell_completion import get_completion_class

    from csirt.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(main, {}, "csirt", "_CSIRT_COMPLETE").source())
