"""`csirt bench NAME`: ours beside the peers that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write, write_json


@command()
@click.argument("name", type=click.Choice(["pipeline", "live", "sigma"]))
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
@click.option(
    "--records",
    default=3_000_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="Flow records of the generated corpus.",
)
@click.option(
    "--events",
    default=200_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="sigma: events of the generated corpus.",
)
@click.option("--only", multiple=True, metavar="RESULT", help="sigma: measure only the results of these names.")
@click.option("--rate", default=20_000, show_default=True, type=click.IntRange(100), help="live: records a second.")
@click.option("--seconds", default=15, show_default=True, type=click.IntRange(1), help="live: how long to send.")
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
    records: int,
    events: int,
    only: tuple[str, ...],
    rate: int,
    seconds: int,
    require_peers: bool,
) -> int:
    """Measure one part of the product; every run is a fresh process.

    pipeline: datagrams on disk to committed events and alerts; exit 1 when the floor is missed or a run ends in another
    store than `csirt replay`. live: a daemon that receives paced datagrams on loopback; exit 1 when a record is lost or
    two seconds late. sigma: rules over events, beside rsigma, pairs of (event, rule) compared; `--rules` are folders of
    rules beside synthetic ones; exit 1 when a floor is missed or the pairs differ, 7 when the peer is not there.

    \b
    Examples:
      csirt bench pipeline
      csirt bench pipeline --json --corpus captures --rules my-rules
      csirt bench sigma --rules my-rules --only ndjson-100-rules
    """
    import tempfile

    from csirt.bench import live, pipeline, sigma
    from csirt.bench.machine import describe
    from csirt.bench.pairs import exit_code

    with tempfile.TemporaryDirectory(prefix="csirt-bench-") as work:
        if name == "live":
            results = live.run(Path(work), seed=seed, rate=rate, seconds=seconds)
        elif name == "sigma":
            results = sigma.run(Path(work), sigma.Task(seed, runs, rules, corpus, events, only))
        else:
            task = pipeline.Task(seed, runs, corpus, records, rules, shipped=not only_rules)
            results = pipeline.run(Path(work), task)
    document = {"schema": "csirt.bench/1", "seed": seed, **describe(), "results": results}
    if settings.as_json:
        write_json(document)
    else:
        from csirt.messages import text

        lang = settings.language()
        for result in results:
            write(text(f"bench.{name}", lang, **_shown(result)))
            write(text("bench.pass" if result["pass"] else "bench.fail", lang))
    return exit_code(results, require_peers=require_peers)


def _shown(result: dict[str, Any]) -> dict[str, str]:
    """A result's values as people read them."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in result.get("share", {}).items())
    plain = {key: f"{value:,}" for key, value in result.items() if isinstance(value, int | float)}
    plain["core_share"] = f"{result.get('core_share', 0):.0%}"
    rss = max(result["ours"].get("rss_mib", [0]))
    plain |= {key: str(result.get(key)) for key in ("name", "unit", "ratio", "floor") if key not in plain}
    return plain | {"median": f"{result['ours']['median']:,}", "shares": shares, "rss": str(rss)}
