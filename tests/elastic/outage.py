"""The load of the outage's proof, in a process of its own whose memory can be told: alerts to incidents, cases and
notifications, committed and delivered. `python -m tests.elastic.outage FOLDER URL PREFIX HOOK`; for each `step` on
standard input it makes one commit more, on `end` it waits for the cluster and says what it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from csirt.answers import Answers
from csirt.bench import elastic_documents as made
from csirt.clock import SYSTEM, Frozen
from csirt.config import Config, Contact, Notify, Route
from csirt.metrics import Metrics
from csirt.notify.deliver import Deliverer
from csirt.notify.router import Router
from csirt.respond.plan import Responder
from csirt.stores.elastic.store import ElasticStore
from tests.elastic import desk

# Commits, and the least alerts of each; `make chaos` asks for more than a process keeps in memory for its cluster.
STEPS, ALERTS = 16, int(os.environ.get("CSIRT_OUTAGE_ALERTS", "100"))
SETTLED = 60 * max(1, ALERTS // 100)  # seconds until the cluster has it all


def main() -> None:
    """Until `end`."""
    folder, url, prefix, hook = sys.argv[1:]
    with desk.opened(Path(folder), url, prefix, clock=Frozen(made.START), timeout="2s") as store:
        load = Load(store, hook)
        for line in sys.stdin:
            answer = load.end() if line.strip() == "end" else load.step()
            print(json.dumps(answer), flush=True)


class Load:
    """What the daemon does when the watermark moves, then what it does each second."""

    def __init__(self, store: ElasticStore, hook: str) -> None:
        contact = Contact(name="duty", channel="webhook", address=hook)
        # Nobody acknowledges: how often the next one is told must not depend on how long the outage was.
        route = Route(name="all", contacts=["duty"], group_wait="0s", escalate="1d")
        self.config = Config(notify=Notify(contacts=[contact], routes=[route]))
        self.store = store
        self.steps = made.steps(1, STEPS * ALERTS * 3, ALERTS)
        self.deliverer = Deliverer(store, self.config, SYSTEM, Metrics())

    def step(self) -> dict[str, Any]:
        """One commit, and everybody told who is to be."""
        steps = next(self.steps)
        responder, router = Responder({}, register=None, config=self.config), Router(self.config)
        answers = Answers(
            self.store, steps, made.START, responder=responder, router=router, names={}, window_us=made.WINDOW
        )
        for changes in steps:
            answers.take(changes)
        self.store.commit(answers.commit())
        while self.store.count("notification", {"state": "pending"}):
            self.deliverer.tick()
        return self.store.cluster()

    def end(self) -> dict[str, Any]:
        """The cluster has everything: its dump, and the greatest memory of this process."""
        self.store.shipper.settle(SETTLED, patient=True)
        patient = self.store.shipper.client.options(request_timeout=60)
        patient.indices.refresh(index=f"{self.store.config.elasticsearch.prefix}-*")
        self.deliverer.tick()
        digest, count = hashlib.sha256(), 0
        for line in self.store.dump():
            digest.update(line)
            count += 1
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return {"digest": digest.hexdigest(), "documents": count, "rss_mib": rss}


if __name__ == "__main__":
    main()
