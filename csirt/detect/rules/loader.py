"""Rule files to a ruleset, by pySigma: everything wrong is collected with file, line and column; one broken rule stops
no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from csirt import ids
from csirt.content import BadContent, Document, parse_yaml
from csirt.detect.atoms import Node, leaves
from csirt.detect.engine import compile as compiler
from csirt.detect.rule import Correlation, Meta, Rule, attack
from csirt.detect.rules import correlations, custom, deploy, mapping, routing
from csirt.detect.rules import sigma as reader
from csirt.detect.rules.files import File
from csirt.detect.rules.ruleset import Ruleset
from csirt.errors import Problem


class Loader:
    """Fills a ruleset: `file` for each file, then `finish`. `disabled`: ids that are not loaded. `own`: the name of the
    `deploy.yml` that csirt writes."""

    def __init__(self, result: Ruleset, disabled: Iterable[str], own: str = "") -> None:
        self._result, self._own = result, own
        self._disabled = frozenset(disabled)
        self._taken: dict[str, str] = {}
        self._sigma: list[tuple[Document, SigmaRule, Meta]] = []
        self._correlations: list[tuple[Document, correlations.Draft]] = []
        self._filters: list[SigmaFilter] = []
        self._skipped: set[str] = set()
        self._resolved: list[correlations.Draft] = []
        self._deployments: list[Document] = []

    def file(self, file: File) -> None:
        """The documents of one file."""
        say = self._result.problems.append if file.deploy else self._problem
        if file.problem is not None:
            say(file.problem)
        if file.raw is None:
            return
        try:
            documents = parse_yaml(file.raw, file.name)
        except BadContent as error:
            say(error.problem)
            return
        if file.deploy:
            self._deployments += documents
            return
        self._result.opened[file.name] = documents
        for index, document in enumerate(documents):
            self._document(document, index)

    def _problem(self, *problems: Problem) -> None:
        self._result.problems.extend(problems)
        self._result.refused += any(problem.level == "error" for problem in problems)

    def _document(self, document: Document, index: int) -> None:
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
                self._result.filters.append((document.file, index))
        elif "correlation" in value:
            draft = correlations.draft(document, problems)
            if draft is not None and not problems:
                meta = self._meta(document, index, draft.sigma, problems)
                if meta is not None:
                    self._correlations.append((document, replace(draft, meta=meta)))
        else:
            rule = reader.rule(document, problems)
            if rule is not None:
                meta = self._meta(document, index, rule, problems)
                if meta is not None:
                    self._sigma.append((document, rule, meta))
        if problems:
            self._problem(*problems)

    def _meta(self, document: Document, index: int, parsed: Any, problems: list[Problem]) -> Meta | None:
        """What rules and correlations share; None when the id is taken, disabled, or an attribute is wrong."""
        rule_id = str(parsed.id) if parsed.id else parsed.name or _content_id(document)
        if rule_id in self._taken:
            first = self._taken[rule_id]
            message = f"the id {rule_id} is already that of {first}"
            problems.append(document.problem(("id",), message, "give one of them a new random UUID", "id"))
            return None
        attributes = custom.parse(document, problems)
        if problems:
            return None
        self._taken[rule_id] = f"{document.file}:{document.mark(())[0]}"
        if rule_id in self._disabled:
            self._skipped.update({rule_id, parsed.name or rule_id})
            return None
        tactics, techniques = attack(list(document.value.get("tags") or []))
        self._result.places[rule_id] = (document.file, index)
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
        for unknown in sorted(self._disabled - set(self._taken)):
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
        self._deploy()
        return result

    def _deploy(self) -> None:
        """How the rules are deployed; those that are disabled or broken are known there too."""
        result = self._result
        if self._deployments:
            known = {item.id: item for item in result.everything()}
            sources = {meta.id: document.value["logsource"] for document, _, meta in self._sigma}
            compile_ = partial(_exempted, sources, result)
            result.deployment = deploy.read(
                self._deployments, known, compile_, result.problems, own=self._own, others=self._taken
            )

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
            self._result.places.pop(draft.meta.id, None)

    def _resolve_one(self, document: Document, draft: correlations.Draft, known: dict[str, Rule | Correlation]) -> None:
        problems: list[Problem] = []
        found = correlations.resolve(document, draft, known, self._skipped, problems)
        if problems:
            self._problem(*problems)
        if found is None:
            self._result.places.pop(draft.meta.id, None)
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
            if self._result.mapped:
                mapping.apply(parsed)
            trees = [condition.parsed for condition in parsed.detection.parsed_condition]
            node = compiler.condition(trees, self._result.placeholders)
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
        self._result.places.pop(meta.id, None)
        return None


def _exempted(
    sources: Mapping[str, Any],
    result: Ruleset,
    document: Document,
    path: tuple[str | int, ...],
    when: Any,
    rule: str,
    problems: list[Problem],
) -> Node | None:
    """The condition of what an exemption names, as if it were a selection of that rule."""
    whole = {"title": "exemption", "logsource": sources[rule], "detection": {"when": when, "condition": "when"}}
    marks = {
        ("detection", "when", *mark[len(path) :]): at
        for mark, at in document.marks.items()
        if mark[: len(path)] == path
    }
    marks |= dict.fromkeys([(), ("detection",), ("detection", "condition")], document.mark(path))
    inner = Document(document.file, whole, marks)
    parsed = reader.rule(inner, problems)
    if parsed is None:
        return None
    try:
        if result.mapped:
            mapping.apply(parsed)
        trees = [condition.parsed for condition in parsed.detection.parsed_condition]
        node = compiler.condition(trees, result.placeholders)
    except compiler.Refused as error:
        problems.append(inner.problem(("detection", "when"), str(error), error.advice, "exemption"))
        return None
    except Exception as error:  # as for rules: pySigma's errors are of many kinds
        message = " ".join(str(error).split()) or type(error).__name__
        problems.append(inner.problem(("detection", "when"), message, "", "exemption"))
        return None
    if any(atom.kind == "re" or atom.field is None for atom in leaves(node)):
        message = "an exemption with a regular expression or a keyword"
        problems.append(inner.problem(("detection", "when"), message, "name fields and plain values", "exemption"))
        return None
    return node


def _content_id(document: Document) -> str:
    """An id for a rule without one, from its content."""
    return ids.digest("rule", json.dumps(document.value, sort_keys=True, default=str))
