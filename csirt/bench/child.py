"""One measured run of a benchmark: `python -m csirt.bench.child STORE CONFIG FILE…` replays and prints its counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Replay the files into the store and print {flows, alerts, rules, refused_rules, spent} as JSON."""
    from csirt.heap import prepare

    prepare()
    from csirt import replay
    from csirt.app import App
    from csirt.configfile import load

    store, config, *files = sys.argv[1:]
    app = App(load(config), store_directory=Path(store))
    spent: dict[str, float] = {}
    result = replay.run(app, [Path(name) for name in files], kind="auto", parser="", configured=True, spent=spent)
    flows = app.store.counts().get("events.flow", 0)
    rules = app.part("ruleset")
    app.close()
    document = {
        "flows": flows,
        "alerts": result["alerts"],
        "rules": len(rules.everything()),
        "refused_rules": rules.refused,
        "spent": spent,
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    main()
