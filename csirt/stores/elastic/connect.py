"""The official client, made from the configuration, and one sentence for all that can be wrong with a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from csirt.config import ElasticCluster, duration
from csirt.errors import CsirtError, Unreachable, Usage
from csirt.secrets import place, secret
from csirt.stores.elastic import fields, layout, templates
from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

MAJORS = (8, 9)
_BLOCKS = "read_only_allow_delete", "read-only / allow delete"


class Refusal(Unreachable):
    """The cluster answers and will not do it: a person has to act, and then a retry is sensible."""

    code = "cluster_refuses"


def client(config: ElasticCluster) -> Elasticsearch:
    """A client of the cluster. It never retries by itself: what may be sent again is ours to know. Raises Usage or
    CsirtError for a configuration that will not do."""
    problems = check(config)
    if problems:
        raise Usage("\n".join(problems))
    import logging

    from elasticsearch import Elasticsearch, OrjsonSerializer
    from elasticsearch.serializer import NdjsonSerializer

    class Encoded(NdjsonSerializer):
        """Lines that are encoded already go as they are: the client would copy each of its requests twice."""

        def dumps(self, data: Any) -> bytes:
            return data if isinstance(data, bytes) and data.endswith(b"\n") else super().dumps(data)

    # Every failed request of an outage would be a line; what is wrong is said once, by us.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    secure = any(url.startswith("https:") for url in config.urls)
    more: dict[str, Any] = {"ca_certs": str(place(config.ca))} if config.ca and secure else {}
    if config.api_key:
        more["api_key"] = secret(config.api_key, "stores.elasticsearch.api_key")
    try:
        return Elasticsearch(
            config.urls,
            request_timeout=duration(config.timeout) / 1e6,
            max_retries=0,
            retry_on_timeout=False,
            connections_per_node=config.in_flight + 2,
            http_compress=config.compress,
            serializers={"application/json": OrjsonSerializer(), "application/x-ndjson": Encoded()},
            **more,
        )
    except (ValueError, OSError) as error:
        raise CsirtError(f"stores.elasticsearch: {error}; check `urls` and `ca`") from error


def check(config: ElasticCluster) -> list[str]:
    """What is wrong with the section, without asking the cluster."""
    import ipaddress
    import re
    from urllib.parse import urlsplit

    found = []
    if not config.urls:
        found.append("stores.elasticsearch.urls: name at least one node, such as 'https://es1.example:9200'")
    for url in config.urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None:
            found.append(f"stores.elasticsearch.urls: {url!r} is not https://HOST:PORT")
        elif parts.username or parts.password:
            found.append("stores.elasticsearch.urls: no password belongs in a URL; use `api_key`, a file")
        elif parts.scheme == "http":
            try:
                loopback = ipaddress.ip_address(parts.hostname).is_loopback
            except ValueError:
                loopback = parts.hostname == "localhost"
            if not loopback:
                found.append(f"stores.elasticsearch.urls: {url!r} is not encrypted; use https:// (and `ca`)")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", config.prefix):
        found.append(f"stores.elasticsearch.prefix: {config.prefix!r}: lower-case letters, digits, _ and - only")
    if config.node and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", config.node):
        found.append(f"stores.elasticsearch.node: {config.node!r}: lower-case letters, digits, _, . and - only")
    return found


def explain(error: Exception, config: ElasticCluster) -> Unreachable:
    """A failure of a request as one sentence with the next step."""
    import elasticsearch as es

    where = ", ".join(config.urls)
    if isinstance(error, Unreachable):
        return error
    if isinstance(error, es.UnsupportedProductError):
        return Refusal(f"what answers at {where} is not Elasticsearch; correct [stores.elasticsearch] urls")
    if isinstance(error, es.SSLError):
        return Unreachable(
            f"the certificate of {where} is not trusted ({_first(error)}); set [stores.elasticsearch] ca to its "
            "authority"
        )
    if isinstance(error, es.ConnectionTimeout):
        return Unreachable(
            f"the cluster at {where} does not answer in {config.timeout}; see to its load and its network"
        )
    if isinstance(error, es.ConnectionError):
        return Unreachable(f"the cluster at {where} cannot be reached ({_first(error)}); see that its nodes run")
    if isinstance(error, es.ApiError):
        return _answered(error, where)
    return Unreachable(f"the cluster at {where}: {type(error).__name__}: {_first(error)}")


def of_cluster(error: Exception) -> bool:
    """Whether a request failed, and not csirt."""
    import elasticsearch as es

    return isinstance(error, es.ApiError | es.TransportError)


def failed(error: Exception, config: ElasticCluster) -> CsirtError:
    """What a request raised, as an error with a sentence."""
    return error if isinstance(error, CsirtError) else explain(error, config)


def _answered(error: Any, where: str) -> Unreachable:
    status, said = int(error.meta.status), str(error.body)
    if status in (401, 403) and "cluster_block" not in said:
        what = "does not know the API key" if status == 401 else "does not let the API key do this"
        return Refusal(f"the cluster at {where} {what}; `csirt store roles` prints the rights it needs")
    if any(word in said for word in _BLOCKS):
        return Refusal(f"the cluster at {where} is read-only because a disk is full; give its nodes room")
    if status == 404 and ("index_not_found" in said or "alias" in said):
        return Refusal(f"the cluster at {where} lacks csirt's indices; run `csirt store init`")
    return Unreachable(f"the cluster at {where} answers {status} ({_reason(error)}); see its log")


def _first(error: Exception) -> str:
    text = str(getattr(error, "message", "")) or str(error)
    return text.split("\n")[0][:200]


def _reason(error: Any) -> str:
    body = error.body
    kind = body.get("error", {}) if isinstance(body, dict) else {}
    return str(kind.get("type", "")) if isinstance(kind, dict) and kind else str(error.message)[:100]


def probe(es: Any, config: ElasticCluster, *, indices: bool = True, older: bool = False) -> dict[str, Any]:
    """Whether csirt can work with the cluster: `{version, status, nodes}`. Raises Unreachable with a sentence.
    `indices`: they must be there, none of them red or read-only, and take what this csirt writes; `older`: they may be
    of an older one, to be read."""
    where = ", ".join(config.urls)
    try:
        version = str(es.info()["version"]["number"])
        if int(version.partition(".")[0]) not in MAJORS:
            raise Refusal(f"the cluster at {where} has version {version}; csirt works with 8.x and 9.x: upgrade it")
        health = es.cluster.health(timeout="0s").body
        found = {"version": version, "status": health["status"], "nodes": health["number_of_nodes"]}
        if indices:
            _indices(es, config, where)
            if not older:
                _current(es, config, where)
        return found
    except CsirtError:
        raise
    except Exception as error:
        raise explain(error, config) from error


def _indices(es: Any, config: ElasticCluster, where: str) -> None:
    lacking = sorted(set(templates.lasting(config.prefix)) - templates.aliased(es, config.prefix))
    if lacking:
        raise Refusal(f"the cluster at {where} lacks csirt's indices ({lacking[0]}); run `csirt store init`")
    pattern = layout.alias(config.prefix, "*")
    health = es.cluster.health(index=pattern, level="indices", timeout="0s").body
    red = sorted(name for name, item in health["indices"].items() if item["status"] == "red")
    if red:
        raise Refusal(
            f"the cluster at {where} is red: {red[0]} has a shard without a copy; bring back the node that holds it"
        )
    settings = es.indices.get_settings(index=pattern, name="index.blocks.*", flat_settings=True).body
    blocked = sorted(name for name, item in settings.items() if "true" in item.get("settings", {}).values())
    if blocked:
        raise Refusal(
            f"the cluster at {where} is read-only ({blocked[0]}): a disk is full or somebody set a block; give its "
            "nodes room, then take index.blocks away"
        )


def _current(es: Any, config: ElasticCluster, where: str) -> None:
    for kind in documents.KINDS:
        for index, have in es.indices.get_mapping(index=layout.alias(config.prefix, kind)).body.items():
            if fields.former(have["mappings"]):
                raise Refusal(
                    f"the cluster at {where} has {index} for documents as an older csirt wrote them; run `csirt store "
                    "init`, then `csirt store migrate`: what is new waits in the store folder"
                )
