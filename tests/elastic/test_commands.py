"""`csirt store init|copy|dead-letters|roles`, `check` and `status`, as an operator types them, on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from csirt.clock import SYSTEM
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.elastic import connect
from csirt.stores.embedded import open_embedded
from tests.conform import check
from tests.elastic import cluster, desk
from tests.stores import build

pytestmark = pytest.mark.timeout(600)


class Desk:
    """Runs commands with a configuration that names the cluster."""

    def __init__(self, folder: Path, url: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.config = folder / "csirt.toml"
        self.name(url, prefix)

    def name(self, url: str, prefix: str, more: str = "") -> None:
        """Write the configuration."""
        self.config.write_text(
            f'state = "{self.folder}"\n[stores]\nkind = "elasticsearch"\n[stores.elasticsearch]\n'
            f'urls = ["{url}"]\nprefix = "{prefix}"\ntimeout = "5s"\n{more}'
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        code = guarded(main, ["--config", str(self.config), *words])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the document, which is as its schema says."""
        code, out, err = self.run(*words, "--json")
        assert out, err
        document = json.loads(out)
        check(document)
        return code, document


@pytest.fixture
def at(tmp_path: Path, elasticsearch: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A desk with indices of its own, not installed yet."""
    return Desk(tmp_path, elasticsearch, prefix, capsys)


def fill(folder: Path, cases: int = 30) -> None:
    """A store without a cluster, with documents of every kind and events."""
    with open_embedded(folder, clock=SYSTEM) as store:
        for n in range(cases):
            case, events = build.opened(f"{n}")
            store.commit(
                Commit(
                    batches=[build.mails(3, first=n * 3)],
                    alerts=[build.alert(f"{n}")],
                    incidents=[build.incident(f"{n}", case=case.id)],
                    cases=[case],
                    case_events=events,
                    runs=[build.run(f"{n}")],
                    receipts=[build.receipt(f"{n}")],
                    notifications=[build.notification(f"{n}")],
                    audit=[build.entry(detail={"n": n})],
                    position=Position("s", f"f{n}", 3),
                )
            )


def test_init_shows_the_difference_then_installs_it(at: Desk, elasticsearch: str, prefix: str) -> None:
    """A dry run changes nothing; after init nothing differs; what somebody changed by hand is shown and mended."""
    code, document = at.json("store", "init", "--dry-run")
    assert code == 0 and {item["state"] for item in document["items"]} == {"missing"}
    assert {item["state"] for item in at.json("store", "init", "--dry-run")[1]["items"]} == {"missing"}
    assert at.json("store", "init")[0] == 0
    assert {item["state"] for item in at.json("store", "init", "--dry-run")[1]["items"]} == {"same"}
    with connect.client(desk.settings(elasticsearch, prefix).elasticsearch) as client:
        client.cluster.put_component_template(name=f"{prefix}-ecs", template={"mappings": {"dynamic": False}})
    changed = [item for item in at.json("store", "init", "--dry-run")[1]["items"] if item["state"] == "changed"]
    assert [item["name"] for item in changed] == [f"{prefix}-ecs"]
    assert "+ template.mappings.properties.@timestamp.type = date_nanos" in changed[0]["changes"]
    code, _, err = at.run("store", "init")
    assert code == 0 and "1 installed" in err
    assert {item["state"] for item in at.json("store", "init", "--dry-run")[1]["items"]} == {"same"}


def test_copy_is_equal_by_canonical_dump(at: Desk, tmp_path: Path) -> None:
    """Every document arrives; both dumps have one digest; a second copy sends nothing and says the same; what was
    taken out of the cluster is noticed, and sent with --again."""
    at.run("store", "init")
    fill(tmp_path / "store")
    code, first = at.json("store", "copy", "--from", "embedded", "--to", "elasticsearch")
    assert (code, first["equal"], first["dead_letters"]) == (0, True, 0)
    assert first["counts"] == dict.fromkeys(first["counts"], 30)
    words = ("store", "copy", "--from", "embedded", "--to", "elasticsearch", "--store", str(tmp_path / "store"))
    assert at.json(*words) == (0, first)
    section = desk.settings(at.config.read_text().split('["')[1].split('"]')[0], "x").elasticsearch
    prefix = at.config.read_text().split('prefix = "')[1].split('"')[0]
    with connect.client(section) as client:
        client.delete(index=f"{prefix}-alert", id=build.alert("3").id, refresh=True)
    code, third = at.json(*words)
    assert (code, third["equal"]) == (1, False)
    assert at.json(*words, "--again") == (0, first)


def test_what_is_wrong_is_one_sentence_and_exit_6(at: Desk, elasticsearch: str, prefix: str) -> None:
    """check: no indices, nobody there, a certificate problem, a read-only index; then all is well."""
    code, document = at.json("check")
    assert code == 6 and "csirt store init" in document["items"][-1]["message"]
    at.name(f"http://127.0.0.1:{cluster.free_port()}", prefix)
    code, out, _ = at.run("check")
    assert code == 6 and "cannot be reached" in out and out.count("\n") <= 3
    assert at.run("check", "--offline")[0] == 0
    code, _, err = at.run("store", "init")
    assert code == 6 and "cannot be reached" in err
    at.name(elasticsearch.replace("http:", "https:"), prefix)
    assert at.run("check")[0] == 6
    at.name(elasticsearch, prefix)
    assert at.run("store", "init")[0] == 0
    assert at.run("check")[0] == 0
    with connect.client(desk.settings(elasticsearch, prefix).elasticsearch) as client:
        client.indices.put_settings(index=f"{prefix}-case", settings={"index.blocks.read_only_allow_delete": True})
        code, out, _ = at.run("check")
        assert code == 6 and "read-only" in out
        client.indices.put_settings(index=f"{prefix}-case", settings={"index.blocks.read_only_allow_delete": None})
    assert at.run("check")[0] == 0


def test_a_configuration_that_will_not_do(at: Desk, tmp_path: Path, elasticsearch: str, prefix: str) -> None:
    """No encryption to another machine, a password in a URL, a key that others can read: check says each, exit 1."""
    at.name("http://192.0.2.9:9200", prefix)
    code, out, _ = at.run("check")
    assert code == 1 and "not encrypted" in out
    at.name("https://elastic:secret@192.0.2.9:9200", prefix)
    code, out, err = at.run("check")
    assert code == 1 and "password" in out and "secret" not in out + err
    key = tmp_path / "key"
    key.write_text("abc\n")
    key.chmod(0o644)
    at.name(elasticsearch, prefix, f'api_key = "{key}"\n')
    code, out, _ = at.run("check")
    assert code == 1 and "chmod 640" in out
    at.name(elasticsearch, prefix, 'api_key = "es-key"\n')
    code, out, _ = at.run("check")
    assert (code, "warning" in out) == (0, True)


def test_roles_are_least(at: Desk, prefix: str) -> None:
    """The daemon's key may not make, change or delete an index, and every key is bound to the prefix."""
    code, document = at.json("store", "roles")
    assert code == 0
    daemon = document["roles"]["daemon"]
    assert not {"manage", "all", "create_index", "delete_index", "auto_configure"} & set(
        daemon["indices"][0]["privileges"]
    )
    assert all(role["indices"][0]["names"] == [f"{prefix}-*"] for role in document["roles"].values())
