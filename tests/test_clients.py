"""What all Kafka clients share (crayfish.engine.kafka), and that the manifest says what each was set to."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crayfish.engine import kafka
from crayfish.processors import ray, spark
from crayfish.processors.flink import job as flink
from crayfish.processors.kafka_streams import instance as kafka_streams
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec, Segment, default

# Field of a run -> Kafka's name, librdkafka's own name, and a value that is not the default
PRODUCER = {
    "batch_bytes": ("batch.size", "batch.size", 4096),
    "linger_ms": ("linger.ms", "queue.buffering.max.ms", 7),
    "acks": ("acks", "request.required.acks", "leader"),
    "compression": ("compression.type", "compression.codec", "lz4"),
    "in_flight": ("max.in.flight.requests.per.connection", "max.in.flight.requests.per.connection", 2),
}
CONSUMER = {
    "fetch_partition_bytes": ("max.partition.fetch.bytes", "fetch.message.max.bytes", 2048),
    "fetch_wait_ms": ("fetch.max.wait.ms", "fetch.wait.max.ms", 20),
    "fetch_min_bytes": ("fetch.min.bytes", "fetch.min.bytes", 64),
}
OTHERS = {name: value for name, (_, _, value) in {**PRODUCER, **CONSUMER}.items()} | {"commit_interval_ms": 200}


def job_of(workdir: Path, processor: str, **fields: object) -> Job:
    spec = RunSpec(processor, "noop", (Segment("constant", rate=1.0),), **fields)
    return dataclasses.replace(Job.without_kafka(spec, str(workdir)), group="group")


def settings_of(job: Job) -> tuple[dict, dict]:
    """Of consumer and producer, by Kafka's names, as the processor gives them."""
    match job.spec.processor:
        case "flink":
            return flink.source_settings(job), flink.sink_settings(job)
        case "kafka_streams":
            given = kafka_streams.settings(job, 0)
            return tuple(
                {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
                for prefix in ("main.consumer.", "producer.")
            )
        case "spark":
            return tuple(
                {name.removeprefix("kafka."): value for name, value in given.items()}
                for given in (spark.source_settings(job), spark.sink_settings(job))
            )
    return kafka.librdkafka_consumer(job), kafka.librdkafka_producer(job)


@pytest.mark.parametrize("fields", [{}, OTHERS], ids=["default", "other"])
@pytest.mark.parametrize("processor", ["flink", "kafka_streams", "ray", "spark"])
def test_every_engine_s_clients_are_set_as_the_run_says(tmp_path, processor, fields):
    if processor == "spark":
        fields = {name: value for name, value in fields.items() if name != "fetch_wait_ms"}
    job = job_of(tmp_path, processor, **fields)
    for names, given in zip((CONSUMER, PRODUCER), settings_of(job), strict=True):
        if processor == "ray":
            given = kafka.librdkafka_effective(given)
        for field, (java, librdkafka, _) in names.items():
            wanted = getattr(job.spec, field)
            if processor == "spark" and field == "fetch_wait_ms":
                wanted = spark.FETCH_WAIT_MS
            if field == "acks":
                wanted = {"all": "-1" if processor == "ray" else "all", "leader": "1"}[wanted]
            assert str(given[librdkafka if processor == "ray" else java]) == str(wanted), field


def test_every_engine_commits_as_often(tmp_path):
    for interval_ms in (1000, 200):
        job = {
            name: job_of(tmp_path, name, commit_interval_ms=interval_ms) for name in ("kafka_streams", "spark", "flink")
        }
        assert kafka_streams.settings(job["kafka_streams"], 0)["commit.interval.ms"] == interval_ms
        assert spark.sink_settings(job["spark"])["asyncProgressTrackingCheckpointIntervalMs"] == interval_ms


@pytest.mark.parametrize("processor", ["flink", "kafka_streams", "spark"])
def test_no_client_waits_longer_for_a_broker_than_another(tmp_path, processor):
    for given in settings_of(job_of(tmp_path, processor, linger_ms=3)):
        waits = {name: value for name, value in given.items() if name.endswith("timeout.ms") and "session" not in name}
        waits.pop("transaction.timeout.ms", None)
        assert max(waits.values()) <= kafka.BROKER_DEADLINE_MS + 3, waits


@pytest.mark.parametrize(
    ("processor", "fields", "told"),
    [
        ("spark", {"fetch_wait_ms": 20}, "fetch_wait_ms 20"),
        ("spark", {"execution": "real_time", "parallelism": 8, "commit_interval_ms": 50}, "commit_interval_ms 50"),
        ("flink", {"acks": "leader", "delivery": "exactly_once"}, "run.acks: 'leader'"),
        ("ray", {"in_flight": 6}, "must be at most 5"),
        ("ray", {"batch_bytes": 2**26 + 1}, "must be at most 67108864"),
        ("ray", {"compression": "zip"}, "allowed: none, gzip, snappy, lz4, zstd"),
    ],
)
def test_what_cannot_be_honoured_is_refused(tmp_path, processor, fields, told):
    with pytest.raises(CrayfishError, match=told):
        job_of(tmp_path, processor, **fields)


def test_what_spark_can_honour_is_not_refused(tmp_path):
    assert spark.refuse(job_of(tmp_path, "spark", fetch_wait_ms=1).spec) is None
    slow = {"execution": "real_time", "parallelism": 8}
    for interval_ms in (default("commit_interval_ms"), 5000, 20_000):
        assert spark.refuse(job_of(tmp_path, "spark", commit_interval_ms=interval_ms, **slow).spec) is None


def test_what_is_recorded_is_read_again_without_functions(tmp_path):
    job = job_of(tmp_path, "ray")
    with ThreadPoolExecutor(4) as instances:  # which may be threads, and are alike
        assert list(instances.map(lambda _: kafka.record(job, "consumer", ["same"]), range(200))) == [None] * 200
    kafka.record(job, "producer", {"linger.ms": 5, "path": tmp_path, "error_cb": print})
    kafka.record(job, "JVM", ("-Xmx1g", "-XX:+UseSerialGC"))
    assert kafka.recorded([job.records]) == {
        "consumer": ["same"],
        "producer": {"linger.ms": 5, "path": str(tmp_path)},
        "JVM": ["-Xmx1g", "-XX:+UseSerialGC"],
    }


def test_librdkafka_tells_what_it_was_given_and_its_defaults(tmp_path):
    given = {**kafka.LIBRDKAFKA_CLIENT, **kafka.librdkafka_producer(job_of(tmp_path, "ray")), "error_cb": print}
    told = kafka.librdkafka_effective(given)
    assert told["socket.nagle.disable"] == told["enable.idempotence"] == "true"
    assert told["queue.buffering.max.messages"] == "100000"  # a default
    assert told["message.timeout.ms"] == str(kafka.BROKER_DEADLINE_MS)  # of a topic
    with pytest.raises(CrayfishError, match="sise"):
        kafka.librdkafka_effective({"batch.sise": 1})


def test_ray_names_no_setting_of_its_own_that_all_share():
    shared = {name for names in ({**PRODUCER, **CONSUMER}).values() for name in names[:2]}
    text = Path(ray.__file__).read_text()
    assert not [name for name in shared if f'"{name}"' in text]
