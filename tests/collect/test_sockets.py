"""Addresses, receive buffers, and what the kernel says it dropped."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from csirt.collect import sockets
from csirt.errors import Usage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2055", ("127.0.0.1", 2055)),
        ("[::1]:514", ("::1", 514)),
        ("[::]:0", ("::", 0)),
        (":514", ("::", 514)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """IPv4, IPv6 in brackets, and a port alone for every address."""
    assert sockets.parse_listen(text) == expected


@pytest.mark.parametrize("text", ["2055", "::1:2055", "127.0.0.1:", "127.0.0.1:70000", "[::1]2055", ""])
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused with the form it should have."""
    with pytest.raises(Usage, match="write ADDRESS:PORT"):
        sockets.parse_listen(text)


def test_drops_are_read_from_the_row_of_our_own_socket(tmp_path: Path) -> None:
    """The row is found by inode, in either table; a table that is missing or strange gives nothing."""
    head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when uid timeout inode ref pointer drops\n"
    row = " 61: 0100007F:080F 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 {} 2 0000000000000000 {}\n"
    (tmp_path / "udp").write_text(head + row.format(41, 7) + row.format(42, 9))
    (tmp_path / "udp6").write_text(head + row.format(43, 11) + "half a row\n")
    assert [sockets.table_drops(number, tmp_path) for number in ("42", "43", "44")] == [9, 11, None]
    assert sockets.table_drops("42", tmp_path / "none") is None


def test_a_drop_counter_that_begins_anew_is_counted_whole() -> None:
    """It goes on over a restart, wraps around at 32 bits, and one of another socket with the same inode starts at 0."""
    assert [sockets.grown(12, 5), sockets.grown(5, 5), sockets.grown(3, (1 << 32) - 2), sockets.grown(3, 1000)] == [
        7, 0, 5, 3,
    ]  # fmt: skip


def test_a_larger_buffer_is_never_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the privilege to pass the system's limit, what a socket unit granted stays; less is raised to it."""
    monkeypatch.setattr(sockets, "SO_RCVBUFFORCE", 9999)  # refused, as without CAP_NET_ADMIN
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        assert sockets.set_buffer(opened, 100_000) == 100_000
        assert sockets.set_buffer(opened, 50_000) == 100_000
        monkeypatch.setattr(sockets, "_greatest", lambda: 60_000)
        assert sockets.set_buffer(opened, 1 << 30) == 100_000


def test_our_own_socket_is_in_the_kernels_table() -> None:
    """On this machine the table can be read."""
    with sockets.open_socket("127.0.0.1:0", "udp") as opened:
        assert sockets.table_drops(sockets.inode(opened)) == 0
        assert sockets.name_of(opened).startswith("udp 127.0.0.1:")
