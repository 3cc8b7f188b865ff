"""The daemon with rules of the whole sector: its scheduler looks, its coordinator commits, and people see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.control.client import SocketClient
from tests.elastic import cluster, desk, proxy
from tests.live import daemon, until

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(cluster.MAJOR != 8, reason="ES|QL is tried on 8.19 only"),
]
RULES = """title: Sent
name: sent
id: 00000000-0000-4000-8000-00000000000a
logsource: {product: csirt, service: mail}
detection: {s: {csirt.mail.status: sent}, condition: s}
level: high
csirt: {group-by: [destination.ip], timespan: 2m}
---
title: Many
id: 00000000-0000-4000-8000-00000000000b
level: high
correlation: {type: event_count, rules: [sent], group-by: [destination.ip], timespan: 1m, condition: {gte: 5},
  generate: true}
csirt: {timespan: 1m}
"""
DEPLOY = "rules:\n  sent: {scope: sector}\n  many: {scope: sector}\n"
LINE = (
    "Nov 24 16:{:02d}:{:02d} relay postfix/smtp[1]: A{:08d}: to=<post@x.example>, relay=mx[10.1.1.{}]:25, delay=1, "
    "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"
)
LINES = 300
STORES = """[stores]
kind = "elasticsearch"
gather = "0s"
[stores.elasticsearch]
urls = ["{url}"]
prefix = "{prefix}"
content = "matched"
timeout = "5s"
"""


def written(folder: Path, log: Path, stores: str) -> Path:
    """A configuration of a daemon that reads this log."""
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "a.yml").write_text(RULES)
    (folder / "rules" / "deploy.yml").write_text(DEPLOY)
    config = folder / "csirt.toml"
    config.write_text(
        f'state = "{folder}/state"\nlanguage = "en"\n[control]\nsocket = "{folder}/s"\n[health]\nlisten = ""\n'
        f'[[sources]]\nid = "relay"\ntype = "log"\npath = "{log}"\nparser = "postfix"\n'
        f'[detect]\nshipped = false\nrules = ["{folder}/rules"]\nlateness = "1m"\nidle_after = "1s"\n'
        f'sector_every = "1s"\n{stores}'
    )
    return config


def asked(config: Path, *words: str) -> Any:
    """What a command answers."""
    command = [sys.executable, "-m", "csirt", *words, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def alerts(config: Path) -> list[tuple[Any, ...]]:
    """What was found."""
    names = ("id", "rule_name", "first", "last", "count")
    items = asked(config, "alerts", "list", "--json")["items"]
    return sorted(tuple(str(item.get(name)) for name in names) for item in items)


def test_the_daemon_finds_in_the_cluster_what_it_finds_alone(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """A log that grows, a cluster that goes away and comes back, a restart, and a drain by `run --once`: the alerts of
    a daemon without a cluster, each once; status and metrics say how the rules do."""
    log = tmp_path / "relay.log"
    lines = [LINE.format(n // 20 * 4, n % 20 * 3, n, n * n % 7) for n in range(LINES)]
    log.write_text("".join(lines))
    alone = written(tmp_path / "alone", log, '[stores]\ngather = "0s"\n')
    asked(alone, "run", "--once")
    with daemon(alone, tmp_path / "alone" / "s", log=tmp_path / "alone.log"):
        expected = alerts(alone)
    assert {name for _, name, *_ in expected} == {"Sent", "Many"} and len(expected) > 10
    log.write_text("".join(lines[:150]))
    desk.install(elasticsearch, prefix)
    with proxy.before(elasticsearch) as between:
        config = written(tmp_path / "cluster", log, STORES.format(url=between.url, prefix=prefix))
        socket, output = tmp_path / "cluster" / "s", tmp_path / "out.log"
        with daemon(config, socket, log=output) as client:
            until(lambda: bool(looked(client)), 60, output.read_text)
            first = alerts(config)
            assert first and len(first) <= len(expected)
            between.mode = "away"
            with log.open("a") as more:
                more.write("".join(lines[150:250]))
            until(lambda: client.call("status.show")["events"].get("mail", 0) > 200, 20, lambda: said(client))
            between.mode = "well"
            until(lambda: moved(client, first, config), 40, lambda: said(client))
            assert "\nsector\t00000000-0000-4000-8000-00000000000a\tSent\t" in asked(config, "status")
        with log.open("a") as more:
            more.write("".join(lines[250:]))
        asked(config, "run", "--once")
        with daemon(config, socket, log=output) as client:
            until(
                lambda: alerts(config) == expected, 60, lambda: (alerts(config), expected, output.read_text()[-2000:])
            )
            document = client.call("status.show")
            assert [(item["title"], item["failure"]) for item in document["sector"]["rules"]] == [
                ("Sent", ""),
                ("Many", ""),
            ]
            assert document["sector"]["refused"] == [] and document["sector"]["late"] == 0


def said(client: SocketClient) -> Any:
    """What status says of the cluster."""
    document = client.call("status.show")
    return {name: document[name] for name in ("cluster", "events", "sector", "watermark", "warnings")}


def looked(client: SocketClient) -> int:
    """How many rules of the sector were looked for."""
    rules = client.call("status.show").get("sector", {"rules": ()})["rules"]
    return sum(item["until"] is not None for item in rules)


def moved(client: SocketClient, before: list[Any], config: Path) -> bool:
    """Whether more was found since."""
    return looked(client) == 2 and alerts(config) != before
