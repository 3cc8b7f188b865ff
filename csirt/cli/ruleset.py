"""What the verbs of `csirt rules` share: loading the rules that are meant, choosing one, saying what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.cli.common import Settings, say
from csirt.errors import Usage

if TYPE_CHECKING:
    from csirt.detect.rule import Correlation, Rule
    from csirt.detect.rules.ruleset import Ruleset


def load(settings: Settings, paths: tuple[Path, ...], *, mapped: bool = True) -> tuple[Ruleset, list[Path]]:
    """The rules of these paths (default: the shipped and configured folders), and their files. `mapped`: SigmaHQ's
    field names become the schema's."""
    from csirt import cachefolder
    from csirt.configfile import load
    from csirt.content import folder
    from csirt.detect.rules.load import load_rules, rule_files
    from csirt.enrich.indicators.book import Book

    whole = load(settings.config_file())
    config = whole.detect
    folders = list(paths)
    if not folders:
        folders = ([folder("rules")] if config.shipped else []) + [Path(name) for name in config.rules]
    disabled = [] if paths else config.disabled
    loaded = load_rules(
        folders,
        placeholders={**Book.load(whole.path("indicators.json")).placeholders(), **config.placeholders},
        disabled=disabled,
        mapped=mapped,
        cache=cachefolder.below("rules"),
        deployed=None if paths else whole.path("deploy.yml"),
    )
    return loaded, [path for item in folders for path in rule_files(item) if path.is_file()]


def tell_problems(loaded: Ruleset) -> None:
    """What is wrong with the rules, to stderr."""
    for problem in loaded.problems:
        say(str(problem))


def chosen(settings: Settings, name: str, *, mapped: bool = True) -> tuple[Ruleset, list[Rule | Correlation]]:
    """The rules of a file, or the loaded one whose id starts so, or whose name, title or code
    (`net-01`) it is. Raises Usage when a
    file has none or several are meant, NotFound when none is."""
    if Path(name).is_file():
        loaded, _ = load(settings, (Path(name),), mapped=mapped)
        if not loaded.everything():
            wrong = [str(problem) for problem in loaded.problems if problem.level == "error"]
            raise Usage("\n".join([f"{name}: no rule could be loaded", *wrong]))
        return loaded, loaded.everything()
    from csirt.detect.authors.describe import pick

    loaded, _ = load(settings, (), mapped=mapped)
    return loaded, [pick(loaded, name)]


def text(settings: Settings, key: str, **fields: Any) -> str:
    """A sentence of `rules` in the caller's language."""
    from csirt.messages import text

    return text(f"rules.{key}", settings.language(), **fields)
