"""The answers to the alerts of a commit, as far as other tests do not ask for them through the analysis."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from csirt.answers import Answers
from csirt.clock import SYSTEM
from csirt.config import Config
from csirt.model.hits import AlertChange
from csirt.notify.router import Router
from csirt.respond.plan import Responder
from csirt.stores.embedded import open_embedded
from tests.stores import build


def test_nothing_keeps_the_answers_of_a_commit(tmp_path: Path) -> None:
    """What was held for a commit is free once it is over, without a look for cycles: the analysis does not look while
    it works, and a flood would fill the memory."""
    config = Config()
    gc.disable()
    try:
        with open_embedded(tmp_path / "store", clock=SYSTEM) as store:
            for name in ("a", "b"):
                alert = build.alert(name)
                steps = [[AlertChange(alert.last, True, alert)]]
                answers = Answers(
                    store,
                    steps,
                    SYSTEM.now(),
                    responder=Responder({}, register=None, config=config),
                    router=Router(config),
                    names={},
                    window_us=1,
                )
                answers.take(steps[0])
                store.commit(answers.commit())
                kept = weakref.ref(answers)
                del answers
                assert kept() is None
            assert store.count("alert") == 2
    finally:
        gc.enable()
