"""Outcomes as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from csirt.detect.authors import junit
from csirt.detect.authors.examples import Outcome
from csirt.errors import Problem


def test_each_example_is_a_case_and_what_cannot_be_read_an_error() -> None:
    """Counts, places and messages are there, whatever a name is made of, and the bytes are always the same."""
    outcomes = [
        Outcome("r", "match 1", "b.test.yaml", 3, True, True),
        Outcome("r", 'no <"match"> \x1b[2J & \x00 1', "a.test.yaml", 7, False, False, "matches, and should not"),
        Outcome("r", "match 1", "a.test.yaml", 2, True, True),
    ]
    written = junit.document(outcomes, [Problem("c.yml", 4, "no such rule", check="test")])
    assert written == junit.document(outcomes, [Problem("c.yml", 4, "no such rule", check="test")])
    root = ElementTree.fromstring(written)
    counts = [tuple(suite.attrib[name] for name in ("name", "tests", "failures", "errors")) for suite in root]
    assert counts == [("a.test.yaml", "2", "1", "0"), ("b.test.yaml", "1", "0", "0"), ("c.yml", "1", "0", "1")]
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.attrib["message"] == "matches, and should not"
    assert [case.attrib["line"] for case in root.iter("testcase")] == ["2", "7", "3", "4"]
    assert b"\x1b" not in written
