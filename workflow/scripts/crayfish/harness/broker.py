"""A real Kafka broker (KRaft, one node) of the run's own on free loopback ports, or the address of an existing one."""

from __future__ import annotations

import base64
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from crayfish.engine.child import free_ports
from crayfish.harness.stages import Stage
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

READY_DEADLINE_S = 90.0
REQUEST_DEADLINE_S = 30.0
JVM_OPTIONS = [
    "-Xms512m",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]


def _properties(data: Path, port: int, controller_port: int) -> str:
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
        "controlled.shutdown.enable": "false",
        "num.network.threads": 2,
        "num.io.threads": 4,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "socket.request.max.bytes": 2 * MAX_MESSAGE_BYTES,
        "log.retention.ms": -1,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def start(java: str, jars: list[str], workdir: Path, log: Path, tag: str) -> tuple[Stage, str]:
    """Start a broker of the run's own; returns its stage and its bootstrap servers. It is not ready yet: wait_ready."""
    workdir.mkdir(parents=True, exist_ok=True)
    port, controller_port = free_ports(2)
    properties = workdir / "server.properties"
    properties.write_text(_properties(workdir / "data", port, controller_port))
    command = [java, *JVM_OPTIONS, "-cp", ":".join(jars)]
    identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")  # no option's dash
    format_command = [java, "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", ":".join(jars), "kafka.tools.StorageTool"]
    done = subprocess.run(
        [*format_command, "format", "-t", identifier, "-c", str(properties)],
        capture_output=True,
        text=True,
        timeout=READY_DEADLINE_S,
    )
    if done.returncode:
        raise CrayfishError(
            f"broker: its data folder {workdir} cannot be formatted: {(done.stdout + done.stderr).strip()[-600:]}"
        )
    return Stage("broker", [*command, "kafka.Kafka", str(properties)], log, tag), f"127.0.0.1:{port}"


def wait_ready(admin: AdminClient, servers: str, deadline_s: float, check: Callable[[], None]) -> None:
    """Ask the broker for its metadata until it answers; `check` raises if it died."""
    end = time.monotonic() + deadline_s
    while True:
        check()
        try:
            admin.list_topics(timeout=0.5)
            return
        except KafkaException as error:
            if time.monotonic() > end:
                raise CrayfishError(
                    f"broker: {servers} did not answer within {deadline_s:g} s ({error.args[0].str()}):"
                    " check the address and that the broker runs"
                ) from error


def admin_client(servers: str) -> AdminClient:
    """An admin client that keeps librdkafka's connection complaints to itself while the broker starts."""
    return AdminClient(
        {"bootstrap.servers": servers, "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
    )


def make_topics(admin: AdminClient, topics: list[str], partitions: int) -> None:
    """Create topics whose timestamps are the broker's (LogAppendTime)."""
    config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    futures = admin.create_topics(
        [NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config) for topic in topics],
        request_timeout=REQUEST_DEADLINE_S,
        operation_timeout=REQUEST_DEADLINE_S,
    )
    for topic, future in futures.items():
        try:
            future.result(REQUEST_DEADLINE_S)
        except KafkaException as error:
            raise CrayfishError(f"broker: the topic {topic} cannot be made: {error.args[0].str()}") from error
    _await_leaders(admin, [TopicPartition(topic, number) for topic in topics for number in range(partitions)])


def _await_leaders(admin: AdminClient, partitions: list[TopicPartition]) -> None:
    """Until every partition answers: a topic that was made is not at once led by a broker."""
    wanted, end = dict.fromkeys(partitions, OffsetSpec.latest()), time.monotonic() + REQUEST_DEADLINE_S
    while True:
        try:
            for future in admin.list_offsets(wanted, request_timeout=REQUEST_DEADLINE_S).values():
                future.result(REQUEST_DEADLINE_S)
            return
        except KafkaException as error:
            if time.monotonic() > end:
                raise CrayfishError(
                    f"broker: the topics were made, but do not answer: {error.args[0].str()}; see the broker's log"
                ) from error
        time.sleep(0.02)


def remove_topics(admin: AdminClient, topics: list[str]) -> None:
    """Delete the run's own topics from a broker that lives on."""
    for future in admin.delete_topics(topics, request_timeout=REQUEST_DEADLINE_S).values():
        future.result(REQUEST_DEADLINE_S)
