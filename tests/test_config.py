"""The configuration file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from csirt.config import duration, size
from csirt.configfile import load
from csirt.errors import Usage

ROOT = Path(__file__).parent.parent
LISTENER = '[[sources]]\nid = "e"\ntype = "netflow"\n[[collect.listeners]]\nsource = "e"\nlisten = "[::]:1"\n'


def refused(tmp_path: Path, text: str) -> str:
    """What `load` says of a file with this text."""
    path = tmp_path / "csirt.toml"
    path.write_text(text)
    with pytest.raises(Usage) as caught:
        load(path)
    return caught.value.message


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    """A typing error never becomes a silent default."""
    message = refused(tmp_path, 'language = "en"\n\n[[sources]]\nid = "a"\ntype = "log"\nparsr = "postfix"\n')
    assert ":6: unknown key 'sources.0.parsr'; did you mean 'parser'?" in message


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    """Three mistakes need one run to find, not three."""
    message = refused(tmp_path, 'langage = "en"\ntimezone = "Nowhere/Here"\n[stores]\nbatch_rows = 3\n')
    assert "langage" in message and "Nowhere/Here" in message and "batch_rows" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[[sources]]\nid = "a"\ntype = "log"\npath = "x"\n', "needs `parser`"),
        ('[[sources]]\nid = "a"\ntype = "netflow"\n', "needs `path`"),
        ('[[collect.listeners]]\nsource = "b"\nkind = "netflow"\nlisten = "127.0.0.1:1"\n', "no source has the id 'b'"),
        (LISTENER + 'kind = "syslog"\nworkers = 2\n', "only netflow over udp has several workers"),
        (LISTENER + 'kind = "netflow"\nworkers = 0\n', "0 is not between 1 and 64"),
        (LISTENER + 'kind = "netflow"\ntransport = "tls"\nkey = "k"\n', "tls needs `certificate` and `key`"),
        (
            LISTENER + 'kind = "netflow"\ntransport = "tcp"\nclient_ca = "c"\n',
            '`client_ca` is for transport = "tls" only',
        ),
        ('[detect]\nlateness = "soon"\n', "detect.lateness: 'soon' is not a duration"),
        ('[collect.spool]\nlimit = "much"\n', "collect.spool.limit: 'much' is not a size"),
        ('[control.users]\nkari = "analist"\n', "did you mean 'analyst'?"),
        ('[[notify.routes]]\nname = "r"\ncontacts = ["nobody"]\n', "no contact 'nobody'"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(tmp_path: Path, text: str, part: str) -> None:
    """References, durations, sizes and roles are checked when the file is read, not when they are first used."""
    assert part in refused(tmp_path, text)


def test_durations_and_sizes_are_written_with_units() -> None:
    """Plain numbers are seconds and bytes; units are those people write."""
    assert duration("2h") == 7_200_000_000
    assert duration("-90s") == -90_000_000
    assert duration(5) == 5_000_000
    assert size("64MiB") == 64 << 20
    assert size(17) == 17


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    """A file that is not TOML is refused with its line."""
    assert "line 2" in refused(tmp_path, 'language = "en"\n[[[\n')


def test_the_commented_sample_is_a_valid_configuration() -> None:
    """The sample that ships is read without a complaint and names every section."""
    sample = ROOT / "docs" / "csirt.sample.toml"
    config = load(sample)
    text = sample.read_text()
    for section in (field.name for field in fields(config)):
        if section not in ("language", "timezone", "state"):
            assert section in text, f"the sample does not mention {section}"
