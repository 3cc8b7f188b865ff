"""Verbs on a store that no daemon owns (`--store DIR`): the same verbs, the same rights, in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from csirt.app import App
from csirt.configfile import load
from csirt.control.callers import principal_for
from csirt.control.verbs import Context, call
from csirt.errors import NotFound


class Session:
    """Owns the store folder until the process ends. Raises NotFound when there is no store, Conflict when it has an
    owner."""

    def __init__(self, store: str, config: str | None, *, as_user: str = "", lang: str = "en") -> None:
        directory = Path(store)
        if not (directory / "catalogue.sqlite").exists():
            raise NotFound(f"{store}: no store here; `csirt replay FILE --store {store}` makes one")
        self._app = App(load(config), store_directory=directory)
        self._as = as_user
        self._lang = lang
        self._owner = directory.stat().st_uid

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run one verb as the user of this process."""
        app = self._app
        principal = principal_for(os.getuid(), app.config.control, self._owner, self._as)
        context = Context(app.store, app.config, principal, app.clock, app.part, self._lang, live=False)
        return call(context, verb, arguments)
