"""A cluster with TLS and API keys: certificates are verified, each key can do what its user needs and no more."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from csirt.checking import rights
from csirt.clock import SYSTEM
from csirt.config import Config, Stores
from csirt.errors import Unreachable
from csirt.model.batch import event_ids
from csirt.model.search import Part, Search
from csirt.stores.base import Commit
from csirt.stores.elastic import connect, templates
from csirt.stores.elastic.roles import lacking, roles
from csirt.stores.elastic.sector.find import Searcher
from csirt.stores.elastic.shared.log import Cut, Log
from tests.collect import certificates
from tests.elastic import cluster, desk
from tests.elastic.shared import cutting
from tests.live import until
from tests.stores import build

pytestmark = pytest.mark.timeout(600)
PASSWORD = "only for this test"


@dataclass
class Secure:
    """A secure server, its authority's certificate, and files with API keys by role."""

    server: cluster.Server
    ca: Path
    folder: Path

    def ask(self, path: str, body: Any = None) -> Any:
        """One request as the superuser."""
        login = base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.server.url + path, data, headers)
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        """Whether it lets the superuser in."""
        try:
            return bool(self.ask("/_cluster/health?wait_for_status=yellow&timeout=1s"))
        except OSError:
            return False

    def key(self, role: str, prefix: str = "sec") -> str:
        """A file with an API key of that role, for the indices of that prefix."""
        needed = roles(prefix)[role]
        made = self.ask("/_security/api_key", {"name": role, "role_descriptors": {role: needed}})
        path = self.folder / f"{prefix}-{role}"
        path.write_text(made["encoded"] + "\n")
        path.chmod(0o600)
        return str(path)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """The server with security."""
    cluster.require()
    folder = tmp_path_factory.mktemp("secure")
    ca = certificates.authority(folder)
    pem, key = certificates.certificate(folder, "node", ca)
    with cluster.made(
        "xpack.security.http.ssl.enabled=true",
        "xpack.security.http.ssl.key=node.key",
        "xpack.security.http.ssl.certificate=node.pem",
        environment={"ES_BOOTSTRAP_PASSWORD": PASSWORD},
    ) as server:
        config = server.folder / "config"
        config.mkdir(mode=0o755)
        for path in (pem, key):
            shutil.copy(path, config / path.name)
        server.url = server.url.replace("http:", "https:")
        found = Secure(server, ca, folder)
        server.start(found.answers)
        yield found


def test_each_key_does_its_part(secure: Secure, tmp_path: Path) -> None:
    """The installer's key installs; the daemon's sends, reads, searches and deletes, makes the indices of the log and
    deletes them, and cannot install; the reader's only reads.
    After a restart of the cluster, whose first answers are refusals, the rest arrives by itself."""
    url, ca = secure.server.url, str(secure.ca)
    files = {name: secure.key(name) for name in roles("sec")}
    settings = {name: desk.settings(url, "sec", ca=ca, api_key=file).elasticsearch for name, file in files.items()}
    for name, lacks in (("daemon", ""), ("reader", "monitor on the cluster")):
        with connect.client(settings[name]) as client:
            assert lacking(client, "sec") == lacks
            said = rights(Config(stores=Stores(kind="elasticsearch", elasticsearch=settings[name])))
            assert [lacks in problem.message for problem in said] == ([True] if lacks else [])
    for name in ("daemon", "reader"):
        with connect.client(settings[name]) as client, pytest.raises(Exception, match="security_exception"):
            templates.install(client, "sec")
    with connect.client(settings["installer"]) as client:
        connect.probe(client, settings["installer"], indices=False)
        templates.install(client, "sec")
    with desk.opened(tmp_path / "store", url, "sec", ca=ca, api_key=files["daemon"]) as store:
        mails = build.mails(2)
        hits = build.hits([build.START])
        hits = hits.set_column(hits.column_names.index("event"), "event", event_ids(mails.table).slice(0, 1))
        store.commit(Commit(batches=[mails], hits=hits, alerts=[build.alert("a")], audit=[build.entry()]))
        store.shipper.settle(desk.SECONDS)
        assert store.cluster()["events"]["sent"] == 1  # into an index that its key may make
        searcher = Searcher(store.shipper.client, store.config.elasticsearch)
        searcher.refresh()
        mail = Search("rule", (Part("rule", 'event.action == "delivered"', frozenset({"mail"})),))
        if cluster.MAJOR == 8:
            assert sum(batch.rows for batch in searcher.batches(mail, build.START - 1, build.START, None)) == 1
        else:  # what the tests have of 9 knows no ES|QL, as clusters before 8.11 do not
            with pytest.raises(connect.Refusal, match=r"needs 8\.19 or newer"):
                list(searcher.batches(mail, build.START - 1, build.START, None))
        assert len(list(store.dump(["alert", "audit"]))) == 2
        log = Log(lambda: store.shipper.client, store.config.elasticsearch, SYSTEM)
        name = log.begin("a" * 32, 0)  # what nodes share, likewise
        assert log.at(name).created("x", {}) == 1 and log.names("a" * 32) == [name]
        log.drop(name)
        with pytest.raises(Cut):
            log.at(name).created("y", {})
        with connect.client(settings["reader"]) as client:
            assert client.count(index="sec-alert")["count"] == 1
            with pytest.raises(Exception, match="security_exception"):
                client.delete(index="sec-alert", id=build.alert("a").id)
        with store.database.transaction("test") as connection:
            connection.execute("DELETE FROM alerts")
        secure.server.stop()
        store.commit(Commit(alerts=[build.alert("b")]))
        until(lambda: bool(store.cluster()["trouble"]), 20)
        secure.server.start(secure.answers)
        store.shipper.settle(desk.SECONDS, patient=True)
        assert [json.loads(line)["id"] for line in store.dump(["alert"])] == [build.alert("b").id]


def test_several_nodes_with_keys_of_their_prefix(secure: Secure, tmp_path: Path) -> None:
    """The daemon's rights are all that nodes need to share a log, to cut it, and to join from a snapshot, and they end
    with the prefix."""
    url, ca = secure.server.url, str(secure.ca)
    installer, daemon = secure.key("installer", "team"), secure.key("daemon", "team")
    with connect.client(desk.settings(url, "team", ca=ca, api_key=installer).elasticsearch) as client:
        templates.install(client, "team")
    assert cutting.joined(tmp_path, url, "team", ca=ca, api_key=daemon) == 19
    with connect.client(desk.settings(url, "team", ca=ca, api_key=daemon).elasticsearch) as client:
        names = set(client.indices.get(index="team-log-*").body)
        assert 1 < len(names) < 6
        for ask in (
            lambda: client.indices.create(index="sec-log-000000000000-0123456789"),
            lambda: client.indices.delete(index="sec-alert"),
            lambda: client.search(index="sec-alert"),
        ):
            with pytest.raises(Exception, match="security_exception"):
                ask()


def test_who_is_not_trusted_is_told_so(secure: Secure, tmp_path: Path) -> None:
    """A certificate of an unknown authority, and a key the cluster does not know, are a sentence each."""
    other = certificates.authority(tmp_path, "other")
    wrong = tmp_path / "wrong"
    wrong.write_text(base64.b64encode(b"nobody:nothing").decode())
    wrong.chmod(0o600)
    for ca, key, sentence in ((other, "", "not trusted"), (secure.ca, str(wrong), "does not know the API key")):
        config = desk.settings(secure.server.url, "sec", ca=str(ca), api_key=key).elasticsearch
        with connect.client(config) as client, pytest.raises(Unreachable, match=sentence):
            connect.probe(client, config)
