"""Rules as queries of Elasticsearch, by pySigma's backend over our pipelines; refused by name where it cannot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation

from csirt.detect.rule import Correlation, Rule
from csirt.detect.rules import mapping
from csirt.detect.rules import sigma as reader
from csirt.detect.rules.correlations import OWN
from csirt.detect.rules.ruleset import Ruleset

TARGETS = {"esql": ESQLBackend, "lucene": LuceneBackend}


@dataclass
class Converted:
    """`items`: id, title, kind and query of each; `refused`: id, title, file, line and the reason."""

    items: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


class Refused(ValueError):
    """Why a rule has no query."""


def convert(loaded: Ruleset, target: str) -> Converted:
    """Every rule that alerts and every correlation, in the order of the files."""
    result = Converted()
    inputs = {name for item in loaded.correlations for name in item.rules}
    for item in loaded.everything():
        if isinstance(item, Rule) and not item.alerts and item.id in inputs:
            continue  # it is a part of its correlation's query
        shown = {"id": item.id, "title": item.meta.title}
        reason = why_not(loaded, item, target)
        if reason:
            result.refused.append({**shown, "file": item.meta.file, "line": item.meta.line, "reason": reason})
        else:
            kind = item.type if isinstance(item, Correlation) else "rule"
            result.items.append({**shown, "kind": kind, "query": _query(loaded, item, target)})
    return result


def why_not(loaded: Ruleset, item: Rule | Correlation, target: str) -> str:
    """Why a rule or correlation has no query; empty when it has one."""
    try:
        _query(loaded, item, target)
    except (Refused, SigmaError, NotImplementedError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _query(loaded: Ruleset, item: Rule | Correlation, target: str) -> str:
    if isinstance(item, Rule) and not item.datasets:
        raise Refused(f"never matches: {item.unrouted}")
    rules = list(_parts(loaded, item))
    for part in rules:
        if isinstance(part, Correlation):
            _refuse(part, target)
            if part is not item:  # the backend would nest one whole query in another
                raise Refused("a correlation of correlations cannot be one query")
    parsed: list[Any] = [_parsed(loaded, part) for part in rules]
    collection = SigmaCollection(parsed, [])
    collection.resolve_rule_references()
    backend = TARGETS[target](processing_pipeline=_pipeline(loaded))
    queries = backend.convert(collection)
    return str(queries[-1])


def _refuse(item: Correlation, target: str) -> None:
    if item.type in OWN:
        raise Refused(f"the correlation type {item.type!r} is an extension of csirt: no other engine has it")
    if target == "lucene":
        raise Refused(f"Lucene queries cannot count: {item.type!r} needs --to esql")
    if len(item.bounds) > 1:
        raise Refused("a condition with two bounds cannot be converted")


def _parts(loaded: Ruleset, item: Rule | Correlation) -> Iterable[Rule | Correlation]:
    """What the item is built on, then the item."""
    known = {one.id: one for one in loaded.everything()}
    for name in item.rules if isinstance(item, Correlation) else ():
        yield from _parts(loaded, known[name])
    yield item


def _parsed(loaded: Ruleset, item: Rule | Correlation) -> Any:
    if isinstance(item, Rule):
        return loaded.parsed(item)
    found = reader.correlation(loaded.document(item.id), [])
    if found is None:
        raise Refused(f"pySigma does not read the correlation type {item.type!r} as it is written here")
    return found


def _pipeline(loaded: Ruleset) -> ProcessingPipeline:
    """Datasets as conditions, and the configured values of placeholders; fields are mapped by the ruleset."""
    found = mapping.pipeline(mapping.DATASETS)
    found.vars.update({name: list(values) for name, values in loaded.placeholders.items()})
    found.items.append(ProcessingItem(ValueListPlaceholderTransformation()))
    return found
