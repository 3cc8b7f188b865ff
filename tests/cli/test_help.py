"""Help: `-h` is short with two examples, `--help` whole; topics; slips."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from csirt.cli import COMMANDS, main
from csirt.cli.command import examples
from csirt.cli.help import TOPICS

SHORT = 24  # lines of a terminal


def commands() -> Iterator[list[str]]:
    """The words of every command, nouns and verbs."""
    yield []
    root = click.Context(main)
    for noun in COMMANDS:
        yield [noun]
        command = main.get_command(root, noun)
        if isinstance(command, click.Group):
            yield from ([noun, verb] for verb in command.commands)


def found(words: list[str]) -> click.Command:
    """The command of those words."""
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        next_ = command.get_command(click.Context(command), word)
        assert next_ is not None
        command = next_
    return command


@pytest.mark.parametrize("words", list(commands()), ids=lambda words: " ".join(words) or "csirt")
def test_help_is_short_and_whole(words: list[str]) -> None:
    """-h fits a screen and has two examples that name the command; --help has every option; both fit 80 columns."""
    short = CliRunner().invoke(main, [*words, "-h"], prog_name="csirt")
    whole = CliRunner().invoke(main, [*words, "--help"], prog_name="csirt")
    assert short.exit_code == whole.exit_code == 0, short.output + whole.output
    assert len(short.output.splitlines()) <= SHORT
    shown = examples(found(words))
    assert len(shown) >= 2, "two examples"
    name = " ".join(["csirt", *words])
    assert all(name in line for line in shown[:2]), shown
    assert all(line in short.output and line in whole.output for line in shown[:2])
    for option in (param for param in found(words).params if isinstance(param, click.Option) and not param.hidden):
        assert option.opts[-1] in whole.output and option.help, option.name
    for text in (short.output, whole.output):
        wide = [line for line in text.splitlines() if len(line) > 80 and line.strip() not in shown]
        assert not wide, wide


def test_examples_are_commands_that_exist() -> None:
    """What examples name, options included, is there."""
    import shlex

    for words in commands():
        for line in examples(found(words)):
            for part in line.split(" | "):
                tokens = shlex.split(part.split(" > ")[0].split(" < ")[0].replace('"$(cat /safe/head)"', "x"))
                if tokens[:1] != ["csirt"]:
                    continue
                given = tokens[1:]
                named = [word for word in given if not word.startswith("-")]
                command, rest = main, given
                if named and named[0] in COMMANDS:
                    command = found(named[:1])
                    rest = given[given.index(named[0]) + 1 :]
                    if isinstance(command, click.Group):
                        command = found(named[:2])
                        rest = given[given.index(named[1]) + 1 :]
                context = click.Context(command, parent=click.Context(main))
                known = {name for param in command.get_params(context) for name in param.opts}
                used = {word.split("=")[0] for word in rest if word.startswith("-") and word != "-"}
                assert used <= known, f"{line}: {used - known}"


def test_topics() -> None:
    """`help TOPIC` fits 80 columns; an unknown topic is exit 3 with the list."""
    from csirt.cli.common import guarded

    for topic in TOPICS:
        result = CliRunner().invoke(main, ["help", topic])
        assert result.exit_code == 0
        assert all(len(line) <= 80 for line in result.output.splitlines()), topic
    assert guarded(main, ["help", "filtres"]) == 3


def test_exit_codes_are_printed() -> None:
    """`help exit-codes` has the table of the contract."""
    text = CliRunner().invoke(main, ["help", "exit-codes"]).output
    assert [line.split()[0] for line in text.splitlines()] == ["0", "1", "2", "3", "4", "5", "6", "7", "130"]
