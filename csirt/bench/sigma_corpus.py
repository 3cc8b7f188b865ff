"""Rules and events for `csirt bench sigma`: made by a seed, or taken from folders of rules.

Events are flows, DNS, proxy and web requests, TLS, mail, and of hosts processes, registry values and files, with flat
field names of Sigma's taxonomy. Some are made from a rule's own selections, so that rules hit. Every field has one type
over the whole corpus.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csirt.bench import sigma_events, sigma_rules
from csirt.bench.sigma_events import World
from csirt.detect.rules.load import load_rules

KEPT = ("title", "id", "status", "logsource", "detection", "level")
REAL_OF_100, REAL_OF_1000 = 60, 600
Rule = dict[str, Any]


def rule_sets(seed: int, folders: Sequence[Path]) -> dict[str, list[Rule]]:
    """Sets of 100 and 1,000 rules, real ones first where folders have some, and `all` of the real ones."""
    chance = random.Random(seed)  # noqa: S311
    real: list[Rule] = []
    if folders:
        loaded = load_rules(list(folders), mapped=False)
        known = [loaded.document(rule.id).value for rule in loaded.rules]
        real = [{key: rule[key] for key in KEPT if key in rule} for rule in known if rule.get("id")]
    everything = list(real)
    chance.shuffle(real)
    made = sigma_rules.synthetic(World(seed), 1000)
    hundred = [*real[:REAL_OF_100], *made][:100]
    thousand = [*hundred, *real[REAL_OF_100:REAL_OF_1000], *made[100:]]
    taken = {rule["id"] for rule in thousand[:1000]}
    thousand = [*thousand[:1000], *(rule for rule in made if rule["id"] not in taken)][:1000]
    sets = {"100": hundred, "1000": thousand}
    return sets | {"all": everything} if everything else sets


def write_rules(path: Path, rules: Sequence[Rule]) -> None:
    """The rules as one file of documents, and one by one in a folder of the file's name without its end."""
    import yaml

    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, rule in enumerate(rules):
        text = yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=10_000)
        (folder / f"{number:05}.yml").write_text(text, encoding="utf-8")
    with path.open("w", encoding="utf-8") as out:
        yaml.safe_dump_all(rules, out, sort_keys=False, allow_unicode=True, width=10_000)


def write_events(path: Path, seed: int, count: int, sets: Mapping[str, Sequence[Rule]]) -> None:
    """So many events, of which about one in twelve tries to satisfy a rule of one of the sets."""
    world = World(seed)
    chance = world.chance
    types: dict[str, type] = {}
    queues = {name: list(rules) for name, rules in sets.items()}
    for queue in queues.values():
        chance.shuffle(queue)
    names = sorted(queues)
    when, turn = 1_750_000_000.0, 0
    with path.open("w", encoding="utf-8") as out:
        for _ in range(count):
            when += chance.expovariate(2000.0)
            if chance.random() < 0.08:
                queue = queues[names[turn % len(names)]]
                event = sigma_events.attempt(world, queue[turn // len(names) % len(queue)], when)
                turn += 1
            else:
                event = sigma_events.event(world, when)
            typed = sigma_events.typed(event, types)
            out.write(json.dumps(typed, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_parquet(events: Path, path: Path) -> bool:
    """The same events in a file as the lake writes it. False when no Parquet file can hold them: fields with more than
    one type, or nulls that are there."""
    from csirt.detect.columns import jsonlines
    from csirt.stores.embedded.lake.encode import to_parquet

    known = jsonlines.columns(events.read_bytes())
    if known is None or known[1]:
        return False
    path.write_bytes(to_parquet(known[0]))
    return True
