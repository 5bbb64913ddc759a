"""The servers of the external scorers: what happens when one is killed in a run, and what they are started with.

External scorers are discovered, never listed.
"""

import asyncio
import dataclasses
import http.server
import os
import stat
import subprocess
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import awaited, manifest_of, sampled

from crayfish.engine import child, remote
from crayfish.harness import stages
from crayfish.scorers import ray_serve
from crayfish.servers import tf_serving, torchserve, triton
from crayfish.spec import discovery, paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec, Segment

EXTERNAL = tuple(name for name in discovery.names("scorers") if discovery.scorer(name).external)
# One after the other, or several at once; in the sample each kind of test has both.
CALLS = {name: 4 * (number // 2 % 2) for number, name in enumerate(EXTERNAL)}


def run_of(scorer: str, measure_s: float, **fields: object) -> dict:
    load = {"kind": "constant", "rate": 100.0, "warmup_s": 1.0, "warmup_at_most_s": 1.0, "measure_s": measure_s}
    chosen = {"processor": "kafka_streams", "scorer": scorer, "parallelism": 2, "async_calls": CALLS[scorer]}
    return {**chosen, "segments": [load], **fields}


@pytest.mark.parametrize("scorer", sampled(EXTERNAL, 0, step=4))
def test_a_server_that_is_killed_fails_the_run(harness, tmp_path, scorer):
    run = harness(run_of(scorer, 120.0), tmp_path)
    run.await_log("sent")
    run.stage("server").kill()
    output = run.finish()
    assert "server: was killed by SIGKILL" in output and "server.log" in output
    run.assert_failed_cleanly(output)
    assert not [path for path in Path("/dev/shm").iterdir() if path.name.startswith("crayfish-")]


@pytest.mark.parametrize("scorer", sampled(EXTERNAL, 0, step=3))
def test_a_server_puts_requests_together_and_tells_what_its_batches_were(harness, tmp_path, scorer):
    load = {"kind": "constant", "rate": 800.0, "batch_size": 2, "warmup_s": 1.0, "warmup_at_most_s": 1.0}
    fields = {"async_calls": 8, "server_batch_max": 4, "server_batch_delay_ms": 5.0}
    run = harness(run_of(scorer, 3.0, **fields, segments=[{**load, "measure_s": 3.0}]), tmp_path)
    output = run.finish()
    assert run.process.returncode == 0, output
    manifest = manifest_of(tmp_path)
    assert manifest["accounting"]["received_once"] == 3200 and manifest["accounting"]["wrong"] == 0
    told = manifest["batches"]["server"]
    if tf_serving.IMAGE in manifest["server"]["version"]:  # a container without a network
        assert told is None
        return
    assert 1 < told["size_mean"] <= 4
    assert all(told[name] is None or 1 <= told[name] <= 4 for name in ("size_p50", "size_p99"))
    assert told["queue_ms_mean"] > 0 and 0 <= told["queue_ms_p50"] <= told["queue_ms_p99"]


@pytest.mark.parametrize("scorer", sampled(EXTERNAL, 1, step=4))
def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(harness, tmp_path, scorer):
    run = harness(run_of(scorer, 12.0, on_server_failure="retry", server_batch_max=2), tmp_path)
    run.await_log("sent")
    run.stage("server").kill()
    output = run.finish()
    assert run.process.returncode == 0, output
    manifest = manifest_of(tmp_path)
    assert manifest["accounting"]["sent"] == manifest["accounting"]["received_once"] == 1300
    assert manifest["accounting"]["lost"] == 0
    assert manifest["server"]["failures"] == 1 and 0 < manifest["server"]["down_s"] < 60
    assert [text for text in manifest["warnings"] if "failed 1 times" in text]
    told = manifest["batches"]["server"]
    assert 1 <= told["size_mean"] <= 2 if told else tf_serving.IMAGE in manifest["server"]["version"]
    assert (tmp_path / "logs" / "server-2.log").exists()


@pytest.mark.parametrize("scorer", sampled(EXTERNAL, 2, step=4))
def test_a_model_file_that_a_server_cannot_read(harness, tmp_path, scorer):
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"this is no model")
    run = harness(run_of(scorer, 120.0), tmp_path / "run", model=broken)
    output = run.finish()
    assert "broken.model" in output and "server.log" in output
    run.assert_failed_cleanly(output)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the values that came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *about):
        pass


