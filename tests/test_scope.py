"""Which rules run where: with a cluster that can look for them there, in every other case on the stream, and never on
both or neither."""

from __future__ import annotations

import pytest

from csirt.config import Config, Detect, ElasticCluster, Retention, Stores
from csirt.detect.match import Detector
from csirt.detect.rules.ruleset import Ruleset
from csirt.model.hits import ELSEWHERE, kept
from csirt.scope import problems, scope
from tests.elastic.bursts import deployed, flows


def config(content: str = "matched", **more: str) -> Config:
    """A configuration with a cluster."""
    cluster = ElasticCluster(urls=["http://127.0.0.1:9200"], content=content)  # type: ignore[arg-type]
    stores = Stores(kind="elasticsearch", elasticsearch=cluster)
    return Config(stores=stores, retention=Retention(**more), detect=Detect())


@pytest.fixture(scope="module")
def loaded() -> Ruleset:
    """Rules and correlations, all of the whole sector."""
    return deployed()


def test_a_rule_runs_in_one_place(loaded: Ruleset) -> None:
    """With a cluster the stream has none of them, without one all; hits say where they are for."""
    names = {item.id for item in loaded.everything()}
    there, here = scope(loaded, config(), cluster=True), scope(loaded, config(), cluster=False)
    assert set(there.searches) == names and not there.refused
    assert not there.streaming.everything() and not there.streaming.running.everything()
    assert not here.searches and here.streaming is loaded.running
    batch = flows(1)
    plain = Detector(loaded.running).match(batch)
    marked = Detector(loaded.running, elsewhere=there.searches).match(batch)
    assert plain.num_rows == marked.num_rows > 0
    assert marked.column("event") == plain.column("event")
    assert all(name.startswith(ELSEWHERE) for name in marked.column("stream").unique().to_pylist())
    assert kept(marked).num_rows == 0 and kept(plain) is plain


def test_a_correlation_of_the_sector_leaves_its_rules_to_the_stream(loaded: Ruleset) -> None:
    """What only the correlation needs is for the cluster, what a rule alerts of itself stays on the stream."""
    several = deployed()
    several.deployment.rules.clear()
    item = several.correlations[0]
    several.deployment.rules[item.id] = loaded.deployment.rules[item.id]
    found = scope(several, config(), cluster=True)
    assert set(found.searches) == {item.id} and len(found.streaming.rules) == 3
    streams = Detector(several.running, elsewhere=found.searches).match(flows(1)).column("stream").unique().to_pylist()
    marked = [name for name in streams if name.startswith(ELSEWHERE)]
    assert marked == [f"{ELSEWHERE}{item.id}/{item.rules[0]}"] and item.rules[0] in streams


@pytest.mark.parametrize(
    ("settings", "reason"),
    [(config("none"), "the cluster gets no events"), (config(flow="6m"), "[retention] flow is shorter")],
)
def test_what_the_cluster_does_not_hold_is_looked_for_on_the_stream(
    loaded: Ruleset, settings: Config, reason: str
) -> None:
    """And said, by rule."""
    found = scope(loaded, settings, cluster=True)
    assert not found.searches or reason.startswith("[retention]")
    assert found.refused and all(said.startswith(reason) for said in found.refused.values())
    assert {item.id for item in found.streaming.everything()} == set(found.refused)
    told = problems(loaded, settings, held=True)
    assert len(told) == len(found.refused) and all(one.level == "warning" and reason in one.message for one in told)
    assert problems(loaded, Config()) == []
