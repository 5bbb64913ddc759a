"""What all Kafka clients share (crayfish.engine.kafka), and that the manifest says what each was set to."""

from pathlib import Path

from crayfish.engine import kafka
from crayfish.spec.run_spec import Job, RunSpec, Segment


def job_of(workdir: Path, processor: str = "ray", **fields: object) -> Job:
    spec = RunSpec(processor, "noop", (Segment("constant", rate=1.0),), **fields)
    return Job.without_kafka(spec, str(workdir))


def test_what_is_recorded_is_read_again_without_functions(tmp_path):
    job = job_of(tmp_path)
    kafka.record(job, "producer", {"linger.ms": 5, "path": tmp_path, "error_cb": print})
    kafka.record(job, "JVM", ("-Xmx1g", "-XX:+UseSerialGC"))
    assert kafka.recorded([job.records]) == {
        "producer": {"linger.ms": 5, "path": str(tmp_path)},
        "JVM": ["-Xmx1g", "-XX:+UseSerialGC"],
    }
