"""One measured run of a benchmark: `python -m csirt.bench.child STORE CONFIG FILE…` replays and prints its counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Replay the files into the store and print {flows, alerts, spent} as JSON."""
    from csirt import replay
    from csirt.app import App
    from csirt.config import load

    store, config, *files = sys.argv[1:]
    app = App(load(config), store_directory=Path(store))
    spent: dict[str, float] = {}
    result = replay.run(app, [Path(name) for name in files], kind="netflow", parser="", configured=True, spent=spent)
    app.close()
    sys.stdout.write(json.dumps({"flows": result["events"], "alerts": result["alerts"], "spent": spent}))


if __name__ == "__main__":
    main()
