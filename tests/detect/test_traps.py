"""The traps of Sigma's semantics: what a detection matches, case by case, over objects and over columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from csirt.detect.columns.raw import from_events
from csirt.detect.engine.engine import Program
from csirt.detect.rules.load import parse_rules
from tests.detect.loops import compiled

HERE = Path(__file__).parent / "traps"
CASES = [(path.stem, case) for path in sorted(HERE.glob("*.yml")) for case in yaml.safe_load(path.read_text("utf-8"))]
PLACEHOLDERS = {"servers": ["srv1", "srv2"]}


def condition(detection: dict[str, Any]) -> Any:
    """The compiled condition of a detection."""
    rule = {"title": "trap", "logsource": {"category": "test"}, "detection": detection}
    stream = io.StringIO()
    yaml.safe_dump(rule, stream, sort_keys=False, allow_unicode=True)
    ruleset = parse_rules(stream.getvalue(), placeholders=PLACEHOLDERS)
    assert not ruleset.refused, [str(problem) for problem in ruleset.problems]
    return ruleset.rules[0].condition


def test_there_are_enough_traps() -> None:
    """The suite holds at least a hundred and fifty cases, each with events that match."""
    assert len(CASES) >= 150
    assert all(len(case["match"]) > 0 for _, case in CASES)


@pytest.mark.parametrize("engine", ["auto", "compiled", "arrow"])
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}: {case['trap']}") for name, case in CASES])
def test_trap(case: dict[str, Any], engine: str) -> None:
    """The detection matches exactly the events named, in compiled loops, without them, and atom by atom."""
    events = orjson.loads(orjson.dumps(case["events"]))
    with compiled(engine == "compiled"):
        found = Program([condition(case["detection"])], engine=engine).run(from_events(events))
    assert found.get(0, []) == pytest.approx(case["match"]) if case["match"] else not found


def test_rules_share_atoms_and_do_not_disturb_each_other() -> None:
    """All traps compiled into one program give each the matches it has alone."""
    everything = [condition(case["detection"]) for _, case in CASES]
    program = Program(everything)
    for index, (_, case) in enumerate(CASES):
        events = orjson.loads(orjson.dumps(case["events"]))
        for always in (False, True):
            with compiled(always):
                assert program.run(from_events(events)).get(index, []) == pytest.approx(case["match"])
