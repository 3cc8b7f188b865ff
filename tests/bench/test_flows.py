"""`csirt bench flows`, its corpora and children on tiny inputs: that all is counted and compared, never how fast."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from csirt.bench import captures, exports, flow_child, flows, goflow2, memory, sender, streams
from csirt.errors import NotFound
from tests import conform

RECORDS = 3_000


def test_corpora_hold_what_their_manifest_says(tmp_path: Path) -> None:
    """Every kind decodes to the manifest's records, octets and packets, and depends on the seed alone."""
    manifests = exports.write(tmp_path / "a", seed=3, records=RECORDS)
    exports.write(tmp_path / "b", seed=3, records=RECORDS)
    exports.write(tmp_path / "c", seed=4, records=RECORDS, kinds=("v9",))
    for kind, manifest in manifests.items():
        path = tmp_path / "a" / f"netflow-{kind}.pcap"
        counted = flow_child.decode("arrow", str(path), str(tmp_path / "out"))
        expected = {"records": RECORDS, "octets": manifest.octets, "packets": manifest.packets}
        assert counted == flow_child.read_back("arrow", str(tmp_path / "out")) == expected, kind
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert len(manifests["shuffled"].templates) == exports.MANY
    assert (manifests["fixed"].octets, manifests["fixed"].packets) == (
        manifests["shuffled"].octets,
        manifests["shuffled"].packets,
    )
    other = (tmp_path / "c" / "netflow-v9.pcap").read_bytes()
    assert other != (tmp_path / "a" / "netflow-v9.pcap").read_bytes()


def test_captures_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    """A version for each, whatever its name; a part is a prefix of whole records; a folder without any is refused."""
    exports.write(tmp_path, seed=1, records=RECORDS, kinds=("v5", "ipfix"))
    shutil.move(tmp_path / "netflow-v5.pcap", tmp_path / "x.pcap")
    found = [captures.known(path) for path in captures.paths(tmp_path)]
    assert [(item.name, item.version) for item in found if item] == [("ipfix", 10), ("x", 5)]
    whole = captures.known(tmp_path / "x.pcap")
    assert whole is not None
    part = captures.cut(whole, tmp_path / "part.pcap", 20)
    assert part.datagrams == 20
    offsets, sizes = sender.layout(captures.plain(part, tmp_path / "plain").read_bytes())
    assert len(offsets) == 20 and int(sizes[0]) == 24 + 30 * 48
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NotFound):
        captures.paths(tmp_path / "nothing")


@pytest.mark.timeout(300)
def test_flows_beside_a_peer_or_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh processes, equal work, and the document's shape; without Go the peer is absent and said to be."""
    if shutil.which("go") is None:
        monkeypatch.setattr(goflow2, "program", lambda: None)
    task = flows.Task(runs=1, records=RECORDS, only=("decode-v9",))
    (entry,) = flows.run(tmp_path / "a", task)
    machine = {"cpu": "", "cores": 1, "load1": 0.0}
    conform.check({"schema": "csirt.bench/1", "commit": "", "seed": 1, "machine": machine, "results": [entry]})
    assert entry["equal_work"] and entry["floor"] == 3.5 and entry["ours"]["work"]["records"] == RECORDS
    assert (entry["peer"] is None) == bool(entry.get("absent"))
    monkeypatch.setattr(goflow2, "program", lambda: None)
    (entry,) = flows.run(tmp_path / "b", replace(task, only=("ndjson",)))
    assert entry["absent"] and entry["pass"] is None and entry["ours"]["work"]["records"] == RECORDS


@pytest.mark.timeout(300)
def test_every_datagram_of_a_stream_is_accounted_for(tmp_path: Path) -> None:
    """Sent is spooled and dropped together, whatever the rate; all that is spooled is decoded; the disk is cleared."""
    stream = streams.prepared(tmp_path, seed=1, rate=500, count=300)
    found = streams.csirt(tmp_path, stream)
    assert found["sent"] == 300 == found["spooled"] + found["kernel_dropped"] + found["spool_dropped"]
    assert found["decoded"] == found["spooled"] and found["work"]["records"] > 5_000
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not any(name.endswith((".pcapng", ".open")) for name in left), left


@pytest.mark.timeout(300)
def test_memory_is_measured_early_and_late(tmp_path: Path) -> None:
    """A few passes and mutants: both figures, what was decoded, and the shape of every benchmark."""
    results = memory.run(tmp_path, seed=1, records=RECORDS, passes=6, mutants=6_000)
    machine = {"cpu": "", "cores": 1, "load1": 0.0}
    document = {"schema": "csirt.bench/1", "commit": "", "seed": 1, "machine": machine, "results": results}
    conform.check(json.loads(json.dumps(document)))
    assert [entry["name"] for entry in results] == ["memory-passes", "memory-mutants"]
    assert results[0]["ours"]["work"]["records"] == 6 * 3 * RECORDS + results[0]["ours"]["work"]["records"] % RECORDS
    assert results[1]["ours"]["work"]["datagrams"] >= 6_000 and all(entry["early_mib"] > 20 for entry in results)
