"""Playbooks from their folders: every one that is right, and every problem of those that are not."""

from __future__ import annotations

from pathlib import Path

from csirt.content import BadContent, Document, read_yaml
from csirt.errors import Problem
from csirt.respond.check import build
from csirt.respond.playbook import Playbook, Playbooks

DATA = ("rsit.yml",)  # content beside the playbooks that is none


def load_playbooks(folders: list[Path]) -> tuple[Playbooks, list[Problem]]:
    """Every playbook of the folders by name, a later folder's taking the place of an earlier one's, and everything
    wrong with the files. A broken playbook is left out and stops no other."""
    found: Playbooks = {}
    problems: list[Problem] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem(str(folder), 1, "no such folder", advice="correct respond.playbooks"))
            continue
        here: Playbooks = {}
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            if path.name in DATA:
                continue
            for playbook in _read(path, folder, problems):
                if playbook.name in here:
                    other = here[playbook.name]
                    problems.append(
                        Problem(
                            playbook.file, playbook.line, f"{playbook.name} is already in {other.file}:{other.line}"
                        )
                    )
                    continue
                here[playbook.name] = playbook
        found.update(here)
    return dict(sorted(found.items())), problems


def _read(path: Path, folder: Path, problems: list[Problem]) -> list[Playbook]:
    try:
        documents: list[Document] = read_yaml(path, root=folder)
    except BadContent as error:
        problems.append(error.problem)
        return []
    made = []
    for document in documents:
        playbook, wrong = build(document)
        problems += wrong
        if playbook is not None:
            made.append(playbook)
    return made