def by_http(port: int, on_server_failure: str):
    """Ray Serve's client by HTTP, which needs nothing but Python."""
    load = Segment("constant", rate=1.0)
    spec = RunSpec("ray", "ray_serve", (load,), protocol="http", async_calls=2, on_server_failure=on_server_failure)
    return ray_serve.client(Job.without_kafka(spec, "", server_address=f"127.0.0.1:{port}"))


WAYS = {
    "one after the other": lambda client, batch: client.score(batch),
    "at once": lambda client, batch: asyncio.run(client.score_async(batch)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_client_without_its_server_says_which_one_does_not_answer(way):
    (port,) = child.free_ports(1)
    told = rf"ray_serve: the server at 127.0.0.1:{port} does not answer: .*refused; see server.log"
    with by_http(port, "fail") as client, pytest.raises(CrayfishError, match=told):
        WAYS[way](client, np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_retries_waits_until_its_server_is_back(way):
    (port,) = child.free_ports(1)
    batch, started = np.ones((1, 2), np.float32), []
    later = threading.Timer(0.5, lambda: started.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), Echo)))
    with by_http(port, "retry") as client:
        later.start()
        threading.Thread(target=lambda: (later.join(), started[0].serve_forever())).start()
        assert np.array_equal(WAYS[way](client, batch), batch)
    started[0].shutdown()
    started[0].server_close()


# TorchServe's protocol, answered with the values that came.
GRPC_ECHO = """
import sys, threading
from concurrent import futures
import grpc
from crayfish.engine import protocols
request, response = (protocols.TYPES[f"torchserve.{name}"] for name in ("PredictionsRequest", "PredictionResponse"))

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        def answer(content, context):
            return response(prediction=request.FromString(content).input["data"]).SerializeToString()
        return grpc.unary_unary_rpc_method_handler(answer)

server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((Echo(),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
print("up", flush=True)
threading.Event().wait()
"""
GRPC_CLIENT = """
import subprocess, sys, threading
import numpy as np
from crayfish.scorers.torchserve import TorchServeScorer
from crayfish.spec.run_spec import Job, RunSpec, Segment
echo, port = sys.argv[1:]

def started():
    process = subprocess.Popen([sys.executable, "-c", echo, port], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\\n"
    return process

spec = RunSpec("kafka_streams", "torchserve", (Segment("constant", rate=1.0),), on_server_failure="retry")
batch, servers = np.ones((1, 2), np.float32), [started()]
later = threading.Timer(0.5, lambda: servers.append(started()))
try:
    with TorchServeScorer(Job.without_kafka(spec, "", server_address=f"127.0.0.1:{port}")) as client:
        client.score(batch)
        servers[0].kill()
        servers[0].wait()
        later.start()
        assert np.array_equal(client.score(batch), batch)
finally:
    if later.is_alive():
        later.join()
    for server in servers:
        server.kill()
"""


