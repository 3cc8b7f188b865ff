"""New indices for mappings that an index cannot take over: its documents are copied, then the alias moves.

The daemon goes on: it writes through the alias. What it writes during the long first copy is caught up with; for the
rest the old index takes no writes, which the daemon sends again by itself, and is read all the time. Versions are
copied, so a document that is there in the same or a newer version stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from csirt.errors import CsirtError
from csirt.stores.elastic import layout, templates
from csirt.stores.elastic.pages import pages
from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PAGE = 1_000
ORDER = ["_shard_doc"]
OCTETS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Step:
    """The index behind an alias that has to make way, the one that comes, and the fields whose mapping differs."""

    kind: str
    alias: str
    old: str
    new: str
    fields: list[str]


def needed(client: Elasticsearch, prefix: str, *, every: bool = False) -> list[Step]:
    """The indices whose mapping is not the templates'; `every`: all. Dated ones are not among them: the next one has
    the new mapping. Raises what the client raises."""
    found = []
    for kind in layout.KINDS:
        alias = layout.alias(prefix, kind)
        there = client.indices.get_mapping(index=alias).body
        if len(there) != 1:
            raise CsirtError(f"the alias {alias} is on {len(there)} indices; leave it on the newest one only")
        ((old, mapping),) = there.items()
        fields = templates.incompatible(prefix, alias, mapping["mappings"])
        if fields or every:
            number = old.rpartition("-")[2]
            after = f"{int(number) + 1:06d}" if number.isdigit() else templates.FIRST
            found.append(Step(kind, alias, old, f"{alias}-{after}", fields))
    return found


def migrate(client: Elasticsearch, step: Step, progress: Callable[[int], None] = lambda count: None) -> int:
    """Copy and move the alias; how many documents there are. Raises what the client raises, CsirtError when a document
    does not fit; then the old index goes on as before."""
    client.options(ignore_status=404).indices.delete(index=step.new)  # left by an attempt that was cut short
    client.indices.create(index=step.new)
    try:
        for _ in range(2):  # the second is short, and makes the third, without writes, as short
            _copy(client, step, progress)
        client.indices.add_block(index=step.old, block="write")
        _copy(client, step, progress)
        client.indices.refresh(index=step.new)
        _take_away(client, step)
        client.indices.refresh(index=step.new)
        old, new = (int(client.count(index=name)["count"]) for name in (step.old, step.new))
        if old != new:
            raise CsirtError(f"{step.new} has {new} documents, {step.old} {old}; nothing was changed, try again")
        client.indices.update_aliases(
            actions=[
                {"remove": {"index": step.old, "alias": step.alias}},
                {"add": {"index": step.new, "alias": step.alias, "is_write_index": True}},
            ]
        )
    except BaseException:
        client.indices.put_settings(index=step.old, settings={"index.blocks.write": None})
        client.options(ignore_status=404).indices.delete(index=step.new)
        raise
    client.indices.delete(index=step.old)
    return new


def _copy(client: Elasticsearch, step: Step, progress: Callable[[int], None]) -> None:
    """Every document that the new index does not have in the same or a newer version."""
    done = 0
    client.indices.refresh(index=step.old)
    for hits in pages(client, step.old, PAGE, ORDER, version=True):
        lines: list[Any] = []
        size = 0
        for hit in hits:
            where = {"_id": hit["_id"], "version": hit["_version"], "version_type": "external"}
            body = _made(step.kind, hit)
            lines += [{"index": where}, body]
            size += len(body)
            if size > OCTETS:
                _write(client, step.new, lines)
                lines, size = [], 0
        if lines:
            _write(client, step.new, lines)
        done += len(hits)
        progress(done)


def _made(kind: str, hit: dict[str, Any]) -> bytes:
    """The body of a document as this csirt makes it; one that an older csirt wrote has other fields."""
    source: dict[str, Any] = hit["_source"]
    if kind in documents.KINDS and source.keys() & layout.WHOLE:
        return layout.source(kind, hit["_id"], layout.text(source))
    return orjson.dumps(source)


def _write(client: Elasticsearch, index: str, lines: list[Any]) -> None:
    answer = client.bulk(index=index, operations=lines)
    for item in answer["items"] if answer["errors"] else ():
        ((_, result),) = item.items()
        if result["status"] not in (200, 201, 404, 409):
            kind = str(result.get("error", {}).get("type", ""))
            raise CsirtError(f"{index} refuses {result['_id']}: {result['status']} {kind}; nothing was changed")


def _take_away(client: Elasticsearch, step: Step) -> None:
    """Delete from the new index what was deleted from the old one during the copy."""
    for hits in pages(client, step.new, PAGE, ORDER, version=True, source=False):
        versions = {hit["_id"]: hit["_version"] for hit in hits}
        there = client.mget(index=step.old, ids=list(versions), source=False)["docs"]
        gone = [one["_id"] for one in there if not one.get("found")]
        lines: list[Any] = [
            {"delete": {"_id": id, "version": versions[id], "version_type": "external_gte"}} for id in gone
        ]
        if lines:
            _write(client, step.new, lines)
