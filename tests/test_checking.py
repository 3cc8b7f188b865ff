"""What `csirt check` says about content whose parts do not fit together."""

from __future__ import annotations

from pathlib import Path

from csirt.app import App
from csirt.checking import check
from csirt.config import Config, Detect, Respond

RULE = """title: Telnet
id: 9c2e6a4e-6f0f-4d5e-9f0f-2b6f4f1b7a11
status: experimental
logsource: {product: csirt, service: flow}
detection:
    selection: {destination.port: 23}
    condition: selection
level: low
csirt:
    playbook: PB-TELNET
"""


def said(tmp_path: Path, *, rules: list[str], playbooks: bool) -> list[str]:
    """What it says about playbooks."""
    config = Config(
        state=str(tmp_path), detect=Detect(rules=rules, shipped=not rules), respond=Respond(shipped=playbooks)
    )
    return [str(problem) for problem in check(App(config)) if "playbook" in problem.message]


def test_every_playbook_that_a_shipped_rule_names_is_shipped(tmp_path: Path) -> None:
    """An incident of a shipped rule always gets a plan; where an installation leaves the playbooks out it is told."""
    assert said(tmp_path, rules=[], playbooks=True) == []
    assert any("there is no playbook PB-WORM" in text for text in said(tmp_path, rules=[], playbooks=False))


def test_a_rule_whose_playbook_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    """A warning, for the rule runs; it says what to do."""
    (tmp_path / "telnet.yml").write_text(RULE)
    (text,) = said(tmp_path, rules=[str(tmp_path / "telnet.yml")], playbooks=True)
    assert text.startswith(str(tmp_path / "telnet.yml") + ":1:1: warning: Telnet: there is no playbook PB-TELNET (")
