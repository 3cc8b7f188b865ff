"""Raw bytes that a decoder must remember between two commits, sealed before they go into its state (decision 15).

What arrives before its template cannot be scrubbed: nobody knows yet what is text. It is sealed with a key that lies
outside the store and is in no backup, so that the spool stays the one place where raw bytes can be read.

Deterministic (equal bytes give equal seals, as equal states must): the nonce is a keyed BLAKE2b of the bytes, which
also proves them (the SIV construction of RFC 5297); the key stream is SHAKE256 over a derived key and the nonce.
"""

from __future__ import annotations

import hashlib

import numpy as np

NONCE = 16


def seal(key: bytes, data: bytes) -> bytes:
    """`NONCE` octets longer than the data; nothing for nothing."""
    if not data:
        return b""
    nonce = _proof(key, data)
    return nonce + _mixed(key, nonce, data)


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """The data, or None when it was sealed with another key or was changed."""
    if not sealed:
        return b""
    nonce = sealed[:NONCE]
    data = _mixed(key, nonce, sealed[NONCE:])
    return data if _proof(key, data) == nonce else None


def _proof(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key[:64], digest_size=NONCE, person=b"csirt-seal-nonce").digest()


def _mixed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    derived = hashlib.blake2b(b"stream", key=key[:64], person=b"csirt-seal-key").digest()
    stream = hashlib.shake_256(derived + nonce).digest(len(data))
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(stream, np.uint8)).tobytes()
