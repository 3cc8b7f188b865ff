"""`csirt bench NAME`: ours beside the peers that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write, write_json

NAMES = ["pipeline", "flows", "live", "memory", "sigma", "elastic", "quiet"]
RECORDS = {"pipeline": 3_000_000, "flows": 1_000_000, "memory": 1_000_000, "quiet": 400_000}


@command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--seed", default=1, show_default=True, help="Seed of the generated corpus.")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of captures, with register.yml or without; sigma: of NDJSON events.",
)
@click.option(
    "--rules", type=click.Path(path_type=Path, exists=True), multiple=True, help="Rules beside the shipped ones."
)
@click.option("--only-rules", is_flag=True, help="Without the shipped rules.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1), help="Measured runs.")
@click.option("--records", type=click.IntRange(1_000), help="Flow records of the generated corpus.")
@click.option(
    "--events",
    default=200_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="sigma: events of the generated corpus.",
)
@click.option("--only", multiple=True, metavar="RESULT", help="flows, sigma, elastic: only these results.")
@click.option("--rate", type=click.IntRange(0), help="flows, live: datagrams a second; live: 0 is as fast as it goes.")
@click.option("--seconds", type=click.IntRange(1), help="live: how long to send at that rate.")
@click.option("--url", metavar="URL", help="elastic: the server; else http://127.0.0.1:9200.")
@click.option("--require-peers", is_flag=True, help="Exit 6 when a peer is not installed.")
@shared
def bench(
    settings: Settings,
    name: str,
    seed: int,
    corpus: Path | None,
    rules: tuple[Path, ...],
    only_rules: bool,
    runs: int,
    records: int | None,
    events: int,
    only: tuple[str, ...],
    rate: int | None,
    seconds: int | None,
    url: str | None,
    require_peers: bool,
) -> int:
    """Measure one part of the product; every run is a fresh process.

    pipeline: datagrams on disk to committed events and alerts, and that every run ends in the store of `csirt replay`.
    flows: decoding, text, many templates, a live stream and the lake's room, beside goflow2, nfcapd and nfdump where
    they are here. live: a daemon under paced datagrams, then a receiver at 50,000 and 100,000 datagrams a second and as
    fast as it goes. memory: that memory does not grow over many passes and broken datagrams. sigma: rules over events,
    beside rsigma, pairs of (event, rule) compared; `--rules` are folders of rules beside synthetic ones. elastic: the
    cluster's writer, correlation and lists, in indices of their own. quiet: a week in which nothing happens, what each
    rule matches in it and how many alerts come of it. docs/benchmarks.md says what each figure means. Exit 1: a floor
    missed or work unequal; 6: no server for elastic; 7: a peer is not here.

    \b
    Examples:
      csirt bench pipeline
      csirt bench pipeline --json --corpus captures --rules my-rules
      csirt bench sigma --rules my-rules --only ndjson-100-rules
      csirt bench flows --only decode-v9 --runs 3
    """
    import tempfile

    from csirt.bench.machine import describe
    from csirt.bench.pairs import exit_code

    with tempfile.TemporaryDirectory(prefix="csirt-bench-") as folder:
        work = Path(folder)
        if name == "sigma":
            from csirt.bench import sigma

            results = sigma.run(work, sigma.Task(seed, runs, rules, corpus, events, only))
        elif name == "elastic":
            results = _elastic(work, seed, runs, url, records, only)
        elif name == "live":
            results = _live(work, seed, rate, seconds)
        elif name == "flows":
            from csirt.bench import flows

            task = flows.Task(seed, runs, corpus, records or RECORDS[name], rate=rate or flows.RATE, only=only)
            results = flows.run(work, task)
        elif name == "memory":
            from csirt.bench import memory

            results = memory.run(work, seed=seed, records=records or RECORDS[name])
        else:
            from csirt.bench import pipeline, quiet

            replayed = pipeline.Task(seed, runs, corpus, records or RECORDS[name], rules, shipped=not only_rules)
            results = (quiet if name == "quiet" else pipeline).run(work, replayed)
    document = {"schema": "csirt.bench/1", "seed": seed, **describe(), "results": results}
    if settings.as_json:
        write_json(document)
    else:
        from csirt.messages import text

        lang = settings.language()
        for result in results:
            write(text(f"bench.{_message(name, result)}", lang, **_shown(result)))
            if result.get("absent"):
                write(f"  {result['absent']}")
                continue
            write(text("bench.pass" if result["pass"] else "bench.fail", lang))
    return exit_code(results, require_peers=require_peers)


def _message(name: str, result: dict[str, Any]) -> str:
    if name in ("pipeline", "memory", "sigma", "quiet"):
        return name
    return "live-lake" if result["name"] == "live-lake" else "stream" if "spooled" in result else "pair"


def _elastic(
    work: Path, seed: int, runs: int, url: str | None, records: int | None, only: tuple[str, ...]
) -> list[dict[str, Any]]:
    """`records`: so many documents, alerts and cases, instead of as many as the floors are about."""
    from csirt.bench import elastic

    task = elastic.Task(url or elastic.URL, seed, runs, only=only)
    if records:
        task = elastic.Task(task.url, seed, runs, records, records, records, only)
    return elastic.run(work, task)


def _live(work: Path, seed: int, rate: int | None, seconds: int | None) -> list[dict[str, Any]]:
    """The daemon's own path, then the receiver alone; a rate or a time given stands for all of the latter."""
    from csirt.bench import live, streams

    plan = [(50_000, 60), (100_000, 20), (0, 10)] if rate is None else [(rate, 10)]
    plan = [(pace, seconds or length) for pace, length in plan]
    return live.run(work, seed=seed, rate=20_000, seconds=15) + streams.endurance(work, seed=seed, plan=plan)


def _shown(result: dict[str, Any]) -> dict[str, str]:
    """A result's values as people read them."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in result.get("share", {}).items())
    plain = {key: f"{value:,}" for key, value in result.items() if isinstance(value, int | float)}
    plain["core_share"] = f"{result.get('core_share', 0):.0%}"
    rss = max(result["ours"].get("rss_mib", [0]))
    peer = result["peer"] or {"name": "-", "version": "", "median": 0}
    beside = ", ".join(f"{name} {kept['kept']:.1%}" for name, kept in result.get("beside", {}).items())
    plain["found"] = ", ".join(f"{item['title']} {item['hits']:g}" for item in result.get("found", [])) or "-"
    names = {"name": result["name"], "unit": result["unit"], "peer": f"{peer['name']} {peer['version']}".strip()}
    figures = {"theirs": f"{peer['median']:,}", "ratio": str(result["ratio"]), "floor": str(result["floor"])}
    median = f"{result['ours']['median']:,}"
    return plain | names | figures | {"median": median, "shares": shares, "rss": str(rss), "beside": beside or "-"}
