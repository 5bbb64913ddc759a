"""Runs whose parts are on several nodes: network namespaces of this machine with addresses of their own."""

import json
import os
import shutil
import signal
from collections.abc import Iterator

import namespaces
import psutil
import pytest
from conftest import assert_nothing_left, manifest_of, sampled
from test_contract import assert_answered_once_and_rightly
from test_contract import spec_of as made_spec

from crayfish.results.summaries import summarise
from crayfish.spec import discovery, placement
from crayfish.spec.errors import CrayfishError
from crayfish.spec.plan import make_plan
from crayfish.spec.run_spec import RunSpec

BRIDGE, NET, NAMES = "crayfish1", "10.78.0", ("n1", "n2")
NODES = [
    {"address": f"{NET}.1"},
    *({"address": f"{NET}.1{number}", "namespace": f"{BRIDGE}{name}"} for number, name in enumerate(NAMES, 1)),
]
LOAD = {"kind": "constant", "rate": 50, "warmup_s": 1, "warmup_at_most_s": 1, "measure_s": 2}
EVENTS = 150
SPREADING = tuple(name for name in discovery.names("processors") if discovery.processor(name).spreads)
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[str]:
    """Three nodes, of which the first is this machine, as execute_run takes them."""
    if reason := namespaces.missing():
        pytest.skip(reason)
    try:
        namespaces.make(BRIDGE, NET, NAMES)
        yield json.dumps(NODES)
    finally:
        namespaces.remove(BRIDGE, NAMES)


def spread(processor: str, where: str, **more: object) -> RunSpec:
    scorer = "noop" if discovery.processor(processor).floor else "onnx"
    fields = {"processor": processor, "scorer": scorer, "placement": where, "segments": [LOAD], "broker_warmup_s": 2}
    return made_spec({**fields, **more})


@pytest.mark.parametrize("processor", sampled(SPREADING, 0, step=5))
def test_broker_and_processor_have_nodes_of_their_own(harness, nodes, tmp_path, processor):
    spec = spread(processor, "broker1+processor2")
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", EVENTS, nodes=nodes)
    manifest = manifest_of(tmp_path / "run")
    assert [(each["stage"], each["number"]) for each in manifest["nodes"]] == [("broker", 1), ("processor", 2)]
    assert manifest["stages"]["broker"]["cpu_s"] > 0 and manifest["stages"]["processor"]["pss_bytes"] > 0
    assert manifest["clock"]["broker"]["uncertainty_ms"] > 0, "the clock of a broker elsewhere is measured"
    assert manifest["clients"]["broker"]["properties"]["listeners"].startswith(f"PLAINTEXT://{NET}.11:")
    assert manifest["broker"]["warmup"]["phases"]


@pytest.mark.parametrize("processor", sampled(SPREADING, 2, step=5))
def test_a_processor_on_several_nodes(harness, nodes, tmp_path, processor):
    spec = spread(processor, "processor1.2", parallelism=3, partitions=4)
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", EVENTS, nodes=nodes)
    assert [each["number"] for each in manifest_of(tmp_path / "run")["nodes"]] == [0, 1, 2]


@pytest.fixture
def another_clock(tmp_path, monkeypatch) -> None:
    """What is started on another node has a monotonic clock that is 5 000 s ahead of this machine's."""
    (own := tmp_path / "bin").mkdir()
    ahead = "unshare --time --monotonic 5000 --fork --kill-child"
    (own / "nsenter").write_text(f'#!/bin/sh\nexec {ahead} {shutil.which("nsenter")} "$@"\n')
    (own / "nsenter").chmod(0o755)
    monkeypatch.setenv("PATH", f"{own}:{os.environ['PATH']}")


