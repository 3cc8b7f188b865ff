"""Component and index templates, versioned; what is installed compared with what this csirt brings."""

from __future__ import annotations

from typing import Any

from csirt.clock import SYSTEM
from csirt.errors import Conflict
from csirt.stores.elastic import fields, layout
from csirt.stores.elastic.events import mapping, names
from csirt.stores.embedded.catalogue import documents

VERSION = 2
FIRST = "000001"
_WORD: dict[str, Any] = {"type": "keyword", "ignore_above": 8191}
_LONG = {"type": "long"}
# A shard that nobody has searched for this long is not made ready for searches each second (the cluster's own value is
# 30 s); the next search makes it so first, and sees what it would have seen.
SETTINGS: dict[str, Any] = {
    "number_of_shards": "1",
    "auto_expand_replicas": "0-1",
    "search": {"idle": {"after": "1s"}},
}

# What a cluster of version 9 notes beside a template.
_KEPT = frozenset({"created_date_millis", "modified_date_millis", "created_date", "modified_date"})


def _ecs() -> dict[str, Any]:
    """The fields of entries, and what events and sums share with them, under ECS names."""
    return {
        "dynamic": False,
        "properties": {
            "@timestamp": fields.TIME,
            "ecs": fields.nested(version=_WORD),
            "message": {"type": "text"},
            "event": fields.nested(kind=_WORD, id=_WORD, action=_WORD, severity=_LONG),
            "rule": fields.nested(id=_WORD, name=_WORD, version=_WORD, author=_WORD, license=_WORD, reference=_WORD),
            "threat": fields.nested(tactic=fields.nested(name=_WORD), technique=fields.nested(id=_WORD)),
            "related": fields.nested(ip={"type": "ip", "ignore_malformed": True}, hosts=_WORD),
            "user": fields.nested(name=_WORD),
        },
    }


def _own(kind: str) -> dict[str, Any]:
    """The fields of a kind of entries under `csirt`."""
    own = {name: _LONG if name in fields.NUMBERS else _WORD for name in layout.fields(kind)}
    if kind == "position":
        own["done"] = {"type": "boolean"}
    own |= {"kind": _WORD, "id": _WORD}
    return {"dynamic": False, "properties": {"csirt": fields.nested(**own)}}


def component(prefix: str) -> str:
    """The name of the component template."""
    return f"{prefix}-ecs"


def components(prefix: str) -> dict[str, dict[str, Any]]:
    """Component templates by name."""
    template = {"mappings": _ecs(), "settings": {"index": SETTINGS}}
    return {component(prefix): {"template": template, "version": VERSION, "_meta": {"managed_by": "csirt"}}}


def indices(prefix: str) -> dict[str, dict[str, Any]]:
    """Index templates by name, one for each kind, one for what csirt knows of the cluster, and one for the segments of
    the log that several nodes share."""
    found = {}
    for kind in (*layout.KINDS, layout.META):
        name = layout.alias(prefix, kind)
        whole = kind in documents.KINDS  # of the component it would take names that are aliases here
        template: dict[str, Any] = {"mappings": fields.mapping(kind), "settings": {"index": SETTINGS}} if whole else {}
        mappings = _own(kind) if kind in layout.ENTRIES else {"dynamic": False, "properties": {}}
        found[name] = {
            "index_patterns": [f"{name}-0*"],
            "composed_of": [] if whole else [component(prefix)],
            "priority": 500,
            "template": template or {"mappings": mappings},
            "version": VERSION,
            "_meta": {"managed_by": "csirt"},
        }
    name = layout.alias(prefix, layout.LOG)
    found[name] = {
        "index_patterns": [f"{name}-0*"],
        "composed_of": [component(prefix)],
        "priority": 500,
        "template": {"mappings": {"dynamic": False, "properties": {}}},
        "allow_auto_create": False,  # a late write must not make an index that was deleted
        "version": VERSION,
        "_meta": {"managed_by": "csirt"},
    }
    for kind, columns in ((names.EVENT, mapping.fields()), (names.MINUTE, mapping.minute_fields())):
        name = layout.alias(prefix, kind)
        found[name] = {
            "index_patterns": [f"{name}-*"],
            "composed_of": [component(prefix)],
            "priority": 500,
            "template": {"mappings": mapping.mappings(columns), "aliases": {name: {}}},
            "version": VERSION,
            "_meta": {"managed_by": "csirt"},
        }
    return found


def lasting(prefix: str) -> list[str]:
    """The names of those whose indices are made with them; nodes make the segments of their log by themselves."""
    return [name for name in indices(prefix) if name != layout.alias(prefix, layout.LOG)]


def first(prefix: str, name: str) -> str:
    """The index that is made with a template; of dated ones, so that their alias is there, that of now."""
    kind = name.removeprefix(f"{prefix}-")
    return names.index(prefix, kind, "flow", SYSTEM.now()) if kind in names.KINDS else f"{name}-{FIRST}"


