"""`csirt decode`: the fixed shapes of its output, its counts and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import csirt
from csirt.cli import main
from csirt.cli.common import guarded
from csirt.model import ndjson
from csirt.model.batch import Batch
from tests.decode.netflow.datagrams import block, ipfix, template, v5, v5_record, v9, v9_options, word

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FIELDS = block(2, template(300, (8, 4), (1, 4), (2, 4)))


def write(folder: Path, **files: bytes) -> list[str]:
    """Raw datagrams, one a file, named in order."""
    paths = []
    for name, payload in files.items():
        path = folder / f"{name}.dat"
        path.write_bytes(payload)
        paths.append(str(path))
    return paths


def run(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = guarded(main, ["decode", *args])
    return code, *capfd.readouterr()


def test_lines_in_file_and_record_order_over_datasets(tmp_path: Path, capfd: Any) -> None:
    """A template in one file counts for the next; options and flows come in the order of the bytes."""
    options = block(1, v9_options(301, [(1, 4)], [(34, 4)]))
    files = write(
        tmp_path,
        a=v9(block(0, template(300, (1, 4))), options),
        b=v9(block(300, word(7)), block(301, word(0, 10)), block(300, word(8)), sequence=1),
    )
    code, out, err = run(capfd, *files)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and not err
    assert [row["event"]["dataset"] for row in rows] == ["flow", "flow_options", "flow"]
    assert [row["event"]["id"][-4:] for row in rows] == ["0000", "0001", "0002"]
    assert [row["netflow"].get("octet_delta_count") for row in rows] == [7, None, 8]
    _, only, _ = run(capfd, *files, "--dataset", "flow_options")
    assert only.splitlines() == [out.splitlines()[1]]


def test_statistics(tmp_path: Path, capfd: Any) -> None:
    """csirt.decode-stats/1: datagrams = decoded + held + expired + dropped, raw sums, errors with file and frame."""
    files = write(
        tmp_path,
        a=ipfix(FIELDS, block(300, word(1, 100, 10))),
        b=ipfix(block(999, word(1))),
        c=b"\x00\x0a\x00\x01" + bytes(30),
    )
    stats = tmp_path / "stats.json"
    code, _, err = run(capfd, *files, "--stats", str(stats), "--as", "netflow")
    document = json.loads(stats.read_text())
    assert code == 7 and "malformed" in err
    assert document == {
        "schema": "csirt.decode-stats/1",
        "datagrams": 3,
        "decoded": 1,
        "records": {"flow": 1, "flow_options": 0},
        "templates": 1,
        "held": 1,
        "expired": 0,
        "skipped": 0,
        "octets": 100,
        "packets": 10,
        "dropped": {"malformed": 1},
        "errors": [{"file": files[2], "frame": 0, "offset": 0, "reason": "malformed"}],
    }
    schema = json.loads((Path(csirt.__file__).parent / "schemas" / "decode-stats-1.json").read_text())
    assert set(document) == set(schema["properties"]) == set(schema["required"])


def test_exit_codes(tmp_path: Path, capfd: Any) -> None:
    """0 all decoded, 7 some held, 1 nothing decodable, 3 no such file, 2 a form that cannot hold the rows."""
    good, held = write(tmp_path, good=v5([v5_record()]), held=ipfix(block(300, word(1, 2, 3))))
    assert run(capfd, good)[0] == 0
    assert run(capfd, good, held)[0] == 7
    assert run(capfd, held)[0] == 1
    [part] = write(tmp_path, part=v9(block(0, template(300, (1, 4))), block(300, word(7)), block(999, word(1))))
    code, out, _ = run(capfd, part)
    assert code == 7 and len(out.splitlines()) == 1  # one set waits for its template, the other gave a record
    assert run(capfd, str(tmp_path / "missing.pcap"))[0] == 3
    behind, short = write(tmp_path, behind=v5([v5_record()]) + b"\1", short=v5([v5_record(), v5_record()])[:-1])
    assert run(capfd, behind)[0] == 0  # every announced record is there
    assert run(capfd, short)[0] == 7  # a record is not
    both = write(tmp_path, both=v9(block(0, template(300, (1, 4))), block(1, v9_options(301, [(1, 4)], [(34, 4)])),
                                   block(300, word(7)), block(301, word(0, 10))))  # fmt: skip
    code, _, err = run(capfd, *both, "--to", "parquet", "-o", str(tmp_path / "x.parquet"))
    assert code == 2 and "--dataset" in err and not (tmp_path / "x.parquet").exists()


def test_parquet_and_arrow_hold_the_same_rows(tmp_path: Path, capfd: Any) -> None:
    """Templates with different columns end in one table, null where a row has none."""
    files = write(tmp_path, a=v5([v5_record(), v5_record()]), b=ipfix(FIELDS, block(300, word(1, 100, 10))))
    for form in ("parquet", "arrow"):
        target = tmp_path / f"out.{form}"
        assert run(capfd, *files, "--to", form, "-o", str(target))[0] == 0
        table = pq.read_table(target) if form == "parquet" else pa.ipc.open_file(target).read_all()
        assert table.num_rows == 3 and table["source.port"].to_pylist() == [1024, 1024, None]


def variety(folder: Path) -> list[str]:
    """Files whose flows differ in columns, types, families and what is null in them."""
    texts = ((8, 4), (12, 4), (96, 65535), (82, 5), (56, 6), (61, 1), (4, 1), (1, 8), (34, 4), (152, 8), (153, 8))
    numbers = (
        (27, 16),
        (28, 16),
        (139, 2),
        (4, 1),
        (434, 2),
        (320, 4),
        (276, 1),
        (90, 8),
        (2, 3),
        (7, 2),
        (999, 65535),
    )
    head = block(2, template(300, *texts) + template(301, *numbers))
    moment = struct.pack(">QQ", 1_700_000_000_123, 1_700_000_001_456)
    rows = [
        word(0x0A000001, 0x0A000002) + b"\x05=cmd(" + b"+1\0\0\0" + bytes(range(6)) + bytes([n, 6])
        + struct.pack(">QI", 2**40 + n, n) + moment
        for n in range(3)
    ]  # fmt: skip
    other = b"".join(
        bytes([0xFD, *([n] * 15)]) * 2 + struct.pack(">HBhfB", 0x8000 + n, 58, -n, n / 3, 1 + n % 2) + bytes([n] * 8)
        + struct.pack(">I", n)[1:] + b"\x01\xbb" + bytes([n]) + b"\xff" * n
        for n in range(4)
    )  # fmt: skip
    return write(
        folder,
        a=v5([v5_record(), v5_record(protocol=1, dport=0x0803)], sampling=1 << 14 | 10),
        b=ipfix(head, block(300, b"".join(rows), pad=False)),
        c=ipfix(block(301, other, pad=False), block(300, rows[0], pad=False), sequence=3),
    )


def test_all_forms_hold_the_same(tmp_path: Path, capfd: Any) -> None:
    """NDJSON, CSV, Parquet and Arrow have the same values in the same order; pyarrow and polars read the files."""
    files = variety(tmp_path)
    shared = [*sorted((DATA / "netflow" / "vendors" / "pcap").glob("IPFIX-[MPV]*.pcap")), DATA / "none"]
    for names in (files, *[[str(path)] for path in shared if path.is_file()]):
        code, out, _ = run(capfd, *names, "--dataset", "flow", "--as", "netflow")
        assert code == 0 and out
        frames = []
        for form in ("parquet", "arrow"):
            target = tmp_path / f"all.{form}"
            assert run(capfd, *names, "--dataset", "flow", "--as", "netflow", "--to", form, "-o", str(target))[0] == 0
            table = pq.read_table(target) if form == "parquet" else pa.ipc.open_file(target).read_all()
            lines = [line.decode() for line in ndjson.render(Batch("flow", table.combine_chunks()))]
            assert lines == out.splitlines()
            frames.append(pl.read_parquet(target) if form == "parquet" else pl.read_ipc(target))
        assert frames[0].equals(frames[1]) and len(frames[0]) == len(out.splitlines())
        rows = list(
            csv.DictReader(io.StringIO(run(capfd, *names, "--dataset", "flow", "--as", "netflow", "--to", "csv")[1]))
        )
        assert [as_cells(json.loads(line), rows[0]) for line in out.splitlines()] == rows


def as_cells(event: dict[str, Any], names: Any) -> dict[str, str]:
    """An event as CSV has it: what looks like a formula is disarmed, lists are joined by blanks."""
    cells = dict.fromkeys(names, "")

    def put(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                put(value, f"{prefix}{key}.")
            elif isinstance(value, list):
                cells[prefix + key] = " ".join(str(item) for item in value)
            elif isinstance(value, str):
                cells[prefix + key] = f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
            else:
                cells[prefix + key] = json.dumps(value)

    put(event, "")
    return cells


def test_csv_is_safe_for_spreadsheets(tmp_path: Path, capfd: Any) -> None:
    """Texts from the network that look like formulas are disarmed."""
    text = b"=cmd()"
    files = write(tmp_path, a=ipfix(block(2, template(300, (96, 6))), block(300, text)))
    code, out, _ = run(capfd, *files, "--to", "csv")
    header, row = out.splitlines()
    cells = dict(zip(header.split(","), row.split('","'), strict=False))
    assert code == 0 and "'=cmd()" in row and '"network.application"' in cells


def test_the_same_bytes_give_the_same_text_under_any_name(tmp_path: Path, capfd: Any) -> None:
    """The output does not depend on paths."""
    [one] = write(tmp_path, a=v5([v5_record()]))
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "b.bin"
    other.write_bytes(Path(one).read_bytes())
    assert run(capfd, one)[1] == run(capfd, str(other))[1]


def test_an_ordinary_log_is_decoded_whole(tmp_path: Path, capfd: Any) -> None:
    """Lines a parser ignores and other programs' lines are counted and no failure; a line that is none is one."""
    line = "2024-05-01T10:00:0{}+02:00 mx {}"
    lines = [
        line.format(0, "postfix/smtpd[7]: connect from a.example[192.0.2.1]"),
        line.format(1, "dovecot: imap-login: Login"),
        line.format(2, "postfix/smtpd[7]: 3F2A1C0D: client=a.example[192.0.2.1]"),
        line.format(3, "postfix/qmgr[8]: 3F2A1C0D: from=<post@a.example>, size=9, nrcpt=1 (queue active)"),
        line.format(
            4,
            "postfix/smtp[9]: 3F2A1C0D: to=<post@b.example>, relay=b.example[192.0.2.2]:25, delay=1, "
            "delays=1/0/0/0, dsn=2.0.0, status=sent (250 ok)",
        ),
        line.format(5, "postfix/qmgr[8]: 3F2A1C0D: removed"),
    ]
    path = tmp_path / "mail.log"
    path.write_text("\n".join(lines) + "\n")
    code, out, _ = run(capfd, str(path), "--parser", "postfix")
    assert code == 0 and len(out.splitlines()) == 1
    path.write_text("\n".join([*lines, "what is this"]) + "\n")
    assert run(capfd, str(path), "--parser", "postfix")[0] == 7


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared fixtures are not here")
def test_a_capture_counts_its_packets_once_and_in_both_directions(tmp_path: Path, capfd: Any) -> None:
    """`datagrams` is the number of packets although tshark looks at them a second time; `packets` is the sum of both
    directions of the flows."""
    stats = tmp_path / "stats.json"
    code, out, _ = run(capfd, str(DATA / "pcaps/zeek/dns_long-connection.pcap"), "--stats", str(stats))
    document = json.loads(stats.read_text())
    assert code == 0 and document["records"]["dns"] == 22 and len(out.splitlines()) == 28
    assert document["datagrams"] == document["decoded"] == document["packets"] == 22
