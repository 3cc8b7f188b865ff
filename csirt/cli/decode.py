"""`csirt decode FILE…`: bytes to events without a store."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared
from csirt.heap import keep_freed

if TYPE_CHECKING:
    from csirt.cli.decode_output import Output
    from csirt.config import Config
    from csirt.decode.base import Decoder
    from csirt.model.batch import Decoded
    from csirt.sources.base import Source

CHUNK = 20_000  # packets or lines at a time; changes no result
DATAGRAMS = 8_000  # at a time: what is done once for each time weighs little, and memory stays below 300 MiB
FORMATS = ("ndjson", "csv", "parquet", "arrow")
# Lines a parser declares to make no row are no failure: the ends of connections, other programs' lines, empty lines.
DECLARED = {"ignored", "foreign", "empty"}
KINDS = ("auto", "netflow", "packets", "log", "syslog")


@command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", "form", type=click.Choice(FORMATS), default="ndjson", help="Form of the output.")
@click.option("-o", "--output", metavar="FILE", help="Write here and not to standard output.")
@click.option(
    "--dataset", default="", metavar="NAME", help="Only this dataset: flow, flow_options, flow_counters, dns, mail, …"
)
@click.option("--stats", metavar="FILE", help="Write the counts as JSON (csirt.decode-stats/1) to FILE, - for stderr.")
@click.option("--parser", default="", metavar="NAME", help="FILEs are logs in this format; see csirt parsers list.")
@click.option("--as", "kind", type=click.Choice(KINDS), default="auto", help="What the FILEs hold.")
@partial(shared, delegate=False)
def decode(
    settings: Settings,
    files: tuple[str, ...],
    form: str,
    output: str | None,
    dataset: str,
    stats: str | None,
    parser: str,
    kind: str,
) -> int:
    """Decode FILEs: NetFlow, IPFIX and sFlow in captures or raw datagrams, packets, logs.

    Templates of an earlier FILE count for later ones. Exit 0: all decoded, 7: some refused or held, 1: nothing.

    \b
    Examples:
      csirt decode edge.pcap
      csirt decode template.dat data.dat --stats - --to parquet -o flows.parquet
    """
    from csirt.cli.decode_output import open_output
    from csirt.cli.progress import progress
    from csirt.configfile import load

    name = settings.config_file()
    config = load(name)
    if name is None:
        config.state = str(_state_folder())
    sources = open_sources(files, kind, parser, config)
    run = Run(config)
    with open_output(form, output, dataset) as out, progress(settings, "decode.progress", run.numbers):
        for file, source in sources:
            run.read(file, source, out)
        run.finish(out)
    if stats:
        _write_stats(stats, run.document())
    for problem in run.problems:
        say(problem)
    return run.exit_code()


def open_sources(files: tuple[str, ...], kind: str, parser: str, config: Config) -> list[tuple[str, Source]]:
    """Open every file before any is read, so that a misspelt name costs nothing."""
    from csirt.sources.files import open_file

    return [(file, open_file(file, kind=kind, parser=parser, config=config)) for file in files]


def _state_folder() -> Path:
    """Where the key of pseudonyms is when no configuration says so: the user's state folder."""
    import os

    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "csirt"


def _write_stats(target: str, document: dict[str, Any]) -> None:
    import json
    import sys

    text = json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stderr.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


