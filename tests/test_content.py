"""YAML that strangers write."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.content import BadContent, folder, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"a: &x [1]\nb: *x\n", "anchors and aliases"),
        (b"a: !!python/object:os.system x\n", "the tag"),
        (b"a: 1\na: 2\n", "occurs twice"),
        (b"[" * 100_000, "nested deeper"),
        (b"a: [1, 2\n", "expected"),
        (b"\xff\xfe", "UTF-8"),
        (b"? [a]\n: 1\n", "a key must be a plain value"),
    ],
)
def test_hostile_yaml_is_refused_with_line_and_advice(text: bytes, part: str) -> None:
    """Nothing is built before it is checked, and the refusal says where and what to do."""
    begin = SYSTEM.cpu()
    with pytest.raises(BadContent) as caught:
        parse_yaml(text, "pack.yml")
    assert part in str(caught.value)
    assert str(caught.value).startswith("pack.yml:")
    assert SYSTEM.cpu() - begin < 2


def test_values_and_their_places_are_kept() -> None:
    """Every node knows its line and column, for errors found later."""
    documents = parse_yaml(b"title: x\ndetection:\n  sel:\n    port: 445\n---\nsecond: true\n", "f")
    assert documents[0].value == {"title": "x", "detection": {"sel": {"port": 445}}}
    assert documents[0].mark(("detection", "sel", "port")) == (4, 11)
    assert documents[1].value == {"second": True}
    assert str(documents[0].problem(("detection", "nothing"), "missing", "add it")).startswith("f:2:")


def test_a_file_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    """A link out of a pack is refused."""
    outside = tmp_path / "secret.yml"
    outside.write_text("a: 1\n")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "rule.yml").symlink_to(outside)
    with pytest.raises(BadContent, match="outside its folder"):
        read_yaml(pack / "rule.yml", root=pack)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Size is checked before parsing."""
    path = tmp_path / "big.yml"
    path.write_text("a: " + "x" * 5_000)
    with pytest.raises(BadContent, match="larger than"):
        read_yaml(path, max_bytes=1_000)


def test_shipped_content_is_found() -> None:
    """Rules, parsers and playbooks are there in an editable install."""
    for name in ("rules", "parsers", "playbooks"):
        assert any(folder(name).rglob("*.yml")), name
