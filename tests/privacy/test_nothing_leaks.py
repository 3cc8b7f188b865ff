"""Nothing that was planted in any source is found outside the spool: in no file, no column, no state, no output."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csirt.control.client import SocketClient
from csirt.demo.show import free_port
from tests.corpus import Inputs, make
from tests.live import daemon, until
from tests.privacy import planted, sources
from tests.spool import write_segment


def csirt(*words: str, config: Path) -> bytes:
    """Everything a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "csirt", *words, "--config", str(config)], capture_output=True, check=False, timeout=120
    )
    assert done.returncode in (0, 3, 7), (words, done.stderr.decode())
    return done.stdout + done.stderr


def leaks(folder: Path, *, outside: tuple[str, ...] = ()) -> list[str]:
    """`path: text` of what is found in files below a folder; Parquet is read too, for its columns are compressed."""
    found: list[str] = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = str(path.relative_to(folder))
        if name.startswith(outside):
            continue
        found += [f"{name}: {text}" for text in planted.found(path.read_bytes())]
        if path.suffix == ".parquet":
            found += [f"{name} (columns): {text}" for text in planted.found(columns(path))]
    return found


def columns(path: Path) -> bytes:
    """All values of a Parquet file as text; octets that were written as hexadecimal digits are read back as octets."""
    frame = pl.from_arrow(pq.read_table(path))
    assert isinstance(frame, pl.DataFrame)
    out = b""
    for name in frame.columns:
        values = frame[name].explode() if frame[name].dtype == pl.List else frame[name]
        texts = [str(value) for value in values.unique().to_list() if value is not None]
        out += "\n".join([name, *texts]).encode("utf-8", "replace")
        for value in texts:
            if len(value) % 2 == 0 and set(value) <= set("0123456789abcdef"):
                out += b"\n" + bytes.fromhex(value)
    return out


