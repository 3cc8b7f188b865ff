"""`csirt bench NAME`: ours beside the peers that are installed."""

from __future__ import annotations

from pathlib import Path

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write, write_json


@command()
@click.argument("name", type=click.Choice(["pipeline"]))
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
    require_peers: bool,
) -> int:
    """Measure one part of the product; every run is a fresh process.

    Exit 1 when the floor is missed or a run ends in another store than `csirt replay`.

    \b
    Examples:
      csirt bench pipeline
      csirt bench pipeline --json --corpus captures --rules my-rules
    """
    import tempfile

    from csirt.bench import pipeline
    from csirt.bench.machine import describe

    task = pipeline.Task(seed, runs, corpus, records, rules, shipped=not only_rules)
    with tempfile.TemporaryDirectory(prefix="csirt-bench-") as work:
        results = pipeline.run(Path(work), task)
    document = {"schema": "csirt.bench/1", "seed": seed, **describe(), "results": results}
    if settings.as_json:
        write_json(document)
    else:
        from csirt.messages import text

        lang = settings.language()
        for result in results:
            shares = ", ".join(f"{stage} {share:.0%}" for stage, share in result["share"].items())
            verdict = text("bench.pass" if result["pass"] else "bench.fail", lang)
            median, floor = f"{result['ours']['median']:,}", f"{result['floor']:,.0f}"
            write(text("bench.result", lang, name=result["name"], unit=result["unit"], median=median, floor=floor))
            counts = {
                "flows": f"{result['flows']:,}",
                "alerts": f"{result['alerts']:,}",
                "rules": result["rules"],
                "rss": max(result["ours"]["rss_mib"]),
            }
            write(text("bench.detail", lang, shares=shares, verdict=verdict, **counts))
    return 0 if all(result["pass"] for result in results) else 1
