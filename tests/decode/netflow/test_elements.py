"""The element tables: complete, consistent with the schema, and refused with file and line when broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from csirt.content import BadContent, folder
from csirt.decode.netflow.elements import Element, ElementTable, shipped
from csirt.model import ecs

FOLDER = folder("parsers") / "netflow"


def test_well_known_elements() -> None:
    """IANA's, vendors', v9's own and RFC 5103's reverse elements have their names and types."""
    table = shipped()
    assert table.find(10, 0, 1) == Element("octet_delta_count", "unsigned64")
    assert table.find(9, 0, 8) == Element("source_ipv4_address", "ipv4Address")
    assert table.find(10, 29305, 1) == Element("reverse_octet_delta_count", "unsigned64")
    assert table.find(9, 0, 33002) == Element("cisco_fw_ext_event", "unsigned16")
    assert table.find(10, 5951, 128).name == "netscaler_round_trip_time"
    assert table.scope(2).name == "scope_interface"


def test_unknown_elements_have_a_name() -> None:
    """What no table has is `e<PEN>_<id>`; a v9 vendor's id means nothing in IPFIX."""
    table = shipped()
    assert table.find(10, 35632, 9_999) == Element("e35632_9999", "octetArray")
    assert table.find(10, 0, 33002) == Element("e0_33002", "octetArray")


def test_the_range_of_the_registry_is_covered() -> None:
    """All assigned ids are known (the registry ends at 533), but those it keeps for NetFlow v9 or never assigned."""
    table = shipped()
    unknown = {number for number in range(1, 540) if table.find(10, 0, number).name.startswith("e0_")}
    assert unknown == {*range(65, 70), 97, *range(105, 128), 416, 419, *range(534, 540)}


def test_elements_of_vendors() -> None:
    """Cisco, Juniper, Fortinet (which has none of its own), Palo Alto, nProbe, VMware, NetScaler and YAF: ids, types,
    what v9 adds to them, and the reverse bit of CERT."""
    table = shipped()
    wanted = {
        (10, 9, 12236): Element("cisco_client_ipv4_address", "ipv4Address"),
        (9, 0, 45004): Element("cisco_client_ipv4_address", "ipv4Address"),
        (9, 0, 37083): Element("cisco_tcp_window_size_min", "unsigned32"),
        (9, 0, 40005): Element("cisco_fw_event", "unsigned8"),
        (10, 2636, 137): Element("juniper_common_properties", "unsigned32"),
        (9, 0, 56701): Element("paloalto_app_id", "string"),
        (10, 35632, 180): Element("ntop_http_url", "string"),
        (9, 0, 57590): Element("ntop_l7_proto", "unsigned16"),
        (10, 35632, 396): Element("ntop_untunneled_ipv6_src_addr", "ipv6Address"),
        (10, 6876, 880): Element("vmware_tenant_protocol", "unsigned8"),
        (10, 6876, 950): Element("vmware_rule_id", "unsigned32"),
        (10, 5951, 128): Element("netscaler_round_trip_time", "unsigned32"),
        (10, 6871, 33): Element("cert_silk_app_label", "unsigned16"),
        (10, 6871, 14 | 16384): Element("cert_reverse_initial_tcp_flags", "unsigned16"),
        (10, 29305, 136): Element("reverse_flow_end_reason", "unsigned8"),
    }
    assert {key: table.find(*key) for key in wanted} == wanted


def test_private_elements_of_both_directions() -> None:
    """Payloads, passwords and subscriber numbers are thrown away, users and queries cut, also the other way round."""
    table = shipped()
    assert {"cert_payload", "cert_reverse_payload", "ntop_ftp_password", "cert_smtp_subject"} <= table.private
    assert table.care["ntop_http_url"] == "url" and table.care["cert_reverse_ftp_user"] == "user"
    known = {element.name for element in [*table._known.values(), *table._nine.values()]}
    assert {name for name in table.private if not name.startswith("reverse_") and "_reverse_" not in name} <= known


def test_mapped_columns_exist_and_can_hold_their_elements() -> None:
    """Every ECS column of ecs.yml is in the schema, every element in a role exists, numbers fit by type."""
    table = shipped()
    known = {table.find(10, 0, number).name: table.find(10, 0, number).type for number in range(1, 530)}
    known |= {f"reverse_{name}": kind for name, kind in list(known.items())}
    roles = table.roles
    for column, names in roles.columns.items():
        assert column in ecs.FLOW or column in ecs.ADDRESSES
        for name in names:
            assert name in known, name
            if column in ecs.FLOW and pa.types.is_integer(ecs.FLOW[column]):
                assert int(known[name].removeprefix("unsigned")) <= 64
    known |= {table.scope(number).name: table.scope(number).type for number in range(1, 6)}
    for group in (roles.times, roles.sampling, roles.icmp, {"": roles.direction}, *roles.names.values()):
        assert all(name in known for names in group.values() for name in names)


def test_names_are_unique_by_vendor_prefix() -> None:
    """Vendors' elements carry the vendor's name, so that no two vendors fill the same column."""
    table = shipped()
    owners: dict[str, int] = {}
    for (pen, _), element in table._known.items():
        assert owners.setdefault(element.name, pen) == pen


def test_a_broken_table_says_where(tmp_path: Path) -> None:
    """A line that is not `name type` is refused with its file and line."""
    shutil.copytree(FOLDER, tmp_path / "netflow")
    path = tmp_path / "netflow" / "iana.yml"
    path.write_text(path.read_text().replace("octet_delta_count unsigned64", "octet_delta_count number"))
    with pytest.raises(BadContent, match=r"iana\.yml:\d+:.*RFC 7012"):
        ElementTable(tmp_path / "netflow")
