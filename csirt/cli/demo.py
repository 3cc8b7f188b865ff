"""`csirt demo`: the whole way, on a small network of its own."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write, write_json


@command()
@click.option("--keep", metavar="DIR", help="Build the network in DIR instead of a temporary folder.")
@click.option("--seconds", default=20.0, show_default=True, help="How long the hour of traffic takes.")
@shared
def demo(settings: Settings, keep: str | None, seconds: float) -> int:
    """Build a small closed network in a temporary folder, run the real daemon on it, play an attack through real
    NetFlow datagrams, a capture file and relay logs; then show the cases, the proposed plan and a member's report.

    \b
    Examples:
      csirt demo
      csirt demo --keep demo-network --json
    """
    import tempfile
    from pathlib import Path

    from csirt.clock import SYSTEM
    from csirt.demo.show import run
    from csirt.messages import text

    if keep:
        folder = Path(keep).resolve()
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="csirt-demo-"))
    lang = settings.lang or "en"
    result = run(folder, clock=SYSTEM, say=say, seconds=seconds, lang=lang)
    screens = result.pop("screens")
    if settings.as_json:
        write_json(result)
        return 0
    for line in (screens["cases"] + "\n" + screens["case"]).split("\n"):
        write(line)  # already made safe by the command that printed it
    plan, store = result["plan"], result["store"]
    write(text("demo.plan", lang, plan=plan["id"], case=plan["case"]))
    write(text("demo.report", lang, path=result["report"]))
    write(text("demo.pages", lang, pages=result["pages"], seconds=result["seconds"]))
    write(text("demo.next", lang))
    for words in (
        f"cases show {plan['case']}",
        f"playbooks runs --case {plan['case']}",
        "events query --dataset flow --top source.ip,destination.port",
        "messages pending",
    ):
        write(f"  csirt {words} --store {store}")
    write(text("demo.kept", lang, folder=folder))
    return 0
