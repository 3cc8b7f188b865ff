"""Log sources to datasets."""

from __future__ import annotations

import pytest

from csirt.detect.rules.routing import SERVICES, route


@pytest.mark.parametrize(
    ("product", "category", "service", "datasets"),
    [
        ("csirt", None, "flow", {"flow"}),
        ("csirt", None, "mail", {"mail"}),
        ("csirt", None, None, SERVICES),
        ("csirt", None, "floww", set()),
        (None, "dns", None, {"dns"}),
        ("zeek", None, "dns", {"dns"}),
        (None, "proxy", None, {"http"}),
        (None, "webserver", None, {"http"}),
        ("zeek", None, "http", {"http"}),
        (None, "firewall", None, {"flow"}),
        ("zeek", None, "conn", {"flow"}),
        ("zeek", None, "x509", {"tls"}),
        ("zeek", None, "smb_mapping", {"smb"}),
        ("windows", None, "security", set()),
        ("windows", "firewall", None, set()),
        ("windows", "network_connection", None, set()),
        ("linux", "process_creation", None, set()),
        ("macos", None, None, set()),
        ("cisco", None, "aaa", set()),
        (None, "process_creation", None, set()),
        (None, "network_connection", None, set()),
        ("zeek", None, "weird", set()),
        (None, None, "dns", set()),
    ],
)
def test_the_table_of_the_schema(
    product: str | None, category: str | None, service: str | None, datasets: set[str]
) -> None:
    """Each log source reaches the dataset the schema says; a host's reaches none, and the reason is given."""
    found = route(product, category, service)
    assert found.datasets == datasets
    assert bool(found.reason) == (not datasets)
