"""Where rules, parsers and playbooks live, and the one way YAML is read.

Content is data inside the package (`_content/`), or the folders of the checkout in an editable install. Anything a
stranger can write is walked as parser events first, bounded in size, depth and number of nodes, with aliases, tags and
duplicate keys refused, because PyYAML's C loader crashes the process on a deep nest (decision 17).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csirt.errors import CsirtError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000


class BadContent(CsirtError):
    """A content file that cannot be read; `problem` says where and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class BadSyntax(BadContent):
    """A content file that is no YAML at all."""


def folder(name: str) -> Path:
    """The shipped folder of that name (`rules`, `parsers`, `playbooks`), in a wheel or an editable install."""
    package = Path(__file__).resolve().parent
    inside = package / "_content" / name
    return inside if inside.is_dir() else package.parent / name


@dataclass
class Document:
    """One YAML document: its plain value and the line and column of every node, by path of keys and indices."""

    file: str
    value: Any
    marks: dict[tuple[str | int, ...], tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: tuple[str | int, ...], message: str, advice: str = "", check: str = "") -> Problem:
        """A problem at the node of that path, or at its nearest known parent."""
        line, column = self.mark(path)
        return Problem(self.file, line, message, column=column, advice=advice, check=check)

    def mark(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Line and column, from 1, of the node of that path, or of its nearest known parent."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))


def read_yaml(
    path: Path, *, root: Path | None = None, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES
) -> list[Document]:
    """All documents of a YAML file.

    `root`: the folder the resolved file must lie in. Raises BadContent with file, line and column.
    """
    return parse_yaml(read_bytes(path, root=root, max_bytes=max_bytes), str(path), max_nodes=max_nodes)


def read_bytes(path: Path, *, root: Path | None = None, max_bytes: int = MAX_BYTES) -> bytes:
    """A content file's bytes, bounded. Raises BadContent when it cannot be read, is too large or outside `root`."""
    name = str(path)
    try:
        real = path.resolve(strict=True)
        if root is not None and not real.is_relative_to(root.resolve()):
            raise BadContent(Problem(name, 1, "the file lies outside its folder", advice="remove the link"))
        if not real.is_file():
            raise BadContent(Problem(name, 1, "not a regular file"))
        with real.open("rb") as handle:
            raw = handle.read(max_bytes + 1)
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 raise RuntimeError for a link to itself
        reason = error.strerror if isinstance(error, OSError) else "a link to itself"
        raise BadContent(Problem(name, 1, f"cannot be read: {reason}")) from error
    if len(raw) > max_bytes:
        raise BadContent(Problem(name, 1, f"larger than {max_bytes} bytes", advice="split the file"))
    return raw


def parse_yaml(raw: bytes, name: str, *, max_nodes: int = MAX_NODES) -> list[Document]:
    """All documents of YAML text, safely. Raises BadContent with line and column.

    libyaml's event parser is used where it is installed: it is iterative, so a deep nest cannot crash it, and many
    times as fast. Only its composer recurses; it is not used. What is wrong with the syntax of a small text is said by
    PyYAML's own parser, whose sentences are better.
    """
    import yaml

    fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _parse(raw, name, fast, max_nodes)
    except BadSyntax:
        if len(raw) > MAX_BYTES:
            raise
        return _parse(raw, name, yaml.SafeLoader, max_nodes)


def _parse(raw: bytes, name: str, loader: Any, max_nodes: int) -> list[Document]:
    """Documents of YAML text by one of PyYAML's event parsers. Raises BadContent."""
    import yaml

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadContent(Problem(name, line, "not valid UTF-8", advice="save the file as UTF-8")) from error
    try:
        return _build(yaml.parse(text, Loader=loader), name, max_nodes)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = error.problem or error.context or "not valid YAML"
        raise BadSyntax(Problem(name, line, message, column=column, advice="correct the YAML")) from error
    except yaml.YAMLError as error:
        raise BadSyntax(Problem(name, 1, f"not valid YAML: {error}", advice="correct the YAML")) from error
    except RecursionError as error:
        raise BadContent(Problem(name, 1, "nested too deeply", advice="flatten the document")) from error


def _build(events: Any, name: str, max_nodes: int) -> list[Document]:
    """Documents from YAML parser events, with every limit checked before anything grows."""
    import yaml

    resolver: Any = yaml.SafeLoader("")
    documents: list[Document] = []
    current: Document | None = None
    # A frame: container, its path, and for mappings the pending key.
    stack: list[tuple[Any, tuple[str | int, ...], list[Any]]] = []

    def refuse(event: Any, message: str, advice: str) -> BadContent:
        mark = event.start_mark
        return BadContent(Problem(name, mark.line + 1, message, column=mark.column + 1, advice=advice))

    def place(event: Any, value: Any) -> tuple[str | int, ...]:
        assert current is not None
        mark = (event.start_mark.line + 1, event.start_mark.column + 1)
        if not stack:
            current.value = value
            current.marks[()] = mark
            return ()
        container, path, pending = stack[-1]
        if isinstance(container, list):
            here = (*path, len(container))
            container.append(value)
            current.marks[here] = mark
            return here
        if not pending:
            if isinstance(value, dict | list):
                raise refuse(event, "a key must be a plain value", "use a string as key")
            if value in container:
                raise refuse(event, f"the key {value!r} occurs twice", "remove one of them")
            pending.append(value)
            pending.append(mark)
            return path
        key, key_mark = pending
        pending.clear()
        container[key] = value
        here = (*path, key)
        current.marks[here] = key_mark if isinstance(value, dict | list) else mark
        return here

    for nodes, event in enumerate(events, 1):
        if nodes > max_nodes:
            raise refuse(event, f"more than {max_nodes} nodes", "split the file")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise refuse(event, "anchors and aliases are not allowed", "write the value out")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", "tag:yaml.org,2002:str") and not isinstance(event, yaml.DocumentStartEvent):
            raise refuse(event, f"the tag {tag} is not allowed", "remove it")
        if isinstance(event, yaml.DocumentStartEvent):
            current = Document(name, None)
            documents.append(current)
        elif isinstance(event, yaml.ScalarEvent):
            kind = tag or resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
            node: Any = yaml.ScalarNode(kind, event.value, None, None)
            try:
                place(event, resolver.construct_object(node))
            except (ValueError, OverflowError) as error:
                raise refuse(event, f"not a valid value: {error}", "quote it") from error
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) >= MAX_DEPTH:
                raise refuse(event, f"nested deeper than {MAX_DEPTH} levels", "flatten the document")
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            path = place(event, container)
            stack.append((container, path, []))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
    return documents
