"""Turns on an engine that is there already: the rule, and on real ones two runs at once with a Kafka each."""

import dataclasses
import time
from pathlib import Path

import pytest
from conftest import DATASET, ROOT, assert_nothing_written, sampled
from test_cluster import ENGINES, LOAD, Elsewhere
from test_contract import spec_of as made_spec

from crayfish.engine import child, turns
from crayfish.harness import broker, given, stages
from crayfish.spec import discovery, paths
from crayfish.spec.errors import NotMade
from crayfish.spec.run_spec import Job, RunSpec

READY_S = 120.0


def job() -> Job:
    made = Job.without_kafka(made_spec({"processor": "ray", "scorer": "noop", "segments": [LOAD]}), "")
    return dataclasses.replace(made, group="crayfish-2-b", processor_address="head:1")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["crayfish-1-a", "crayfish-2-b"], "crayfish-1-a"),
        (["theirs", "crayfish-3-c"], "crayfish-3-c"),
        (["crayfish-2-b", "crayfish-3-c"], None),
        (["theirs", "crayfish-2-b"], None),
        ([], None),
    ],
)
def test_who_came_later_leaves(names, told):
    if told is None:
        turns.check_turn(job(), names)
        return
    with pytest.raises(NotMade, match=rf"ray: another Crayfish run measures on head:1 \({told}\)"):
        turns.check_turn(job(), names)


def test_who_waits_goes_on_when_the_others_have_ended(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE_S", 0)
    answers = iter([["crayfish-1-a"], ["crayfish-1-a", "theirs"], ["theirs"]])
    turns.await_turn(job(), lambda: next(answers))
    assert next(answers, None) is None
    impatient = dataclasses.replace(job(), spec=dataclasses.replace(job().spec, ready_timeout_s=1e-3))
    with pytest.raises(NotMade, match="crayfish-1-a"):
        turns.await_turn(impatient, lambda: ["crayfish-1-a"])


@pytest.fixture
def two(resources, tmp_path):
    """What is there already for two users: a Kafka each, of which the first one's folder has the engine."""
    found = []
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        found.append(Elsewhere(resources, tmp_path / name))
    yield found
    for each in found:
        each.close()


def processor_of(theirs: Elsewhere, spec: RunSpec, address: str, folder: Path) -> tuple[stages.Stage, str]:
    """The processor of a run that measures from another machine, at work on an engine; and that run's name."""
    name = given.name_of("0123456789ab", time.time())
    topics = [f"{name}-input", f"{name}-output"]
    broker.make_topics(theirs.admin, topics, spec.partitions)
    declared, model = discovery.processor(spec.processor), discovery.model(spec.model)
    folder.mkdir()
    job = Job(
        spec=spec,
        bootstrap_servers=theirs.kafka,
        input_topic=topics[0],
        output_topic=topics[1],
        group=name,
        input_shape=model.input_shape,
        outputs=model.outputs,
        model_path=str(ROOT / paths.model_file(DATASET, spec.model, "onnx")),
        server_address=None,
        jars=tuple(str(jar) for each in declared.jars for jar in (ROOT / paths.jar_set(each)).glob("*.jar")),
        scorer_jars=(),
        java_home=theirs.java.home,
        workdir=str(folder),
        processor_address=address,
    )
    command = (
        theirs.python(spec.processor),
        "-m",
        "crayfish.engine.worker",
        "processors",
        "--job",
        job.write(folder / "job"),
    )
    stage = theirs.start("processor", *command, PYTHONPATH=str(child.SCRIPTS))
    stage.wait_for("ready", READY_S)
    return stage, name


@pytest.mark.parametrize("engine", sampled(ENGINES, 2))
def test_two_runs_with_a_kafka_each_take_turns_on_an_engine(harness, tmp_path, two, engine, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("SPARK_LOCAL_IP", child.HOST)
    ours, theirs = two
    address = getattr(ours, engine)(2)
    asked = {"broker-address": ours.kafka, "processor-address": address}
    spec = made_spec({"processor": engine, "scorer": "onnx", "segments": [LOAD]})
    other, name = processor_of(theirs, spec, address, tmp_path / "processor")

    impatient = harness(dataclasses.replace(spec, ready_timeout_s=90.0), tmp_path / "refused", **asked)
    output = impatient.finish()
    assert f"{engine}: another Crayfish run measures on {address} ({name})" in output, output
    assert impatient.process.returncode != 0 and "Traceback" not in output
    assert_nothing_written(tmp_path / "refused")
    theirs.live()

    patient = harness(spec, tmp_path / "run", **asked)
    patient.stage("processor")
    assert other.stop()
    output = patient.finish()
    assert patient.process.returncode == 0, output
    ours.live()
