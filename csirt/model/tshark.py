"""What tshark is asked for and how its lines are laid out: shared by the source that runs it and the decoder.

The fields are content (`parsers/tshark/fields.yml`); nothing here starts a process or reads a capture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csirt.content import BadContent, Document, folder, read_yaml

SEPARATOR = "\t"
AGGREGATOR = "\x1f"  # unit separator: tshark escapes control characters inside values


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol's display filter and the fields asked for."""

    filter: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields file. `common` starts with `frame.number`; `values` names numbers, by field."""

    common: tuple[str, ...]
    protocols: dict[str, Protocol]
    preferences: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[int, str]] = field(default_factory=dict)

    def columns(self, dissect: list[str]) -> list[str]:
        """The fields of a line in order, for these protocols (file order, whatever order they are named in)."""
        names = list(self.common)
        for name, protocol in self.protocols.items():
            if name in dissect:
                names += [item for item in protocol.fields if item not in names]
        return names

    def unknown(self, dissect: list[str]) -> list[str]:
        """Protocols asked for that the file does not have."""
        return [name for name in dissect if name not in self.protocols]


def fields_file() -> Path:
    """The shipped fields file."""
    return folder("parsers") / "tshark" / "fields.yml"


def load(path: Path | None = None) -> Fields:
    """Read and check a fields file; the shipped one by default. Raises BadContent with file and line."""
    documents = read_yaml(path or fields_file())
    document = documents[0] if documents else Document(str(path), {})
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("protocols"), dict):
        raise BadContent(document.problem((), "a fields file needs `common` and `protocols`"))
    common = _names(document, ("common",), value.get("common"))
    if common[:1] != ("frame.number",):
        raise BadContent(document.problem(("common",), "the first common field must be frame.number"))
    protocols: dict[str, Protocol] = {}
    for name, entry in value["protocols"].items():
        where: tuple[str | int, ...] = ("protocols", name)
        if not isinstance(entry, dict) or not isinstance(entry.get("filter"), str):
            raise BadContent(document.problem(where, f"{name}: needs `filter` and `fields`"))
        protocols[str(name)] = Protocol(entry["filter"], _names(document, (*where, "fields"), entry.get("fields")))
    preferences = value.get("preferences") or {}
    return Fields(common, protocols, {str(key): str(item) for key, item in preferences.items()}, _values(document))


def _values(document: Document) -> dict[str, dict[int, str]]:
    result: dict[str, dict[int, str]] = {}
    for name, names in (document.value.get("values") or {}).items():
        if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
            raise BadContent(document.problem(("values", name), f"{name}: numbers and their names are expected"))
        result[str(name)] = {key: str(text) for key, text in names.items()}
    return result


def _names(document: Document, where: tuple[str | int, ...], value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise BadContent(document.problem(where, "needs a list of field names", advice="`tshark -G fields` names them"))
    return tuple(value)


def tshark_arguments(fields: Fields, path: Path, dissect: list[str], *, binary: str = "tshark") -> list[str]:
    """The argument list of the one pass over a capture file; stdout is what `Dissection.text` holds.

    Start it with `environment()`, stdin closed, stdout piped; on stderr it may warn. `dissect` must name at least one
    protocol of the fields file.
    """
    wanted = [protocol.filter for name, protocol in fields.protocols.items() if name in dissect]
    arguments = [binary, "-n", "-r", str(path)]
    for name, value in fields.preferences.items():
        arguments += ["-o", f"{name}:{value}"]
    arguments += ["-Y", " or ".join(f"({item})" for item in wanted), "-T", "fields"]
    for option in ("header=n", "separator=/t", "quote=n", "occurrence=a", f"aggregator={AGGREGATOR}"):
        arguments += ["-E", option]
    for name in fields.columns(dissect):
        arguments += ["-e", name]
    return arguments


def environment(base: dict[str, str]) -> dict[str, str]:
    """The environment to run tshark in: `base` without a person's Wireshark profile, plugins or preferences."""
    kept = {key: value for key, value in base.items() if not key.startswith(("WIRESHARK_", "WS_"))}
    return {**kept, "WIRESHARK_CONFIG_DIR": "/nonexistent", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
