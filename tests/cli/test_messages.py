"""`csirt messages`: what the desk tells a caller, from stored envelopes of handlers and relays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.cli import common, main
from csirt.cli import messages as command
from csirt.clock import DAY, Frozen, iso, parse_iso
from csirt.config import Config
from csirt.control.verbs import Context, call
from csirt.errors import CsirtError, NotFound, Usage
from csirt.messages import text as say
from csirt.model.batch import Batch
from csirt.model.chunk import Position
from csirt.model.principal import Principal
from csirt.secrets import key_file
from tests.conform import check
from tests.decode import logs

NINE = parse_iso("2026-03-10T08:12:00Z")
ONE = "7104acf8-21e9-4ee7-b894-d413a00a8881"
TWO = "8204acf8-21e9-4ee7-b894-d413a00a8882"
MINUTE = 60


def event(
    minutes: float, name: str, message: str, *, ref: str | None = None, action: str = "Henvisning", **more: Any
) -> str:
    """A handler's line so many minutes after 09:12 in Oslo."""
    forward = {"from_her": 910170, "to_her": 910011}
    back = {"from_her": 910011, "to_her": 910170}
    parties = back if ref else forward
    time = iso(NINE + int(minutes * 60e6))
    body = {"ts": time, "relay": "edi-relay01", "event": name, "message_id": message, "ref_to_message_id": ref}
    return json.dumps({**body, "service": "Henvisning", "action": action, **parties, **more})


def handler_log() -> list[str]:
    """One referral that waits for its receipt, one rejected, three answered after 20 minutes, a reply."""
    sent, got = "MESSAGE_SENT_VIA_SMTP", "MESSAGE_RECEIVED_VIA_SMTP"
    lines = [
        event(0, got, ONE, queue_id="7EE668039", mime_message_id="<7104acf8-21e9@m017.example>", conversation_id="c-1"),
        event(1, got, "a1-1", ref=ONE, action="Acknowledgment"),
        event(2, sent, TWO),
        event(3, got, "a1-2", ref=TWO, action="AppRec", apprec_status=2, error_code="E35"),
    ]
    for number in range(3):
        lines.append(event(-600 + number, sent, f"00-{number}"))
        lines.append(
            event(-600 + number + 20, got, f"11-{number}", ref=f"00-{number}", action="AppRec", apprec_status=1)
        )
    reply = json.loads(event(30, sent, "99-1"))
    lines.append(json.dumps(reply | {"ref_to_message_id": "00-0", "from_her": 910011, "to_her": 910170}))
    return sorted(lines, key=lambda line: json.loads(line)["ts"])


def relay_log() -> list[str]:
    """The relay's lines of the first referral, and of a message no handler saw."""
    stamp = "2026-03-10T08:12:3{}Z edi-relay01 postfix/{}[1]: {}"
    made = []
    for queue, mime in (("7EE668039", "7104acf8-21e9@m017.example"), ("8FF668040", "0bad@x.example")):
        made += [
            stamp.format(1, "smtpd", f"{queue}: client=msh.m017.example[10.37.0.25]"),
            stamp.format(1, "cleanup", f"{queue}: message-id=<{mime}>"),
            stamp.format(2, "smtp", f"{queue}: to=<m001@edi.helsenett.example>, relay=mx[10.21.0.25]:25, delay=1, "
                         "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"),
            stamp.format(2, "qmgr", f"{queue}: removed"),
        ]  # fmt: skip
    return made


class Store:
    """Decoded logs as a store gives them, and the audit."""

    def __init__(self) -> None:
        self.audit: list[Any] = []
        self.states: dict[str, bytes] = {}
        self.batches: list[Batch] = []
        for name, lines in (("msh", handler_log()), ("postfix", relay_log())):
            decode = logs.decoder(name)
            self.batches += decode.decode(logs.chunk(list(lines))).batches + decode.finish().batches

    def positions(self) -> list[Position]:
        return [Position("msh", "f")]

    def state(self, key: str) -> bytes | None:
        return self.states.get(key)

    def append_audit(self, entries: list[Any]) -> None:
        self.audit += entries

    def events(self, dataset: str, *, since: int, until: int | None, columns: list[str]) -> Iterator[Batch]:
        for batch in self.batches:
            if batch.dataset == dataset:
                times = batch.table.column("@timestamp").cast("int64").to_numpy()
                keep = (times >= since) & (times < (until if until is not None else 2**62))
                yield Batch(dataset, batch.table.filter(keep))


