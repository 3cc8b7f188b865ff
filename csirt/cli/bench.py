"""`csirt bench NAME`: ours beside the peers that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write, write_json


@command()
@click.argument("name", type=click.Choice(["pipeline", "live"]))
@click.option("--seed", default=1, show_default=True, help="Seed of the generated corpus.")
@click.option(
    "--corpus", type=click.Path(path_type=Path, exists=True), help="Folder of captures, with register.yml or without."
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
    rate: int,
    seconds: int,
    require_peers: bool,
) -> int:
    """Measure one part of the product; every run is a fresh process.

    pipeline: datagrams on disk to committed events and alerts; exit 1 when the floor is missed or a run ends in another
    store than `csirt replay`. live: a daemon that receives paced datagrams on loopback; exit 1 when a record is lost or
    two seconds late.

    \b
    Examples:
      csirt bench pipeline
      csirt bench pipeline --json --corpus captures --rules my-rules
    """
    import tempfile

    from csirt.bench import live, pipeline
    from csirt.bench.machine import describe
    from csirt.bench.pairs import exit_code

    with tempfile.TemporaryDirectory(prefix="csirt-bench-") as work:
        if name == "live":
            results = live.run(Path(work), seed=seed, rate=rate, seconds=seconds)
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
    return plain | {"median": f"{result['ours']['median']:,}", "shares": shares, "rss": str(rss)}
