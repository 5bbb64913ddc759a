"""The run's Kafka: brokers of its own (KRaft, on free ports; one or several, here or on nodes), or one that is there.

`python -m crayfish.harness.broker` is such a broker: it finds its ports and tells them, is told those of all, formats
its folder, and becomes Kafka.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from crayfish.engine import child, secure
from crayfish.engine.child import at
from crayfish.harness.stages import Stage
from crayfish.spec import errors, inheritance
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    from crayfish.harness.keeper import Kept

READY_DEADLINE_S = 90.0
REQUEST_DEADLINE_S = 30.0
REFUSALS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
JVM_OPTIONS = [
    "-Xms512m",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
log = logging.getLogger("crayfish")


class Broker:
    """A broker and the run's topics on it. A context manager: leaving it stops brokers of the run's own, and removes
    the run's topics from another."""

    def __init__(self, servers: str, process: Started | Kept | None = None, client_file: str | None = None):
        """servers: its bootstrap servers. process: brokers of the run's own, which need not be ready yet, or one that
        lives from run to run; None: it is not ours. client_file: as crayfish.engine.secure reads it."""
        self.servers, self._process, self._topics = servers, process, list[str]()
        self._own = process if isinstance(process, Started) else None
        self._client_file, self._refusals = client_file, list[str]()
        self.admin = admin_client(servers, client_file, self._note)

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            with ExitStack() as stack:
                for stage in self._own.stages:
                    stack.callback(stage.__exit__, kind, error, trace)
        elif self._topics:
            try:
                remove_topics(self.admin, self._topics)
            except KafkaException as refused:
                log.warning("the topics %s could not be removed: %s", ", ".join(self._topics), refused)

    def check(self) -> None:
        """Raise StageFailed if a broker of ours has died."""
        if self._process:
            self._process.check()

    def _note(self, error: KafkaError) -> None:
        if error.code() in REFUSALS:
            self._refusals.append(error.str())

    def wait_ready(self, watch: Callable[[], object]) -> None:
        """Wait until it answers; `watch` is called meanwhile and may raise. CrayfishError where it refuses us."""

        def refused() -> None:
            watch()
            self.admin.poll(0)
            if self._refusals:
                raise CrayfishError(
                    f"broker: {self.servers} refuses the clients that {self._client_file or 'no kafka_client'}"
                    f" describes: {self._refusals[0]}"
                )

        wait_ready(self.admin, self.servers, READY_DEADLINE_S if self._own else REQUEST_DEADLINE_S, refused)
        count = len(self._own.stages) if self._own else 1
        wait_until(
            lambda: len(self.admin.list_topics(timeout=REQUEST_DEADLINE_S).brokers) >= count,
            READY_DEADLINE_S,
            lambda: CrayfishError(f"broker: not all {count} brokers joined within {READY_DEADLINE_S:g} s"),
            refused,
        )

    def kill_last(self) -> None:
        """Kill the last of the run's own brokers; from now on its death is none that ends the run."""
        assert self._own is not None  # the spec asks for brokers of its own
        stage = self._own.stages[-1]
        stage.stopping = True
        stage.process.kill()

    def last(self) -> list[psutil.Process]:
        """The process of the last of the run's own brokers."""
        assert self._own is not None
        return [psutil.Process(self._own.stages[-1].process.pid)]

    def prepare(self, topics: list[str], partitions: int, watch: Callable[[], object], group: str = "") -> None:
        """Wait until it answers, make the run's topics, and wait until its group, if it has one, can be asked for.

        `watch` is called meanwhile and may raise.
        """
        self.wait_ready(watch)
        self._topics = topics
        make_topics(self.admin, topics, partitions)
        if group:
            await_coordinator(self.admin, group, watch)

    def ends(self, topic: str, partitions: int) -> list[int]:
        """The end offset of every partition of a topic."""
        if self._own and self._own.lost:  # of which librdkafka believes for 30 s that they lead
            self.admin.list_topics(timeout=REQUEST_DEADLINE_S)
        wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        futures = self.admin.list_offsets(wanted, request_timeout=REQUEST_DEADLINE_S)
        found = {partition.partition: future.result().offset for partition, future in futures.items()}
        return [found[number] for number in range(partitions)]