@pytest.mark.usefixtures("another_clock")
def test_generators_and_sinks_on_nodes_with_other_clocks_tell_the_run_s_time(harness, nodes, tmp_path):
    spec = spread("relay", "generator1.2+sink2", generators=3, sinks=2)
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", EVENTS, nodes=nodes)
    manifest = manifest_of(tmp_path / "run")
    assert sorted((each["stage"], each["number"]) for each in manifest["nodes"]) == [
        *(("broker", 0), ("consumer", 2), ("consumer", 2), ("processor", 0)),
        *(("producer", 1), ("producer", 1), ("producer", 2)),
    ]
    assert manifest["stages"]["producer"]["cpu_s"] > 0 and manifest["stages"]["consumer"]["pss_bytes"] > 0
    assert 0 < manifest["clock"]["generator"]["uncertainty_ms"] < 5 > manifest["clock"]["sink"]["uncertainty_ms"] > 0
    (segment,) = summarise(tmp_path / "run")["segments"]
    parts = [segment["latency_ms"][name]["p50"] for name in ("generation", "processing", "delivery")]
    assert all(-1 < part < 1000 for part in parts), "a clock that is not the run's would be hours away"


def test_a_slow_way_to_a_node_is_in_the_processor_s_latency_and_what_it_drops_is_not_lost(harness, nodes, tmp_path):
    """1.6 Mbit/s to the processor's node: the bucket takes the first packet of an event of 3 KB at once, and the rest
    waits for (3 136 - 1 600) B / 200 B/ms."""
    link = f"{BRIDGE}n1"
    namespaces.said(*f"tc qdisc add dev {link} root tbf rate 1600kbit burst 1600 limit 6000".split())
    try:
        spec = spread("relay", "processor1")
        assert_answered_once_and_rightly(harness, spec, tmp_path / "run", EVENTS, nodes=nodes)
        (told,) = json.loads(namespaces.said("tc", "-s", "-j", "qdisc", "show", "dev", link))
    finally:
        namespaces.said("tc", "qdisc", "delete", "dev", link, "root")
    assert told["drops"] > 0
    (segment,) = summarise(tmp_path / "run")["segments"]
    assert segment["latency_ms"]["processing"]["p50"] >= 7


def test_a_server_on_a_node_of_its_own_that_dies_is_started_again_there(harness, nodes, tmp_path):
    load = {**LOAD, "measure_s": 12}
    spec = spread(
        "kafka_streams", "server2", scorer="torchserve", on_server_failure="retry", segments=[load], partitions=2
    )
    run = harness(spec, tmp_path / "run", nodes=nodes)
    run.await_log("sent")
    for process in psutil.process_iter():
        if "org.pytorch.serve.ModelServer" in process.cmdline():
            process.kill()
    output = run.finish()
    assert run.process.returncode == 0, output
    manifest = manifest_of(tmp_path / "run")
    assert manifest["server"]["failures"] == 1 and manifest["server"]["address"].startswith(f"{NET}.12:")
    assert manifest["accounting"]["lost"] == 0
    assert_nothing_left(run.before)


def test_brokers_that_share_the_topics(harness, nodes, tmp_path):
    spec = spread("relay", "broker0.1.2", partitions=3)
    (left := tmp_path / "run/crayfish-left").mkdir(parents=True)  # by a run of which all nodes were lost
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", EVENTS, nodes=nodes)
    manifest = manifest_of(tmp_path / "run")
    assert manifest["broker"]["settings"]["default.replication.factor"] == 3 and not left.exists()
    assert [each["number"] for each in manifest["nodes"] if each["stage"] == "broker"] == [0, 1, 2]


@pytest.mark.parametrize("killed", ["harness", "supervisor"])
def test_nothing_is_left_on_any_node(harness, nodes, tmp_path, killed):
    spec = spread("flink", "broker1+processor2", segments=[{**LOAD, "measure_s": 60}])
    run = harness(spec, tmp_path / "run", nodes=nodes)
    run.await_log("sent")
    if killed == "harness":
        run.process.send_signal(signal.SIGKILL)
        run.finish()
    else:
        supervisors = [each for each in psutil.process_iter() if "crayfish.harness.supervisor" in each.cmdline()]
        supervisors[-1].kill()
        output = run.finish()
        assert "its supervisor, or the way to it, is gone" in output
        run.assert_failed_cleanly(output)
    assert_nothing_left(run.before)
    assert not [*(tmp_path / "run").glob("crayfish-*")], "the folder that all nodes see"