class Run:
    """One call: the decoders by source, and what became of every unit."""

    def __init__(self, config: Config) -> None:
        keep_freed()
        self._config = config
        self._decoders: dict[str, tuple[str, Decoder]] = {}
        self._files: dict[str, str] = {}  # segment -> file
        self._held: dict[str, int] = {}
        self._lines = 0  # of dissections: a second look at packets that were counted when they were metered
        self.entered = 0
        self.left = 0
        self.skipped = 0
        self.dropped: dict[str, int] = {}
        self.errors: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def read(self, file: str, source: Source, out: Output) -> None:
        """Decode everything one file holds."""
        from csirt.model.chunk import Dissection, Position

        decoder = self._decoder(source, file)
        size = DATAGRAMS if source.kind == "netflow" else CHUNK
        while True:
            waiting = False
            for item in source.inputs():
                position: Position | None = None
                self._files[item.segment] = file
                while (chunk := item.read(position, size)) is not None:
                    position = Position(source.id, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
                    self._lost(chunk.lost)
                    if chunk.data is not None:
                        result = decoder.decode(chunk)
                        if isinstance(chunk.data, Dissection):
                            self._lines += result.entered
                        self._count(source.id, result, decoder)
                        out.add(result.batches, settled=not self._held.get(source.id))
                        del result  # the next piece takes the same memory
                    whole = chunk.end_of_input
                    del chunk
                    if whole:
                        break
                waiting |= not item.finished(position)
            if source.exhausted() or not waiting:
                return

    def _decoder(self, source: Source, file: str) -> Decoder:
        """One decoder per source id, so that templates of one file count for the next."""
        from csirt.clock import SYSTEM
        from csirt.config import Source as SourceConfig
        from csirt.decode.build import decoder_for

        if source.id not in self._decoders:
            parser = str(getattr(source, "parser", ""))
            wanted = {"id": source.id, "type": source.kind, "path": file, "parser": parser}
            item = SourceConfig.parse(wanted)
            self._decoders[source.id] = (source.kind, decoder_for(item, self._config, now=SYSTEM.now(), due=False))
        return self._decoders[source.id][1]

    def _lost(self, lost: dict[str, int]) -> None:
        for reason, number in lost.items():
            self.entered += number
            self.dropped[reason] = self.dropped.get(reason, 0) + number

    def _count(self, source: str, result: Decoded, decoder: Decoder) -> None:
        self.entered += result.entered
        self.left += result.left
        self._held[source] = result.held
        self.skipped += sum(int(exporter.get("skipped", 0)) for exporter in result.exporters)
        for reason, number in result.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + number
        for segment, frame, offset, reason in getattr(decoder, "rejected", ()):
            where = self._files.get(segment, "")
            self.errors.append({"file": where, "frame": frame, "offset": offset, "reason": reason})
        self.problems += [item for item in result.problems if item not in self.problems][:20]

    def numbers(self) -> dict[str, int]:
        """How far it is."""
        return {"read": self.entered, "decoded": self.left}

    def finish(self, out: Output) -> None:
        """End of input. Datagrams whose template never came stay held and are counted so; the rest is flushed."""
        for name, (kind, decoder) in self._decoders.items():
            if kind != "netflow":
                result = decoder.finish()
                self._count(name, result, decoder)
                out.add(result.batches, settled=True)
        out.close()
        self._records = dict(out.records)
        self._octets, self._packets = out.octets, out.packets

    def document(self) -> dict[str, Any]:
        """The `csirt.decode-stats/1` document: datagrams = decoded + held + expired + the sum of dropped. A packet of
        a capture counts once; of the lines of its dissection count those that were refused."""
        dropped = dict(self.dropped)
        expired = dropped.pop("expired", 0)
        again = self._lines - sum(number for name, number in dropped.items() if name.startswith("dissection_"))
        templates = sum(getattr(decoder, "templates", 0) for _, decoder in self._decoders.values())
        return {
            "schema": "csirt.decode-stats/1",
            "datagrams": self.entered - again,
            "decoded": self.left - again,
            "records": {"flow": 0, "flow_options": 0, **self._records},
            "templates": templates,
            "held": sum(self._held.values()),
            "expired": expired,
            "skipped": self.skipped,
            "octets": self._octets,
            "packets": self._packets,
            "dropped": dropped,
            "errors": self.errors,
        }

    def exit_code(self) -> int:
        """0 all decoded, 7 some refused or held, 1 nothing decodable."""
        if not self.left and not any(self._records.values()):  # a datagram held for one set gave its other records
            return 1
        refused = any(reason not in DECLARED for reason in self.dropped)
        broken = any(error["reason"] != "trailing_octets" for error in self.errors)
        return 7 if refused or broken or any(self._held.values()) else 0
