"""TensorFlow Serving: the official server where the machine has it, else the project's own over the official protocol.

In this order: the program tensorflow_model_server (on PATH, or named by the environment variable VARIABLE); its image
IMAGE by docker or podman; a gRPC server in this process, over the official stubs and the real SavedModel, which says of
itself that it is a substitute. The official one is reached by a socket in the scratch folder, as its TCP port would be
open to all of the network. N, the run's parallelism, is how many requests are computed at once; one operation uses
scorer_threads threads.

Batches (run.server_batch_max) are those of the official server's batching session, of one queue for all threads. It
counts data points: the largest batch is server_batch_max times those of the largest request, and smaller requests go
together in larger numbers. What is told of them is its monitoring: the mean size alone, and percentiles of the queue
that are interpolated within buckets, each 1.2 times the one before. That is read by its REST API, which is opened for
it, to all of the network; in a container, which has none, it is not. The project's own server counts requests, and
tells all.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child
from crayfish.servers import _batching, _child
from crayfish.spec.contracts import Server
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

PROGRAM, VARIABLE = "tensorflow_model_server", "TENSORFLOW_MODEL_SERVER"
IMAGE = "tensorflow/serving:2.19.1"
RUNTIMES = ("docker", "podman")
SUBSTITUTE = "tf_serving (in-repo server)"
ASK_DEADLINE_S, PULL_DEADLINE_S = 20.0, 120.0
STOP_GRACE_S = 2.0
AVAILABLE = 30  # the state of a model version in get_model_status.proto
MONITORING = "/monitoring"
SESSION = ":tensorflow:serving:batching_session:"
STATUS_METHOD = "/tensorflow.serving.ModelService/GetModelStatus"
# A container lives on when its client is killed, but its standard input ends: so it ends with that.
IN_CONTAINER = f"""exec 3<&0
{PROGRAM} "$@" & server=$!
trap "kill $server" TERM
(cat <&3 >/dev/null; kill $server) &
wait $server"""


def batching_options(job: Job, folder: Path, rest: int) -> dict[str, object]:
    """The official server's options for batches, whose files it reads in this folder; rest: the port of its REST API,
    which its monitoring goes with, or 0."""
    spec = job.spec
    if spec.server_batch_max == 1:
        return {}
    values = {
        "max_batch_size": _batching.most_points(job),
        "batch_timeout_micros": round(1000 * spec.server_batch_delay_ms),
        "num_batch_threads": spec.parallelism,
        "max_enqueued_batches": spec.parallelism * max(1, spec.async_calls),  # beyond it requests are refused
    }
    files = {
        "batching_parameters_file": "".join(f"{name} {{ value: {value} }}\n" for name, value in values.items()),
        "monitoring_config_file": f'prometheus_config {{ enable: true path: "{MONITORING}" }}\n',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return {"enable_batching": "true", "rest_api_port": rest, **{name: folder / name for name in files}}


def server_options(job: Job, models: str, socket: str, rest: int = 0) -> list[str]:
    """The official server's options, with the folder of its models and the socket that it listens on."""
    options = {
        "port": 0,
        "grpc_socket_path": socket,
        "rest_api_port": 0,
        "model_name": job.spec.model,
        "model_base_path": f"{models}/{job.spec.model}",
        "file_system_poll_wait_seconds": 0,  # the model is read once
        "tensorflow_intra_op_parallelism": job.spec.scorer_threads,
        "tensorflow_inter_op_parallelism": job.spec.parallelism,
        **batching_options(job, Path(socket).parent, rest),
    }
    return [f"--{name}={value}" for name, value in options.items()]


def program_command(program: str, job: Job, socket: str, rest: int = 0) -> list[str]:
    """The command line of the official program; the model stands in its scratch folder as models/NAME/1."""
    version = Path(job.workdir, "models", job.spec.model, "1")
    version.parent.mkdir(parents=True, exist_ok=True)
    version.symlink_to(str(job.model_path))
    return [program, *server_options(job, f"{job.workdir}/models", socket, rest)]


