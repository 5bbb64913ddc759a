"""Parts that are there already, at an address: a run uses them, starts the rest, and leaves them as they were."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, awaited, manifest_of, sampled, snakemake
from test_contract import assert_answered_once_and_rightly
from test_contract import spec_of as made_spec

from crayfish.engine import child, jvm
from crayfish.harness import broker, stages
from crayfish.harness.given import NAME
from crayfish.spec import discovery, paths
from crayfish.spec.run_spec import Job

DEADLINE_S = 60.0
LOAD = {"kind": "constant", "rate": 50.0, "warmup_s": 0.5, "measure_s": 1.5}
ENGINES = [name for name in discovery.names("processors") if discovery.processor(name).address]
IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists() and bool(Path("/proc/net/if_inet6").read_text())
MASTER, WORKER = (f"org.apache.spark.deploy.{name}" for name in ("master.Master", "worker.Worker"))
JOBMANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASKMANAGER_SETTINGS = {
    "taskmanager.numberOfTaskSlots": 1,
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "128m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
TASKMANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


class Elsewhere:
    """Processes that no run has started: a broker, and whatever a test adds."""

    def __init__(self, resources: Path, folder: Path):
        self.tag, self.resources, self.folder = f"test-{uuid.uuid4().hex}", resources, folder
        self.java = jvm.find()
        jars = sorted(map(str, (resources / "jars/kafka").glob("*.jar")))
        log = folder / "broker.log"
        asked = {"environment": {child.ADDRESS: os.environ[child.ADDRESS]}} if child.ADDRESS in os.environ else {}
        own = broker.start(self.java.executable, jars, folder / "broker", log, self.tag, [asked])
        self.parts, self.kafka = [*own.stages], own.servers
        self.admin = broker.admin_client(self.kafka)
        broker.wait_ready(self.admin, self.kafka, broker.READY_DEADLINE_S, own.check)

    def start(self, name: str, *command: object, **environment: str) -> stages.Stage:
        words = [*map(str, command)]
        part = stages.Stage(name, words, self.folder / f"{name}.log", self.tag, {"OMP_NUM_THREADS": "1", **environment})
        self.parts.append(part)
        return part

    def python(self, environment: str) -> Path:
        return self.resources / "environments" / environment / "python"

    def ask(self, environment: str, program: str) -> str:
        """What a line of Python prints in an environment."""
        return subprocess.run(
            [self.python(environment), "-c", program], check=True, capture_output=True, text=True
        ).stdout.strip()

    def listens(self, port: int) -> None:
        """Until somebody listens there."""
        awaited(lambda: socket.socket().connect_ex((child.HOST, port)) == 0 or self.live(), DEADLINE_S, port)

    def live(self) -> None:
        """That all of it still does."""
        for part in self.parts:
            part.check()

    def close(self) -> None:
        for part in reversed(self.parts):
            part.stop()
        stages.sweep(self.tag)
        stages.remove_named(self.tag)

    def flink(self, instances: int, python: bool = True) -> str:
        """A Flink of so many slots, with PyFlink's jar and without any of a job; its address."""
        home = Path(self.ask("flink", "from pyflink.find_flink_home import _find_flink_home as f; print(f())"))
        rpc, rest = child.free_ports(2)
        settings = (home / "conf/config.yaml").read_text()
        opens = next(line for line in settings.splitlines() if "--add-exports" in line).partition(":")[2].split()
        hosts = ("jobmanager.rpc.address", "rest.address", "taskmanager.host", "jobmanager.bind-host")
        values = dict.fromkeys(hosts, child.HOST) | {"jobmanager.rpc.port": rpc, "rest.port": rest}
        values |= {"rest.bind-address": child.HOST, "jobmanager.memory.process.size": "1600m", **TASKMANAGER_SETTINGS}
        conf = self.folder / "conf"
        conf.mkdir()
        (conf / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
        jars = ":".join([f"{home}/lib/*", *map(str, Path(home, "opt").glob("flink-python*.jar"))][: 2 if python else 1])
        java = [self.java.executable, "-Xmx768m", *opens, "-cp", jars]
        self.start("jobmanager", *java, JOBMANAGER, "--configDir", conf)
        self.listens(rest)
        for number in range(instances):
            self.start(f"taskmanager-{number}", *java, TASKMANAGER, "--configDir", conf)
        awaited(lambda: self._slots(rest) >= instances or None, DEADLINE_S, "Flink's slots")
        return f"{child.HOST}:{rest}"

    @staticmethod
    def _slots(rest: int) -> int:
        try:
            with urllib.request.urlopen(f"http://{child.HOST}:{rest}/overview", timeout=DEADLINE_S) as answer:
                return json.load(answer)["slots-available"]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it listens before it has a leader
                raise
            return 0

    def spark(self, instances: int) -> str:
        """A Spark of a worker with so many cores; its address."""
        home = self.ask("spark", "import os, pyspark; print(os.path.dirname(pyspark.__file__))")
        port, page, worker = child.free_ports(3)
        java = [self.java.executable, "-Xmx512m", "-cp", f"{home}/jars/*"]
        environment = {"SPARK_HOME": home, "SPARK_SCALA_VERSION": "2.13", "SPARK_LOCAL_IP": child.HOST}
        environment["JAVA_HOME"] = self.java.home
        where = ("--host", child.HOST)
        self.start("master", *java, MASTER, *where, "--port", port, "--webui-port", page, **environment)
        self.listens(port)
        address, work = f"spark://{child.HOST}:{port}", self.folder / "work"
        size = ("--cores", instances, "--memory", "4g", "--work-dir", work, "--webui-port", worker)
        self.start("worker", *java, WORKER, *where, *size, address, **environment)
        return address

    def ray(self, instances: int) -> str:
        """A Ray of one node; its address."""
        (port,) = child.free_ports(1)
        head = ("--head", "--block", f"--port={port}", f"--node-ip-address={child.HOST}", f"--num-cpus={instances}")
        small = ("--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={256 * 2**20}")
        ray = self.python("ray").parent / "venv/bin/ray"
        self.start("ray", ray, "start", *head, *small, f"--temp-dir={self.ray_folder}", PYTHONUNBUFFERED="1")
        self.listens(port)
        return f"{child.HOST}:{port}"

    @property
    def ray_folder(self) -> str:
        """Short enough for Ray's sockets; removed by the tag that it bears."""
        return f"/tmp/crayfish-{self.tag[:12]}-ray"


@pytest.fixture
def elsewhere(resources: Path, tmp_path: Path) -> Iterator[Elsewhere]:
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Elsewhere(resources, tmp_path / "elsewhere")
    yield elsewhere
    elsewhere.close()


def topics(elsewhere: Elsewhere) -> set[str]:
    return {name for name in elsewhere.admin.list_topics(timeout=DEADLINE_S).topics if NAME.fullmatch(name)}


@pytest.mark.parametrize("engine", sampled(ENGINES, 0))
def test_an_engine_that_is_there_already(harness, tmp_path, elsewhere, engine, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray and Spark on the loopback
    monkeypatch.setenv("SPARK_LOCAL_IP", child.HOST)
    address = getattr(elsewhere, engine)(2)
    spec = made_spec({"processor": engine, "scorer": "onnx", "parallelism": 2, "segments": [LOAD]})
    given = {"broker-address": elsewhere.kafka, "processor-address": address}
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", 100, **given)
    elsewhere.live()
    manifest = manifest_of(tmp_path / "run")
    assert manifest["given"] == {"broker": elsewhere.kafka, "processor": address}
    assert f"processor given at {address}" in manifest["substitutes"]
    assert "broker" not in manifest["stages"]
    assert topics(elsewhere) == set()


def test_a_flink_that_could_run_python_once_only_is_refused(harness, tmp_path, elsewhere):
    address = elsewhere.flink(1, python=False)
    spec = made_spec({"processor": "flink", "scorer": "onnx", "segments": [LOAD]})
    run = harness(spec, tmp_path / "run", **{"broker-address": elsewhere.kafka, "processor-address": address})
    output = run.finish()
    assert f"flink: {address} has no flink-python" in output and "run.execution to 'process'" in output, output
    assert run.process.returncode != 0 and "Traceback" not in output
    elsewhere.live()


def test_a_killed_run_leaves_no_job_on_a_flink_that_is_there_already(harness, tmp_path, elsewhere):
    address = elsewhere.flink(1)
    load = {**LOAD, "measure_s": 60.0}
    spec = made_spec({"processor": "flink", "scorer": "onnx", "segments": [load]})
    run = harness(spec, tmp_path / "run", **{"broker-address": elsewhere.kafka, "processor-address": address})
    run.await_log("segment 1/1")
    run.process.kill()
    run.finish()
    awaited(lambda: jobs(address) == ["CANCELED"] or None, DEADLINE_S, lambda: f"the end of {jobs(address)}")
    elsewhere.live()


def jobs(address: str) -> list[str]:
    """The state of every job of a Flink."""
    with urllib.request.urlopen(f"http://{address}/jobs/overview", timeout=DEADLINE_S) as answer:
        return [each["state"] for each in json.load(answer)["jobs"]]


@pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
@pytest.mark.parametrize("processor", sampled(discovery.names("processors"), 1, step=5))
def test_a_kafka_at_an_ipv6_address(harness, tmp_path, resources, processor, monkeypatch):
    monkeypatch.setenv(child.ADDRESS, "::1")
    elsewhere = Elsewhere(resources, tmp_path)
    monkeypatch.delenv(child.ADDRESS)
    try:
        assert elsewhere.kafka.startswith("[::1]:")
        scorer = "noop" if discovery.processor(processor).floor else "onnx"
        spec = made_spec({"processor": processor, "scorer": scorer, "segments": [LOAD]})
        assert_answered_once_and_rightly(harness, spec, tmp_path / "run", 100, **{"broker-address": elsewhere.kafka})
    finally:
        elsewhere.close()


def server_elsewhere(elsewhere: Elsewhere, scorer: str, folder: Path) -> str:
    """The address of a server that no run has started."""
    spec = made_spec({"processor": "kafka_streams", "scorer": scorer, "segments": [LOAD]})
    model = ROOT / paths.model_file("fashion_mnist", "ffnn", discovery.scorer(scorer).format)
    folder.mkdir()
    job = Job.without_kafka(spec, str(folder), model_path=str(model), java_home=elsewhere.java.home)
    command = [elsewhere.python(scorer), "-m", "crayfish.engine.worker", "servers", "--job", job.write(folder / "job")]
    server = elsewhere.start(scorer, *command, PYTHONPATH=str(child.SCRIPTS))
    return server.wait_for("ready", 2 * DEADLINE_S)["address"]


def test_a_server_that_is_there_already(harness, tmp_path, elsewhere):
    address = server_elsewhere(elsewhere, "triton", tmp_path / "server")
    spec = made_spec({"processor": "kafka_streams", "scorer": "triton", "segments": [LOAD]})
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", 100, **{"server-address": address})
    elsewhere.live()
    manifest = manifest_of(tmp_path / "run")
    assert manifest["server"]["address"] == address and "server" not in manifest["stages"]


def test_a_server_answers_nobody_who_does_not_know_its_secret(harness, tmp_path, elsewhere):
    address = server_elsewhere(elsewhere, "torchserve", tmp_path / "server")
    spec = made_spec({"processor": "kafka_streams", "scorer": "torchserve", "segments": [LOAD]})
    run = harness(spec, tmp_path / "run", **{"server-address": address})
    output = run.finish()
    assert run.process.returncode != 0 and "Traceback" not in output
    assert f"torchserve: the server at {address} failed a request (PERMISSION_DENIED): Token Auth" in output, output
    elsewhere.live()


@pytest.mark.parametrize("engine", sampled(ENGINES, 1))
def test_an_engine_that_is_not_there(harness, tmp_path, elsewhere, engine):
    (port,) = child.free_ports(1)
    address = f"{'spark://' if engine == 'spark' else ''}{child.HOST}:{port}"
    spec = made_spec({"processor": engine, "scorer": "onnx", "segments": [LOAD]})
    run = harness(spec, tmp_path / "run", **{"broker-address": elsewhere.kafka, "processor-address": address})
    output = run.finish()
    assert f"the processor at {address} does not answer" in output
    assert run.process.returncode != 0 and "Traceback" not in output
    elsewhere.live()


def test_what_is_given_is_not_made(checkout):
    targets = ["results/given/tables/scalability_external.csv"]
    config = "{kafka: 'a:1', flink: 'a:2', tf_serving: 'a:3'}"
    told = ["--config", "results=results/given", "processors=[flink]", "scorers=[tf_serving]", f"cluster={config}"]
    planned = snakemake("-n", "-p", *targets, *told, cwd=checkout)
    assert planned.returncode == 0, planned.stdout
    for option in ("--broker-address a:1", "--processor-address a:2", "--server-address a:3"):
        assert option in planned.stdout
    assert "environments/tf_serving" not in planned.stdout and "jars/kafka " not in planned.stdout
