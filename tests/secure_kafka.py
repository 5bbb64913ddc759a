"""A Kafka of strangers: three brokers that ask their clients for a name and a secret (SCRAM) over TLS."""

import subprocess
from pathlib import Path

from confluent_kafka.admin import AdminClient

from crayfish.engine import child, secure
from crayfish.harness import broker

NAME, SECRET = "alice", "wonder-4711-land"
DEADLINE_S = 60.0
LOGIN = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="{NAME}" password="{SECRET}";'
COPIES = 3


def called(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


class SecureKafka:
    """Its brokers, from start to stop."""

    def __init__(self, java: str, jars: list[str], folder: Path):
        self.folder = folder
        folder.mkdir()
        self._certify()
        ports = child.free_ports(3 * COPIES)
        self._triples = [ports[3 * number : 3 * number + 3] for number in range(COPIES)]
        self.servers = ",".join(f"{child.HOST}:{client}" for client, _, _ in self._triples)
        self.client_file = self._client_file()
        classes = ["-cp", ":".join(jars)]
        identifier = subprocess.run(
            [java, *classes, "kafka.tools.StorageTool", "random-uuid"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        ).stdout.split()[-1]
        self.parts: list[subprocess.Popen] = []
        for number in range(COPIES):
            file = self._properties(number)
            user = f"SCRAM-SHA-512=[name={NAME},password={SECRET}]"
            called(
                *(java, *classes, "kafka.tools.StorageTool", "format", "-t", identifier, "-c", file),
                *("--add-scram", user),
            )
            command = [java, "-Xmx384m", *classes, "kafka.Kafka", str(file)]
            with (folder / f"broker-{number}.log").open("w") as log:  # no stage: it belongs to no run
                self.parts.append(child.start(command, stdout=log, stderr=log))
        self.admin: AdminClient = broker.admin_client(self.servers, str(self.client_file))
        broker.wait_ready(self.admin, self.servers, broker.READY_DEADLINE_S, self.live)

    def _certify(self) -> None:
        """A certificate authority, and a certificate of all brokers by it."""
        key, request, extra = (self.folder / name for name in ("server.key", "server.csr", "names"))
        authority = ("-keyout", self.folder / "ca.key", "-out", self.folder / "ca.pem", "-subj", "/CN=test authority")
        called("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, *authority)
        called(
            "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=broker"
        )
        extra.write_text(f"subjectAltName=IP:{child.HOST}\n")
        by = ("-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-extfile", extra)
        called("openssl", "x509", "-req", "-in", request, "-days", 2, *by, "-out", self.folder / "server.crt")
        (self.folder / "server.pem").write_text(key.read_text() + (self.folder / "server.crt").read_text())

    def _client_file(self) -> Path:
        file = self.folder / "client.properties"
        settings = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.jaas.config": LOGIN,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.folder / "ca.pem",
        }
        file.write_text("# of the test\n" + "".join(f"{name}={value}\n" for name, value in settings.items()))
        file.chmod(0o600)
        return file

    def _properties(self, number: int) -> Path:
        client, internal, controller = self._triples[number]
        host = child.HOST
        values = {
            "process.roles": "broker,controller",
            "node.id": number,
            "controller.quorum.voters": ",".join(f"{n}@{host}:{ports[2]}" for n, ports in enumerate(self._triples)),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "listeners": f"CLIENT://{host}:{client},INTERNAL://{host}:{internal},CONTROLLER://{host}:{controller}",
            "advertised.listeners": f"CLIENT://{host}:{client},INTERNAL://{host}:{internal}",
            "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.folder / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.folder / "ca.pem",
            "default.replication.factor": COPIES,
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": COPIES,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": COPIES,
            "transaction.state.log.min.isr": 2,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "message.max.bytes": 64 * 2**20,
            "replica.fetch.max.bytes": 64 * 2**20,
            "socket.request.max.bytes": 2 * 64 * 2**20,
            "log.dirs": self.folder / f"data-{number}",
        }
        file = self.folder / f"server-{number}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return file

    def live(self) -> None:
        """That all brokers still do."""
        assert [part.poll() for part in self.parts] == [None] * COPIES

    def topics(self) -> set[str]:
        return {name for name in self.admin.list_topics(timeout=DEADLINE_S).topics if name.startswith("crayfish-")}

    def groups(self) -> set[str]:
        """Those of runs, by their names."""
        listed = self.admin.list_consumer_groups(request_timeout=DEADLINE_S).result().valid
        return {each.group_id for each in listed if each.group_id.startswith("crayfish-")}

    def settings(self) -> dict[str, object]:
        """Of a client of confluent-kafka."""
        return {"bootstrap.servers": self.servers, **secure.librdkafka(str(self.client_file))}

    def stop(self) -> None:
        child.stop(self.parts, DEADLINE_S)
