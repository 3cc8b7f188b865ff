"""A compiled ruleset as JSON, for the cache: values only, nothing that could run.

What does not read back as exactly the same is not kept (`encode` gives None), so that a ruleset from the cache is the
one that compiling would give.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt import __version__
from csirt.content import folder
from csirt.detect.atoms import And, Atom, Leaf, Node, Not, Or
from csirt.detect.rule import Beacon, Correlation, Custom, History, Limit, Meta, OpenHours, Rule
from csirt.detect.rules.deploy import Deployed, Deployment, Exemption
from csirt.detect.rules.files import File
from csirt.errors import Problem

if TYPE_CHECKING:
    from csirt.detect.rules.ruleset import Ruleset

# What decides, beside the rules, what compiling them gives.
LIBRARIES = ("pysigma", "google-re2", "pyyaml", "pyparsing")
CONTENT = (("rules", "pipelines"), ("playbooks", "rsit.yml"))


def key(files: Sequence[File], options: Mapping[str, Any]) -> str:
    """The name of the compiled form of these files with these options, by this program."""
    parts: list[Any] = [_program(), sorted(options.items())]
    for file in files:
        digest = None if file.raw is None else hashlib.sha256(file.raw).hexdigest()
        parts.append([file.name, digest, str(file.problem)])
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _program() -> list[str]:
    """What this program is: versions, and its own code and content as they are on disk, for a checkout changes without
    a new version."""
    found = [__version__, sys.version, *(f"{name} {_version(name)}" for name in LIBRARIES)]
    package = Path(__file__).parents[1]
    paths = [*sorted(package.rglob("*.py")), package.parent / "content.py", package.parent / "config.py"]
    for noun, name in CONTENT:
        place = folder(noun) / name
        paths += sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    whole = hashlib.sha256()
    for path in paths:
        if path.is_file():  # not so in a zipped install, which does not change without a new version
            whole.update(path.name.encode() + b"\n" + path.read_bytes())
    return [*found, whole.hexdigest()]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def encode(ruleset: Ruleset) -> bytes | None:
    """The ruleset as JSON; None for one that JSON cannot hold exactly."""
    atoms: dict[Atom, int] = {}
    document = {
        "rules": [_rule(rule, atoms) for rule in ruleset.rules],
        "correlations": [_plain(item) for item in ruleset.correlations],
        "problems": [problem.as_dict() for problem in ruleset.problems],
        "refused": ruleset.refused,
        "places": ruleset.places,
        "filters": ruleset.filters,
        "deployed": {name: _plain(item) for name, item in ruleset.deployment.rules.items()},
        "defaults": {name: _plain(item) for name, item in ruleset.deployment.defaults.items()},
        "exemptions": [_exemption(item, atoms) for item in ruleset.deployment.exemptions],
    }
    document["atoms"] = [[atom.field, atom.kind, atom.argument, atom.cased] for atom in atoms]
    try:
        raw = json.dumps(document, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        return None
    again = type(ruleset)()
    return raw if decode(raw, again) and _parts(again) == _parts(ruleset) else None


def _parts(ruleset: Ruleset) -> list[Any]:
    problems = [problem.as_dict() for problem in ruleset.problems]
    parts = [ruleset.rules, ruleset.correlations, ruleset.refused, ruleset.places, ruleset.filters]
    return [*parts, problems, ruleset.deployment]


def decode(raw: bytes, ruleset: Ruleset) -> bool:
    """Fill the ruleset from JSON; False when it is not what `encode` writes."""
    try:
        document = json.loads(raw)
        atoms = [Leaf(Atom(name, kind, _frozen(value), cased)) for name, kind, value, cased in document["atoms"]]
        ruleset.rules = [_read_rule(item, atoms) for item in document["rules"]]
        ruleset.correlations = [_read_correlation(item) for item in document["correlations"]]
        ruleset.problems = [Problem(**item) for item in document["problems"]]
        ruleset.refused = document["refused"]
        ruleset.places = {name: (file, index) for name, (file, index) in document["places"].items()}
        ruleset.filters = [(file, index) for file, index in document["filters"]]
        ruleset.deployment = Deployment(
            {name: Deployed(*item) for name, item in document["deployed"].items()},
            {name: Deployed(*item) for name, item in document["defaults"].items()},
            [_read_exemption(item, atoms) for item in document["exemptions"]],
        )
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
        return False
    return True


def _plain(value: Any) -> Any:
    """A dataclass as the list of its values, all the way down."""
    if isinstance(value, Meta | Custom | Correlation | History | Limit | OpenHours | Beacon | Deployed):
        return [_plain(getattr(value, item.name)) for item in fields(value)]
    return value


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _rule(rule: Rule, atoms: dict[Atom, int]) -> list[Any]:
    return [_plain(rule.meta), _node(rule.condition, atoms), sorted(rule.datasets), rule.unrouted, rule.alerts]


def _node(node: Node, atoms: dict[Atom, int]) -> Any:
    """A leaf is the place of its atom, a branch a list that begins with what it is."""
    if isinstance(node, Leaf):
        return atoms.setdefault(node.atom, len(atoms))
    if isinstance(node, Not):
        return ["not", _node(node.child, atoms)]
    return ["and" if isinstance(node, And) else "or", *(_node(child, atoms) for child in node.children)]


def _read_node(raw: Any, atoms: Sequence[Leaf]) -> Node:
    if isinstance(raw, int):
        return atoms[raw]
    name, *parts = raw
    children = tuple(_read_node(part, atoms) for part in parts)
    if name == "not":
        return Not(children[0])
    return And(children) if name == "and" else Or(children)


def _read_rule(raw: list[Any], atoms: Sequence[Leaf]) -> Rule:
    meta, node, datasets, unrouted, alerts = raw
    return Rule(_read_meta(meta), _read_node(node, atoms), frozenset(datasets), unrouted, alerts)


def _exemption(item: Exemption, atoms: dict[Atom, int]) -> list[Any]:
    conditions = [[rule, _node(node, atoms)] for rule, node in item.conditions]
    return [item.rule, conditions, item.until, item.owner, item.reason, item.file, item.line]


def _read_exemption(raw: list[Any], atoms: Sequence[Leaf]) -> Exemption:
    rule, conditions, *values = raw
    return Exemption(rule, tuple((base, _read_node(node, atoms)) for base, node in conditions), *values)


def _read_meta(raw: list[Any]) -> Meta:
    *values, custom, shadow = map(_frozen, raw)
    return Meta(*[*values, Custom(*custom), shadow])


def _read_correlation(raw: list[Any]) -> Correlation:
    meta, *values, baseline, hours, beacon = raw
    history = None
    if baseline is not None:
        named = dict(zip((item.name for item in fields(History)), baseline, strict=True))
        limits = {name: Limit(*named[name]) if named[name] is not None else None for name in ("above", "below")}
        history = History(**{**named, **limits})
    more = [history, OpenHours(*hours) if hours else None, Beacon(*beacon) if beacon else None]
    return Correlation(*[_read_meta(meta), *map(_frozen, values), *more])
