"""What the processors' Kafka clients have in common, each value once; an engine adds what is its own.

The JAVA settings are for Kafka's own clients (Flink, Kafka Streams, Spark), the LIBRDKAFKA ones for confluent-kafka.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

BROKER_DEADLINE_S = 15  # how long a client waits for a broker that does not answer
BROKER_DEADLINE_MS = 1000 * BROKER_DEADLINE_S
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500}
SEND_BUFFER_BYTES = 2 * MAX_MESSAGE_BYTES  # what a producer holds before produce() waits

JAVA_CLIENT = {"enable.metrics.push": "false"}
JAVA_CONSUMER = {"fetch.max.bytes": MAX_MESSAGE_BYTES}
LIBRDKAFKA_CLIENT = {"socket.nagle.disable": True, "log_level": 2, **RECONNECT}
LIBRDKAFKA_CONSUMER = {
    "fetch.max.bytes": MAX_MESSAGE_BYTES,
    "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
    "queued.max.messages.kbytes": MAX_MESSAGE_BYTES // 1024,
    "fetch.queue.backoff.ms": 1,  # once the queue was full; by default a second without a fetch
}


def java_producer(job: Job) -> dict[str, object]:
    """Of a producer of Kafka's own."""
    return {
        "linger.ms": job.spec.linger_ms,
        "max.request.size": MAX_MESSAGE_BYTES,
        "buffer.memory": SEND_BUFFER_BYTES,
    }


def librdkafka_producer(job: Job) -> dict[str, object]:
    """Of a producer of confluent-kafka."""
    return {
        "linger.ms": job.spec.linger_ms,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "queue.buffering.max.kbytes": SEND_BUFFER_BYTES // 1024,
    }


def prefixed(prefix: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The same settings as an engine takes them that hands them on: "producer.linger.ms" for "linger.ms"."""
    return {f"{prefix}{name}": value for name, value in settings.items()}


# --- what the manifest says of clients and JVMs ----------------------------------------------------------------------


def record(job: Job, name: str, settings: Mapping[str, object] | Iterable[str]) -> None:
    """Note what a client was set to, or the options of a JVM: the manifest has it under `clients`, by this name.

    Functions among the values are left out. Instances that are alike may all note the same name: the last one stays.
    """
    told = {k: v for k, v in settings.items() if not callable(v)} if isinstance(settings, Mapping) else [*settings]
    job.records.mkdir(exist_ok=True)
    part = job.records / f"{name}.{os.getpid()}.part"
    part.write_text(json.dumps(told, default=str))
    part.rename(job.records / f"{name}.json")


def recorded(folders: Iterable[Path]) -> dict[str, object]:
    """Name -> what record() has noted, of all files in some Job.records."""
    files = sorted(file for folder in folders for file in folder.glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}
