"""`python -m csirt.bench.quiet_child STORE CONFIG FILE…` replays and prints what each rule found, as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np


def main() -> None:
    """Print {flows, first, last, loaded, rules}: of each rule that found something its title, the events it matched and
    its alerts."""
    from csirt.heap import prepare

    prepare()
    from csirt import replay
    from csirt.app import App
    from csirt.configfile import load
    from csirt.detect.columns.frame import BatchFrame
    from csirt.detect.match import Detector

    store, config, *files = sys.argv[1:]
    app = App(load(config), store_directory=Path(store))
    replay.run(app, [Path(name) for name in files], kind="auto", parser="", configured=True)
    ruleset = app.part("ruleset").running
    detector = Detector(ruleset)
    hits: Counter[str] = Counter()
    first, last, flows = 1 << 62, 0, 0
    for batch in app.store.events("flow"):
        hits.update({name: len(rows) for name, rows in detector.rows(batch).items()})
        times = BatchFrame(batch).times(np.arange(batch.rows))
        first, last = min(first, int(times.min())), max(last, int(times.max()))
        flows += batch.rows
    alerts = Counter(alert["rule_id"] for alert in app.store.find("alert"))
    app.close()
    rules = [
        {"title": item.meta.title, "hits": hits[item.id], "alerts": alerts[item.id]}
        for item in ruleset.everything()
        if hits[item.id] or alerts[item.id]
    ]
    sys.stdout.write(
        json.dumps({"flows": flows, "first": first, "last": last, "loaded": len(ruleset.everything()), "rules": rules})
    )


if __name__ == "__main__":
    main()