def test_a_node_that_cannot_be_reached_is_told(harness, nodes, tmp_path):
    gone = json.dumps([*NODES[:2], {"address": f"{NET}.12", "namespace": "crayfish-nowhere"}])
    run = harness(spread("relay", "processor2"), tmp_path / "run", nodes=gone)
    output = run.finish()
    assert f"processor on node 2 ({NET}.12): its supervisor, or the way to it, is gone" in output
    assert "/run/netns/crayfish-nowhere" in output
    run.assert_failed_cleanly(output)


# --- what is refused before the start --------------------------------------------------------------------------------


def test_a_placement_is_a_text_in_a_spec_and_a_mapping_in_a_config():
    given = {"broker": 1, "processor": [2, 3], "server": 4, "generator": [5, 6]}
    most = {"processor": 4, "generator": 2, "sink": 1}
    assert placement.text(given, True, most) == "broker1+processor2.3+server4+generator5.6"
    assert placement.text(given, False, most) == "broker1+processor2.3+generator5.6"
    alone = {"processor": 1, "generator": 1}
    assert placement.text(given, False, alone) == "broker1+processor2+generator5", "one instance is on one node"
    assert placement.text({"broker": 0}, True, most) == ""
    parsed = placement.parsed("broker1+processor2.3")
    assert (parsed["broker"], parsed["processor"], parsed["server"], parsed["sink"]) == ((1,), (2, 3), (0,), (0,))
    assert placement.nodes("broker1+processor2.3") == 4 and placement.nodes("") == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"placement": "broker"}, "allowed: broker, processor, server, generator, sink, each once"),
        ({"placement": "broker1+broker2"}, "allowed: broker, processor, server, generator, sink, each once"),
        ({"placement": "broker1.1"}, "broker is twice on one node"),
        ({"placement": "processor1.2"}, "processor: 1 instances cannot be on 2 nodes"),
        ({"placement": "generator0.1"}, "generator: 1 instances cannot be on 2 nodes: name fewer, or raise run.gen"),
        ({"placement": "server1"}, "onnx calls no server"),
        ({"placement": "server1.2", "scorer": "triton"}, "a server is on one node"),
        ({"placement": "broker1", "cores": 1}, "parts on other nodes have cores of their own"),
        ({"placement": "broker1", "transport": "in_engine"}, "events go through files of one machine"),
        (
            {"placement": "processor1.2", "parallelism": 2, "parallelism_model": "task"},
            "one TaskManager, which is on one node",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(fields, told):
    with pytest.raises(CrayfishError, match=told):
        made_spec({"processor": "flink", "scorer": "onnx", "segments": [LOAD], **fields})


def test_a_config_s_placement_is_of_every_run_and_not_beside_a_given_part():
    experiment = {"vary": {"processor": ["relay", "flink"], "scorer": ["noop"]}, "load": LOAD}
    config = {"experiments": {"one": experiment}, "placement": {"broker": 1, "server": 2}}
    assert {spec.placement for spec in make_plan(config).runs.values()} == {"broker1"}
    within = {"vary": {"processor": ["flink"], "scorer": ["noop"], "transport": ["in_engine"]}, "load": LOAD}
    plan = make_plan({**config, "experiments": {"one": within}})
    assert {spec.placement for spec in plan.runs.values()} == {""}, "what has no Kafka stays where it is"
    with pytest.raises(CrayfishError, match=r"placement\.broker: kafka is at 'k:9092' already"):
        make_plan({**config, "cluster": {"kafka": "k:9092"}})
