"""Folders of rule files to a ruleset, from the cache where the same files were compiled before: pySigma is imported
only for what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from csirt import ids
from csirt.cachefolder import CacheFolder
from csirt.content import Document, parse_yaml
from csirt.detect.rule import Correlation, Meta, Rule
from csirt.detect.rules import chain, pack
from csirt.detect.rules.deploy import Deployment
from csirt.detect.rules.files import MAX_BYTES, TEST_SUFFIXES, File, read, rule_files
from csirt.errors import Problem
from csirt.model.indicators import PREFIX

if TYPE_CHECKING:
    from sigma.filters import SigmaFilter
    from sigma.rule import SigmaRule

__all__ = ["MAX_BYTES", "TEST_SUFFIXES", "Ruleset", "rule_files"]
# Where a document is: its file, and the how manieth in it.
Place = tuple[str, int]
Part = TypeVar("Part", Rule, Correlation)


@dataclass
class Ruleset:
    """Rules and correlations that can run, and what was wrong with those that cannot.

    `refused` counts documents that are not rules now because of an error. `places`: where the document of each rule is,
    by id; `filters`: where those of filters are; `texts`: the files. `placeholders` and `mapped`: what rules were
    compiled with, for `parsed`.
    """

    rules: list[Rule] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    filters: list[Place] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict, repr=False)
    placeholders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mapped: bool = True
    deployment: Deployment = field(default_factory=Deployment)
    opened: dict[str, list[Document]] = field(default_factory=dict, repr=False)  # files that were looked into

    def digest(self) -> str:
        """What runs, as a short text: the same where the same rules are deployed alike, wherever their files are."""
        texts = {name: ids.digest(raw) for name, raw in self.texts.items()}
        lines = [
            f"{item.id} {self.deployment.of(item.meta).state} {texts.get(self.places[item.id][0], '')}"
            for item in self.everything()
        ]
        lines += [texts.get(name, "") for name, _ in self.filters]
        return ids.digest(*sorted(lines), size=8)

    def document(self, rule_id: str) -> Document:
        """The source of a loaded rule or correlation."""
        return self._document(self.places[rule_id])

    def _document(self, place: Place) -> Document:
        name, index = place
        if name not in self.opened:
            self.opened[name] = parse_yaml(self.texts[name], name)
        return self.opened[name][index]

    def parsed(self, rule: Rule) -> SigmaRule:
        """A loaded rule as pySigma reads it, as it was compiled: filters applied, fields mapped."""
        from csirt.detect.rules import mapping
        from csirt.detect.rules import sigma as reader

        problems: list[Problem] = []
        found = reader.rule(self.document(rule.id), problems)
        assert found is not None, problems
        for place in self.filters:
            item: SigmaFilter | None = reader.filter_(self._document(place), problems)
            assert item is not None, problems
            item.apply_on_rule(found)
        if self.mapped:
            mapping.apply(found)
        return found

    @staticmethod
    def load(
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

    @staticmethod
    def parse(text: str, name: str = "rules.yml", **options: Any) -> Ruleset:
        """A ruleset of YAML text; options as of `load`."""
        found = {
            "placeholders": dict(options.get("placeholders") or {}),
            "disabled": options.get("disabled") or (),
            "mapped": options.get("mapped", True),
            "own": "",
        }
        return _compiled([File(name, text.encode("utf-8", "surrogatepass"))], found)

    def meta(self, rule_id: str) -> Meta | None:
        """The rule or correlation of that id, what both share."""
        return next((item.meta for item in self.everything() if item.id == rule_id), None)

    @cached_property
    def running(self) -> Ruleset:
        """What really runs, as it is deployed: rules that are off only where a correlation that is not needs them."""
        states = {item.id: self.deployment.of(item.meta).state for item in self.everything()}
        needed = {item.id for item in self.everything() if item.alerts and states[item.id] != "off"}
        for item in reversed(chain.in_order(self.correlations)):
            needed.update(item.rules if item.id in needed else ())

        def deployed(item: Part) -> Part:
            state = states[item.id]
            meta = replace(item.meta, shadow=state == "shadow")
            return replace(item, meta=meta, alerts=item.alerts and state != "off")

        return replace(
            self,
            rules=[deployed(rule) for rule in self.rules if rule.id in needed],
            correlations=[deployed(item) for item in self.correlations if item.id in needed],
        )

    def everything(self) -> list[Rule | Correlation]:
        """Rules, then correlations."""
        return [*self.rules, *self.correlations]


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
