"""Ray Serve on a Ray of this process's own: N replicas of the ONNX model behind Serve's gRPC or HTTP proxy.

Raw values go there, and float32 come back: in a BytesValue over gRPC (no generated code), as the body over HTTP; the
shape follows from the length. Serve's gRPC servers bind every interface whatever its settings are, so each worker
starts with `bind_loopback`, which keeps them to the loopback. Whichever protocol is measured, Serve opens an HTTP port
too.

Batches (run.server_batch_max) are those of serve.batch: each replica has its own, in requests. What is told of batches
is what the replicas have counted.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import ray_node
from crayfish.engine.child import HOST
from crayfish.scorers import ray_serve as client
from crayfish.scorers.onnx import OnnxScorer
from crayfish.servers import _batching, _child
from crayfish.spec.contracts import Server
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import numpy as np

    from crayfish.spec.run_spec import Job

PORT_DEADLINE_S = 30.0
WATCH_S = 0.2
IDLE_CONNECTION_S = 3600
MAX_ONGOING_REQUESTS = 1000  # a replica queues requests rather than the proxy's router turning them away
ENVIRONMENT = {
    # One event loop for each process instead of two or three: fewer switches a request.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}


class Model:
    """A replica: one session on the model file."""

    def __init__(self, job: Job):
        from google.protobuf.wrappers_pb2 import BytesValue
        from numpy import frombuffer
        from starlette.responses import Response

        self._frombuffer = frombuffer
        self._bytes_value, self._response = BytesValue, Response
        self._shape, self._dtype = (-1, *job.input_shape), job.spec.dtype
        self._scorer = OnnxScorer(job).__enter__()
        self._together = None
        if job.spec.server_batch_max > 1:
            from ray import serve

            self._record = _batching.Record(job.workdir)
            most, delay_s = job.spec.server_batch_max, job.spec.server_batch_delay_ms / 1000
            self._together = serve.batch(max_batch_size=most, batch_wait_timeout_s=delay_s)(self._score_together)

    def _points(self, values: bytes) -> np.ndarray:
        return self._frombuffer(values, self._dtype).reshape(self._shape)

    async def _score(self, values: bytes) -> bytes:
        if self._together:
            return await self._together((time.monotonic(), values))
        return self._scorer.score(self._points(values)).tobytes()

    async def _score_together(self, requests: list[tuple[float, bytes]]) -> list[bytes]:
        """Requests, each with when it came, and with its own number of data points."""
        now = time.monotonic()
        self._record.note([1000 * (now - came) for came, _ in requests])
        answers = _batching.score_together(self._scorer.score, [self._points(values) for _, values in requests])
        return [answer.tobytes() for answer in answers]

    async def Score(self, request):
        """gRPC: BytesValue -> BytesValue."""
        return self._bytes_value(value=await self._score(request.value))

    async def __call__(self, request):
        """HTTP: body -> body."""
        return self._response(await self._score(await request.body()), media_type="application/octet-stream")


def add_servicer(servicer: object, server) -> None:
    """Tell Serve's proxy of the gRPC method, as generated code would."""
    import grpc
    from google.protobuf.wrappers_pb2 import BytesValue

    service, _, method = client.METHOD[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(
        getattr(servicer, method),
        request_deserializer=BytesValue.FromString,
        response_serializer=BytesValue.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))


def bind_loopback() -> None:
    """In every worker before anything else: gRPC servers that ask for all interfaces get the loopback."""
    from grpc.aio import _server

    bind = _server.Server.add_insecure_port
    _server.Server.add_insecure_port = lambda self, address: bind(self, address.replace("[::]", HOST))


def run(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """Serve until `stop` is set."""
    os.environ.update(ENVIRONMENT)
    deadline_s = job.spec.ready_timeout_s
    hook = {"worker_process_setup_hook": f"{__name__}.{bind_loopback.__name__}"}
    workers = job.spec.parallelism + 2
    with ray_node.started(Path(job.workdir), workers, deadline_s, runtime_env=hook, namespace="serve") as check:
        import ray

        port, http_port = _child.ports(job, 2)
        address = f"{HOST}:{port}"
        try:
            _deploy(job, port, http_port)
            _await_answer(dataclasses.replace(job, server_address=address), stop, check)
            ready(address=address, version=ray.__version__)
            while not stop.wait(WATCH_S):
                check()
            if job.spec.server_batch_max > 1:
                _batching.tell_counts(job, *_batching.recorded(job.workdir))
        except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
            raise CrayfishError(f"ray_serve: {ray_node.reason(error)}") from error


def _await_port(port: int) -> None:
    """Until the port can be had: a server that was killed may still hold it."""
    end = time.monotonic() + PORT_DEADLINE_S
    while True:
        try:
            socket.create_server((HOST, port)).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise CrayfishError(f"ray_serve: {HOST}:{port} cannot be listened on: {error}") from error
        time.sleep(0.05)


def _deploy(job: Job, port: int, http_port: int) -> None:
    """Start Serve with its proxy on this port, and the replicas; returns when all of them run.

    Over gRPC http_port is that of the HTTP server which Serve opens all the same.
    """
    from ray import serve

    _await_port(port)
    over_grpc = job.spec.protocol == "grpc"
    quiet = {"enable_access_log": False, "log_level": "WARNING", "logs_dir": str(Path(job.workdir, "serve"))}
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": HOST,
            "port": http_port if over_grpc else port,
            "keep_alive_timeout_s": IDLE_CONNECTION_S,
        },
        grpc_options={
            "port": port,
            "grpc_servicer_functions": [f"{__name__}.{add_servicer.__name__}"] if over_grpc else [],
            "enable_reflection": False,
        },
        logging_config=quiet,
    )
    model = serve.deployment(
        Model,
        name="model",
        num_replicas=job.spec.parallelism,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        ray_actor_options={"num_cpus": 0},
        logging_config=quiet,
    )
    serve.run(model.bind(job), name=client.NAME, route_prefix=client.PATH)


def _await_answer(job: Job, stop: threading.Event, check: Callable[[], None]) -> None:
    """Until all replicas run and a real request is answered."""
    import numpy as np
    from ray import serve

    one, end = np.zeros((1, *job.input_shape), job.spec.dtype), time.monotonic() + job.spec.ready_timeout_s
    with client.client(job) as scorer:
        while not stop.is_set():
            check()
            states = serve.status().applications[client.NAME].deployments["model"].replica_states
            problem = f"{states} of {job.spec.parallelism} replicas"
            if states == {"RUNNING": job.spec.parallelism}:
                try:
                    scorer.score(one)
                    return
                except CrayfishError as error:
                    problem = str(error)
            if time.monotonic() > end:
                raise CrayfishError(f"ray_serve: not ready within {job.spec.ready_timeout_s:g} s: {problem}")
            time.sleep(0.05)


SERVER = Server(run=run)
