"""SigmaHQ's field names: the pipeline, what `check` says of it, and that plain Sigma tools use the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csirt.content import folder
from csirt.detect.atoms import leaves
from csirt.detect.authors import check
from csirt.detect.authors.runner import run
from csirt.detect.columns.raw import from_events
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset

RULE = """title: One
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {logsource}
detection: {{s: {detection}, condition: s}}
"""
# log source, detection as SigmaHQ writes it, an event that matches, one that does not
SET: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("{category: dns}", "{query|endswith: .onion, record_type: A}", {"dns.question.name": "x.onion"}, {}),
    (
        "{product: zeek, service: dns}",
        "{answers|contains: 10.0., id.resp_p: 53}",
        {"dns.answers.data": ["10.0.0.1"]},
        {},
    ),
    ("{category: proxy}", "{c-useragent|contains: evil, cs-method: GET}", {"user_agent.original": "an EVIL one"}, {}),
    ("{category: proxy}", "{cs-host: a.no, sc-status: 200}", {"url.domain": "a.no"}, {"url.domain": "b.no"}),
    ("{category: webserver}", "{cs-uri-query|contains: /owa/, sc-status: '200'}", {"url.path": "/owa/x"}, {}),
    ("{product: zeek, service: http}", "{uri|startswith: /a, id.orig_h|cidr: 10.0.0.0/8}", {"url.path": "/ab"}, {}),
    ("{category: firewall}", "{dst_port: 445, src_ip|cidr: 10.0.0.0/8, proto: tcp}", {"destination.port": 445}, {}),
    ("{product: zeek, service: conn}", "{id.resp_h: 192.0.2.1, id.resp_p: 445}", {"destination.port": 445}, {}),
    ("{product: zeek, service: ssl}", "{server_name|endswith: .ru}", {"tls.client.server_name": "a.ru"}, {}),
]
FULL = {
    "dns.question.type": "A", "source.ip": "10.0.0.7", "destination.ip": "192.0.2.1", "http.request.method": "GET",
    "http.response.status_code": 200, "network.transport": "tcp",
}  # fmt: skip
PORTS = {"dns": 53}


def loaded(logsource: str, detection: str, **options: Any) -> Ruleset:
    """A ruleset of one rule."""
    found = parse_rules(RULE.format(logsource=logsource, detection=detection), **options)
    assert not found.problems, found.problems
    return found


@pytest.mark.parametrize(("logsource", "detection", "match", "other"), SET)
def test_sigmahq_rules_run_unchanged(
    logsource: str, detection: str, match: dict[str, Any], other: dict[str, Any]
) -> None:
    """A rule in SigmaHQ's words matches our events of its log source, and only those."""
    ruleset = loaded(logsource, detection)
    dataset = next(iter(ruleset.rules[0].datasets))
    base = {**FULL, "destination.port": PORTS.get(dataset, 443), "event.dataset": dataset}
    frame = from_events([{**base, **match}, {**base, **other}, {**base, **match, "event.dataset": "mail"}])
    found = run(ruleset, [frame], mapped=True)
    assert [line["event"]["index"] for line in found.lines] == [0]
    wrong = [item for item in check.ruleset(ruleset, [], tested=False) if item.check in ("field", "logsource")]
    assert not wrong


def test_check_says_what_is_missing_and_what_is_there_in_part() -> None:
    """A field no source fills is named as its author wrote it; one of which the schema has a part says which."""
    ruleset = loaded("{category: proxy}", "{c-uri|contains: /x, cs-cookie: y}")
    said = {item.check: item.message for item in check.ruleset(ruleset, [], tested=False)}
    assert "'cs-cookie'" in said["field"]
    assert said["mapping"] == "'c-uri' is looked for in url.path: scheme, host and query are not in it"


def test_hosts_rules_are_loaded_and_never_match() -> None:
    """A host's rule keeps its fields, reaches no dataset, and check says so; nor does a field of the same name map."""
    ruleset = loaded("{product: windows, category: dns_query}", "{query: a.no}")
    assert [atom.field for atom in leaves(ruleset.rules[0].condition)] == ["query"]
    frame = from_events([{"event.dataset": "dns", "dns.question.name": "a.no", "query": "a.no"}])
    assert not run(ruleset, [frame], mapped=True).lines
    assert "never matches: a rule for hosts" in check.ruleset(ruleset, [], tested=False)[0].message


def test_our_own_rules_and_raw_fields_are_not_mapped() -> None:
    """`query` in a rule of ours, or with raw fields, is a field of that name."""
    own = loaded("{product: csirt, service: dns}", "{query: a.no}")
    raw = loaded("{category: dns}", "{query: a.no}", mapped=False)
    for ruleset in (own, raw):
        assert [atom.field for atom in leaves(ruleset.rules[0].condition)] == ["query"]
        assert ruleset.parsed(ruleset.rules[0]).detection.detections["s"].detection_items[0].field == "query"


def test_plain_sigma_tools_use_the_same_file(tmp_path: Path) -> None:
    """`sigma convert -p` takes both pipelines and gives queries in the schema's names."""
    (tmp_path / "r.yml").write_text(RULE.format(logsource="{category: dns}", detection="{query: a.no}"))
    pipelines = folder("rules") / "pipelines"
    command = [str(Path(sys.executable).parent / "sigma"), "convert", "-t", "lucene"]
    for name in ("csirt.yaml", "datasets.yaml"):
        command += ["-p", str(pipelines / name)]
    done = subprocess.run([*command, str(tmp_path / "r.yml")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "event.dataset:dns AND dns.question.name:a.no" in done.stdout
