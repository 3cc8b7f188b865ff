"""`csirt bench flows`: decoding on one core beside goflow2, many templates beside one, and the lake beside nfdump.

The rate of a run is flow records per CPU second of what is timed (docs/benchmarks.md says what that is for each side);
wall seconds and the whole process are printed beside it. Work is equal when both sides counted the same records, octets
and packets, ours from the file that was read back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from csirt.bench import captures, exports, goflow2, lake, pairs, process, streams
from csirt.bench.captures import Capture
from csirt.errors import NotFound

FLOORS = {5: 1.5, 9: 3.5, 10: 3.0}
AIMS = {5: 9_000_000, 9: 6_000_000, 10: 4_500_000}
JSON_FLOOR, SHUFFLED_FLOOR = 20.0, 0.8
RATE = 25_000
JSON_DATAGRAMS = 4_000  # goflow2 makes 10,000 to 16,000 lines a second


@dataclass(frozen=True)
class Task:
    """What to measure: `given` captures or generated ones of `records` records each; `only` these results."""

    seed: int = 1
    runs: int = 5
    given: Path | None = None
    records: int = 1_000_000
    live: int = 10_000_000  # flow records of the live stream
    rate: int = RATE  # its datagrams a second
    only: tuple[str, ...] = ()


def run(work: Path, task: Task) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`. Raises NotFound for a corpus without captures of exports."""
    bench = _Bench(work, task)
    return [pairs.result(make()) for name, make in bench.contests() if not task.only or name in task.only]


class _Bench:
    """The captures and programs of one call."""

    def __init__(self, work: Path, task: Task) -> None:
        self.work, self.task = work, task
        self.core = process.cores()[-1]
        self.harness = goflow2.program()
        self.environment = process.environment(work, threads=False)
        exports.write(work / "warm", seed=1, records=3_000, kinds=("v5", "v9", "ipfix"))
        self.warm = {5: "v5", 9: "v9"}

    def contests(self) -> Iterator[tuple[str, Callable[[], pairs.Contest]]]:
        """Each result's name, and what prepares it."""
        for capture in self._captures():
            yield f"decode-{capture.name}", partial(self._decode, capture)
        yield from {
            "ndjson": self._json,
            "templates-1000": self._shuffled,
            "live": self._live,
            "lake": self._lake,
        }.items()

    def _captures(self) -> list[Capture]:
        if self.task.given is None:
            folder = self.work / "corpus"
            exports.write(folder, seed=self.task.seed, records=self.task.records, kinds=("v5", "v9", "ipfix"))
            found = [captures.known(folder / f"netflow-{kind}.pcap") for kind in ("v5", "v9", "ipfix")]
        else:
            found = [captures.known(path) for path in captures.paths(self.task.given)]
        there = [item for item in found if item is not None]
        if not there:
            raise NotFound(f"{self.task.given}: no capture of NetFlow or IPFIX datagrams there")
        self.first = next((item for item in there if item.version == 9), there[0])
        return there

    def _decode(self, capture: Capture) -> pairs.Contest:
        """A capture to an Arrow file, beside goflow2's decode to structs."""
        return pairs.Contest(
            f"decode-{capture.name}",
            "flow records per CPU second",
            FLOORS.get(capture.version),
            self.task.runs,
            self._ours("arrow", capture),
            self._goflow2("decode", capture),
            absent="" if self.harness else goflow2.HOW,
            more={"core": self.core, "aim": AIMS.get(capture.version)},
        )

    def _json(self) -> pairs.Contest:
        """The first part of a capture to NDJSON, beside goflow2's JSON."""
        part = captures.cut(self.first, self.work / "json.pcap", JSON_DATAGRAMS)
        return pairs.Contest(
            "ndjson",
            "flow records per CPU second",
            JSON_FLOOR,
            self.task.runs,
            self._ours("ndjson", part),
            self._goflow2("json", part),
            absent="" if self.harness else goflow2.HOW,
            more={"core": self.core},
        )

    def _shuffled(self) -> pairs.Contest:
        """The same records in 1,000 templates beside one template; both sides are ours."""
        folder = self.work / "templates"
        exports.write(folder, seed=self.task.seed, records=self.task.records, kinds=("fixed", "shuffled"))
        many, one = (captures.known(folder / f"netflow-{kind}.pcap") for kind in ("shuffled", "fixed"))
        assert many is not None and one is not None
        other = self._ours("arrow", one)
        return pairs.Contest(
            "templates-1000",
            "flow records per CPU second",
            SHUFFLED_FLOOR,
            self.task.runs,
            self._ours("arrow", many),
            pairs.Side("csirt, one template", other.version, other.argv, other.once),
            more={"core": self.core},
        )

    def _live(self) -> pairs.Contest:
        """A paced stream, received, spooled, decoded and written, beside nfcapd."""
        count = self.task.live // streams.PER_DATAGRAM
        stream = streams.prepared(self.work, seed=self.task.seed, rate=self.task.rate, count=count)
        return streams.contest(self.work, stream, self.task.runs)

    def _lake(self) -> pairs.Contest:
        """Records as the lake keeps them beside nfdump's; unsampled ones, for nfcapd multiplies what is sampled."""
        folder = self.work / "room"
        exports.write(folder, seed=self.task.seed, records=self.task.records, kinds=("ipfix",))
        capture = captures.known(folder / "netflow-ipfix.pcap")
        assert capture is not None
        stream = streams.prepared(self.work, seed=self.task.seed, rate=0, count=capture.datagrams, given=capture)
        return lake.contest(self.work, capture, stream)

    def _goflow2(self, mode: str, capture: Capture) -> pairs.Side | None:
        if self.harness is None:
            return None
        plain = captures.plain(capture, self.work / f"{mode}-{capture.name}.datagrams")
        return goflow2.side(self.harness, mode, plain, self.core)

    def _ours(self, form: str, capture: Capture) -> pairs.Side:
        warm = self.work / "warm" / f"netflow-{self.warm.get(capture.version, 'ipfix')}.pcap"
        out = self.work / f"out.{form}"
        words = [sys.executable, "-m", "csirt.bench.flow_child", form, str(warm), str(capture.path), str(out)]

        def once() -> pairs.Run:
            spent = process.run(words, environment=self.environment, core=self.core)
            said = json.loads(spent.output)
            work = said["work"]
            more = {
                "process_cpu_s": spent.cpu_s,
                "process_wall_s": spent.wall_s,
                "octets_per_record": said["size"] / max(work["records"], 1),
            }
            return pairs.Run(work["records"] / said["cpu_s"], said["wall_s"], said["cpu_s"], work, spent.rss_mib, more)

        return pairs.Side("csirt", "", words, once)
