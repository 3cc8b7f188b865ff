"""`csirt report`: what a member may read of a case."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write, write_json, write_rows


@group()
def report() -> None:
    """What a member may read: its own traffic and messages of a case, and what to do.

    \b
    Examples:
      csirt report build C-2026-0412 --member m017 --lang nb
      csirt report list
    """


def _case(settings: Settings, name: str) -> str:
    from csirt.cli import caselast

    return caselast.named(settings, name)


@report.command()
@click.argument("case", shell_complete=complete.cases)
@click.option("--member", required=True, metavar="M", shell_complete=complete.members, help="Whom it is for.")
@click.option("--release", multiple=True, metavar="NAME", help="Name this counterpart to the member (needs -m).")
@click.option("-m", "reason", default="", metavar="REASON", help="Why names are released; it goes into the audit.")
@click.option("--to", "recipient", default="", metavar="PERSON", help="Who gets it; needed for TLP:RED.")
@click.option(
    "--aware", default="", metavar="TIME", help="When the member became aware; its deadlines count from then."
)
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="FILE", help="Copy the page to FILE.")
@shared
def build(
    settings: Settings,
    case: str,
    member: str,
    release: tuple[str, ...],
    reason: str,
    recipient: str,
    aware: str,
    output: Path | None,
) -> None:
    """Write the page of one member; --lang decides the language, else the member's own.

    \b
    Examples:
      csirt report build C-2026-0412 --member m017 --lang nb
      csirt report build @last --member m001 --release "Bakken legekontor" -m "agreed on the phone" -o page.html
    """
    document = settings.client().call(
        "report.build",
        case=_case(settings, case),
        member=member,
        language=settings.lang or "",
        release=list(release),
        reason=reason,
        recipient=recipient,
        aware=aware,
        page=output is not None,
    )
    page = document.pop("page", None)
    if output is not None:
        _copy(output, page)
    if settings.as_json:
        write_json(document)
        return
    from csirt.messages import text

    lang = settings.language()
    write_rows([[document["path"]]])
    key = "report.built" if document["new"] else "report.same"
    say(text(key, lang, name=document["name"], path=document["path"]))
    if document["released"]:
        say(text("report.released", lang, member=document["name"], names=", ".join(document["released"])))
    say(text("report.send", lang, tlp=document["tlp"]))
    if output is not None:
        say(text("report.copied", lang, path=output))


def _copy(output: Path, page: Any) -> None:
    from csirt.errors import CsirtError

    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(str(page).encode())
    except OSError as error:
        raise CsirtError(f"{output}: cannot be written: {error.strerror}") from error


@report.command("list")
@click.argument("case", required=False, default="", shell_complete=complete.cases)
@click.option("--member", default="", metavar="M", shell_complete=complete.members, help="Only those to this member.")
@listing
@shared
def list_(settings: Settings, case: str, member: str) -> None:
    """The pages kept, the newest first.

    \b
    Examples:
      csirt report list
      csirt report list C-2026-0412 --json
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("report.list", case=_case(settings, case) if case else "", member=member)
    columns = ("id", "case", "member", "lang", "tlp", "issued", "by", "path")
    screen = ("id", "tlp", "issued", "by")
    write_list(settings, document, columns, noun="report", screen=screen, empty="report.none")


@report.command()
@click.argument("id", shell_complete=complete.reports)
@shared
def show(settings: Settings, id: str) -> None:
    """A page as HTML on stdout.

    \b
    Examples:
      csirt report show C-2026-0412-m017-nb > page.html
      csirt report show C-2026-0412-m017-nb --json
    """
    document = settings.client().call("report.show", id=id)
    if settings.as_json:
        write_json(document)
    else:
        write(document["page"].rstrip("\n"))
