"""An indicator on its way: from the book to events in the lake, an alert, a case and its label."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

from csirt import configfile, replay
from csirt.app import App
from csirt.clock import DAY
from csirt.demo.scenario import OUTSIDE, build
from tests import corpus


def test_from_the_book_to_the_case(tmp_path: Path) -> None:
    """Flows that wait to be settled keep what they met; hunts and NET-19 find it; the case has its label. The same
    without the indicator finds nothing of it."""
    outside = str(ip_address(OUTSIDE))
    segments = [
        corpus.segment(tmp_path, number, rows)
        for number, rows in enumerate(build(corpus.START, seed=5, background=1_000).flows[:1])
    ]
    found = {}
    for name, expires in (("met", corpus.START + DAY), ("over", corpus.START - 1)):
        place = tmp_path / name
        place.mkdir()
        path = corpus.write_config(place)
        app = App(configfile.load(path), store_directory=place / "store")
        (place / "state").mkdir()
        row = ["c2", "ip", outside, 90, "RED", 0, expires, "feed", "u1"]
        (place / "state" / "indicators.json").write_text(json.dumps({"items": [row]}))
        replay.run(app, segments, kind="auto", parser="", configured=True)
        alerts = [item for item in app.store.find("alert") if item["rule_name"].startswith("NET-19")]
        names = [
            value
            for batch in app.store.events("flow", columns=["threat.indicator.name"])
            if "threat.indicator.name" in batch.table.column_names
            for value in batch.table.column("threat.indicator.name").to_pylist()
        ]
        labels = {item["id"]: item["tlp"] for item in app.store.find("incident")}
        found[name] = (alerts, names, labels, app.store.find("case"))
        app.close()
    alerts, names, labels, cases = found["met"]
    assert alerts and all(item["facts"]["threat.indicator.name"] == [outside] for item in alerts)
    assert outside in names and set(names) <= {outside, None}
    assert {labels[item["incident"]] for item in alerts} == {"RED"}
    assert "RED" in {case["tlp"] for case in cases}
    alerts, names, labels, cases = found["over"]
    assert not alerts and not [value for value in names if value] and "RED" not in {case["tlp"] for case in cases}
