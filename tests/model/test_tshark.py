"""The fields file and tshark's argument list."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.content import BadContent
from csirt.model import tshark


def test_the_shipped_file_has_the_protocols_of_the_configuration() -> None:
    """Every protocol the default configuration dissects is in the fields file, and every column has one place."""
    fields = tshark.load()
    assert fields.unknown(["dns", "tls", "http"]) == []
    assert fields.unknown(["dns", "gopher"]) == ["gopher"]
    columns = fields.columns(["http", "dns", "tls"])
    assert columns == fields.columns(["dns", "tls", "http"])
    assert columns[0] == "frame.number"
    assert len(columns) == len(set(columns))
    assert "tls.handshake.type" not in fields.columns(["dns"])


def test_nothing_private_is_asked_for() -> None:
    """Cookies, credentials, bodies, text records and certificates are never requested from tshark."""
    columns = " ".join(tshark.load().columns(["dns", "tls", "http"]))
    for word in ("cookie", "auth", "file_data", "dns.txt", "x509", "query", "referer", "full_uri"):
        assert word not in columns


def test_arguments_are_one_pass() -> None:
    """One -r, one -Y that joins the wanted filters, fields in column order, file names never read as options."""
    fields = tshark.load()
    arguments = tshark.tshark_arguments(fields, Path("-x.pcap"), ["dns", "http"], binary="ts")
    assert arguments[:4] == ["ts", "-n", "-r", "-x.pcap"]
    assert arguments.count("-Y") == 1
    display = arguments[arguments.index("-Y") + 1]
    assert "dns" in display and "http.request" in display and "tls" not in display
    asked = [arguments[index + 1] for index, item in enumerate(arguments) if item == "-e"]
    assert asked == fields.columns(["dns", "http"])


def test_environment_drops_a_persons_profile() -> None:
    """A user's Wireshark preferences and plugins cannot change what is decoded."""
    kept = tshark.environment({"PATH": "/bin", "WIRESHARK_PLUGIN_DIR": "x", "WIRESHARK_CONFIG_DIR": "y"})
    assert kept["PATH"] == "/bin"
    assert "WIRESHARK_PLUGIN_DIR" not in kept
    assert kept["WIRESHARK_CONFIG_DIR"] != "y"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("common: [frame.number]\n", 1),
        ("common: [ip.src]\nprotocols: {}\n", 1),
        ("common: [frame.number]\nprotocols:\n  dns: {fields: [a]}\n", 3),
        ("common: [frame.number]\nprotocols:\n  dns:\n    filter: dns\n    fields: 7\n", 5),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    """A fields file that lacks something names the file and the line."""
    path = tmp_path / "fields.yml"
    path.write_text(text)
    with pytest.raises(BadContent) as caught:
        tshark.load(path)
    assert caught.value.problem.line == line
