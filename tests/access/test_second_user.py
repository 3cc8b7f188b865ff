"""What a second user of the machine may not do."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from csirt.control.client import SocketClient
from tests.corpus import Inputs, make
from tests.live import as_user, daemon

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="optional: only root can become another user")
NOBODY = 65534
DAEMON = 1  # a real account that exists everywhere, given a role below


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[SocketClient, Path]]:
    """A daemon with a case and a plan; `nobody` has no role, the account of uid 1 is an approver."""
    # pytest closes its own folders to others, again and again while other runs start.
    folder = Path(tempfile.mkdtemp(prefix="csirt-live-"))
    folder.chmod(0o755)
    inputs: Inputs = make(folder, flows=3_000)
    text = inputs.config.read_text()
    sources = "".join(
        f'[[sources]]\nid = "s{number}"\ntype = "{kind}"\npath = "{path}"\n{extra}'
        for number, (path, kind, extra) in enumerate(
            [(path, "netflow", "") for path in inputs.files if path.name.startswith("edge")]
            + [
                (folder / "mail.log", "log", 'parser = "postfix"\n'),
                (folder / "msh.ndjson", "log", 'parser = "msh"\n'),
            ]
        )
    )
    name = pwd.getpwuid(DAEMON).pw_name
    users = f'[control.users]\n{name} = "approver"\n'
    inputs.config.write_text(text.replace("[decode]", users + "[detect]\nidle_after = '1s'\n[decode]") + sources)
    socket = folder / "csirt.sock"
    with daemon(inputs.config, socket, log=folder / "daemon.log") as client:
        from tests.live import until

        until(lambda: bool(waiting(client)), 60, lambda: (folder / "daemon.log").read_text()[-3_000:])
        yield client, folder
    shutil.rmtree(folder)


def waiting(client: SocketClient) -> list[dict[str, object]]:
    """Plans that await approval."""
    items: list[dict[str, object]] = client.call("playbooks.runs")["items"]
    return [item for item in items if item["state"] == "awaiting_approval"]


def refusals(client: SocketClient) -> list[dict[str, object]]:
    """Refused tries in the audit."""
    items = list(client.stream("audit.list"))
    return [item for item in items if item["category"] == "refused"]


def test_a_user_without_a_role_sees_nothing_and_the_try_is_audited(live: tuple[SocketClient, Path]) -> None:
    """The socket is open to ask, the role decides, the refusal is kept."""
    client, folder = live
    before = len(refusals(client))
    answer = as_user(NOBODY, lambda: str(SocketClient(str(folder / "csirt.sock")).call("cases.list")))
    assert answer.startswith("NotAllowed")
    after = refusals(client)
    assert len(after) == before + 1 and after[-1]["actor"] == pwd.getpwuid(NOBODY).pw_name


def test_nobody_can_approve_as_someone_else(live: tuple[SocketClient, Path]) -> None:
    """`--as` without the right to delegate is refused and audited with who really asked."""
    client, folder = live
    run = waiting(client)[0]["id"]
    before = len(refusals(client))

    def attempt() -> str:
        other = SocketClient(str(folder / "csirt.sock"), as_user="root")
        return str(other.call("playbooks.approve", run=run))

    assert as_user(NOBODY, attempt).startswith("NotAllowed")
    assert as_user(DAEMON, attempt).startswith("NotAllowed")
    assert len(refusals(client)) == before + 2
    assert run in [item["id"] for item in waiting(client)]


def test_nobody_approves_their_own_request(live: tuple[SocketClient, Path]) -> None:
    """Who asked for a plan cannot approve it; someone else with the right can."""
    client, folder = live
    case = client.call("cases.list")["items"][0]["id"]
    requested = client.call("playbooks.run", playbook="PB-LATERAL", case=case)
    before = len(refusals(client))
    with pytest.raises(Exception, match=r"(?i)someone other|requested"):
        client.call("playbooks.approve", run=requested["id"])
    assert len(refusals(client)) == before + 1
    answer = as_user(
        DAEMON, lambda: str(SocketClient(str(folder / "csirt.sock")).call("playbooks.approve", run=requested["id"]))
    )
    assert "approved" in answer or "done" in answer, answer


def test_the_store_cannot_be_read_or_written_by_another_user(live: tuple[SocketClient, Path]) -> None:
    """Files belong to the daemon's user alone."""
    _, folder = live
    store = folder / "state" / "store"

    def attempt() -> str:
        return " ".join(str(os.access(path, os.R_OK | os.W_OK)) for path in [store, store / "catalogue.sqlite"])

    assert "True" not in as_user(NOBODY, attempt)


def test_a_second_owner_is_refused(live: tuple[SocketClient, Path]) -> None:
    """A store in use cannot be opened directly: exit code 5."""
    import subprocess
    import sys

    _, folder = live
    words = [sys.executable, "-m", "csirt", "cases", "list", "--store", str(folder / "state" / "store")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
