"""The source of a configuration section."""

from __future__ import annotations

import math

from csirt import config as settings
from csirt.clock import SYSTEM, Clock
from csirt.config import duration
from csirt.sources.base import Source
from csirt.sources.capture import CaptureSource
from csirt.sources.dissect import Dissector
from csirt.sources.logfile import LogSource
from csirt.sources.spool import SpoolSource


def open_source(
    source: settings.Source,
    config: settings.Config,
    *,
    lane: str = "",
    clock: Clock = SYSTEM,
    patience: float = math.inf,
) -> Source:
    """Build a configured source, or one lane of it, without side effects.

    `patience`: seconds a read of a capture may wait for tshark; with 0 it gives None until tshark is done, and
    `exhausted` is False meanwhile.
    """
    settle = duration(source.settle)
    if source.type in ("netflow", "syslog"):
        path = source.path or str(config.path("spool") / source.id)
        path += (lane or source.id).removeprefix(source.id)
        spool = SpoolSource(source.id, source.type, path, settle=settle, clock=clock)
        spool.parser = source.parser
        return spool
    if source.type == "capture":
        return CaptureSource(
            source.id,
            source.path,
            period=duration(config.decode.flow_period),
            dissector=Dissector(list(config.decode.dissect), config.decode.tshark, clock, config.path("spool")),
            settle=settle,
            clock=clock,
            patience=patience,
        )
    return LogSource(source.id, source.path, parser=source.parser, clock=clock)
