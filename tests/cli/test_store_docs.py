"""Every command that docs/store.md shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from csirt.model.principal import Principal
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.cli.desk import Room
from tests.stores import build

PAGE = Path(__file__).parents[2] / "docs" / "store.md"


def commands() -> list[list[str]]:
    """The words of every `csirt …` line in a code block, up to a pipe."""
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("csirt ")]
    return [shlex.split(line.split("|")[0])[1:] for line in lines]


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """Each exits 0 on a whole store; folders outside it are put below a folder of the test."""
    room = Room(tmp_path, who=Principal("root", 0, "admin"))
    found = commands()
    assert len(found) >= 15
    with open_embedded(tmp_path / "store", clock=room.clock) as room.store:
        room.store.commit(Commit(batches=[build.flows(3_000), build.mails(21)]))
        room.alarm("one")
        for words in found:
            here = [str(tmp_path) + word if word.startswith("/") else word for word in words]
            answer = room.run(*here)
            assert answer.code == 0, (words, answer.err)


def test_the_page_names_what_the_code_does() -> None:
    """Sizes and numbers in the text are those of the code."""
    from csirt.stores.embedded import reserve
    from csirt.stores.embedded.catalogue import database
    from csirt.stores.embedded.lake import keep, merge

    text = PAGE.read_text("utf-8")
    assert f"fewer than {keep.SMALL_ROWS:,} rows" in text
    assert f"or {keep.GATHER_ROWS:,} rows" in text
    assert f"at most {merge.MOST_ROWS // 1_000_000} million rows" in text.replace("\n", " ")
    assert f"{reserve.SIZE >> 20} MiB" in text
    assert ".".join(map(str, database.MINIMUM)) in text
    assert merge.FAN_IN == 8 and keep.GRACE_S == 60.0
