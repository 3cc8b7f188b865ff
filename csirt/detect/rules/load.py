"""Folders of rule files to a ruleset, from the cache where the same files were compiled before: pySigma is imported
only for what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csirt.cachefolder import CacheFolder
from csirt.detect.rules import pack
from csirt.detect.rules.files import MAX_BYTES, TEST_SUFFIXES, File, read, rule_files
from csirt.detect.rules.ruleset import Ruleset
from csirt.model.indicators import PREFIX

__all__ = ["MAX_BYTES", "TEST_SUFFIXES", "load_rules", "parse_rules", "rule_files"]


def load_rules(
    folders: Sequence[Path],
    *,
    placeholders: Mapping[str, Sequence[str]] | None = None,
    disabled: Sequence[str] = (),
    mapped: bool = True,
    cache: CacheFolder | None = None,
    deployed: Path | None = None,
) -> Ruleset:
    """Every `.yml` below the folders (or the files named), in sorted order, test files left out.

    `placeholders`: values of `%name%` for the modifier `expand`. `disabled`: ids that are not loaded. Nothing is
    raised for bad content: see `problems`. `mapped`: rules with SigmaHQ's field names get the schema's. `cache`:
    where what was compiled before is kept. `deployed`: the `deploy.yml` that `csirt rules deploy` writes.
    """
    files = read(folders, deployed)
    options: dict[str, Any] = {
        "placeholders": _used(placeholders or {}, files),
        "disabled": sorted(set(disabled)),
        "mapped": mapped,
        "own": str(deployed or ""),
    }
    if cache is None:
        return _compiled(files, options)
    key = pack.key(files, options)
    stored = cache.get(key)
    found = _stored(stored, files, options) if stored is not None else None
    if found is None:
        found = _compiled(files, options)
        written = pack.encode(found)
        if written is not None:
            cache.put(key, written)
    return found


def parse_rules(text: str, name: str = "rules.yml", **options: Any) -> Ruleset:
    """A ruleset of YAML text; options as of `load_rules`."""
    found = {
        "placeholders": dict(options.get("placeholders") or {}),
        "disabled": options.get("disabled") or (),
        "mapped": options.get("mapped", True),
        "own": "",
    }
    return _compiled([File(name, text.encode("utf-8", "surrogatepass"))], found)


def _used(placeholders: Mapping[str, Sequence[str]], files: Sequence[File]) -> dict[str, Sequence[str]]:
    """Those that are configured, and of the lists of indicators those that a rule names: lists change by the hour, and
    rules that name none need not be compiled again for that."""
    return {
        name: values
        for name, values in placeholders.items()
        if not name.startswith(PREFIX) or any(f"%{name}%".encode() in (file.raw or b"") for file in files)
    }


def _compiled(files: Sequence[File], options: Mapping[str, Any]) -> Ruleset:
    from csirt.detect.rules.loader import Loader

    loader = Loader(_empty(files, options), options["disabled"], options["own"])
    for file in files:
        loader.file(file)
    return loader.finish()


def _stored(raw: bytes, files: Sequence[File], options: Mapping[str, Any]) -> Ruleset | None:
    """The ruleset of a cache entry; None when it is none."""
    found = _empty(files, options)
    return found if pack.decode(raw, found) else None


def _empty(files: Sequence[File], options: Mapping[str, Any]) -> Ruleset:
    texts = {file.name: file.raw for file in files if file.raw is not None}
    return Ruleset(texts=texts, placeholders=options["placeholders"], mapped=options["mapped"])
