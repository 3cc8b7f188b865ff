"""Folders of rule files to a ruleset: everything wrong is collected with file, line and column; one broken rule stops
no other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from csirt import ids
from csirt.content import BadContent, Document, parse_yaml, read_yaml
from csirt.detect import compile as compiler
from csirt.detect import correlations, custom, mapping, routing
from csirt.detect import sigma as reader
from csirt.detect.rule import Correlation, Meta, Rule, attack
from csirt.errors import Problem

# The largest public rule, a list of vulnerable drivers, is 300 kB.
MAX_BYTES = 1024 * 1024
TEST_SUFFIXES = (".test.yml", ".test.yaml")


@dataclass
class Ruleset:
    """Rules and correlations that can run, and what was wrong with those that cannot.

    `refused` counts documents that are not rules now because of an error. `documents`: the source of each, by id.
    `filters`, `placeholders` and `mapped`: what rules were compiled with, for `parsed`.
    """

    rules: list[Rule] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0
    documents: dict[str, Document] = field(default_factory=dict)
    filters: list[SigmaFilter] = field(default_factory=list)
    placeholders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mapped: bool = True

    def parsed(self, rule: Rule) -> SigmaRule:
        """A loaded rule as pySigma reads it, as it was compiled: filters applied, fields mapped."""
        problems: list[Problem] = []
        found = reader.rule(self.documents[rule.id], problems)
        assert found is not None, problems
        for item in self.filters:
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
    ) -> Ruleset:
        """Every `.yml` below the folders (or the files named), in sorted order, test files left out.

        `placeholders`: values of `%name%` for the modifier `expand`. `disabled`: ids that are not loaded. Nothing is
        raised for bad content: see `problems`. `mapped`: rules with SigmaHQ's field names get the schema's.
        """
        loader = _Loader(dict(placeholders or {}), frozenset(disabled), mapped)
        for folder in folders:
            loader.folder(folder)
        return loader.finish()

    @staticmethod
    def parse(text: str, name: str = "rules.yml", **options: Any) -> Ruleset:
        """A ruleset of YAML text; options as of `load`."""
        placeholders, disabled = options.get("placeholders") or {}, options.get("disabled") or ()
        loader = _Loader(dict(placeholders), frozenset(disabled), options.get("mapped", True))
        loader.file(name, lambda: parse_yaml(text.encode("utf-8", "surrogatepass"), name))
        return loader.finish()

    def meta(self, rule_id: str) -> Meta | None:
        """The rule or correlation of that id, what both share."""
        return next((item.meta for item in self.everything() if item.id == rule_id), None)

    def everything(self) -> list[Rule | Correlation]:
        """Rules, then correlations."""
        return [*self.rules, *self.correlations]


def rule_files(folder: Path) -> list[Path]:
    """The rule files below a folder, sorted by their path; a file is itself."""
    if not folder.is_dir():
        return [folder]
    return [path for path in sorted(folder.rglob("*.yml")) if not path.name.endswith(TEST_SUFFIXES)]


class _Loader:
    def __init__(self, placeholders: dict[str, Sequence[str]], disabled: frozenset[str], mapped: bool = True) -> None:
        self._placeholders = placeholders
        self._mapped = mapped
        self._disabled = disabled
        self._result = Ruleset()
        self._places: dict[str, str] = {}
        self._sigma: list[tuple[Document, SigmaRule, Meta]] = []
        self._correlations: list[tuple[Document, correlations.Draft]] = []
        self._filters: list[SigmaFilter] = []
        self._skipped: set[str] = set()
        self._resolved: list[correlations.Draft] = []

    def folder(self, folder: Path) -> None:
        if not folder.exists():
            self._problem(Problem(str(folder), 1, "no such folder or file", advice="correct [detect] rules"))
            return
        root = folder if folder.is_dir() else None
        for path in rule_files(folder):
            self.file(str(path), partial(read_yaml, path, root=root, max_bytes=MAX_BYTES))
        if root is not None:
            for path in sorted(root.rglob("*.yaml")):
                if not path.name.endswith(TEST_SUFFIXES) and path.parent.name != mapping.FOLDER:
                    advice = "name rule files .yml"
                    self._result.problems.append(
                        Problem(str(path), 1, "not read", advice=advice, check="file", level="warning")
                    )

    def file(self, name: str, read: Any) -> None:
        """The documents of one file."""
        try:
            documents = read()
        except BadContent as error:
            self._problem(error.problem)
            return
        for document in documents:
            self._document(document)

    def _problem(self, *problems: Problem) -> None:
        self._result.problems.extend(problems)
        self._result.refused += any(problem.level == "error" for problem in problems)

    def _document(self, document: Document) -> None:
        value = document.value
        if not isinstance(value, dict):
            self._problem(document.problem((), "not a mapping", "a rule starts with `title:`", "sigma"))
            return
        if "action" in value:
            advice = "write every rule out; `action` is from Sigma before 2.0"
            self._problem(document.problem(("action",), "global documents are not supported", advice, "sigma"))
            return
        problems: list[Problem] = []
        if "filter" in value:
            parsed = reader.filter_(document, problems)
            if parsed is not None:
                self._filters.append(parsed)
        elif "correlation" in value:
            draft = correlations.draft(document, problems)
            if draft is not None and not problems:
                meta = self._meta(document, draft.sigma, problems)
                if meta is not None:
                    self._correlations.append((document, replace(draft, meta=meta)))
        else:
            rule = reader.rule(document, problems)
            if rule is not None:
                meta = self._meta(document, rule, problems)
                if meta is not None:
                    self._sigma.append((document, rule, meta))
        if problems:
            self._problem(*problems)

    def _meta(self, document: Document, parsed: Any, problems: list[Problem]) -> Meta | None:
        """What rules and correlations share; None when the id is taken, disabled, or an attribute is wrong."""
        rule_id = str(parsed.id) if parsed.id else parsed.name or _content_id(document)
        if rule_id in self._places:
            first = self._places[rule_id]
            message = f"the id {rule_id} is already that of {first}"
            problems.append(document.problem(("id",), message, "give one of them a new random UUID", "id"))
            return None
        attributes = custom.parse(document, problems)
        if problems:
            return None
        self._places[rule_id] = f"{document.file}:{document.mark(())[0]}"
        if rule_id in self._disabled:
            self._skipped.update({rule_id, parsed.name or rule_id})
            return None
        tactics, techniques = attack(list(document.value.get("tags") or []))
        self._result.documents[rule_id] = document
        return Meta(
            id=rule_id,
            title=str(parsed.title),
            name=parsed.name or "",
            level=parsed.level.name.lower() if parsed.level else "medium",
            status=parsed.status.name.lower() if parsed.status else "",
            file=document.file,
            line=document.mark(())[0],
            description=str(parsed.description or ""),
            version=str(parsed.modified or parsed.date or ""),
            author=str(parsed.author or ""),
            license=str(parsed.license or ""),
            references=tuple(map(str, parsed.references or ())),
            tactics=tactics,
            techniques=techniques,
            custom=attributes,
        )

    def finish(self) -> Ruleset:
        """Filters applied, conditions compiled, references resolved."""
        result = self._result
        result.filters, result.placeholders, result.mapped = self._filters, self._placeholders, self._mapped
        for unknown in sorted(self._disabled - set(self._places)):
            message = f"[detect] disabled names {unknown}, which no rule has"
            result.problems.append(Problem("csirt.toml", 1, message, check="disabled", level="warning"))
        rules: dict[str, Rule] = {}
        for document, parsed, meta in self._sigma:
            rule = self._compile(document, parsed, meta)
            if rule is not None:
                rules[rule.id] = rule
        self._resolve(rules)
        quiet = {
            rule
            for draft, found in zip(self._resolved, result.correlations, strict=True)
            if not draft.generate
            for rule in found.rules
        }
        result.correlations = [replace(item, alerts=item.id not in quiet) for item in result.correlations]
        result.rules = [replace(rule, alerts=rule.id not in quiet) for rule in rules.values()]
        return result

    def _resolve(self, rules: dict[str, Rule]) -> None:
        """The correlations whose rules are there, those they are built on before them."""
        known: dict[str, Rule | Correlation] = {rule.meta.name: rule for rule in rules.values() if rule.meta.name}
        known |= rules
        waiting = self._correlations
        for _ in range(correlations.MAX_DEPTH):
            named = {name for _, draft in waiting for name in (draft.meta.id, draft.meta.name) if name}
            ready = [item for item in waiting if not named.intersection(item[1].rules)]
            waiting = [item for item in waiting if named.intersection(item[1].rules)]
            for document, draft in ready:
                self._resolve_one(document, draft, known)
        for document, draft in waiting:
            advice = f"a correlation is built on others, at most {correlations.MAX_DEPTH} deep"
            message = "is built on itself, by way of others or directly"
            self._problem(document.problem(("correlation", "rules"), message, advice, "correlation"))
            self._result.documents.pop(draft.meta.id, None)

    def _resolve_one(self, document: Document, draft: correlations.Draft, known: dict[str, Rule | Correlation]) -> None:
        problems: list[Problem] = []
        found = correlations.resolve(document, draft, known, self._skipped, problems)
        if problems:
            self._problem(*problems)
        if found is None:
            self._result.documents.pop(draft.meta.id, None)
            return
        known[found.id] = found
        if found.meta.name:
            known.setdefault(found.meta.name, found)
        self._resolved.append(draft)
        self._result.correlations.append(found)

    def _compile(self, document: Document, parsed: SigmaRule, meta: Meta) -> Rule | None:
        try:
            for item in self._filters:
                item.apply_on_rule(parsed)
            if self._mapped:
                mapping.apply(parsed)
            trees = [condition.parsed for condition in parsed.detection.parsed_condition]
            node = compiler.condition(trees, self._placeholders)
        except compiler.Refused as error:
            problem = document.problem(("detection",), str(error), error.advice, "engine")
        except RecursionError:
            problem = document.problem(("detection", "condition"), "nested too deeply", "flatten it", "engine")
        except Exception as error:  # pySigma resolves selectors late, with errors of many kinds
            message = " ".join(str(error).split()) or type(error).__name__
            problem = document.problem(("detection", "condition"), message, "name selections that exist", "sigma")
        else:
            source = parsed.logsource
            found = routing.route(source.product, source.category, source.service)
            return Rule(meta, node, found.datasets, found.reason)
        self._problem(problem)
        self._result.documents.pop(meta.id, None)
        return None


def _content_id(document: Document) -> str:
    """An id for a rule without one, from its content."""
    return ids.digest("rule", json.dumps(document.value, sort_keys=True, default=str))
