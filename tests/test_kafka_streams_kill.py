"""Kafka Streams is killed by kill -9, again and again, in the middle of a stream: no event may stay without its answer.

The batches of KafkaStreamsBatching.java hold records whose offsets could be committed too early. With a commit after
nearly every record, a kill would lose them if they were; the last test takes the flush before a commit out of the Java
source and sees just that, so that the others are known to be able to fail.
"""

import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from generated_events import header_of

from crayfish.engine import child, jvm
from crayfish.harness import broker, stages
from crayfish.spec import paths
from crayfish.spec.events import Binary
from crayfish.spec.run_spec import Job, RunSpec, Segment

PARTITIONS = 4
EVENTS = 600_000
DEADLINE_S = 180
SHAPE, OUTPUTS = (1,), 1  # small events: the backlog outlasts the kills
FLUSH = "flush.run();"
COMMIT_OFTEN = (
    "import sys; from crayfish.engine import worker; from crayfish.processors.kafka_streams import instance;"
    " from crayfish.spec import errors; every_ms, settings = int(sys.argv.pop(1)), instance.settings;"
    " instance.settings = lambda *job: {**settings(*job), 'commit.interval.ms': every_ms}; errors.main(worker.main)"
)


class Bed:
    """A broker, a backlog of EVENTS in the topic `input`, and how to start and watch the processor on it."""

    def __init__(self, resources: Path, folder: Path):
        self.tag, self.resources, self.folder = f"test-{uuid.uuid4().hex}", resources, folder
        jars = sorted(map(str, (resources / "jars/kafka").glob("*.jar")))
        log = folder / "broker.log"
        own = broker.start(jvm.find().executable, jars, folder / "broker", log, self.tag)
        (self.broker,), self.servers = own.stages, own.servers
        self.admin = broker.admin_client(self.servers)
        broker.wait_ready(self.admin, self.servers, broker.READY_DEADLINE_S, own.check)
        broker.make_topics(self.admin, ["input"], PARTITIONS)
        self._fill()

    def _fill(self) -> None:
        codec, producer = Binary(SHAPE, OUTPUTS), Producer({"bootstrap.servers": self.servers, "linger.ms": 20})
        body = codec.encode_body(np.zeros((1, *SHAPE), np.float32))
        for sequence in range(EVENTS):
            while True:
                try:
                    event = codec.stamp(body, 1, sequence, time.time_ns())
                    producer.produce("input", event, partition=sequence % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(DEADLINE_S) == 0

    def job(self, delivery: str, compiled: Path, **fields: object) -> Job:
        """A job of its own on the backlog: its own output topic, group and folder."""
        name = f"run-{uuid.uuid4().hex[:8]}"
        broker.make_topics(self.admin, [name], PARTITIONS)
        (self.folder / name).mkdir()
        load = Segment("constant", rate=1.0)
        spec = RunSpec("kafka_streams", "noop", (load,), delivery=delivery, partitions=PARTITIONS, **fields)
        jars = [*sorted((self.resources / "jars/kafka_streams").glob("*.jar")), compiled]
        paths = {
            "jars": tuple(map(str, jars)),
            "scorer_jars": (),
            "java_home": jvm.find().home,
            "workdir": str(self.folder / name),
        }
        return Job(spec, self.servers, "input", name, name, SHAPE, OUTPUTS, None, None, **paths)

    def start(self, job: Job, commit_ms: int) -> stages.Stage:
        """The processor, as a run starts it, but for how often it commits."""
        python = str(self.resources / "environments/kafka_streams/python")
        file = str(job.write(Path(job.workdir, "job.json")))
        command = [python, "-c", COMMIT_OFTEN, str(commit_ms), "processors", "--job", file]
        return stages.Stage("kafka_streams", command, Path(job.workdir, "log"), self.tag)

    def consumer(self, topic: str) -> Consumer:
        values = {"bootstrap.servers": self.servers, "group.id": "test", "isolation.level": "read_committed"}
        consumer = Consumer({**values, "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        return consumer

    def written(self, consumer: Consumer, topic: str) -> int:
        """How many messages the output topic holds."""
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(partition, timeout=30)[1] for partition in partitions)

    def close(self) -> None:
        self.broker.stop()
        stages.sweep(self.tag)
        stages.remove_named(self.tag)


@pytest.fixture(scope="module")
def bed(resources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = Bed(resources, tmp_path_factory.mktemp("kill"))
    yield bed
    bed.close()


def kill_in_mid_stream(bed: Bed, job: Job, consumer: Consumer, commit_ms: int, moment: random.Random) -> None:
    """Start the processor, and kill it at a random moment after its first predictions."""
    before = bed.written(consumer, job.output_topic)
    stage = bed.start(job, commit_ms)
    end = time.monotonic() + DEADLINE_S
    while bed.written(consumer, job.output_topic) == before:
        stage.check()
        assert time.monotonic() < end, stages.last_lines(stage.log)
        time.sleep(0.005)
    time.sleep(moment.uniform(0, 0.3))
    stage.process.kill()
    stage.process.wait()
    stage.process.stdin.close()


def answers(bed: Bed, job: Job, kills: int, commit_ms: int, seed: int) -> Counter:
    """How often each sequence number was answered, after so many kills and then one start that is left to finish."""
    consumer, moment, codec, seen = (
        bed.consumer(job.output_topic),
        random.Random(seed),
        Binary(SHAPE, OUTPUTS),
        Counter(),
    )
    for _ in range(kills):
        kill_in_mid_stream(bed, job, consumer, commit_ms, moment)
    before, stage = bed.written(consumer, job.output_topic), bed.start(job, commit_ms)
    quiet_since = None  # once it has answered: until then it starts
    end = time.monotonic() + DEADLINE_S
    while len(seen) < EVENTS and (quiet_since is None or time.monotonic() - quiet_since < 15):
        stage.check()
        assert time.monotonic() < end, stages.last_lines(stage.log)
        messages = consumer.consume(10_000, 0.5)
        seen.update(header_of(codec, message.value()).sequence for message in messages)
        quiet_since = None if messages or sum(seen.values()) <= before else quiet_since or time.monotonic()
    assert stage.stop(), "it did not stop in time"
    assert stage.process.returncode == 0, stages.last_lines(stage.log)
    seen.update(header_of(codec, message.value()).sequence for message in consumer.consume(100_000, 1.0))
    consumer.close()
    return seen


def compiled_by_the_pipeline(bed: Bed) -> Path:
    return paths.ROOT / paths.compiled_jar("kafka_streams/KafkaStreamsBatching.java")


SHARED = {"scoring": "vectorised", "engine_batch_max": 256, "engine_batch_wait_ms": 20}  # by all partitions


@pytest.mark.parametrize("fields", [{}, pytest.param(SHARED, marks=pytest.mark.full)], ids=["own", "shared"])
def test_every_event_is_answered_after_ten_kills(bed: Bed, fields: dict) -> None:
    job = bed.job("at_least_once", compiled_by_the_pipeline(bed), **fields)
    left = set(Path("/tmp").glob(".java_pid*"))
    seen = answers(bed, job, kills=10, commit_ms=1, seed=1)
    assert set(Path("/tmp").glob(".java_pid*")) <= left, "a killed JVM left its socket behind"
    assert len(seen) == EVENTS
    assert sum(seen.values()) < 1.5 * EVENTS, "it must go on from its commits, not from the start"


@pytest.mark.parametrize("fields", [{}, pytest.param(SHARED, marks=pytest.mark.full)], ids=["own", "shared"])
def test_every_event_is_answered_exactly_once_after_kills(bed: Bed, fields: dict) -> None:
    job = bed.job("exactly_once", compiled_by_the_pipeline(bed), **fields)
    seen = answers(bed, job, kills=2, commit_ms=50, seed=2)
    assert len(seen) == EVENTS
    assert set(seen.values()) == {1}


@pytest.mark.full
def test_without_the_flush_before_commits_events_are_lost(bed: Bed, tmp_path: Path) -> None:
    """The first test's own check: the same kills, of a processor whose flush before a commit is taken out."""
    source = (paths.ROOT / paths.java_source("kafka_streams/KafkaStreamsBatching.java")).read_text()
    assert source.count(FLUSH) == 1
    broken = tmp_path / "KafkaStreamsBatching.java"
    broken.write_text(source.replace(FLUSH, ""))
    out = tmp_path / "broken.jar"
    compile_java(bed.resources, broken, out)
    seen = answers(bed, bed.job("at_least_once", out), kills=10, commit_ms=1, seed=1)
    assert len(seen) < EVENTS, "the kills of these tests hit no open batch: they prove nothing"


def compile_java(resources: Path, source: Path, out: Path) -> None:
    jars = sorted(map(str, (resources / "jars/kafka_streams").glob("*.jar")))
    compiler = str(next((resources / "jars/ecj").glob("ecj-*.jar")))
    script = str(Path(child.SCRIPTS, "compile_java.py"))
    command = [sys.executable, script, "--source", str(source), "--compiler", compiler, "--java", jvm.find().executable]
    subprocess.run([*command, "--out", str(out), "--jars", *jars], check=True)
