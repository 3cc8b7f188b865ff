"""`python -m tests.elastic.serve COMMAND…`: a command with `--url` of a server that lives as long as it does."""

from __future__ import annotations

import subprocess
import sys

from tests.elastic import cluster


def main() -> int:
    """The command's exit code; 7 where a server cannot be started here."""
    lack = cluster.missing()
    if lack:
        print(f"no Elasticsearch server: {lack}", file=sys.stderr)
        return 7
    # As a server runs, not as quick to start as for tests.
    with cluster.made(environment={"ES_HEAP": "1g", "ES_JVM_OPTIONS": ""}) as server:
        server.start()
        return subprocess.run([*sys.argv[1:], "--url", server.url], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
