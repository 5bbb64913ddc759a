"""Ray Serve's client: raw values there, float32 back, in a BytesValue over gRPC or as the body over HTTP.

A persistent channel or connection. A dead server is a CrayfishError, or is waited for: see crayfish.engine.remote.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from crayfish.engine import remote
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any, Self

    import numpy as np

    from crayfish.spec.run_spec import Job

NAME = "crayfish"  # of the Serve application
METHOD = "/crayfish.Scoring/Score"
PATH = "/"
LOST_REPLICA = ("ActorDiedError", "ActorUnavailableError", "died")


class Grpc(remote.GrpcScorer):
    """One channel to Serve's gRPC proxy."""

    METHOD = METHOD
    METADATA = (("application", NAME),)

    def prepare(self, types: dict[str, Any]) -> None:
        self._message = types["google.BytesValue"]

    def encode(self, batch: np.ndarray) -> bytes:
        return self._message(value=batch.tobytes()).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return self.floats(self._message.FromString(response).value, points)

    def gone(self, error) -> bool:
        """Also a proxy that has no application yet, or whose replicas died before it did."""
        code, codes = error.code(), self._grpc.StatusCode
        lost = code == codes.INTERNAL and any(text in (error.details() or "") for text in LOST_REPLICA)
        return super().gone(error) or lost or code in (codes.NOT_FOUND, codes.CANCELLED)


class Connection(threading.local):
    """The persistent connection of each thread that calls, once it has one."""

    opened: http.client.HTTPConnection | None = None


class Http(remote.RemoteScorer):
    """A persistent connection to Serve's HTTP proxy for each thread that calls."""

    def __init__(self, job: Job):
        super().__init__(job)
        self._host, _, port = (job.server_address or "").rpartition(":")
        self._port = int(port or 0)
        self._connection = Connection()

    def __enter__(self) -> Self:
        super().__enter__()
        self._pool = ThreadPoolExecutor(max(1, self._job.spec.async_calls), "ray_serve")
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def encode(self, batch: np.ndarray) -> bytes:
        return batch.tobytes()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return self.floats(response, points)

    async def call_async(self, request: bytes) -> bytes:
        """A thread and a connection for each of run.async_calls."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.call, request)

    def call(self, request: bytes) -> bytes:
        connection = self._connection.opened
        if connection is None:  # http.client sets TCP_NODELAY itself
            connection = http.client.HTTPConnection(self._host, self._port, timeout=remote.CALL_DEADLINE_S)
            self._connection.opened = connection
        try:
            connection.request("POST", PATH, request, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            status, answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            raise remote.NoAnswer(True, "no status", f"{type(error).__name__}: {error}") from error
        if status != http.HTTPStatus.OK:
            text = answer.decode(errors="replace").strip()
            raise remote.NoAnswer(self._gone(status, text), f"status {status}", text[:500])
        return answer

    @staticmethod
    def _gone(status: int, text: str) -> bool:
        """Also a proxy that has no application yet, or whose replicas died before it did."""
        lost = status == http.HTTPStatus.INTERNAL_SERVER_ERROR and any(name in text for name in LOST_REPLICA)
        return lost or status in (http.HTTPStatus.SERVICE_UNAVAILABLE, http.HTTPStatus.NOT_FOUND)


CLIENTS: dict[str, type[Grpc] | type[Http]] = {"grpc": Grpc, "http": Http}


def client(job: Job) -> Grpc | Http:
    """The client of the job's protocol."""
    return CLIENTS[job.spec.protocol](job)


SCORER = Scorer(
    display_name="Ray Serve",
    marker="*",
    fill="#b48be0",
    open=client,
    format="onnx",
    external=True,
    devices=("cpu", "cuda"),
    cuda_environment=True,
    protocols=tuple(CLIENTS),
)
