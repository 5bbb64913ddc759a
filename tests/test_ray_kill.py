"""Ray is killed by kill -9 in mid-stream: every event is answered, and a restart goes on from what was committed."""

import dataclasses
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from test_kafka_streams_kill import DEADLINE_S, EVENTS, OUTPUTS, PARTITIONS, SHAPE, Bed, answers

from crayfish.harness import broker, stages
from crayfish.processors import ray
from crayfish.spec import discovery
from crayfish.spec.run_spec import Job, RunSpec, Segment


class RayBed(Bed):
    """The same broker and backlog, for Ray."""

    def job(self, execution: str) -> Job:
        """A job of its own on the backlog: its own output topic, group and folder."""
        name = f"run-{uuid.uuid4().hex[:8]}"
        broker.make_topics(self.admin, [name], PARTITIONS)
        (self.folder / name).mkdir()
        spec = RunSpec("ray", "noop", (Segment("constant", rate=1.0),), execution=execution, partitions=PARTITIONS)
        places = {"jars": (), "scorer_jars": (), "java_home": None, "workdir": str(self.folder / name)}
        return Job(spec, self.servers, "input", name, name, SHAPE, OUTPUTS, None, None, **places)

    def start(self, job: Job, commit_ms: int = 0) -> stages.Stage:
        """The processor, as a run starts it."""
        python = str(self.resources / "environments/ray/python")
        file = str(job.write(Path(job.workdir, "job.json")))
        command = [python, "-m", "crayfish.engine.worker", "processors", "--job", file]
        return stages.Stage("ray", command, Path(job.workdir, "log"), self.tag)

    def committed(self, job: Job) -> int:
        """How many events the job's group has committed."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": job.group})
        partitions = consumer.committed([TopicPartition("input", number) for number in range(PARTITIONS)], timeout=30)
        consumer.close()
        return sum(max(0, partition.offset) for partition in partitions)


@pytest.fixture(scope="module")
def bed(resources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayBed]:
    bed = RayBed(resources, tmp_path_factory.mktemp("kill"))
    yield bed
    bed.close()


@pytest.mark.parametrize("execution", discovery.processor("ray").executions)
def test_every_event_is_answered_after_kills(bed: RayBed, execution: str) -> None:
    job = bed.job(execution)
    consumer = bed.consumer(job.output_topic)
    for reached in (lambda: bed.written(consumer, job.output_topic), lambda: bed.committed(job)):
        stage, end = bed.start(job), time.monotonic() + DEADLINE_S
        while not reached():
            stage.check()
            assert time.monotonic() < end, stages.last_lines(stage.log)
            time.sleep(0.005)
        stage.process.kill()
        stage.process.wait()
        stage.process.stdin.close()
    consumer.close()
    seen = answers(bed, job, kills=0, commit_ms=0, seed=0)
    assert len(seen) == EVENTS
    assert sum(seen.values()) < 3 * EVENTS, "it must go on from its commits, not from the start"


class Dying:
    """What is downstream of a source, with nothing to wait for: it counts, and dies of its last batch."""

    def __init__(self, batches: int):
        self.left, self.forwarded, self.settled = batches, 0, 0

    def __enter__(self) -> "Dying":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def forward(self, events: list[bytes], waited_us: int) -> None:
        self.left -= 1
        if not self.left:
            raise InterruptedError
        self.forwarded += len(events)

    def settle(self) -> None:
        self.settled = self.forwarded


def test_a_commit_covers_nothing_that_is_consumed_after_it(bed: RayBed) -> None:
    job, committed = bed.job("fused"), 0
    # It commits after every batch; a run may not ask for 0.
    object.__setattr__(job.spec, "commit_interval_ms", 0)
    for batches in range(2, 32):
        job, downstream = dataclasses.replace(job, group=f"{job.output_topic}-{batches}"), Dying(batches)
        with pytest.raises(InterruptedError):
            ray.Source(job, 0, downstream).run()
        found = bed.committed(job)
        assert found <= downstream.settled, f"after {batches} batches"
        committed += found
    assert committed > 0, "nothing was committed: this proves nothing"


class Moving:
    """What a source asks of its consumer at the start, from a broker whose coordinator refuses at first."""

    def __init__(self, refusals: int):
        self.left = refusals

    def list_topics(self, name: str, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(topics={name: SimpleNamespace(error=None)})

    def committed(self, share: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.left -= 1
        if self.left >= 0:
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        return [TopicPartition(partition.topic, partition.partition, 7) for partition in share]


def test_a_source_waits_for_its_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec("ray", "noop", (Segment("constant", rate=1.0),))
    places = {"jars": (), "scorer_jars": (), "java_home": None, "workdir": ""}
    job = Job(spec, "127.0.0.1:1", "input", "output", "group", SHAPE, OUTPUTS, None, None, **places)
    assert {partition.offset for partition in ray.Source(job, 0, Dying(1))._start_of(Moving(2))} == {7}
    monkeypatch.setattr(ray, "BROKER_DEADLINE_S", 0.2)
    with pytest.raises(KafkaException, match="NOT_COORDINATOR"):
        ray.Source(job, 0, Dying(1))._start_of(Moving(1000))
