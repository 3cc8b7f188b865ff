"""The server's side of TLS: certificate, key, and the authority that senders' certificates must come from."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from csirt import config
from csirt.errors import CsirtError, Usage
from csirt.secrets import place


def server_context(listener: config.Listener) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `client_ca` senders must show a certificate from it.

    A name without `/` is one of the unit's credentials (`LoadCredential=`) when there is one, else a file. Raises Usage
    for what is not configured, CsirtError for a file that will not do.
    """
    where = f"collect.listeners {listener.source}"
    if not listener.certificate or not listener.key:
        raise Usage(f"{where}: tls needs `certificate` and `key`, PEM files")
    certificate, key = place(listener.certificate), place(listener.key)
    _readable(where, certificate)
    _private(where, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Senders only write: tickets that lie unread in their socket would make their close a reset, which costs messages.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted as error:
        raise CsirtError(
            f"{where}: {key}: the key is encrypted; decrypt it (openssl pkey), and keep the file for its owner alone"
        ) from error
    except (ssl.SSLError, OSError) as error:
        raise CsirtError(f"{where}: {_fault(error, certificate, key)}") from error
    if listener.client_ca:
        authority = place(listener.client_ca)
        _readable(where, authority)
        try:
            context.load_verify_locations(cafile=authority)
        except (ssl.SSLError, OSError) as error:
            raise CsirtError(
                f"{where}: {authority}: no certificate of an authority in PEM form; export it as PEM"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Encrypted


def _readable(where: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise CsirtError(
            f"{where}: {path}: cannot be read: {error.strerror}; check the path and who owns it"
        ) from error


def _private(where: str, key: Path) -> None:
    _readable(where, key)
    if stat.S_IMODE(key.stat().st_mode) & (stat.S_IRWXO | stat.S_IWGRP):
        raise CsirtError(f"{where}: {key}: others may read or change the key; run chmod 640 on it")


def _fault(error: OSError, certificate: Path, key: Path) -> str:
    """What OpenSSL says, as a sentence with the file and the next step."""
    reason = getattr(error, "reason", "") or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key}: the key does not belong to the certificate {certificate}; give the pair that was made together"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=certificate)
    except (ssl.SSLError, OSError):
        return f"{certificate}: no certificate in PEM form; convert it (openssl x509)"
    return f"{key}: no private key in PEM form that OpenSSL can use ({reason or error}); convert it (openssl pkey)"
