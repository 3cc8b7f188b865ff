"""The rights csirt's API keys need in a cluster, and no more: role descriptors for `POST /_security/api_key`."""

from __future__ import annotations

from typing import Any

from csirt.stores.elastic.events.names import KINDS
from csirt.stores.elastic.layout import LOG

# The daemon reads its own templates' names only through their indices, so it needs no right over templates.
_DAEMON = ["create_doc", "index", "delete", "read", "maintenance", "monitor", "view_index_metadata"]
# The daemon makes and deletes the dated indices, and those of the log that nodes share, and no other.
_MAKES = ["create_index", "delete_index"]
_INSTALLER = ["create_index", "manage", "read", "view_index_metadata"]


def roles(prefix: str) -> dict[str, Any]:
    """By who uses the key: `installer` (`store init`), `migrator` (`store migrate`), `daemon`, and `reader`
    (dashboards)."""
    names = [f"{prefix}-*"]
    daemon = _role(["monitor"], names, _DAEMON)
    own = [f"{prefix}-{kind}-*" for kind in (*KINDS, LOG)]
    daemon["indices"].append({"names": own, "privileges": _MAKES})
    return {
        "installer": _role(["monitor", "manage_index_templates"], names, _INSTALLER),
        "migrator": _role(["monitor"], names, sorted({*_INSTALLER, *_DAEMON})),
        "daemon": daemon,
        "reader": _role([], names, ["read", "view_index_metadata"]),
    }


def lacking(client: Any, prefix: str) -> str:
    """A right of the daemon's that the client's key lacks; empty when it lacks none, or the cluster has no security.
    Raises what the client raises."""
    wanted = roles(prefix)["daemon"]
    answer = client.options(ignore_status=[400, 404, 405, 500]).security.has_privileges(
        cluster=wanted["cluster"], index=wanted["indices"]
    )
    said = answer.body if answer.meta.status == 200 else {}
    there = {"the cluster": said.get("cluster", {}), **said.get("index", {})}
    return next((f"{right} on {name}" for name, rights in there.items() for right in rights if not rights[right]), "")


def _role(cluster: list[str], names: list[str], privileges: list[str]) -> dict[str, Any]:
    return {"cluster": cluster, "indices": [{"names": names, "privileges": privileges}]}
