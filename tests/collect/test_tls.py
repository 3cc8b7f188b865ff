"""IPFIX and syslog by TLS: who gets in, and what a wrong file or a hanging peer does."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csirt import config
from csirt.clock import SYSTEM
from csirt.collect import streams, tls
from csirt.collect.receiver import Receiver
from csirt.errors import CsirtError
from csirt.metrics import Metrics
from csirt.model import spool as form
from csirt.secrets import place
from tests.collect import certificates
from tests.collect.test_ipfix import found, message, wait

pytestmark = pytest.mark.skipif(certificates.MISSING, reason="openssl is not installed")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a server's and a client's certificate, and a stranger's."""
    folder = tmp_path_factory.mktemp("pki")
    ca = certificates.authority(folder)
    for name in ("server", "client"):
        certificates.certificate(folder, name, ca)
    certificates.certificate(folder, "stranger", certificates.authority(folder, "other"))
    return folder


@pytest.fixture
def start(pki: Path, tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Start a receiver by TLS on `tmp_path/spool`; stopped at the end."""
    made: list[Receiver] = []

    def make(kind: str = "netflow", *, mutual: bool = False) -> Receiver:
        listener = config.Listener(
            source="s", kind=kind, listen="127.0.0.1:0", transport="tls",  # type: ignore[arg-type]
            certificate=str(pki / "server.pem"), key=str(pki / "server.key"),
            client_ca=str(pki / "ca.pem") if mutual else "",
        )  # fmt: skip
        item = Receiver(listener, config.Spool(), tmp_path / "spool", Metrics(), SYSTEM)
        item.start()
        made.append(item)
        return item

    yield make
    for item in made:
        item.stop()


def connect(pki: Path, item: Receiver, *, name: str = "", newest: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """A client that believes our authority, with a certificate of its own or without."""
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    if name:
        context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return context.wrap_socket(socket.create_connection(item.address, timeout=10), server_hostname="127.0.0.1")


def test_ipfix_by_tls(
    start: Callable[..., Receiver], pki: Path, tmp_path: Path, read_blocks: Callable[[bytes], list[bytes]]
) -> None:
    """Messages larger and smaller than a TLS record arrive whole and in order, by TLS 1.2 and 1.3."""
    item = start()
    sent = [message(bytes([n % 251]) * (n * 331 % 60_000)) for n in range(200)]
    for count, newest in ((200, None), (400, ssl.TLSVersion.TLSv1_2)):
        with connect(pki, item, newest=newest) as stream:
            assert stream.version() == ("TLSv1.3" if newest is None else "TLSv1.2")
            stream.sendall(b"".join(sent))
        wait(item, lambda stats, count=count: stats["received"] == count)
    item.stop()
    assert found(tmp_path / "spool/s@tls", read_blocks) == sent * 2
    assert item.stats()["closed"] == {} and item.stats()["listen"][0].startswith("tcp 127.0.0.1:")


def test_senders_show_a_certificate_when_they_must(start: Callable[..., Receiver], pki: Path) -> None:
    """With a client authority nobody gets in without a certificate from it, or with another's; both are counted."""
    item = start(mutual=True)
    for name in ("", "stranger"):
        with pytest.raises(OSError), connect(pki, item, name=name) as stream:
            stream.sendall(message(b"x"))
            stream.recv(1)
            raise ConnectionResetError
    with connect(pki, item, name="client") as stream:
        stream.sendall(message(b"x"))
        wait(item, lambda stats: stats["received"] == 1)
    assert item.stats()["closed"] == {"handshake": 2}


def test_old_versions_are_refused(start: Callable[..., Receiver], pki: Path) -> None:
    """TLS 1.1 is not spoken."""
    item = start()
    with pytest.raises(OSError, match=r"(?i)version|alert|protocol|unexpected"):
        connect(pki, item, newest=ssl.TLSVersion.TLSv1_1)
    with pytest.raises(OSError), socket.create_connection(item.address) as plain:
        plain.sendall(message(b"in clear"))
        plain.settimeout(10)
        while plain.recv(100):
            pass
        raise ConnectionResetError
    wait(item, lambda stats: stats["connections"] == 0)
    assert item.stats()["received"] == 0 and item.stats()["closed"]["handshake"] >= 1


def test_a_handshake_that_hangs_holds_nobody_up(
    start: Callable[..., Receiver], pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers that connect and say nothing, or half a hello, are served nothing and closed in time; others meanwhile
    are."""
    monkeypatch.setattr(streams, "HANDSHAKE", 0.8)
    item = start()
    hanging = [socket.create_connection(item.address) for _ in range(3)]
    hanging[1].sendall(b"\x16\x03\x01\x02\x00\x01")
    begin = time.monotonic()
    with connect(pki, item) as stream:
        stream.sendall(message(b"x"))
        wait(item, lambda stats: stats["received"] == 1)
        assert time.monotonic() - begin < 0.8
        wait(item, lambda stats: stats["closed"] == {"handshake": 3})
        stream.sendall(message(b"y"))
        wait(item, lambda stats: stats["received"] == 2)
    for connection in hanging:
        connection.close()


def test_syslog_by_tls(start: Callable[..., Receiver], pki: Path, tmp_path: Path) -> None:
    """RFC 5425: octet counting over TLS, in a lane of its own."""
    item = start("syslog", mutual=True)
    with connect(pki, item, name="client") as stream:
        stream.sendall(b"".join(b"%d <13>message %d" % (len(b"<13>message %d" % n), n) for n in range(500)))
    wait(item, lambda stats: stats["received"] == 500)
    item.stop()
    (path,) = (tmp_path / "spool/s@tls").glob("*" + form.FRAMES)
    assert path.read_bytes().endswith(b"<13>message 499") and item.stats()["partial"] == 0


def _broken(folder: Path, pki: Path, what: str) -> config.Listener:
    """A listener with one file that will not do."""
    files = {"certificate": pki / "server.pem", "key": pki / "server.key", "client_ca": pki / "ca.pem"}
    bad = folder / f"bad-{what}"
    if what == "other key":
        files["key"] = pki / "client.key"
    elif what == "open key":
        shutil.copy(files["key"], bad)
        bad.chmod(0o644)
        files["key"] = bad
    elif what == "encrypted key":
        words = ["pkey", "-in", str(files["key"]), "-aes256", "-passout", "pass:x", "-out", str(bad)]
        certificates._openssl(*words)
        files["key"] = bad
    else:
        if not what.startswith("no "):
            bad.write_text("-----BEGIN NONSENSE-----\n")
            bad.chmod(0o600)
        files[what.removeprefix("no ")] = bad
    texts = {name: str(path) for name, path in files.items()}
    return config.Listener(source="s", kind="netflow", listen="127.0.0.1:0", transport="tls", **texts)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no certificate", "bad-no certificate: cannot be read: No such file.*check the path"),
        ("no key", "bad-no key: cannot be read"),
        ("no client_ca", "bad-no client_ca: cannot be read"),
        ("certificate", "bad-certificate: no certificate in PEM form; convert"),
        ("key", "bad-key: no private key in PEM form.*convert"),
        ("client_ca", "bad-client_ca: no certificate of an authority"),
        ("other key", "client.key: the key does not belong to the certificate .*server.pem"),
        ("open key", "bad-open key: others may read or change the key; run chmod"),
        ("encrypted key", "bad-encrypted key: the key is encrypted; decrypt it"),
    ],
)
def test_a_file_that_will_not_do_is_an_error_at_the_start(tmp_path: Path, pki: Path, what: str, message: str) -> None:
    """The file, what is wrong with it and the next step; nothing listens and nothing is made on disk."""
    listener = _broken(tmp_path, pki, what)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CsirtError, match=message):
        Receiver(listener, config.Spool(), tmp_path / "spool", Metrics(), SYSTEM).start()
    assert sorted(os.listdir(tmp_path)) == before


def test_files_may_be_credentials_of_the_unit(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a slash is a credential that systemd hands over; a path stays a path."""
    for name in ("server.pem", "server.key"):
        shutil.copy(pki / name, tmp_path / name)
    (tmp_path / "server.key").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    listener = config.Listener(
        source="s", kind="netflow", listen="127.0.0.1:0", transport="tls", certificate="server.pem", key="server.key"
    )
    assert tls.server_context(listener).minimum_version == ssl.TLSVersion.TLSv1_2
    assert place("server.key") == tmp_path / "server.key"
    assert place("/etc/server.key") == Path("/etc/server.key") and place("absent.pem") == Path("absent.pem")
