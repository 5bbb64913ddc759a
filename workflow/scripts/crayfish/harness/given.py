"""A Kafka that is there already, which others use too: one run at once on it, and nothing stays of runs that died.

The runs take turns by a consumer group on a topic of one partition: whoever is assigned it has its turn, until it
leaves the group, or the broker has heard nothing of it for a while. The assignment is a sticky one: who waits takes
nothing away.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import socket
from collections.abc import Callable
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from crayfish.engine import secure
from crayfish.harness import broker
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.waiting import wait_until

TOPIC, GROUP = "crayfish-turns", "crayfish-measures"
SESSION_MS = 10_000
POLL_INTERVAL_MS = 3_600_000  # a load that is written asks for nothing meanwhile
TURN_DEADLINE_S = 60.0
MEMBERS_GONE_S, GROUPS_PAUSE_S = 15.0, 0.5  # Kafka Streams' static members leave by their session's end, after 10 s
NAME = re.compile(r"crayfish-(\d{9,11})-[0-9a-f]{12}(?:-.*)?")
OLD_S = 86_400.0
log = logging.getLogger("crayfish")


def name_of(tag: str, now_s: float) -> str:
    """What the names of a run's topics and groups begin with: they tell their age."""
    return f"crayfish-{now_s:.0f}-{tag[:12]}"


def groups_of(name: str) -> list[str]:
    """The consumer groups of a run with this name: of its processor and of its own clients."""
    return [name, *(f"{name}-{client}" for client in ("sink", "appends", "probes"))]


def is_old(name: str, now_s: float) -> bool:
    """Whether a topic or group is a run's that began more than a day ago."""
    match = NAME.fullmatch(name)
    return match is not None and now_s - float(match[1]) > OLD_S


def sweep(admin: AdminClient, now_s: float) -> list[str]:
    """Remove the topics and groups of runs that began more than a day ago; their names."""
    topics = [name for name in admin.list_topics(timeout=broker.REQUEST_DEADLINE_S).topics if is_old(name, now_s)]
    if topics:
        broker.remove_topics(admin, topics)
    listed = admin.list_consumer_groups(request_timeout=broker.REQUEST_DEADLINE_S).result()
    groups = [each.group_id for each in listed.valid if is_old(each.group_id, now_s)]
    remove_groups(admin, groups)
    return [*topics, *groups]


def copies(admin: AdminClient, topic: str) -> dict[str, object]:
    """How a topic is replicated, by the settings of those whose Kafka it is: for the manifest."""
    metadata = admin.list_topics(topic, timeout=broker.REQUEST_DEADLINE_S).topics[topic]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    (future,) = admin.describe_configs([resource], request_timeout=broker.REQUEST_DEADLINE_S).values()
    least = future.result(broker.REQUEST_DEADLINE_S)["min.insync.replicas"].value
    return {"replication_factor": len(metadata.partitions[0].replicas), "min.insync.replicas": least}


def remove_groups(admin: AdminClient, groups: list[str]) -> None:
    """Delete those of these consumer groups that are there, once the broker takes their members for gone; one that has
    members even then stays."""
    left = [*groups]

    def all_gone() -> bool:
        for name, future in admin.delete_consumer_groups(left, request_timeout=broker.REQUEST_DEADLINE_S).items():
            try:
                future.result(broker.REQUEST_DEADLINE_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                    continue
            left.remove(name)
        return not left

    if left:
        wait_until(all_gone, MEMBERS_GONE_S, pause_s=GROUPS_PAUSE_S)


class Turn:
    """A run's turn on a Kafka. A context manager: entering waits for it, leaving gives it away."""

    def __init__(self, servers: str, client_file: str | None, watch: Callable[[], object]):
        self._servers, self._watch, self._lost = servers, watch, False
        self._admin = broker.admin_client(servers, client_file)
        self._settings = {
            "bootstrap.servers": servers,
            **secure.librdkafka(client_file),
            "group.id": GROUP,
            "client.id": f"process {os.getpid()} of {getpass.getuser()} on {socket.gethostname()}",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "max.poll.interval.ms": POLL_INTERVAL_MS,
            # The broker that is asked may not yet know a topic that was just made; librdkafka would ask it again after
            # five minutes.
            "topic.metadata.refresh.interval.ms": 1000,
            "enable.auto.commit": False,
            "log_level": 0,
        }

    def __enter__(self) -> Turn:
        with contextlib.suppress(CrayfishError):  # another run is making it, or has
            broker.make_topics(self._admin, [TOPIC], 1)
        self._consumer = Consumer(self._settings)
        self._consumer.subscribe([TOPIC], on_lost=self._note_lost)
        try:
            wait_until(self._has_it, TURN_DEADLINE_S, self._refused, self._watch, pause_s=0)
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def _has_it(self) -> bool:
        message = self._consumer.poll(0.1)
        if message is not None and (error := message.error()) and error.code() == KafkaError._ALL_BROKERS_DOWN:
            raise CrayfishError(f"the broker at {self._servers} no longer answers: {error.str()}")
        return bool(self._consumer.assignment())

    def _note_lost(self, consumer: Consumer, partitions: list) -> None:
        self._lost = True

    def _refused(self) -> CrayfishError:
        return NotMade(
            f"another Crayfish run measures on the Kafka at {self._servers} ({self.holder()}), and two at once would"
            " disturb each other: wait for it or stop it, then repeat the command"
        )

    def holder(self) -> str:
        """Who has the turn, as its client says."""
        (future,) = self._admin.describe_consumer_groups([GROUP]).values()
        members = future.result(broker.REQUEST_DEADLINE_S).members
        having = [each for each in members if each.assignment and each.assignment.topic_partitions]
        return ", ".join(f"{each.client_id}, {each.host.strip('/')}" for each in having) or "it does not answer"

    def check(self) -> None:
        """CrayfishError if the turn was lost: the broker has heard nothing of this run for too long."""
        self._consumer.poll(0)
        if self._lost:
            raise CrayfishError(
                f"the run has lost its turn on the Kafka at {self._servers}, which did not hear of it for"
                f" {SESSION_MS / 1000:g} s: others may have measured at once; repeat the command"
            )
