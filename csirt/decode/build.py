"""The decoder of a configured source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from csirt import secrets
from csirt.config import Config, Source, duration, size
from csirt.content import folder
from csirt.decode.base import Decoder
from csirt.errors import Usage

if TYPE_CHECKING:
    from csirt.decode.parser import Parser


def decoder_for(source: Source, config: Config, *, now: int = 0, due: bool = True) -> Decoder:
    """Build, without side effects but the first use of the pseudonym key, the decoder a source needs.

    `now`: the present, for logs whose lines carry no year; it is committed with the decoder's state. `due`: whether
    flows say when they are due to be settled. Raises Usage for an unknown or broken parser.
    """
    if source.type == "netflow":
        from csirt.decode.flows import FlowDecoder

        return FlowDecoder(
            source.id,
            exporters=config.decode.exporters,
            accept_unknown=config.decode.accept_unknown_exporters or not config.decode.exporters,
            hold_bytes=size(config.decode.hold_bytes),
            hold_age_us=duration(config.decode.hold_age),
            exporter_expiry_us=duration(config.decode.exporter_expiry),
            template_expiry_us=duration(config.decode.template_expiry),
            clock_offsets={item.address: duration(item.clock_offset) for item in config.decode.exporters},
            key=secrets.key_file(config.path("pseudonym.key")),
            due=due,
        )
    if source.type == "capture":
        from csirt.decode.packets.decoder import PacketDecoder

        return PacketDecoder(
            source.id,
            idle_timeout_us=duration(config.decode.idle_timeout),
            dissect=config.decode.dissect,
            observer=source.observer,
        )
    return _log_decoder(source, config, now)


def check_source(source: Source) -> None:
    """Raise Usage when a source names a parser that there is not, or that cannot be used."""
    if source.type in ("log", "syslog"):
        _parser(source)


def _parser(source: Source) -> Parser:
    from csirt.decode.parser_files import load_parsers

    parsers, problems = load_parsers(folder("parsers"))
    if source.parser not in parsers:
        broken = [str(problem) for problem in problems]
        known = ", ".join(sorted(parsers)) or "none"
        raise Usage("\n".join([f"source {source.id}: no parser {source.parser!r}; there are: {known}", *broken]))
    return parsers[source.parser]


def _log_decoder(source: Source, config: Config, now: int) -> Decoder:
    from csirt.decode.privacy import Privacy
    from csirt.decode.textlog import LogDecoder

    privacy = Privacy(
        secrets.key_file(config.path("pseudonym.key")),
        organisation_domains=config.decode.organisation_domains,
        organisation_mailboxes=config.decode.organisation_mailboxes,
    )
    return LogDecoder(
        source.id,
        _parser(source),
        timezone=source.timezone or config.timezone,
        observer=source.observer,
        privacy=privacy,
        reference_us=now,
    )
