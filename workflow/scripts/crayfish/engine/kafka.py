"""What the Kafka clients of all processors share: each setting once, the same for every engine; an engine adds what is
its own.

The settings that a user may change are fields of the run (`client settings` in docs/configuration.md, which also names
what an engine cannot honour). The JAVA settings are for Kafka's own clients (Flink, Kafka Streams, Spark), the
LIBRDKAFKA ones for confluent-kafka (Ray). Three things differ, as the libraries do: librdkafka sends one request a
partition, Java's producer one for all partitions that have a batch; librdkafka fetches ahead into a queue of 64 MiB
however slowly it is read, Java's consumer one answer ahead; and Java's producer gathers only while a request waits for
its turn, or linger.ms, librdkafka also while its own thread is at work.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import secure
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from typing import Any

    from crayfish.spec.run_spec import Job

BROKER_DEADLINE_S = 15  # how long a client waits for a broker that does not answer
BROKER_DEADLINE_MS = 1000 * BROKER_DEADLINE_S
REQUEST_DEADLINE_MS = BROKER_DEADLINE_MS // 2  # of one request, which is then sent again
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500}
SEND_BUFFER_BYTES = 2 * MAX_MESSAGE_BYTES  # what a producer holds before produce() waits
ACKS = {"all": "all", "leader": "1"}  # run.acks -> as clients call it

JAVA_CLIENT = {
    "enable.metrics.push": "false",
    "request.timeout.ms": REQUEST_DEADLINE_MS,
    "send.buffer.bytes": -1,  # the kernel's, as librdkafka's are
    "receive.buffer.bytes": -1,
    **RECONNECT,
}
LIBRDKAFKA_CLIENT = {
    "socket.nagle.disable": True,  # as Java's clients do
    "socket.timeout.ms": BROKER_DEADLINE_MS,
    "enable.metrics.push": False,
    "log_level": 2,
    **RECONNECT,
}


def java_broker(job: Job, shaded: str = "") -> dict[str, object]:
    """Where Kafka's own clients find the broker, and how they prove who they are (crayfish.engine.secure)."""
    return {"bootstrap.servers": job.bootstrap_servers, **secure.java(job.kafka_client, shaded)}


def librdkafka_broker(job: Job) -> dict[str, object]:
    """The same of confluent-kafka."""
    return {"bootstrap.servers": job.bootstrap_servers, **secure.librdkafka(job.kafka_client)}


def java_consumer(job: Job) -> dict[str, object]:
    """Of a consumer of Kafka's own, beside JAVA_CLIENT."""
    return {
        "default.api.timeout.ms": BROKER_DEADLINE_MS,
        "fetch.max.bytes": MAX_MESSAGE_BYTES,
        "max.partition.fetch.bytes": job.spec.fetch_partition_bytes,
        "fetch.max.wait.ms": job.spec.fetch_wait_ms,
        "fetch.min.bytes": job.spec.fetch_min_bytes,
    }


def java_producer(job: Job) -> dict[str, object]:
    """Of a producer of Kafka's own, beside JAVA_CLIENT; it is idempotent where acks is all, by its own default."""
    return {
        "acks": ACKS[job.spec.acks],
        "batch.size": job.spec.batch_bytes,
        "linger.ms": job.spec.linger_ms,
        "compression.type": job.spec.compression,
        "max.in.flight.requests.per.connection": job.spec.in_flight,
        "max.request.size": MAX_MESSAGE_BYTES,
        "buffer.memory": SEND_BUFFER_BYTES,
        "max.block.ms": BROKER_DEADLINE_MS,
        "delivery.timeout.ms": BROKER_DEADLINE_MS + job.spec.linger_ms,
    }


def librdkafka_consumer(job: Job) -> dict[str, object]:
    """Of a consumer of confluent-kafka, beside LIBRDKAFKA_CLIENT."""
    return {
        "fetch.max.bytes": MAX_MESSAGE_BYTES,
        "max.partition.fetch.bytes": job.spec.fetch_partition_bytes,
        "fetch.wait.max.ms": job.spec.fetch_wait_ms,
        "fetch.min.bytes": job.spec.fetch_min_bytes,
        "check.crcs": True,  # as Java's consumer does
        "isolation.level": "read_uncommitted",
        "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
        "queued.max.messages.kbytes": MAX_MESSAGE_BYTES // 1024,
        "fetch.queue.backoff.ms": 1,  # once the queue was full; by default a second without a fetch
    }