def blobs(store: Path) -> bytes:
    """Every value of every table, as SQLite gives it: states, pending hits, documents, counters."""
    import apsw

    connection = apsw.Connection(str(store / "catalogue.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    out: list[bytes] = []
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            out += [value if isinstance(value, bytes) else str(value).encode("utf-8", "replace") for value in row]
    connection.close()
    return b"\n".join(out + [unpacked(value) for value in out])


def unpacked(value: bytes) -> bytes:
    """A blob's content where it is Arrow IPC or a compressed stream; nothing otherwise."""
    for magic, kind in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x8b", "gzip")):
        if value.startswith(magic):
            value = pa.CompressedInputStream(pa.BufferReader(value), kind).read()
    for read in (pa.ipc.open_file, pa.ipc.open_stream):
        try:
            table = read(pa.BufferReader(value)).read_all()
        except (pa.ArrowInvalid, OSError):
            continue
        return "\n".join(str(column.to_pylist()) for column in table.columns).encode("utf-8", "replace")
    return value


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The usual inputs, and beside them every source with planted texts."""
    made = make(tmp_path_factory.mktemp("inputs"), flows=2_000)
    logs = planted.write(made.folder)
    segment, trace = made.folder / "planted.pcapng", made.folder / "planted.pcap"
    moment = sources.DAY_S * 1_000_000
    write_segment(segment, "127.0.0.50", [(moment, raw) for raw in sources.netflow()], uuid=bytes([9] * 16))
    sources.capture(trace)
    # RFC 3164 lines carry no year: the same with ISO times, so that every line is decoded in any year.
    dated = made.folder / "planted-mail.log"
    lines = [line.removeprefix(planted.POSTFIX_DAY) for line in planted.postfix()]
    dated.write_text("\n".join(f"2026-03-10T{line[:8]}+01:00{line[8:]}" for line in lines) + "\n")
    return Inputs(made.folder, made.config, [*made.files, segment, trace, dated, logs["postfix"], logs["msh"]])


@pytest.fixture(scope="module")
def replayed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A store made by replay, and what replay printed."""
    store = tmp_path_factory.mktemp("replayed") / "store"
    said = csirt("replay", *map(str, inputs.files), "--store", str(store), "--json", config=inputs.config)
    return store, said


def test_what_is_planted_is_seen_by_the_search(tmp_path: Path) -> None:
    """The search finds every planted text where it is: as it is, in UTF-16, in a compressed column, in octets."""
    text = planted.NUMBERS[0]
    (tmp_path / "plain").write_text(text)
    (tmp_path / "wide").write_bytes(text.encode("utf-16-le"))
    pq.write_table(pa.table({"a": ["x" * 99, text], "b": [text.encode().hex(), None]}), tmp_path / "t.parquet")
    found = leaks(tmp_path)
    assert {item.partition(":")[0] for item in found} == {"plain", "wide", "t.parquet", "t.parquet (columns)"}
    assert len(planted.forbidden()) >= 20
    raw = b"".join(sources.netflow())
    assert set(planted.NUMBERS) <= set(planted.found(raw))


def test_the_planted_sources_are_decoded(replayed: tuple[Path, bytes], inputs: Inputs) -> None:
    """The test would prove nothing if the planted bytes had been refused: they became rows of every dataset."""
    store, _ = replayed
    document = json.loads(csirt("status", "--json", "--store", str(store), config=inputs.config))
    redacted = set(document["redacted"])
    assert {"network.application", "netflow.http_request_target", "netflow.interface_description"} <= redacted
    assert {"dns.question.name", "dns.answers.data", "url.path", "url.domain", "user_agent.original"} <= redacted
    assert "tls.client.server_name" in redacted
    assert any(name.startswith("csirt.edi.") for name in redacted), redacted
    assert any("mail" in name or name.startswith("observer") for name in redacted), redacted
    events = csirt("events", "query", "--jsonl", "--store", str(store), config=inputs.config)
    for kept in (b"7EE668039", b"[user removed]", b"/journal/[id removed]/vis", b"EDI", b"p-"):
        assert kept.lower() in events.lower(), kept


def test_a_replay_leaks_nothing(replayed: tuple[Path, bytes], inputs: Inputs) -> None:
    """Lake, catalogue, states, reports and everything beside them; and what replay printed."""
    store, said = replayed
    assert not leaks(store.parent)
    assert not planted.found(blobs(store))
    assert not planted.found(said)


READS = (
    ("events", "query", "--jsonl"),
    ("events", "query", "--csv"),
    ("events", "query", "--json"),
    ("events", "query", "--top", "email.from.address"),
    ("messages", "pending", "--since", "2026-01-01T00:00Z", "--json"),
    ("messages", "trace", planted.PEOPLE[1], "--since", "2026-01-01T00:00Z", "--json"),
    ("messages", "trace", "--her", "910170", "--since", "2026-01-01T00:00Z", "--json"),
    ("alerts", "list", "--json"),
    ("cases", "list", "--json"),
    ("playbooks", "runs", "--json"),
    ("store", "dump", "--canonical"),
    ("store", "info", "--json"),
    ("status", "--json"),
    ("audit", "list", "--json"),
)


def test_no_command_shows_anything(replayed: tuple[Path, bytes], inputs: Inputs, tmp_path: Path) -> None:
    """Every reading command, the canonical dump, a written Parquet file, a case and a report."""
    store, _ = replayed
    for words in READS:
        said = csirt(*words, "--store", str(store), config=inputs.config)
        # What the caller typed may come back to the caller, in an error.
        assert not set(planted.found(said)) - set(planted.found(" ".join(words).encode())), words
    case = json.loads(csirt("cases", "list", "--json", "--store", str(store), config=inputs.config))["items"][0]
    file = tmp_path / "events.parquet"
    for words in (
        ("cases", "show", case["id"]),
        ("cases", "show", case["id"], "--json"),
        ("events", "query", "--dataset", "mail", "--parquet", str(file)),
        ("report", "build", case["id"], "--member", case["members"][0], "--lang", "nb"),
    ):
        assert not planted.found(csirt(*words, "--store", str(store), config=inputs.config)), words
    assert file.exists()
    assert not leaks(tmp_path)


def test_what_callers_ask_for_is_audited_without_it(replayed: tuple[Path, bytes], inputs: Inputs) -> None:
    """Who asks for a person's mailbox or number leaves an access entry with the question, not with the person."""
    store, _ = replayed
    asked = f'email.from.address:{planted.PEOPLE[0]} "{planted.NUMBERS[1]}"'
    csirt("events", "query", "--where", asked, "--jsonl", "--store", str(store), config=inputs.config)
    entries = json.loads(csirt("audit", "list", "--json", "--store", str(store), config=inputs.config))["items"]
    [entry] = [item for item in entries if "email.from.address:" in json.dumps(item.get("detail"))]
    assert "p-" in json.dumps(entry["detail"]) and "[id removed]" in json.dumps(entry["detail"])
    assert not leaks(store.parent)


@pytest.fixture(scope="module")
def live(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SocketClient, Path, Path]]:
    """A daemon that received all of it by its ports, its watched folder and its logs."""
    folder = tmp_path_factory.mktemp("live")
    ports = {kind: free_port(socket.SOCK_DGRAM) for kind in ("netflow", "syslog")}
    watched = inputs.folder / "watched"
    watched.mkdir()
    config = folder / "csirt.toml"
    config.write_text(live_config(inputs, folder, ports, watched))
    log = folder / "daemon.log"
    with daemon(config, folder / "csirt.sock", log=log) as client:
        (watched / "planted.pcap").write_bytes((inputs.folder / "planted.pcap").read_bytes())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for raw in sources.netflow():
                sender.sendto(raw, ("127.0.0.1", ports["netflow"]))
            for line in (inputs.folder / "planted-mail.log").read_bytes().splitlines():
                sender.sendto(b"<22>" + line, ("127.0.0.1", ports["syslog"]))
            sender.sendto(
                f"<13>hva som helst {planted.FREE_TEXT[0]} {planted.NUMBERS[0]}".encode(),
                ("127.0.0.1", ports["syslog"]),
            )
        until(lambda: arrived(client), 60, lambda: (client.call("status.show"), log.read_text()[-3_000:]))
        yield client, folder, config


def live_config(inputs: Inputs, folder: Path, ports: dict[str, int], watched: Path) -> str:
    """Listeners of both kinds, a watched folder, two logs; the state below `folder`."""
    text = inputs.config.read_text()
    text = text.replace(str(inputs.folder / "state"), str(folder / "state"))
    text = text.replace(str(inputs.folder / "csirt.sock"), str(folder / "csirt.sock"))
    for kind, port in ports.items():
        text += f'[[collect.listeners]]\nsource = "{kind}"\nkind = "{kind}"\nlisten = "127.0.0.1:{port}"\n'
        text += 'receive_buffer = "1MiB"\n'
    rows = [
        ("netflow", "netflow", ""),
        ("syslog", "syslog", 'parser = "postfix"\n'),
        ("watched", "capture", f'path = "{watched}"\nsettle = "200ms"\n'),
        ("relay", "log", f'path = "{inputs.folder / "planted-mail.log"}"\nparser = "postfix"\n'),
        ("handler", "log", f'path = "{inputs.folder / "msh.log"}"\nparser = "msh"\n'),
    ]
    return text + "".join(f'[[sources]]\nid = "{name}"\ntype = "{kind}"\n{more}' for name, kind, more in rows)


def arrived(client: SocketClient) -> bool:
    """Whether rows of every source are committed."""
    document = client.call("status.show")
    events = document["events"]
    held = [item["held"] for item in document["exporters"]]
    wanted = ("flow", "flow_options", "dns", "http", "tls", "mail", "edi")
    return all(events.get(name) for name in wanted) and any(held) and events["mail"] >= 2


def test_a_live_daemon_leaks_nothing(live: tuple[SocketClient, Path, Path], inputs: Inputs) -> None:
    """While it runs, with a datagram that waits for its template and mails that wait for their outcome in its state:
    every file but the spool's, its log, and what commands say. The spool is what is left out, and holds it."""
    _, folder, config = live
    for words in READS:
        if words[0] != "store":
            said = csirt(*words, config=config)
            assert not set(planted.found(said)) - set(planted.found(" ".join(words).encode())), words
    time.sleep(1.5)  # the receivers write their counters once a second
    assert not leaks(folder, outside=("state/spool",))
    assert not planted.found(blobs(folder / "state" / "store"))
    spool = folder / "state" / "spool"
    raw = b"".join(path.read_bytes() for path in spool.rglob("*") if path.is_file())
    assert set(planted.NUMBERS) <= set(planted.found(raw)), "the planted bytes did not come by the spool"
    assert not [path for path in spool.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def test_tshark_leaves_nothing_behind(live: tuple[SocketClient, Path, Path]) -> None:
    """Nobody left a file in the folder for temporary files while captures were dissected."""
    import tempfile

    mine = [
        path for path in Path(tempfile.gettempdir()).glob("*") if path.is_file() and path.stat().st_uid == os.getuid()
    ]
    fresh = [path for path in mine if path.stat().st_mtime > time.time() - 120]
    assert not [path for path in fresh if planted.found(path.read_bytes())]
