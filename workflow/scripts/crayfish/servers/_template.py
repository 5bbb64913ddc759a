"""TEMPLATE: the server of the scorer of this name, ONNX Runtime in as many threads as the run's parallelism.

A server that is a program of its own is started and watched by crayfish.servers._child.serve.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from crayfish.scorers import _template_external as client
from crayfish.scorers.onnx import OnnxScorer
from crayfish.servers import _batching, _child
from crayfish.spec.contracts import Server
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from crayfish.spec.run_spec import Job

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]


def run(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """Serve until `stop` is set: see crayfish.spec.contracts.Server."""
    import grpc
    import numpy as np

    (port,) = _child.ports(job, 1)
    address = f"{_child.HOST}:{port}"
    service, _, method = client.METHOD[1:].partition("/")
    with OnnxScorer(job) as scorer, _batching.open_batches(job, scorer.score) as (score, threads):

        def answer(request: bytes, context: object) -> bytes:
            return score(np.frombuffer(request, job.spec.dtype).reshape(-1, *job.input_shape)).tobytes()

        handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(answer)})
        server = grpc.server(ThreadPoolExecutor(threads), options=OPTIONS)
        server.add_generic_rpc_handlers((handler,))
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise CrayfishError(f"TEMPLATE: the address {address} is taken: {error}") from error
        server.start()
        ready(address=address, version=f"grpcio {grpc.__version__}")
        stop.wait()
        server.stop(1).wait()


SERVER = Server(run=run)
