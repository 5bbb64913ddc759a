"""The run's Kafka: a broker of its own (KRaft, one node, on free loopback ports), or one that is there already."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from crayfish.engine.child import free_ports
from crayfish.harness.stages import Stage
from crayfish.spec import inheritance
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    from crayfish.harness.keeper import Kept

READY_DEADLINE_S = 90.0
REQUEST_DEADLINE_S = 30.0
JVM_OPTIONS = [
    "-Xms512m",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
log = logging.getLogger("crayfish")


class Broker:
    """A broker and the run's topics on it. A context manager: leaving it stops a broker of the run's own, and removes
    the run's topics from another."""

    def __init__(self, servers: str, process: Stage | Kept | None = None):
        """servers: its bootstrap servers. process: of a broker of the run's own, which need not be ready yet, or of one
        that lives from run to run; None: it is not ours."""
        self.servers, self._process, self._topics = servers, process, list[str]()
        self._stage = process if isinstance(process, Stage) else None
        self._admin = admin_client(servers)

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage:
            self._stage.__exit__(kind, error, trace)
        elif self._topics:
            try:
                remove_topics(self._admin, self._topics)
            except KafkaException as refused:
                log.warning("the topics %s could not be removed: %s", ", ".join(self._topics), refused)

    def check(self) -> None:
        """Raise StageFailed if a broker of ours has died."""
        if self._process:
            self._process.check()

    def prepare(self, topics: list[str], partitions: int, watch: Callable[[], object], group: str = "") -> None:
        """Wait until it answers, make the run's topics, and wait until its group, if it has one, can be asked for.

        `watch` is called meanwhile and may raise.
        """
        wait_ready(self._admin, self.servers, READY_DEADLINE_S if self._stage else REQUEST_DEADLINE_S, watch)
        self._topics = topics
        make_topics(self._admin, topics, partitions)
        if group:
            await_coordinator(self._admin, group, watch)

    def ends(self, topic: str, partitions: int) -> list[int]:
        """The end offset of every partition of a topic."""
        wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        futures = self._admin.list_offsets(wanted, request_timeout=REQUEST_DEADLINE_S)
        found = {partition.partition: future.result().offset for partition, future in futures.items()}
        return [found[number] for number in range(partitions)]


def threads(cores: int) -> dict[str, int]:
    """The broker's threads, for a machine of so many cores: more than it can run at once only cost switches."""
    return {"num.network.threads": max(1, cores // 2), "num.io.threads": max(2, cores)}


def about() -> dict:
    """What the manifest says of a broker of ours: its settings, folders and ports apart, and its JVM's options."""
    return {"settings": _settings(), "jvm_options": JVM_OPTIONS}


def _settings() -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
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
        **threads(len(os.sched_getaffinity(0))),
        "log.segment.delete.delay.ms": 1000,  # of the topics of a run that has ended, before the next one measures
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "socket.request.max.bytes": 2 * MAX_MESSAGE_BYTES,
        "log.retention.ms": -1,
    }


def _properties(data: Path, port: int, controller_port: int) -> str:
    values = {
        **_settings(),
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": data,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def start(java: str, jars: list[str], workdir: Path, log_file: Path, tag: str) -> tuple[Stage, str]:
    """Start a broker of the run's own; returns its stage and its bootstrap servers. It is not ready yet: wait_ready."""
    workdir.mkdir(parents=True, exist_ok=True)
    port, controller_port = free_ports(2)
    properties = workdir / "server.properties"
    properties.write_text(_properties(workdir / "data", port, controller_port))
    command = [java, *JVM_OPTIONS, "-cp", ":".join(jars)]
    identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")  # no option's dash
    format_command = [java, "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", ":".join(jars), "kafka.tools.StorageTool"]
    try:
        done = subprocess.run(
            [*format_command, "format", "-t", identifier, "-c", str(properties)],
            capture_output=True,
            text=True,
            timeout=READY_DEADLINE_S,
            env=inheritance.inherited(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise CrayfishError(
            f"broker: its data folder {workdir} was not formatted within {READY_DEADLINE_S:g} s: the machine or"
            " its disk is busy; repeat the command when it is not"
        ) from error
    if done.returncode:
        raise CrayfishError(
            f"broker: its data folder {workdir} cannot be formatted: {(done.stdout + done.stderr).strip()[-600:]}"
        )
    return Stage("broker", [*command, "kafka.Kafka", str(properties)], log_file, tag), f"127.0.0.1:{port}"


def wait_ready(admin: AdminClient, servers: str, deadline_s: float, watch: Callable[[], object]) -> None:
    """Ask the broker for its metadata until it answers; `watch` is called meanwhile, and raises if it died."""
    _await_answer(
        lambda: admin.list_topics(timeout=0.5),
        deadline_s,
        f"broker: {servers} did not answer within {deadline_s:g} s: check the address and that the broker runs",
        watch,
    )


def _await_answer(
    request: Callable[[], object], deadline_s: float, failure: str, watch: Callable[[], object] | None = None
) -> None:
    """Repeat a request until the broker answers it; after the deadline `failure`, with what the broker said last."""
    refused = ""

    def answered() -> bool:
        nonlocal refused
        try:
            request()
        except KafkaException as error:
            refused = error.args[0].str()
            return False
        return True

    wait_until(answered, deadline_s, lambda: CrayfishError(f"{failure} ({refused})"), watch)


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
    # A topic that was made is not at once led by a broker: one that deletes the topics of a large run takes its time.
    wanted = {TopicPartition(topic, number): OffsetSpec.latest() for topic in topics for number in range(partitions)}

    def all_led() -> None:
        admin.list_topics(timeout=REQUEST_DEADLINE_S)  # librdkafka goes on believing what it heard of a topic too early
        for future in admin.list_offsets(wanted, request_timeout=REQUEST_DEADLINE_S).values():
            future.result(REQUEST_DEADLINE_S)

    _await_answer(all_led, READY_DEADLINE_S, "broker: the topics were made, but do not answer; see the broker's log")


def await_coordinator(admin: AdminClient, group: str, watch: Callable[[], object] | None = None) -> None:
    """Wait until a consumer group is answered for: for its first groups a broker names a coordinator that is not one
    yet, and some clients take that for a failure.

    Asked for its description, not for its offsets: an admin client that is told of another coordinator then reads
    through a null pointer (librdkafka 2.16.1, rd_kafka_cgrp_op).
    """

    def answered() -> None:
        (future,) = admin.describe_consumer_groups([group]).values()
        future.result(REQUEST_DEADLINE_S)

    _await_answer(answered, REQUEST_DEADLINE_S, f"broker: nothing coordinates the consumer group {group}", watch)


def remove_topics(admin: AdminClient, topics: list[str]) -> None:
    """Delete the run's own topics from a broker that lives on."""
    for future in admin.delete_topics(topics, request_timeout=REQUEST_DEADLINE_S).values():
        future.result(REQUEST_DEADLINE_S)