class Desk:
    """Runs verbs and the real commands on the store, at 10:00."""

    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.config = Config(state=str(folder))
        self.role = "analyst"
        self.now = NINE + 48 * MINUTE * 1_000_000

    def call(self, verb: str, **arguments: Any) -> Any:
        clock = Frozen(self.now)
        who = Principal("anna", 1000, self.role)
        context = Context(self.store, self.config, who, clock, {}.get, "en")  # type: ignore[arg-type]
        return json.loads(json.dumps(call(context, verb, arguments)))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose commands need no daemon."""
    made = Desk(tmp_path)
    monkeypatch.setattr(common.Settings, "client", lambda self: made)
    monkeypatch.setattr(common.Settings, "raw_config", lambda self: {"timezone": "Europe/Oslo"})
    return made


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `csirt messages …`."""
    code = common.guarded(main, ["messages", *arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize("id", [ONE, "a1-1", "c-1", "7EE668039", f"<{'7104acf8-21e9@m017.example'}>"])
def test_any_id_leads_to_the_message(desk: Desk, id: str) -> None:
    """Message, receipt, conversation, queue and MIME id all name the same message."""
    (item,) = desk.call("messages.trace", id=id)["items"]
    assert item["message_id"] == ONE and item["state"] == "acknowledged" and item["normal_s"] == 1200
    assert [(hop["at"], hop["step"]) for hop in item["hops"]] == [
        ("handler", "received"), ("relay", "delivered"), ("handler", "acknowledged")
    ]  # fmt: skip
    assert [hop["gap_s"] for hop in item["hops"]] == [None, 32.0, 28.0]


def test_the_caller_is_told_in_one_sentence(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """What was received, acknowledged and is missing, and what is normal for the receiver; in both languages."""
    monkeypatch.setattr(command, "is_terminal", lambda: True)
    _, out, _ = run(["trace", ONE, "--lang", "nb"], capsys)
    said = "Mottatt 09:12, transportkvittert 09:13, applikasjonskvittering mangler (mottakers normal: 20 min)."
    assert said in " ".join(out.split())
    _, out, _ = run(["trace", ONE, "--lang", "en"], capsys)
    said = "Received 09:12, transport-acked 09:13, application receipt missing (receiver's normal: 20 min)."
    assert said in " ".join(out.split())
    assert "+32 s  relay edi-relay01: delivered (2.0.0)" in out
    _, out, _ = run(["trace", TWO], capsys)
    assert "rejected by the receiver 09:15 (E35)" in out


def test_a_reply_is_a_message_of_its_own(desk: Desk) -> None:
    """A message that refers to another is no receipt of it."""
    (item,) = desk.call("messages.trace", id="99-1")["items"]
    assert item["state"] == "sent" and len(item["hops"]) == 1
    (item,) = desk.call("messages.trace", id="00-0")["items"]
    assert item["state"] == "confirmed" and len(item["hops"]) == 2


def test_a_message_only_relays_saw_is_still_found(desk: Desk) -> None:
    """Its hops are shown, its parties are unknown."""
    (item,) = desk.call("messages.trace", id="0bad@x.example")["items"]
    assert item["state"] == "relayed" and [hop["step"] for hop in item["hops"]] == ["delivered"]


def test_by_party_and_time(desk: Desk) -> None:
    """Without an id: everything from or to a HER-id, or since a time, oldest first."""
    found = desk.call("messages.trace", her="910011")["items"]
    assert [item["message_id"] for item in found] == ["00-0", "00-1", "00-2", ONE, TWO, "99-1"]
    recent = desk.call("messages.trace", since="1h", limit=1)
    assert recent["count"] == 1 and recent["truncated"] and recent["items"][0]["message_id"] == ONE


def test_pending_lists_what_lacks_its_receipt(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Oldest first, gathered by receiver; a rejected message has its receipt."""
    document = desk.call("messages.pending")
    assert [item["message_id"] for item in document["items"]] == [ONE, "99-1"]
    assert document["receivers"] == [
        {"her": "910011", "member": None, "pending": 1, "oldest": "2026-03-10T08:12:00Z", "normal_s": 1200},
        {"her": "910170", "member": None, "pending": 1, "oldest": "2026-03-10T08:42:00Z", "normal_s": None},
    ]
    code, out, _ = run(["pending", "--her", "910011"], capsys)
    assert code == 0
    assert out.split("\t")[:5] == [ONE, "2026-03-10T08:12:00Z", "910170", "910011", "Henvisning"]


def test_what_an_old_replay_holds_is_shown(desk: Desk) -> None:
    """Without --since the week before the last event counts, not the week before today: no clock in the answer."""
    today = desk.call("messages.pending")
    desk.now += 400 * DAY
    assert desk.call("messages.pending")["count"] == 0
    desk.store.states["time:msh"] = json.dumps({"greatest": parse_iso("2026-03-10T09:00:00Z")}).encode()
    assert desk.call("messages.pending") == today


def test_the_documents_keep_to_their_schemas(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Every JSON document is what its schema file says."""
    for arguments in (["trace", ONE], ["trace", "0bad@x.example"], ["pending"]):
        _, out, _ = run([*arguments, "--json"], capsys)
        check(json.loads(out))


def test_an_id_stored_as_a_pseudonym_is_found_by_what_the_caller_says(desk: Desk, tmp_path: Path) -> None:
    """The caller reads an id with a name in it; it is looked up as it was stored, and never shown."""
    key_file(tmp_path / "pseudonym.key")
    (tmp_path / "pseudonym.key").write_bytes(b"k" * 32)
    line = event(5, "MESSAGE_SENT_VIA_SMTP", "ola.nordmann@lege.example")
    desk.store.batches += logs.decoder("msh").decode(logs.chunk([line], segment="00000000000000bb")).batches
    (item,) = desk.call("messages.trace", id="<ola.nordmann@lege.example>")["items"]
    assert item["message_id"].startswith("p-") and "ola" not in json.dumps(item)


def test_what_cannot_be_found_says_what_to_try(desk: Desk) -> None:
    """An unknown id, and a question without any."""
    with pytest.raises(NotFound, match="--since"):
        desk.call("messages.trace", id="nothing")
    with pytest.raises(Usage, match="--her"):
        desk.call("messages.trace")


def test_looking_leaves_an_access_entry_and_needs_the_right(desk: Desk) -> None:
    """Who looked for what is in the audit; a role without the right sees nothing, and that is in the audit too."""
    desk.call("messages.trace", id=ONE)
    assert [(entry.category, entry.detail["rows"]) for entry in desk.store.audit] == [("access", 1)]
    desk.role = "operator"
    with pytest.raises(CsirtError):
        desk.call("messages.pending")
    assert desk.store.audit[-1].category == "refused"


def test_every_step_has_a_name_in_both_languages() -> None:
    """What a parser can derive, people can read."""
    for name in ("postfix", "msh"):
        for rule in logs.parser(name).derive["event.action"]:
            for lang in ("nb", "en"):
                assert say(f"messages.step_{rule.value}", lang)