def monitored(rest: int) -> dict[str, float | None]:
    """What its batches were (servers._batching.tell), by the monitoring of the official server."""
    text = (_child.get(rest, MONITORING) or b"").decode()

    def total(name: str) -> float:
        return sum(value for _, value in _batching.samples(text, SESSION + name))

    requests, calls = total("queuing_latency_count"), total("wrapped_run_count")
    if not requests or not calls:
        return {}
    buckets: dict[float, float] = {}  # us, up to which -> so many requests
    for labels, value in _batching.samples(text, f"{SESSION}queuing_latency_bucket"):
        buckets[float(labels["le"])] = buckets.get(float(labels["le"]), 0.0) + value
    percentiles = {
        f"queue_ms_{name}": _quantile(sorted(buckets.items()), share) / 1000
        for name, share in (("p50", 0.5), ("p99", 0.99))
        if _batching.supported(requests, name)
    }
    return {
        "size_mean": requests / calls,
        "queue_ms_mean": total("queuing_latency_sum") / requests / 1000,
        **percentiles,
    }


def _quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """A quantile by cumulative counts, interpolated within its bucket; the last bound that is finite, beyond that."""
    wanted, below, counted = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            inside = (wanted - counted) / (count - counted) if count > counted else 0.0
            return below if math.isinf(bound) else below + (bound - below) * inside
        below, counted = bound, count
    return below


def container_command(runtime: str, job: Job, socket: str, name: str) -> list[str]:
    """The command line that runs the official image, without any network, as this user."""
    folder = str(Path(socket).parent)
    user = ["--user", f"{os.getuid()}:{os.getgid()}"] if runtime == "docker" else []  # podman's root is this user
    return [
        *(
            runtime,
            "run",
            "--rm",
            "--interactive",
            "--name",
            name,
            "--network",
            "none",
            "--security-opt",
            "label=disable",
        ),
        *user,
        *("--volume", f"{job.model_path}:/models/{job.spec.model}/1:ro", "--volume", f"{folder}:{folder}"),
        *("--entrypoint", "/bin/sh", IMAGE, "-c", IN_CONTAINER, PROGRAM),
        *server_options(job, "/models", socket),
    ]


def find_program() -> str | None:
    """The official program: what VARIABLE names (CrayfishError if that is no program), else PATH's, else None."""
    named = os.environ.get(VARIABLE)
    found = shutil.which(named or PROGRAM)
    if named and not found:
        raise CrayfishError(f"tf_serving: {VARIABLE} names {named}, which is no program: correct it, or unset it")
    return found


