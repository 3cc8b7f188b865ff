"""The rights csirt's API keys need in a cluster, and no more: role descriptors for `POST /_security/api_key`."""

from __future__ import annotations

from typing import Any

from csirt.stores.elastic.events.names import KINDS

# The daemon reads its own templates' names only through their indices, so it needs no right over templates.
_DAEMON = ["create_doc", "index", "delete", "read", "maintenance", "monitor", "view_index_metadata"]
_DATED = ["create_index", "delete_index"]  # the daemon makes and deletes the dated indices, and no other
_INSTALLER = ["create_index", "manage", "read", "view_index_metadata"]


def roles(prefix: str) -> dict[str, Any]:
    """By who uses the key: `installer` (`store init`), `migrator` (`store migrate`), `daemon`, and `reader`
    (dashboards)."""
    names = [f"{prefix}-*"]
    daemon = _role(["monitor"], names, _DAEMON)
    daemon["indices"].append({"names": [f"{prefix}-{kind}-*" for kind in KINDS], "privileges": _DATED})
    return {
        "installer": _role(["monitor", "manage_index_templates"], names, _INSTALLER),
        "migrator": _role(["monitor"], names, sorted({*_INSTALLER, *_DAEMON})),
        "daemon": daemon,
        "reader": _role([], names, ["read", "view_index_metadata"]),
    }


def _role(cluster: list[str], names: list[str], privileges: list[str]) -> dict[str, Any]:
    return {"cluster": cluster, "indices": [{"names": names, "privileges": privileges}]}
