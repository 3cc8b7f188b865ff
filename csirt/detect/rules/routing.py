"""Which datasets a rule's log source means (design: the event schema's table of Sigma log sources)."""

from __future__ import annotations

from dataclasses import dataclass

SERVICES = frozenset({"flow", "dns", "http", "tls", "smb", "smtp", "sip", "mail", "edi", "counter", "register", "self"})
_ZEEK = {
    "dns": "dns",
    "http": "http",
    "conn": "flow",
    "ssl": "tls",
    "x509": "tls",
    "smb_files": "smb",
    "smb_mapping": "smb",
    "smtp": "smtp",
    "sip": "sip",
    "kerberos": "kerberos",
    "rdp": "rdp",
    "dce_rpc": "dce_rpc",
}
_CATEGORIES = {"dns": "dns", "proxy": "http", "webserver": "http", "firewall": "flow"}
_HOST_PRODUCTS = frozenset({"windows", "linux", "macos"})


@dataclass(frozen=True, slots=True)
class Route:
    """`datasets`: whose rows the rule sees. Empty: loaded, never matched, and `reason` says why."""

    datasets: frozenset[str]
    reason: str = ""


def route(product: str | None, category: str | None, service: str | None) -> Route:
    """The datasets of a Sigma log source. A host's rule never reaches a network dataset."""
    if product == "csirt":
        if service is None:
            return Route(SERVICES if category is None else _category(category))
        if service in SERVICES:
            return Route(frozenset({service}))
        return Route(frozenset(), f"no dataset is called {service!r}; there are {', '.join(sorted(SERVICES))}")
    if product in _HOST_PRODUCTS:
        return Route(frozenset(), f"a rule for hosts (product {product}): no source here has such events")
    if product == "zeek":
        dataset = _ZEEK.get(service or "")
        if dataset:
            return Route(frozenset({dataset}))
        return Route(frozenset(), f"no source here has what Zeek calls {service or 'nothing named'!r}")
    if product is not None:
        return Route(frozenset(), f"no source here has events of product {product!r}")
    if category is not None and service is None:
        datasets = _category(category)
        return Route(datasets) if datasets else Route(datasets, f"no source here has events of category {category!r}")
    return Route(frozenset(), f"no source here has events of service {service!r} without a product")


def _category(category: str) -> frozenset[str]:
    dataset = _CATEGORIES.get(category)
    return frozenset({dataset}) if dataset else frozenset()
