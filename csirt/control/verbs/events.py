"""`events.*`: hunting in stored events, one event whole, and its raw bytes while the spool has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from csirt.control.asked import shown as may_be_kept
from csirt.control.hunted import hunted
from csirt.control.observations import observations
from csirt.control.verbs import Context, verb
from csirt.control.verbs.store import note
from csirt.errors import NotAllowed, NotFound, Usage
from csirt.model import ecs
from csirt.model.batch import Array, Batch
from csirt.model.filter import Filter
from csirt.model.search import Search
from csirt.stores.embedded.store import EmbeddedStore, as_embedded
from csirt.stores.hunt.select import Hunted, Outcome, Question, lines, tables
from csirt.stores.hunt.when import moment

_BLOCK = 256 * 1024


@verb("events.query", right="read", stream=True)
def query(context: Context, form: str = "lines", origin: str = "store", **asked: Any) -> Iterator[dict[str, Any]]:
    """Events that pass, sorted by (@timestamp, event.id). `form` lines: `{"lines": NDJSON text}` …; arrow: `{"arrow":
    base64 of an IPC stream, "dataset"}` …; the last item is `{"count", "truncated", "duplicates"}`. Arguments: see
    `question`; `origin`: store or cluster."""
    if form not in ("lines", "arrow"):
        raise Usage(f"unknown form {form!r}: lines or arrow")
    wanted = question(context, **asked)
    store = hunted(context.store, origin, wanted)
    outcome = Outcome()
    give = _lines if form == "lines" else _arrow
    return _noted(context, give(store, wanted, outcome), wanted, outcome, asked)


def _noted(
    context: Context, items: Iterator[dict[str, Any]], wanted: Question, outcome: Outcome, asked: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    try:
        yield from items
        yield {"count": outcome.count, "truncated": outcome.truncated, "duplicates": wanted.left_out}
    finally:
        told = {key: value for key, value in asked.items() if value is not None and key != "rule"}
        shown = may_be_kept(context.config, "events.query", told)
        note(context, "access", "events.query", {"arguments": shown, "rows": outcome.count})


def _lines(store: Hunted, wanted: Question, outcome: Outcome) -> Iterator[dict[str, Any]]:
    block: list[bytes] = []
    size = 0
    for line in lines(store, wanted, outcome):
        block.append(line)
        size += len(line) + 1
        if size >= _BLOCK:
            yield {"lines": b"\n".join([*block, b""]).decode()}
            block, size = [], 0
    if block:
        yield {"lines": b"\n".join([*block, b""]).decode()}


def _arrow(store: Hunted, wanted: Question, outcome: Outcome) -> Iterator[dict[str, Any]]:
    from csirt.stores.embedded.lake.encode import to_ipc

    for batch in tables(store, wanted, outcome):
        for start in range(0, batch.rows, 50_000):
            data = to_ipc(batch.table.slice(start, 50_000))
            yield {"dataset": batch.dataset, "arrow": base64.b64encode(data).decode("ascii")}


@verb("events.top", right="read", access=True)
def top(
    context: Context, fields: list[str], order: str = "bytes", origin: str = "store", **asked: Any
) -> dict[str, Any]:
    """Sums per value of the fields (csirt.events-top/1). `origin`: store or cluster."""
    from csirt.stores.hunt.top import top as count

    wanted = question(context, **asked)
    found = count(hunted(context.store, origin, wanted), wanted, fields, order)
    return {"schema": "csirt.events-top/1", **found}


@verb("events.sql", right="read", access=True)
def sql(context: Context, text: str, **asked: Any) -> dict[str, Any]:
    """What a SELECT over the datasets gives (csirt.events-sql/1)."""
    from csirt.stores.hunt.sql import query as run

    found = run(as_embedded(context.store), question(context, **asked), text)
    return {"schema": "csirt.events-sql/1", **found}


@verb("events.show", right="read", access=True)
def show(context: Context, id: str) -> dict[str, Any]:
    """One event, and the alerts that name it (csirt.event/1). `id`: whole, or the start of one."""
    store = as_embedded(context.store)
    whole = resolve(store, id)
    outcome = Outcome()
    for batch in store.events(ids=[whole]):
        line = next(_one(batch))
        outcome.count += 1
        return {
            "schema": "csirt.event/1",
            "event": json.loads(line),
            "alerts": _alerts(store, batch, whole),
            "observations": observations(store, batch),
        }
    raise NotFound(f"no event {id}")


def _alerts(store: EmbeddedStore, batch: Batch, event: str) -> list[str]:
    """Alerts that keep this event among their samples."""
    time = batch.table.column("@timestamp")[0].cast("int64").as_py()
    where = {"dataset": batch.dataset, "first__lte": time, "last__gte": time}
    return [item["id"] for item in store.find("alert", where) if event in item["events"]]


def _one(batch: Batch) -> Iterator[bytes]:
    from csirt.model.ndjson import render

    yield from render(batch)


@verb("events.raw", right="triage", access=True)
def raw(context: Context, id: str, files: list[str] | None = None) -> dict[str, Any]:
    """The line, datagram or dissected packet an event was made from, while it is there (csirt.event-raw/1). `files`:
    where to look besides the sources; refused by a daemon, which would read them with its own rights."""
    from csirt.control.rawevent import find

    if files and context.live:
        raise NotAllowed("the daemon reads its own sources only: leave out --file, or use --store")
    store = as_embedded(context.store)
    found = find(context.config, store, resolve(store, id), [Path(name) for name in files or ()])
    return {"schema": "csirt.event-raw/1", "id": id, **found}


def resolve(store: EmbeddedStore, text: str) -> str:
    """The event id that starts with the text. Raises NotFound, or Usage with the candidates."""
    prefix = text.strip().lower()
    if len(prefix) == 32:
        return prefix
    if len(prefix) < 17 or not set(prefix) <= set("0123456789abcdef"):
        raise Usage(f"{text!r} is no event id: write at least its first 17 of 32 hexadecimal digits")
    found = store.event_ids(prefix)
    if not found:
        raise NotFound(f"no event {text}")
    if len(found) > 1:
        raise Usage(f"{text} may be any of: {', '.join(found)}", candidates=found)
    return found[0]


def question(
    context: Context,
    dataset: str | None = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
    rule: str | None = None,
    limit: int | None = None,
    duplicates: bool = False,
) -> Question:
    """A question from what was asked: times as people write them, `where` in the filter grammar, `rule` as the YAML
    text of Sigma rules. `duplicates`: also records of flows that other routers' records count; they are among what is
    looked at, too, where the question names them. Raises Usage."""
    now, zone = context.clock.now(), context.config.timezone
    if dataset is not None and dataset not in ecs.DATASETS:
        import difflib

        near = difflib.get_close_matches(dataset, ecs.DATASETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"datasets: {', '.join(ecs.DATASETS)}"
        raise Usage(f"no dataset {dataset!r}; {hint}")
    if limit is not None and limit < 0:
        raise Usage("the limit must not be negative")
    asked = Question(
        dataset=dataset,
        since=moment(since, now, zone) if since else None,
        until=moment(until, now, zone) if until else None,
        where=Filter.parse(where, now) if where else None,
        limit=limit,
        duplicates=duplicates,
    )
    asked.duplicates |= asked.where is not None and ecs.DUPLICATE in asked.where.names()
    if rule:
        asked.duplicates |= _match(context, asked, rule)
    return asked


def _match(context: Context, asked: Question, text: str) -> bool:
    """Ask for rows that any of the rules matches, by their log sources; whether a rule says what it wants of
    duplicates."""
    import numpy as np

    from csirt.control.verbs.rules import placeholders
    from csirt.detect.match import Detector, names_duplicates
    from csirt.detect.rules.load import parse_rules

    rules = parse_rules(text, "rule", placeholders=placeholders(context))
    wrong = [str(problem) for problem in rules.problems if problem.level == "error"]
    if wrong:
        raise Usage("\n".join(wrong))
    if not rules.rules:
        raise Usage("the file has no rule that can be matched against events")
    detector = Detector(rules)

    def match(batch: Batch) -> Array:
        passes = np.zeros(batch.rows, bool)
        for rows in detector.rows(batch).values():
            passes[rows] = True
        return passes

    def search(kinds: Mapping[str, str]) -> Search | None:
        from csirt.detect.sector.candidates import hunt

        return hunt(rules, kinds)

    asked.match, asked.search = match, search
    asked.routed = frozenset(name for rule in rules.rules for name in rule.datasets)
    return any(names_duplicates(rule) for rule in rules.rules)