def find_runtime() -> str | None:
    """A container runtime that has the image, or can fetch it in time; else None, and why on the log."""
    for runtime in filter(shutil.which, RUNTIMES):
        for command, deadline_s in ((("image", "inspect"), ASK_DEADLINE_S), (("pull",), PULL_DEADLINE_S)):
            try:
                done = subprocess.run(
                    [runtime, *command, IMAGE],
                    capture_output=True,
                    text=True,
                    stdin=subprocess.DEVNULL,
                    timeout=deadline_s,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                print(f"tf_serving: {error}", flush=True)
                continue
            if done.returncode == 0:
                return runtime
            print(f"tf_serving: {runtime} {' '.join(command)} {IMAGE}: {done.stderr.strip()[-300:]}", flush=True)
    return None


def available(address: str, model: str) -> bool:
    """Whether the server at this gRPC address says that the model is there."""
    import grpc

    from crayfish.engine.protocols import TYPES

    request = TYPES["tensorflow.serving.GetModelStatusRequest"](model_spec={"name": model})
    parse = TYPES["tensorflow.serving.GetModelStatusResponse"].FromString
    with grpc.insecure_channel(
        address, [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        try:
            answer = channel.unary_unary(STATUS_METHOD, response_deserializer=parse)(
                request.SerializeToString(), timeout=_child.ASK_DEADLINE_S
            )
        except grpc.RpcError:
            return False
    return [version.state for version in answer.model_version_status] == [AVAILABLE]


def run(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """Serve until `stop` is set."""
    program = find_program()
    runtime = None if program else find_runtime()
    address = job.server_address or f"unix:{job.workdir}/grpc.socket"
    socket = address.removeprefix("unix:")
    name = f"crayfish-{os.environ.get(child.TAG, os.getpid())}"
    rest = 0
    if program:
        rest = child.free_ports(1)[0] if job.spec.server_batch_max > 1 else 0
        command, about = program_command(program, job, socket, rest), {"version": program_version(program)}
    elif not runtime:
        return serve_here(job, stop, ready)
    else:
        command, about = container_command(runtime, job, socket, name), {"version": f"{IMAGE} ({runtime})"}
        remove_container(runtime, name)
    try:
        _child.serve(
            job,
            command,
            is_ready=lambda: available(address, job.spec.model),
            ready=lambda: ready(address=address, **about),
            stop=stop,
            stopping=lambda: _batching.tell(job, monitored(rest)) if rest else None,
        )
    finally:
        if runtime:
            remove_container(runtime, name)


def remove_container(runtime: str, name: str) -> None:
    """Remove the container, if there is one."""
    subprocess.run(
        [runtime, "rm", "--force", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=ASK_DEADLINE_S
    )


def program_version(program: str) -> str:
    """What the official program says of itself, without spaces at its ends."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=ASK_DEADLINE_S).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrayfishError(f"tf_serving: {program} cannot be run: {error}") from error
    found = re.search(r"ModelServer: (\S+)", told)
    return f"TensorFlow ModelServer {found[1] if found else 'of an unknown version'}"


def serve_here(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """The project's own server: as many threads as the run's parallelism, each in one request, or batch, at a time."""
    from crayfish.scorers.savedmodel import SavedModelScorer  # first: it tells TensorFlow what to print

    with SavedModelScorer(job) as scorer, _batching.open_batches(job, scorer.score) as (score, threads):
        import grpc
        import tensorflow

        (port,) = _child.ports(job, 1)
        address = f"{_child.HOST}:{port}"
        size = MAX_MESSAGE_BYTES
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", size),
            ("grpc.max_receive_message_length", size),
        ]
        server = grpc.server(futures.ThreadPoolExecutor(threads), options=options)
        add_services(server, score, job)
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise CrayfishError(f"tf_serving: the address {address} is taken: {error}") from error
        server.start()
        while not available(address, job.spec.model) and not stop.wait(_child.ASK_EVERY_S):
            pass
        version = f"TensorFlow {tensorflow.__version__}, grpcio {grpc.__version__}"
        ready(address=address, substitute=SUBSTITUTE, version=version)
        stop.wait()
        server.stop(STOP_GRACE_S).wait()


def add_services(server, score: Callable, job: Job) -> None:
    """Predict and GetModelStatus of the official protocol, for one model."""
    import grpc
    import numpy as np
    from tensorflow import as_dtype
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    name, own = job.spec.model, job.spec.own
    input_name, dtype = own.input if own else "input", np.dtype(job.spec.dtype)
    wanted = as_dtype(dtype).as_datatype_enum

    def check_name(context: grpc.ServicerContext, asked: str) -> None:
        if asked != name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {asked!r} here; there is {name!r}")

    class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            check_name(context, request.model_spec.name)
            tensor = request.inputs[input_name]
            shape = [dimension.size for dimension in tensor.tensor_shape.dim]
            if tensor.dtype != wanted or dtype.itemsize * int(np.prod(shape)) != len(tensor.tensor_content):
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"the input is to be {types_pb2.DataType.Name(wanted)} with all of its tensor_content",
                )
            logits = score(np.frombuffer(tensor.tensor_content, dtype).reshape(shape))
            response = predict_pb2.PredictResponse()
            output = response.outputs["logits"]
            output.dtype, output.tensor_content = types_pb2.DT_FLOAT, logits.tobytes()
            for size in logits.shape:
                output.tensor_shape.dim.add(size=size)
            return response

    class Status(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):
            check_name(context, request.model_spec.name)
            state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            status = get_model_status_pb2.ModelVersionStatus(version=1, state=state)
            return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])

    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Status(), server)


SERVER = Server(run=run)