def test_a_grpc_client_that_retries_connects_once_its_server_is_back(resources):
    """By itself gRPC looks after a connection every 5 s: here it never does."""
    python, (port,) = paths.ROOT / paths.interpreter("kafka_streams"), child.free_ports(1)
    variables = {"PYTHONPATH": str(child.SCRIPTS), "GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS": str(3600 * 1000)}
    command = [str(python), "-c", GRPC_CLIENT, GRPC_ECHO, str(port)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def job(tmp_path) -> Job:
    """What a server is told."""
    spec = RunSpec("kafka_streams", "tf_serving", (Segment("constant", rate=1.0),), parallelism=3, scorer_threads=2)
    (tmp_path / "work").mkdir()
    return Job.without_kafka(spec, str(tmp_path / "work"), model_path="/models/the.model")


def program(folder: Path, name: str, script: str) -> Path:
    """A shell program."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_the_official_program_is_found_by_its_variable_first(tmp_path, monkeypatch):
    on_path = program(tmp_path / "bin", tf_serving.PROGRAM, "exit 0")
    named = program(tmp_path, "mine", "exit 0")
    monkeypatch.delenv(tf_serving.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert tf_serving.find_program() is None
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert tf_serving.find_program() == str(on_path)
    monkeypatch.setenv(tf_serving.VARIABLE, str(named))
    assert tf_serving.find_program() == str(named)
    monkeypatch.setenv(tf_serving.VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(CrayfishError, match=tf_serving.VARIABLE):
        tf_serving.find_program()


def test_the_official_program_reads_the_model_as_version_1_and_listens_on_a_socket(job):
    command = tf_serving.program_command("/bin/tms", job, "/run/x.socket")
    assert command[0] == "/bin/tms"
    assert {*command} > {"--port=0", "--grpc_socket_path=/run/x.socket", "--rest_api_port=0", "--model_name=ffnn"}
    assert f"--model_base_path={job.workdir}/models/ffnn" in command
    assert {"--tensorflow_intra_op_parallelism=2", "--tensorflow_inter_op_parallelism=3"} < {*command}
    assert str(Path(job.workdir, "models/ffnn/1").readlink()) == job.model_path


@pytest.mark.parametrize("runtime", tf_serving.RUNTIMES)
def test_the_container_has_no_network_and_shares_the_model_and_the_folder_of_the_socket(job, runtime):
    command = tf_serving.container_command(runtime, job, "/run/here/x.socket", "crayfish-1")
    assert command[:3] == [runtime, "run", "--rm"] and tf_serving.IMAGE in command
    text = " ".join(command)
    assert "--network none" in text and "--name crayfish-1" in text
    assert "--volume /models/the.model:/models/ffnn/1:ro" in text and "--volume /run/here:/run/here" in text
    assert ("--user" in command) == (runtime == "docker")
    assert command.index("--entrypoint") < command.index(tf_serving.IMAGE) < command.index("--model_name=ffnn")
    assert {"--model_base_path=/models/ffnn", "--grpc_socket_path=/run/here/x.socket"} < {*command}


@pytest.mark.parametrize("how", ["its client is gone", "SIGTERM"])
def test_what_runs_in_the_container_ends_with_its_client_and_on_sigterm(tmp_path, monkeypatch, how):
    folder = program(tmp_path / "bin", tf_serving.PROGRAM, 'echo "$@"; exec sleep 600').parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    command = ["/bin/sh", "-c", tf_serving.IN_CONTAINER, tf_serving.PROGRAM, "--port=0", "--model_name=a b"]
    container = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert container.stdout.readline() == "--port=0 --model_name=a b\n"
    children = psutil.Process(container.pid).children
    (server,) = awaited(lambda: [each for each in children() if "600" in each.cmdline()] or None, 10, "its program")
    container.terminate() if how == "SIGTERM" else container.stdin.close()
    container.wait(10)
    awaited(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE or None, 10, "its end")


def test_a_runtime_without_the_image_that_cannot_pull_it_is_no_runtime(tmp_path, monkeypatch):
    docker = program(tmp_path / "bin", "docker", 'echo "no daemon" >&2; exit 1')
    monkeypatch.setenv("PATH", str(docker.parent))
    assert tf_serving.find_runtime() is None
    program(tmp_path / "bin", "podman", f'test "$1" = pull -a "$2" = {tf_serving.IMAGE}')
    assert tf_serving.find_runtime() == "podman"


def test_torchserve_s_settings_are_of_the_loopback_and_of_this_run(job):
    settings = torchserve.settings(job, 1, 2, 3, 4)
    assert {value for key, value in settings.items() if key.startswith("grpc_") and key.endswith("_address")} == {
        "127.0.0.1"
    }
    assert settings["inference_address"] == "http://127.0.0.1:3" and settings["grpc_inference_port"] == 1
    assert '"minWorkers": 3, "maxWorkers": 3, "batchSize": 1' in settings["models"]
    assert int(settings["max_request_size"]) == int(settings["max_response_size"]) == remote.MAX_MESSAGE_BYTES


def test_triton_s_model_has_as_many_instances_as_the_run(job):
    text = triton.model_config(job)
    assert "count: 3" in text and "dims: [ -1, 28, 28 ]" in text and "dims: [ -1, 10 ]" in text
    assert "max_batch_size: 0" in text and 'key: "threads" value { string_value: "2" }' in text


def test_a_server_that_is_started_again_keeps_its_port(job):
    given = dataclasses.replace(job, server_address="127.0.0.1:4711")
    for server in (torchserve, triton, tf_serving):
        ports = server._child.ports(given, 3)
        assert ports[0] == 4711 and len(set(ports)) == 3


def test_a_stage_s_processes_are_swept_alone(tmp_path):
    tag = str(tmp_path)
    made = [stages.Stage(name, ["sleep", "60"], tmp_path / name, tag) for name in ("one", "two")]
    assert len(stages.sweep(tag, "one")) == 1
    assert made[0].process.poll() is not None and made[1].process.poll() is None
    assert len(stages.sweep(tag)) == 1
    assert made[1].process.poll() is not None
