"""Playbooks are read safely; what is wrong has its line; one broken file stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.content import folder
from csirt.respond.folders import load_playbooks

GOOD = """type: playbook
spec_version: cacao-2.0
id: playbook--1
name: PB-X
workflow_start: start--1
workflow:
  start--1: {type: start, on_completion: action--1}
  action--1:
    type: action
    name: Look
    on_completion: end--1
  end--1: {type: end}
"""
BASH = "    name: Look\n    commands: [{type: bash, command: ls}]"
EXTENDED = "    name: Look\n    step_extensions: {{csirt: {{{}}}}}"
SHIPPED = ["PB-C2", "PB-DDOS", "PB-EDI-FIX", "PB-EDI-INT", "PB-EDI-OUT", "PB-EXFIL", "PB-EXPOSE", "PB-LATERAL"]
SHIPPED += ["PB-POLICY", "PB-RELAY", "PB-ROUTE", "PB-SCAN", "PB-SECTOR", "PB-SELF", "PB-SUPPLIER"]
SHIPPED += ["PB-VIDEO", "PB-WORM"]


def test_the_shipped_playbooks_are_sound() -> None:
    """All load without a problem, every text in both languages, every containment with an end and an undo."""
    playbooks, problems = load_playbooks([folder("playbooks")])
    assert [str(problem) for problem in problems] == [] and list(playbooks) == SHIPPED
    for playbook in playbooks.values():
        for step in playbook.steps.values():
            if step.type == "action":
                assert set(step.text) == {"nb", "en"}, (playbook.name, step.id)
            if step.kind == "acl":
                assert step.expiry_us and step.undo and step.effect and step.precondition


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("spec_version: cacao-2.0", "spec_version: cacao-1.1", 2, "spec_version is not 'cacao-2.0'"),
        ("name: PB-X\n", "", 1, "name is missing"),
        ("id: playbook--1", "id: 1", 3, "id is missing"),
        ("workflow_start: start--1", "workflow_start: start--2", 5, "start--2 is no start step"),
        ("on_completion: action--1", "on_completion: action--2", 7, "which does not exist (did you mean action--1?)"),
        ("on_completion: end--1", "on_completion: action--1", 8, "comes back to action--1"),
        ("    on_completion: end--1\n", "", 11, "no step leads to end--1"),
        ("    name: Look", "    nmae: Look", 10, "unknown key 'nmae' (did you mean name?)"),
        ("    name: Look", BASH, 11, "only commands of type manual"),
        ("    name: Look", EXTENDED.format("kind: acl"), 11, "an acl needs `expiry`"),
        ("    name: Look", EXTENDED.format("kind: run"), 11, "unknown kind 'run'"),
        ("    name: Look", EXTENDED.format("ports: [70000]"), 11, "ports is neither"),
        ("    name: Look", EXTENDED.format("text: {nb: x}"), 11, "neither a string nor"),
        ("  end--1: {type: end}", "  end--1: {type: loop}", 12, "unknown step type 'loop'"),
        ("type: playbook", "type: !!python/object:os.system playbook", 1, "tag"),
        ("name: PB-X", "name: [", 4, ""),
    ],
)  # fmt: skip
def test_a_wrong_playbook_says_where_and_what(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    """File, line and next step; the good neighbour still loads."""
    assert old in GOOD
    (tmp_path / "bad.yml").write_text(GOOD.replace(old, new))
    (tmp_path / "good.yml").write_text(GOOD.replace("PB-X", "PB-GOOD"))
    playbooks, problems = load_playbooks([tmp_path])
    assert list(playbooks) == ["PB-GOOD"]
    texts = [str(problem) for problem in problems]
    assert any(message in text for text in texts), texts
    assert any(f"bad.yml:{line}:" in text for text in texts) or message == "", texts


def test_conditions_are_checked_when_they_are_read(tmp_path: Path) -> None:
    """A condition that asks for an unknown fact is a problem of the file, not of the night it is needed."""
    condition = "  if-condition--1: {type: if-condition, condition: 'serverity>=high', on_true: end--1}\n"
    text = GOOD.replace("on_completion: end--1", "on_completion: if-condition--1") + condition
    (tmp_path / "a.yml").write_text(text)
    playbooks, problems = load_playbooks([tmp_path])
    assert not playbooks and "did you mean 'severity'" in str(problems[0])


def test_a_later_folder_overrides_and_a_double_is_told(tmp_path: Path) -> None:
    """A site's own playbook takes the place of the shipped one; the same name twice in a folder is a problem."""
    (tmp_path / "own.yml").write_text(GOOD.replace("PB-X", "PB-WORM"))
    playbooks, problems = load_playbooks([folder("playbooks"), tmp_path])
    assert not problems and playbooks["PB-WORM"].file.endswith("own.yml")
    (tmp_path / "twice.yml").write_text(GOOD.replace("PB-X", "PB-WORM"))
    _, problems = load_playbooks([tmp_path])
    assert "PB-WORM is already in" in str(problems[0])
    assert "no such folder" in str(load_playbooks([tmp_path / "none"])[1][0])
