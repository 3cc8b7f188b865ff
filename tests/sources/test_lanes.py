"""Which folders of the spool are read as one source."""

from __future__ import annotations

from pathlib import Path

from csirt.config import Collect, Config, Listener, Source
from csirt.sources.lanes import lanes_of


def _config(folder: Path, *listeners: Listener) -> Config:
    return Config(state=str(folder), collect=Collect(listeners=list(listeners)))


def test_lanes_of_the_listeners_and_of_what_is_there(tmp_path: Path) -> None:
    """Every lane that a listener of the source fills, and every one that lies in the spool already: less workers than
    yesterday leave nothing unread, and another source's folders, or strange ones, are not taken for lanes."""
    source = Source(id="edge", type="netflow")
    assert lanes_of(source, _config(tmp_path)) == ["edge"]
    for name in ("edge@3", "edge@11", "edge@tls", "edge@x", "edge@0", "edge.2", "edge2@1", "edge@1.txt"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    listeners = [
        Listener(source="edge", kind="netflow", listen=":1", workers=2),
        Listener(source="edge", kind="netflow", listen=":2", transport="tcp"),
        Listener(source="other", kind="netflow", listen=":3", workers=9),
    ]
    config = _config(tmp_path, *listeners)
    assert lanes_of(source, config) == ["edge", "edge@1", "edge@3", "edge@11", "edge@tcp", "edge@tls"]


def test_lanes_lie_beside_a_configured_folder(tmp_path: Path) -> None:
    """A `path` names the first lane's folder; sources of files and logs have one lane."""
    (tmp_path / "far" / "routers@1").mkdir(parents=True)
    source = Source(id="edge", type="netflow", path=str(tmp_path / "far" / "routers"))
    assert lanes_of(source, _config(tmp_path)) == ["edge", "edge@1"]
    assert lanes_of(Source(id="c", type="capture", path=str(tmp_path)), _config(tmp_path)) == ["c"]


def test_syslog_by_tls_is_a_lane_and_by_tcp_is_not(tmp_path: Path) -> None:
    """UDP and TCP fill one folder, whose records say by what they came."""
    listeners = [Listener(source="r", kind="syslog", listen=":1", transport=name) for name in ("udp", "tcp", "tls")]
    assert lanes_of(Source(id="r", type="syslog", parser="p"), _config(tmp_path, *listeners)) == ["r", "r@tls"]
