"""Key files: made once, readable by their owner only. Secrets and certificates: files, or credentials of the unit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from csirt.errors import CsirtError

KEY_BYTES = 32


def key_file(path: str | Path) -> bytes:
    """The 32-byte key in `path`; made from the system's random source when the file does not exist yet.

    The file is created with mode 0600 and synced with its folder before the key is used, so that no pseudonym is ever
    written with a key that a power loss takes away. Raises CsirtError when the file is not a key, can be read by
    others, or cannot be made.
    """
    target = Path(path)
    try:
        return _read(target)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CsirtError(f"{target}: the key cannot be read: {error.strerror}") from error
    try:
        return _create(target)
    except FileExistsError:  # another process was first
        return _read(target)
    except OSError as error:
        raise CsirtError(f"{target}: the key cannot be made: {error.strerror}; check the state folder") from error


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as handle:
        mode = os.fstat(descriptor).st_mode
        key = handle.read(KEY_BYTES + 1)
    if not stat.S_ISREG(mode) or len(key) != KEY_BYTES:
        raise CsirtError(f"{path}: not a key of {KEY_BYTES} bytes; restore it from its backup, or move it away")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CsirtError(f"{path}: others may read or write the key; run chmod 600 on it")
    return key


def _create(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = os.urandom(KEY_BYTES)
    # Written under another name and linked: nobody ever sees half a key, and the first of two makers wins.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(key)
            handle.flush()
            os.fsync(descriptor)
        path.hardlink_to(draft)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


def place(name: str) -> Path:
    """Where a file of the configuration is: a name without `/` is one of the unit's credentials (`LoadCredential=`)
    when there is one."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if credentials and "/" not in name and (Path(credentials) / name).exists():
        return Path(credentials) / name
    return Path(name)


def secret(name: str, where: str) -> str:
    """The one line of a secret's file. Raises CsirtError when it cannot be read, is empty, or can be read by others."""
    path = place(name)
    try:
        with path.open("rb") as handle:
            mode = os.fstat(handle.fileno()).st_mode
            text = handle.read(4_096).decode("ascii", "replace").strip()
    except OSError as error:
        raise CsirtError(
            f"{where}: {path}: cannot be read: {error.strerror}; check the path and who owns it"
        ) from error
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise CsirtError(f"{where}: {path}: others may read or change it; run chmod 640 on it")
    if not text or "\n" in text:
        raise CsirtError(f"{where}: {path}: must hold the secret on one line and nothing else")
    return text