def librdkafka_producer(job: Job) -> dict[str, object]:
    """Of a producer of confluent-kafka, beside LIBRDKAFKA_CLIENT."""
    return {
        "acks": ACKS[job.spec.acks],
        "enable.idempotence": job.spec.acks == "all",
        "batch.size": job.spec.batch_bytes,
        "linger.ms": job.spec.linger_ms,
        "compression.type": job.spec.compression,
        "max.in.flight.requests.per.connection": job.spec.in_flight,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "queue.buffering.max.kbytes": SEND_BUFFER_BYTES // 1024,
        "request.timeout.ms": REQUEST_DEADLINE_MS,
        "message.timeout.ms": BROKER_DEADLINE_MS + job.spec.linger_ms,
    }


def prefixed(prefix: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The same settings as an engine takes them that hands them on: "producer.linger.ms" for "linger.ms"."""
    return {f"{prefix}{name}": value for name, value in settings.items()}


# --- what the manifest says of clients and JVMs ----------------------------------------------------------------------

BYTES = "org.apache.kafka.common.serialization.ByteArray"
NEEDED = {  # without which Kafka's own classes refuse a configuration
    "consumer": {"key.deserializer": f"{BYTES}Deserializer", "value.deserializer": f"{BYTES}Deserializer"},
    "producer": {"key.serializer": f"{BYTES}Serializer", "value.serializer": f"{BYTES}Serializer"},
}


def record(job: Job, name: str, settings: Mapping[str, object] | Iterable[str]) -> None:
    """Note what a client was set to, or the options of a JVM: the manifest has it under `clients`, by this name.

    Functions among the values are left out, secrets hidden. Instances that are alike may all note the same name: the
    last one stays.
    """
    plain = {k: v for k, v in settings.items() if not callable(v)} if isinstance(settings, Mapping) else [*settings]
    told = secure.hidden(plain) if isinstance(plain, dict) else plain
    job.records.mkdir(exist_ok=True)
    part = job.records / f"{name}.{os.getpid()}.{threading.get_ident()}.part"  # instances may be threads
    part.write_text(json.dumps(told, default=str))
    part.rename(job.records / f"{name}.json")


def recorded(folders: Iterable[Path]) -> dict[str, object]:
    """Name -> what record() has noted, of all files in some Job.records."""
    files = sorted(file for folder in folders for file in folder.glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def java_effective(
    java: Callable[[str], Any], kind: str, settings: Mapping[str, object], shaded: str = ""
) -> dict[str, object]:
    """What a client of Kafka's own takes settings for: they, and its defaults for all that they do not name.

    java(name): a class of the JVM that holds Kafka's. kind: "consumer" or "producer". shaded: what an engine puts
    before the names of Kafka's packages.
    """
    needed = {name: shaded + value for name, value in NEEDED[kind].items()}
    given = {name: str(value) for name, value in settings.items()}
    values = java("java.util.HashMap")()
    for name, value in {**given, **needed}.items():
        values.put(name, value)
    config = java(f"{shaded}org.apache.kafka.clients.{kind}.{kind.capitalize()}Config")(values)
    told = {str(each.getKey()): each.getValue() for each in config.values().entrySet()}
    return {**given, **{name: str(value) for name, value in sorted(told.items()) if value is not None}}


def librdkafka_effective(settings: Mapping[str, object]) -> dict[str, object]:
    """The same of confluent-kafka, told by the librdkafka inside it, by librdkafka's own names.

    It does not tell a consumer's from a producer's: each has the settings of both. CrayfishError for an unknown one.
    """
    import confluent_kafka.cimpl  # which loads librdkafka

    del confluent_kafka
    maps = Path("/proc/self/maps").read_text().split()
    library = ctypes.CDLL(next(each for each in maps if "librdkafka" in Path(each).name))
    for name in ("rd_kafka_conf_new", "rd_kafka_topic_conf_new", "rd_kafka_conf_get_default_topic_conf"):
        getattr(library, name).restype = ctypes.c_void_p
    conf, problem = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    for name, value in settings.items():
        if not callable(value):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if library.rd_kafka_conf_set(conf, name.encode(), text.encode(), problem, len(problem)):
                raise CrayfishError(f"kafka: {problem.value.decode()}")
    topic = ctypes.c_void_p(library.rd_kafka_conf_get_default_topic_conf(conf) or library.rd_kafka_topic_conf_new())
    return _dumped(library, "rd_kafka_topic_conf_dump", topic) | _dumped(library, "rd_kafka_conf_dump", conf)


def _dumped(library: ctypes.CDLL, function: str, conf: ctypes.c_void_p) -> dict[str, object]:
    """The names and values of a configuration of librdkafka, without its pointers."""
    dump, count = getattr(library, function), ctypes.c_size_t()
    dump.restype = ctypes.POINTER(ctypes.c_char_p)
    texts = dump(conf, ctypes.byref(count))
    pairs = [(texts[place].decode(), texts[place + 1].decode()) for place in range(0, count.value, 2)]
    library.rd_kafka_conf_dump_free(texts, count)
    return {name: value for name, value in pairs if not value.startswith("0x")}
