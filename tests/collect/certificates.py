"""Certificates for tests, made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MISSING = shutil.which("openssl") is None


def authority(folder: Path, name: str = "ca") -> Path:
    """A certificate of an authority of our own; its key is beside it."""
    _openssl("req", "-x509", *_new(folder, name), "-out", f"{folder}/{name}.pem", "-days", "30", "-subj", f"/CN={name}")
    return folder / f"{name}.pem"


def certificate(folder: Path, name: str, ca: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 from that authority, and its key."""
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", *_new(folder, name), "-out", str(request), "-subj", f"/CN={name}")
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")), "-CAcreateserial",
        "-out", f"{folder}/{name}.pem", "-days", "30", "-extfile", str(extensions),
    )  # fmt: skip
    return folder / f"{name}.pem", folder / f"{name}.key"


def _new(folder: Path, name: str) -> list[str]:
    key = folder / f"{name}.key"
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key)]


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