def difference(client: Any, prefix: str) -> list[dict[str, Any]]:
    """What `install` would change: `{what, name, state, changes}`, with state missing, changed or same."""
    found = []
    have = {
        item["name"]: item["component_template"]
        for item in _listed(client, "component_templates", f"/_component_template/{prefix}-*")
    }
    for name, wanted in components(prefix).items():
        found.append(_compared("component template", name, have.get(name), wanted))
    have = {
        item["name"]: item["index_template"]
        for item in _listed(client, "index_templates", f"/_index_template/{prefix}-*")
    }
    for name, wanted in indices(prefix).items():
        found.append(_compared("index template", name, have.get(name), wanted))
    aliases = aliased(client, prefix)
    for name in lasting(prefix):
        state, changes = ("same", []) if name in aliases else ("missing", list[str]())
        dated = name.removeprefix(f"{prefix}-") in names.KINDS
        for index, have in client.indices.get_mapping(index=name).body.items() if state == "same" else ():
            other = [] if dated else incompatible(prefix, name, have["mappings"])
            changes += [f"! {index}: {field}: csirt store migrate" for field in other]
        state = "changed" if changes else state
        found.append({"what": "index", "name": first(prefix, name), "state": state, "changes": changes})
    return found


def incompatible(prefix: str, name: str, have: dict[str, Any]) -> list[str]:
    """The fields that an index of that alias has with another type than csirt's templates, and cannot change."""
    template = indices(prefix)[name]
    shared = _types(_ecs()) if template["composed_of"] else {}
    wanted, there = shared | _types(template["template"]["mappings"]), _types(have)
    return sorted(field for field, kind in wanted.items() if there.get(field, kind) != kind)


def _types(mapping: dict[str, Any], path: str = "") -> dict[str, str]:
    """The type of every field of a mapping."""
    found: dict[str, str] = {}
    for name, field in mapping.get("properties", {}).items():
        found |= _types(field, f"{path}{name}.") if "properties" in field else {path + name: field["type"]}
    return found


def _listed(client: Any, key: str, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        client.options(ignore_status=404)
        .perform_request("GET", path, headers={"accept": "application/json"})
        .body.get(key, [])
    )
    return found


def aliased(client: Any, prefix: str) -> set[str]:
    """The aliases that are there, of all that csirt writes through."""
    answer = client.options(ignore_status=404).indices.get_alias(name=f"{prefix}-*")
    if "error" in answer.body and answer.meta.status == 404:
        return set()
    return {name for index in answer.body.values() if isinstance(index, dict) for name in index.get("aliases", {})}


def _compared(what: str, name: str, have: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    if have is None:
        return {"what": what, "name": name, "state": "missing", "changes": []}
    if have.get("version", 0) > wanted["version"]:
        raise Conflict(
            f"the {what} {name} has version {have['version']}, this csirt knows {wanted['version']}: it was installed "
            "by a newer csirt; install that version here as well"
        )
    old, new = _flat({key: value for key, value in have.items() if key not in _KEPT}), _flat(wanted)
    changes = [f"+ {key} = {new[key]}" for key in sorted(new.keys() - old.keys())]
    changes += [f"- {key} = {old[key]}" for key in sorted(old.keys() - new.keys())]
    changes += [f"~ {key}: {old[key]} -> {new[key]}" for key in sorted(old.keys() & new.keys()) if old[key] != new[key]]
    return {"what": what, "name": name, "state": "changed" if changes else "same", "changes": changes}


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Leaves by dotted name; the cluster gives numbers and truths of settings back as text."""
    if isinstance(value, dict) and value:
        parts = [_flat(item, f"{path}.{key}" if path else key) for key, item in value.items()]
        return {key: item for part in parts for key, item in part.items()}
    if isinstance(value, list):
        return {path: ",".join(map(str, value))}
    return {path: str(value).lower() if isinstance(value, bool) else str(value)} if value != {} else {}


def install(client: Any, prefix: str) -> list[dict[str, Any]]:
    """Install what is missing or has changed; the difference as it was before."""
    found = difference(client, prefix)
    for name, body in components(prefix).items():
        client.cluster.put_component_template(
            name=name, template=body["template"], version=body["version"], meta=body["_meta"]
        )
    for name, body in indices(prefix).items():
        client.indices.put_index_template(
            name=name,
            index_patterns=body["index_patterns"],
            composed_of=body["composed_of"],
            priority=body["priority"],
            template=body["template"],
            allow_auto_create=body.get("allow_auto_create"),
            version=body["version"],
            meta=body["_meta"],
        )
    there = aliased(client, prefix)
    for name in lasting(prefix):
        if name not in there:
            dated = name.removeprefix(f"{prefix}-") in names.KINDS
            aliases = None if dated else {name: {"is_write_index": True}}  # theirs is in the template
            client.indices.create(index=first(prefix, name), aliases=aliases)
        else:
            mappings = indices(prefix)[name]["template"]["mappings"]
            for index, have in client.indices.get_mapping(index=name).body.items():
                if not incompatible(prefix, name, have["mappings"]):  # else `csirt store migrate`
                    client.indices.put_mapping(index=index, properties=mappings["properties"])
    return found
