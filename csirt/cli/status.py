"""`csirt status`: what the daemon sees, loses and does not see."""

from __future__ import annotations

from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write, write_json, write_rows


@command()
@click.option("--check", "monitor", is_flag=True, help="Exit 1 when something is deaf, behind or dropping.")
@shared
def status(settings: Settings, monitor: bool) -> int:
    """Stages, rates, backlog, losses by reason, blind spots.

    \b
    Examples:
      csirt status
      csirt status --check --json
    """
    document = settings.client().call("status.show")
    if settings.as_json:
        write_json(document)
    else:
        _show(document)
    return 1 if monitor and document["warnings"] else 0


def _show(document: dict[str, Any]) -> None:
    write(f"store\t{document['store']}")
    write(f"watermark\t{document['watermark'] or '-'}")
    rows = [["STAGE", "IN", "OUT", "DROPPED"]]
    for stage in document["stages"]:
        dropped = ", ".join(f"{reason} {number}" for reason, number in sorted(stage["dropped"].items())) or "0"
        rows.append([stage["name"], str(stage["in"]), str(stage["out"]), dropped])
    write_rows(rows)
    if document["exporters"]:
        write_rows([["EXPORTER", "VERSION", "DOMAIN", "RECEIVED", "DECODED", "LOST", "MALFORMED", "HELD", "EXPIRED"]])
        for item in document["exporters"]:
            names = (
                "address",
                "version",
                "domain",
                "received",
                "decoded",
                "sequence_lost",
                "malformed",
                "held",
                "expired",
            )
            write_rows([[item[name] for name in names]])
    for listener in document["receivers"]:
        write_rows([["receiver", *[f"{key}={value}" for key, value in sorted(listener.items())]]])
    for warning in document["warnings"]:
        write_rows([["warning", warning]])
