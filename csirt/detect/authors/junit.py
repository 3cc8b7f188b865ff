"""The outcomes of examples in the form that continuous integration reads (JUnit XML)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from xml.etree import ElementTree

from csirt.detect.authors.examples import Outcome
from csirt.errors import Problem
from csirt.safety import terminal


def document(outcomes: Iterable[Outcome], problems: Sequence[Problem]) -> bytes:
    """One suite per test file, one case per example; what could not be read is an error of its own. The same outcomes
    are always the same bytes."""
    root = ElementTree.Element("testsuites")
    for file, group in groupby(sorted(outcomes, key=lambda item: (item.file, item.line)), key=lambda item: item.file):
        found = list(group)
        failed = sum(not item.passed for item in found)
        suite = _suite(root, file, len(found), failures=failed)
        for item in found:
            case = _case(suite, item.rule, item.name, item.line)
            if not item.passed:
                ElementTree.SubElement(case, "failure", message=terminal(item.message))
    for problem in problems:
        suite = _suite(root, problem.file, 1, errors=1)
        case = _case(suite, problem.check, problem.message, problem.line)
        ElementTree.SubElement(case, "error", message=terminal(problem.message))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _suite(
    root: ElementTree.Element, name: str, tests: int, *, failures: int = 0, errors: int = 0
) -> ElementTree.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    return ElementTree.SubElement(root, "testsuite", {"name": terminal(name), **counts})


def _case(suite: ElementTree.Element, rule: str, name: str, line: int) -> ElementTree.Element:
    file = suite.attrib["name"]
    shown = {"classname": terminal(rule), "name": terminal(name), "file": file, "line": str(line)}
    return ElementTree.SubElement(suite, "testcase", shown)