def threads(cores: int) -> dict[str, int]:
    """The broker's threads, for a machine of so many cores: more than it can run at once only cost switches."""
    return {"num.network.threads": max(1, cores // 2), "num.io.threads": max(2, cores)}


def about(brokers: int = 1) -> dict:
    """What the manifest says of brokers of ours: their settings, folders and ports apart, and their JVM's options."""
    return {"settings": _settings(brokers), "jvm_options": JVM_OPTIONS}


@dataclass(frozen=True)
class Started:
    """Brokers of the run's own, which need not be ready yet."""

    stages: list[Stage]
    servers: str  # their bootstrap servers
    settings: dict  # properties and JVM options of the first
    ways: dict[int, str]  # port of a proxy -> the listener that it stands for

    @property
    def pid(self) -> int:
        """The process of the first, where it is here."""
        return self.stages[0].process.pid

    def check(self) -> None:
        """Raise StageFailed if one has died that was not killed by the run."""
        for stage in self.stages:
            stage.check()

    @property
    def lost(self) -> bool:
        """Whether the run itself has killed one of them."""
        return any(stage.stopping for stage in self.stages)


@dataclass(frozen=True)
class Voter:
    """One of the run's brokers, as all of them know it."""

    number: int  # from 1
    host: str
    port: int
    controller_port: int
    cut_port: int  # of the listener that is reached through a proxy, where there is one
    proxy_port: int = 0  # of that proxy; 0: there is none


def _settings(brokers: int = 1) -> dict[str, object]:
    """brokers: that share the topics."""
    copies, in_step = min(3, brokers), min(2, brokers)
    return {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_step,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_step,
        "share.coordinator.state.topic.num.partitions": 1,
        "default.replication.factor": copies,
        "min.insync.replicas": in_step,
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


def _properties(data: Path, own: Voter, voters: Sequence[Voter]) -> dict[str, object]:
    return {
        **_settings(len(voters)),
        "node.id": own.number,
        "controller.quorum.voters": ",".join(f"{each.number}@{at(each.host, each.controller_port)}" for each in voters),
        "listeners": f"PLAINTEXT://{at(own.host, own.port)},CONTROLLER://{at(own.host, own.controller_port)}",
        "advertised.listeners": f"PLAINTEXT://{at(own.host, own.port)}",
        "log.dirs": data,
        **_proxied(own),
    }


def _proxied(own: Voter) -> dict[str, object]:
    """One listener more, whose clients are told the proxy's address (crayfish.harness.proxy)."""
    if not own.proxy_port:
        return {}
    names = ("PLAINTEXT", "CONTROLLER", "PROXIED")
    plain = f"PLAINTEXT://{at(own.host, own.port)}"
    return {
        "listeners": f"{plain},CONTROLLER://{at(own.host, own.controller_port)},PROXIED://{at(own.host, own.cut_port)}",
        "advertised.listeners": f"{plain},PROXIED://{at(own.host, own.proxy_port)}",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
    }


def start(
    java: str,
    jars: list[str],
    workdir: Path,
    log_file: Path,
    tag: str,
    asked: Sequence[dict] = ({},),
    proxied: bool = False,
) -> Started:
    """Start the run's own brokers. They are not ready yet: wait_ready.

    asked: of each, what its Stage is told beside: nothing of one that is here, whose folder is workdir. proxied:
    whether they have a listener each for what comes through a proxy (Started.ways).
    """
    workdir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __name__, "--java", java, "--workdir", str(workdir)]
    with ExitStack() as started:
        stages = list[Stage]()
        for number, told in enumerate(asked, start=1):
            log_of = log_file if len(asked) == 1 else log_file.with_stem(f"{log_file.stem}-{number}")
            words = [*command, "--number", str(number), "--jars", *jars]
            stages.append(started.enter_context(Stage("broker", words, log_of, tag, **told)))
        ports = [stage.wait_for("ports", READY_DEADLINE_S) for stage in stages]
        proxies = child.free_ports(len(ports)) if proxied else [0] * len(ports)
        voters = [
            {**{name: value for name, value in told.items() if name != "event"}, "proxy_port": proxy}
            for told, proxy in zip(ports, proxies, strict=True)
        ]
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")  # no option
        for stage in stages:
            stage.send(identifier=identifier, voters=voters)
        settings, *_ = [stage.wait_for("formatted", READY_DEADLINE_S) for stage in stages]
        started.pop_all()
    del settings["event"]
    ways = {each["proxy_port"]: at(each["host"], each["cut_port"]) for each in voters if proxied}
    return Started(stages, ",".join(at(each["host"], each["port"]) for each in voters), settings, ways)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--java", required=True)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--jars", nargs="+", required=True)
    arguments = parser.parse_args()
    report = child.reporter()
    own = Voter(arguments.number, child.HOST, *child.free_ports(3))
    report(event="ports", **vars(own))
    told = json.loads(sys.stdin.readline())
    voters = [Voter(**each) for each in told["voters"]]
    folder = Path(tempfile.mkdtemp(prefix="broker-", dir=os.environ.get(child.SCRATCH, arguments.workdir)))
    properties = _properties(folder / "data", voters[own.number - 1], voters)
    file = folder / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    classes = ["-cp", ":".join(arguments.jars)]
    _format(folder, [arguments.java, "-XX:TieredStopAtLevel=1", "-Xmx256m", *classes], told["identifier"], file)
    report(
        event="formatted", jvm_options=JVM_OPTIONS, properties={key: str(value) for key, value in properties.items()}
    )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores
    os.execv(arguments.java, [arguments.java, *JVM_OPTIONS, *classes, "kafka.Kafka", str(file)])


def _format(folder: Path, java: list[str], identifier: str, file: Path) -> None:
    """Make the folder of a broker's data; CrayfishError if that fails."""
    try:
        done = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", identifier, "-c", str(file)],
            capture_output=True,
            text=True,
            timeout=READY_DEADLINE_S,
            env=inheritance.inherited(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise CrayfishError(
            f"broker: its data folder {folder} was not formatted within {READY_DEADLINE_S:g} s: the machine or"
            " its disk is busy; repeat the command when it is not"
        ) from error
    if done.returncode:
        raise CrayfishError(
            f"broker: its data folder {folder} cannot be formatted: {(done.stdout + done.stderr).strip()[-600:]}"
        )


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


def admin_client(
    servers: str, client_file: str | None = None, complain: Callable[[KafkaError], None] = lambda error: None
) -> AdminClient:
    """An admin client that keeps librdkafka's connection complaints from the log while the broker starts.

    client_file: as crayfish.engine.secure reads it. complain: is told them when the client is polled.
    """
    settings: dict[str, Any] = {"bootstrap.servers": servers, **secure.librdkafka(client_file), "log_level": 0}
    settings["error_cb"] = complain
    return AdminClient({**settings, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200})


def make_topics(admin: AdminClient, topics: list[str], partitions: int) -> None:
    """Create topics whose timestamps are the broker's (LogAppendTime)."""
    config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    futures = admin.create_topics(  # replicated as the broker's own default says
        [NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=config) for topic in topics],
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


if __name__ == "__main__":
    errors.main(main)
