"""Which plan reads the data of which template: looked up for all templates of an exporter at once."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.plans import Plans
from csirt.decode.netflow.scan import NO_TEMPLATE
from csirt.decode.netflow.state import Exporter
from csirt.model.batch import Array

FEW = 8  # templates that are looked up one by one


def plan_numbers(exporters: list[Exporter], owner: Array, template: Array, plans: Plans) -> Array:
    """The number of each template's plan in `plans`, NO_TEMPLATE of those that are not known. `owner`: the number of
    its exporter."""
    found = np.empty(len(owner), np.int64)
    if not len(owner):
        return found
    order = np.argsort(owner, kind="stable")
    ends = np.flatnonzero(np.diff(owner[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        which = order[start:end]
        found[which] = _of_one(exporters[int(owner[which[0]])], template[which], plans)
        start = end
    return found


def _of_one(exporter: Exporter, template: Array, plans: Plans) -> Array | list[int]:
    """Those of one exporter, with what was found before, which is forgotten when one of its templates changes. Only
    what is asked for is looked up, for no plan is made of templates without data."""
    if len(template) <= FEW:
        return _asked(exporter, template, plans)
    known = exporter.plans
    ids, numbers = known[1:] if known is not None and known[0] is plans else (np.empty(0, np.int64),) * 2
    found = np.full(len(template), NO_TEMPLATE, np.int64)
    place = np.searchsorted(ids, template)
    there = place < len(ids)
    there[there] = ids[place[there]] == template[there]
    found[there] = numbers[place[there]]
    missing = np.flatnonzero(~there)
    if len(missing):
        found[missing] = _asked(exporter, template[missing], plans)
        new = missing[found[missing] != NO_TEMPLATE]  # what is not there may come
        ids, numbers = np.concatenate([ids, template[new]]), np.concatenate([numbers, found[new]])
        order = np.argsort(ids, kind="stable")
        exporter.plans = plans, ids[order], numbers[order]
    return found


def _asked(exporter: Exporter, template: Array, plans: Plans) -> list[int]:
    return plans.numbers([exporter.templates.get(ident) for ident in template.tolist()], NO_TEMPLATE)
