"""Every sentence people read comes from the catalogue, in both languages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import csirt

ROOT = Path(csirt.__file__).parent
CATALOGUES = sorted((ROOT / "messages").glob("*.json"))
# Writers of what people read. Errors of the call (`Usage` and its like) and help texts are English by decision.
WRITERS = {"write", "say", "write_rows", "confirm", "echo", "secho", "prompt"}
SENTENCE = re.compile(r"[A-Za-zÆØÅæøå]{2,}\s+[A-Za-zÆØÅæøå]{2,}")


def catalogue(path: Path) -> dict[str, dict[str, str]]:
    """The sentences of one noun."""
    found: dict[str, dict[str, str]] = json.loads(path.read_text())
    return found


def fields(sentence: str) -> set[str]:
    """The fields a sentence takes."""
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_are_complete() -> None:
    """Each key has a sentence in nb and in en, both with the same fields, under its noun's name."""
    for path in CATALOGUES:
        for key, sentence in catalogue(path).items():
            assert key.startswith(f"{path.stem}."), f"{path.name}: {key}"
            assert sentence.keys() == {"nb", "en"} and all(sentence.values()), f"{key}: {sentence}"
            assert fields(sentence["nb"]) == fields(sentence["en"]), f"{key}: {sentence}"


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of the writers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in WRITERS:
                yield node


def words(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Literal text that reaches the writer from inside its call; keys of `text(…)` and fields are none."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in ("text", "get", "replace", "join", "strftime", "_say", "_text", "label", "word", "speak"):
            for argument in node.args if name == "join" else []:
                yield from words(argument)
            return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, " ".join(part.value for part in node.values if isinstance(part, ast.Constant))
        return
    for child in ast.iter_child_nodes(node):
        yield from words(child)


def test_no_command_prints_a_sentence_of_its_own() -> None:
    """What a command writes is data or from the catalogue: no literal of two words reaches a writer."""
    found = []
    for path in sorted((ROOT / "cli").glob("*.py")):
        if path.stem in ("help", "completion", "reference", "command"):
            continue
        for call in calls(ast.parse(path.read_text())):
            for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
                for line, text in words(argument):
                    if SENTENCE.search(text) and not text.strip().startswith("csirt "):
                        found.append(f"{path.name}:{line}: {text!r}")
    assert not found, "\n".join(found)


def test_every_key_that_is_asked_for_exists() -> None:
    """Literal keys in the code are in the catalogue."""
    known = {key for path in CATALOGUES for key in catalogue(path)}
    nouns = "|".join(path.stem for path in CATALOGUES)
    pattern = re.compile(rf'\btext\(\s*"((?:{nouns})\.[a-z_.A-Z+]+)"')
    missing = []
    for path in sorted(ROOT.rglob("*.py")):
        for key in pattern.findall(path.read_text()):
            if key not in known:
                missing.append(f"{path.relative_to(ROOT)}: {key}")
    assert not missing, "\n".join(missing)


def test_terms_are_the_same_everywhere() -> None:
    """A severity has one name per language, whoever says it."""
    by_value: dict[str, set[tuple[str, str]]] = {}
    for path in CATALOGUES:
        for key, sentence in catalogue(path).items():
            if match := re.fullmatch(r"[a-z]+\.(?:severity|level)[_.]([a-z]+)", key):
                by_value.setdefault(match.group(1), set()).add((sentence["en"].lower(), sentence["nb"].lower()))
    for value in ("critical", "high", "medium", "low"):
        assert len(by_value[value]) == 1, by_value[value]
