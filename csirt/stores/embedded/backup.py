"""Backup while the store runs, and restore.

A backup is a folder: the catalogue as SQLite's backup API copies it (one snapshot), the event files that this snapshot
names (hard links where the disk allows, copies elsewhere; they are never changed once written), and a manifest with
size and SHA-256 of every file. The spool is no part of it: raw bytes are not to outlive their time in backups.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.clock import Clock, iso
from csirt.errors import Conflict, CsirtError, NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.disk import sync_folder
from csirt.stores.embedded.catalogue import schema
from csirt.stores.embedded.faults import guarded
from csirt.stores.embedded.lake import parts
from csirt.stores.embedded.lake.files import checksum_of, make_folder

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

MANIFEST = "manifest.json"
_CATALOGUE = "catalogue.sqlite"
_BLOCK = 1 << 20


def backup(store: EmbeddedStore, target: Path, *, copy: bool = False) -> dict[str, Any]:
    """Write a consistent copy of the last commit into `target`, a folder that is empty or not there yet. `copy`: no
    hard links. Raises Usage for a target that holds something or lies in the store."""
    _check_target(target)
    if target.resolve().is_relative_to(store.directory.resolve()):
        raise Usage(f"{target}: a backup inside the store would not survive it; name a folder on another disk")
    with guarded("writing the backup"), store.keeper.lease():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = copy_catalogue(store, target / _CATALOGUE)
        files = [_entry(target, _CATALOGUE, checksum_of(target / _CATALOGUE))]
        linked = 0
        for part in found:
            name = f"lake/{part.path}"
            linked += _take(store.directory / name, target, name, part.checksum, copy)
            files.append(_entry(target, name, part.checksum))
        manifest = {
            "schema": "csirt.backup/1",
            "created": iso(store.clock.now()),
            "schema_version": len(schema.MIGRATIONS),
            "files": files,
        }
        _write(target / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
        for folder in sorted({(target / entry["path"]).parent for entry in files}):
            sync_folder(folder)
        sync_folder(target)
    return {
        "schema": "csirt.backup-report/1",
        "files": len(files),
        "linked": linked,
        "bytes": sum(entry["size"] for entry in files),
        "rows": sum(part.seen for part in found),
    }


def restore(source: Path, target: Path, clock: Clock, *, actor: str) -> dict[str, Any]:
    """Check a backup, copy it into `target`, a folder that is empty or not there yet, and check the store it makes.

    Raises NotFound when `source` is no backup, CsirtError naming every damaged file; nothing is left in `target` then.
    """
    from csirt.stores.embedded.fsck import fsck
    from csirt.stores.embedded.store import open_embedded

    _check_target(target)
    manifest = _manifest(source)
    there = target.exists()
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with guarded("restoring"):
        damaged = [problem for entry in manifest["files"] if (problem := _bring(source, target, entry))]
    if damaged:
        _clear(target, keep=there)
        raise CsirtError("the backup is damaged, nothing was restored:\n" + "\n".join(damaged), damaged=damaged)
    with open_embedded(target, clock=clock, create=False) as store:
        findings = fsck(store, checksums=False)
        store.append_audit(
            [
                AuditEntry(
                    time=clock.now(),
                    actor=actor,
                    category="operation",
                    action="store.restore",
                    detail={"backup_of": manifest["created"], "files": len(manifest["files"])},
                )
            ]
        )
    return {
        "schema": "csirt.restore-report/1",
        "created": manifest["created"],
        "files": len(manifest["files"]),
        "findings": findings,
    }


def _check_target(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target}: not an empty folder; name a new one")


def copy_catalogue(store: EmbeddedStore, path: Path) -> list[parts.Part]:
    """Copy one snapshot of the catalogue; returns the files it names."""
    copy = apsw.Connection(str(path))
    try:
        with store.database.reading() as connection:
            connection.execute("SELECT count(*) FROM meta").fetchall()  # takes the snapshot
            with copy.backup("main", connection, "main") as work:
                while not work.done:
                    work.step(-1)
            found = parts.select(connection, files=True)
        copy.pragma("journal_mode", "delete")
    finally:
        copy.close()
    path.chmod(0o600)
    _sync(path)
    return found


def _take(path: Path, target: Path, name: str, digest: str, copy: bool) -> bool:
    """Link or copy one event file into the backup; whether it was linked."""
    final = target / name
    make_folder(target, final.parent)
    if not copy:
        try:
            os.link(path, final)
            return True
        except OSError:
            pass  # another disk, or one without links: copy
    if _copy(path, final) != digest:
        raise CsirtError(f"{path}: the file is not what the catalogue says; run `csirt store fsck`")
    return False


def _copy(source: Path, final: Path) -> str:
    """Copy and sync a file; returns the SHA-256 of what was read."""
    digest = hashlib.sha256()
    handle = os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _entry(target: Path, name: str, digest: str) -> dict[str, Any]:
    return {"path": name, "size": (target / name).stat().st_size, "sha256": digest}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(source: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = orjson.loads((source / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise NotFound(f"{source}: no backup here (no readable {MANIFEST}): it may not have been finished") from error
    if manifest.get("schema") != "csirt.backup/1":
        raise NotFound(f"{source}: not a backup of this kind: {manifest.get('schema')!r}")
    if manifest["schema_version"] > len(schema.MIGRATIONS):
        raise Conflict(f"{source}: the backup was written by a newer csirt; restore it with that version")
    return manifest


def _bring(source: Path, target: Path, entry: dict[str, Any]) -> str:
    """Copy one file of a backup; what is wrong with it, or nothing."""
    name = str(entry["path"])
    path, final = source / name, target / name
    if not final.resolve().is_relative_to(target.resolve()):
        return f"{name}: the path leads out of the backup"
    if not path.is_file():
        return f"{name}: missing"
    make_folder(target, final.parent)
    digest = _copy(path, final)
    if final.stat().st_size != entry["size"] or digest != entry["sha256"]:
        return f"{name}: not what the manifest says"
    sync_folder(final.parent)
    return ""


def _clear(target: Path, *, keep: bool) -> None:
    for path in target.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not keep:
        target.rmdir()
