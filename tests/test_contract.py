"""The contract of processors, scorers and models, on real parts: every run answers every event once and rightly.

What runs is chosen in sampling.py: a sample, or with --all (make test-all) everything.
"""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sampling
from conftest import DATASET, manifest_of, outgoing_ports, sampled, snakemake

from crayfish.harness.pacing import due_offsets
from crayfish.spec import paths
from crayfish.spec.run_spec import RunSpec

SIZES = (1, 4)
RATE, WARMUP_S, MEASURE_S = 150.0, 0.5, 1.5
EVENTS = int(len(SIZES) * RATE * (WARMUP_S + MEASURE_S))
CHOICES = {"pair": sampling.pairs, "variant": sampling.variants, "drained": sampling.backlogs}


def pytest_generate_tests(metafunc):
    for name in CHOICES.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, CHOICES[name](metafunc.config.getoption("--all")), ids=sampling.label)


def spec_of(fields: dict) -> RunSpec:
    segments = [
        {"kind": "constant", "rate": RATE, "batch_size": size, "warmup_s": WARMUP_S, "measure_s": MEASURE_S}
        for size in SIZES
    ]
    return RunSpec.from_dict({"segments": segments, "broker_warmup_s": 0, **fields})


@pytest.fixture(scope="module")
def owner():
    """What the runs of this module belong to, as those of a pipeline do: they share a broker that ends with it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def harness(harness, owner):
    return functools.partial(harness, owner=owner)


def assert_answered_once_and_rightly(harness, spec: RunSpec, out: Path, events: int, **options: object) -> dict:
    """Run it and check the accounting from its tables; returns the manifest."""
    run = harness(spec, out, **options)
    output = run.finish()
    assert run.process.returncode == 0, output
    sent, received = pq.read_table(out / "producer.parquet"), pq.read_table(out / "consumer.parquet")
    assert sent["sequence"].to_pylist() == list(range(events))
    assert sorted(received["sequence"].to_pylist()) == list(range(events))
    assert all(received["correct"].to_pylist())
    due, stamps = sent["due_ns"].to_numpy(), sent["sent_ns"].to_numpy()
    assert (stamps >= due).all() and (np.diff(due) >= 0).all()
    arrived = np.zeros(events, np.int64)
    arrived[received["sequence"].to_numpy()] = received["received_ns"].to_numpy()
    assert (arrived > stamps).all()
    assert (sent["input_append_ms"].to_numpy() * 1_000_000 >= stamps - 2_000_000).all()
    manifest = manifest_of(out)
    counts = manifest["accounting"]
    assert counts.pop("late") <= events
    assert counts == {"sent": events, "received_once": events, "lost": 0, "left": 0, "duplicated": 0, "wrong": 0}
    assert not [text for text in manifest["warnings"] if "outlived" in text or "killed" in text]
    return manifest


def test_every_pair_answers_every_event_once_and_rightly(harness, tmp_path, pair):
    manifest = assert_answered_once_and_rightly(harness, spec_of(pair), tmp_path, EVENTS)
    assert manifest["java"]["version"] and manifest["machine"]["cpu"] and manifest["git"]["commit"]
    assert {each["environment"] for each in manifest["environments"]} >= {pair["processor"]}
    assert bool(manifest["server"]) == (pair["scorer"] in sampling.EXTERNAL)
    assert manifest["batches"]["server"] is None  # of one request each there is nothing to tell
    assert {"processor consumer", "processor producer"} <= set(manifest["clients"])
    if manifest["server"] and not (address := manifest["server"]["address"]).startswith("unix:"):
        assert int(address.rpartition(":")[2]) not in outgoing_ports()


def test_every_variant_answers_every_event_once_and_rightly(harness, tmp_path, variant):
    assert_answered_once_and_rightly(harness, spec_of(variant), tmp_path, EVENTS)


def test_a_backlog_is_drained_and_its_predictions_are_checked(harness, tmp_path, drained):
    load = {"kind": "backlog", "rate": 4000.0, "warmup_s": 1.0, "measure_s": 3.0}
    run = harness(spec_of({**drained, "segments": [load]}), tmp_path)
    output = run.finish()
    assert run.process.returncode == 0, output
    received = pq.read_table(tmp_path / "consumer.parquet")
    assert sorted(received["sequence"].to_pylist()) == list(range(16000)) and all(received["correct"].to_pylist())
    assert set(received["received_ns"].to_pylist()) == {-1}
    appended = received["output_append_ms"].to_numpy()
    assert np.ptp(appended) > 0
    used = manifest_of(tmp_path)["stages"]
    assert {"broker", "producer", "processor", "consumer"} <= set(used)
    assert used["consumer"]["pss_bytes"] > 0


@pytest.mark.parametrize("processor", sampled(sampling.PROCESSORS, first=1, step=4))
def test_a_backlog_that_is_drained_for_a_time_counts_what_was_answered(harness, tmp_path, processor):
    load = {"kind": "backlog", "rate": 200_000.0, "warmup_s": 0.5, "measure_s": 0.5, "at_most_s": 0.2}
    fields = {"processor": processor, "scorer": "onnx", "segments": [load]}
    run = harness(spec_of(fields), tmp_path)
    output = run.finish()
    assert run.process.returncode == 0, output
    counts = manifest_of(tmp_path)["accounting"]
    assert counts["lost"] == counts["wrong"] == 0 and counts["left"] > 0
    assert counts["sent"] + counts["left"] == 200_000
    received = pq.read_table(tmp_path / "consumer.parquet")
    assert len(set(received["sequence"].to_pylist())) == counts["sent"] and all(received["correct"].to_pylist())


@pytest.mark.parametrize("load", sampling.loads(), ids=lambda load: load["kind"])
def test_every_event_of_a_load_is_answered_when_it_is_due(harness, tmp_path, load):
    spec = spec_of({"processor": "kafka_streams", "scorer": "noop", "segments": [load]})
    due = due_offsets(spec.segments[0], spec.seed)
    assert_answered_once_and_rightly(harness, spec, tmp_path, len(due))
    sent = pq.read_table(tmp_path / "producer.parquet")["due_ns"].to_numpy()
    assert np.array_equal(sent - sent[0], due - due[0])


def sized(models: list[dict]) -> list:
    return [pytest.param(run, marks=pytest.mark.full if sampling.is_large(run["model"]) else ()) for run in models]


@pytest.mark.parametrize("of_model", sized(sampling.models()), ids=sampling.label)
def test_a_model_answers_every_event_once_and_rightly(harness, tmp_path, of_model):
    made = snakemake(paths.proof(DATASET, of_model["model"], of_model["scorer"]))
    assert made.returncode == 0, made.stdout
    load = {"kind": "constant", "rate": 0.5, "warmup_s": 4.0, "measure_s": 12.0}
    spec = spec_of({**of_model, "segments": [load], "drain_timeout_s": 120.0})
    assert_answered_once_and_rightly(harness, spec, tmp_path, 8)
