"""SigmaHQ's field names to the schema: the pySigma pipeline in `rules/pipelines/`, which plain Sigma tools use too."""

from __future__ import annotations

from functools import cache

from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from csirt.content import folder
from csirt.detect.rules import routing
from csirt.detect.rules.files import PIPELINES

FIELDS, DATASETS = "csirt.yaml", "datasets.yaml"


def pipeline(name: str) -> ProcessingPipeline:
    """A shipped pipeline, fresh: applying one changes it."""
    return ProcessingPipeline.from_yaml((folder("rules") / PIPELINES / name).read_text("utf-8"))


@cache
def _fields() -> ProcessingPipeline:
    return pipeline(FIELDS)


def apply(rule: SigmaRule) -> None:
    """Give the rule the schema's field names, if its log source is one of SigmaHQ's that reaches a dataset here."""
    source = rule.logsource
    if source.product != "csirt" and routing.route(source.product, source.category, source.service).datasets:
        _fields().apply(rule)
