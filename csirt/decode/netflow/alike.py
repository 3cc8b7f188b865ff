"""Plans of templates that have the same fields in another order: one is compiled, the others are made from it, all at
once."""

from __future__ import annotations

from itertools import chain

import numpy as np

from csirt.decode.netflow.plan import Plan
from csirt.decode.netflow.templates import Signature
from csirt.model.batch import Array


def arranged(signatures: list[Signature]) -> tuple[Array, Array, Array]:
    """(sorted fields, their places, whether their order means nothing), of signatures with equally many fields.

    Shapes (n, fields), (n, fields), (n,). The order means something where several fields are of one element, for the
    first of them is the one that counts, and where there are scope fields, which come first.
    """
    fields = _packed(signatures)
    places = np.argsort(fields, axis=1, kind="stable")
    fields = np.take_along_axis(fields, places, axis=1)
    elements = fields >> np.uint64(16)
    free = (elements[:, 1:] != elements[:, :-1]).all(axis=1)
    return fields, places, free & np.array([not one.scopes for one in signatures], bool)


def _packed(signatures: list[Signature]) -> Array:
    """Each field as one number: enterprise number, id, length."""
    if all(one.narrow for one in signatures):
        octets = b"".join(one.octets for one in signatures)
        return np.frombuffer(octets, ">u4").reshape(len(signatures), -1).astype(np.uint64)
    each = chain.from_iterable(chain.from_iterable(one.fields for one in signatures))
    numbers = np.fromiter(each, np.uint64).reshape(len(signatures), -1, 3)
    return numbers[..., 0] << np.uint64(32) | numbers[..., 1] << np.uint64(16) | numbers[..., 2]


def reordered(plan: Plan, own: Array, signatures: list[Signature], places: Array) -> list[Plan]:
    """The plans of other signatures with the fields of this plan's. `own`, `places`: where the sorted fields lie in
    this one's and in theirs, as `arranged` says."""
    count, fields = places.shape
    moved = np.full((count, fields + 1), -1, np.int64)  # -1, no field, stays: it is the last of `moved`
    moved[:, own] = places
    sizes = np.empty((count, fields), np.int64)
    np.put_along_axis(sizes, moved[:, :-1], np.broadcast_to(plan.sizes, (count, fields)), axis=1)
    starts = np.cumsum(sizes, axis=1) - sizes if plan.size else np.zeros_like(sizes)
    ops = np.empty((count, *plan.ops.shape), np.int64)
    ops[:, :, 0] = plan.ops[:, 0]
    ops[:, :, 1:] = moved[:, plan.ops[:, 1:]]
    return [
        Plan(one, plan.size, plan.least, sizes[i], starts[i], [], shape=plan.shape, ops=ops[i])
        for i, one in enumerate(signatures)
    ]
