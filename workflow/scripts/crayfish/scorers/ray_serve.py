"""Ray Serve's client: raw float32 bytes in both directions, in a BytesValue over gRPC or as the body over HTTP.

A persistent channel or connection. A dead server is a CrayfishError, or is waited for: see crayfish.remote.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from crayfish import remote
from crayfish.errors import CrayfishError

if TYPE_CHECKING:
    from crayfish.run_spec import Job

FORMAT = "onnx"
EXTERNAL = True
PROTOCOLS = ("grpc", "http")
NAME = "crayfish"  # of the Serve application
METHOD = "/crayfish.Scoring/Score"
PATH = "/"
LOST_REPLICA = ("ActorDiedError", "ActorUnavailableError", "died")


def Scorer(job: Job) -> Grpc | Http:
    """The client of the job's protocol."""
    return {"grpc": Grpc, "http": Http}[job.spec.protocol](job)


class Grpc(remote.GrpcScorer):
    """One channel to Serve's gRPC proxy."""

    METHOD = METHOD
    METADATA = (("application", NAME),)

    def prepare(self, types: dict[str, type]) -> None:
        self._message = types["google.BytesValue"]

    def encode(self, batch: np.ndarray) -> bytes:
        return self._message(value=batch.tobytes()).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return np.frombuffer(self._message.FromString(response).value, "<f4").reshape(points, -1)

    def gone(self, error) -> bool:
        """Also a proxy that has no application yet, or whose replicas died before it did."""
        code, codes = error.code(), self._grpc.StatusCode
        lost = code == codes.INTERNAL and any(text in (error.details() or "") for text in LOST_REPLICA)
        return lost or code in (codes.UNAVAILABLE, codes.NOT_FOUND, codes.CANCELLED)


class Http:
    """A persistent connection to Serve's HTTP proxy for each thread that calls."""

    def __init__(self, job: Job):
        self._job = job
        self._host, _, port = (job.server_address or "").rpartition(":")
        self._port = int(port or 0)
        self._retries = job.spec.on_server_failure == "retry"
        self._own = threading.local()

    def __enter__(self) -> Http:
        self._pool = ThreadPoolExecutor(max(1, self._job.spec.async_calls), "ray_serve")
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs], by one call."""
        request, give_up = batch.tobytes(), time.monotonic() + remote.RETRY_DEADLINE_S
        while True:
            status, answer = self._post(request)
            if status == http.HTTPStatus.OK:
                return np.frombuffer(answer, "<f4").reshape(len(batch), -1)
            self._judge(status, answer.decode(errors="replace").strip(), give_up)
            time.sleep(remote.RETRY_PAUSE_S)

    async def score_async(self, batch: np.ndarray) -> np.ndarray:
        """The same for an event loop: a thread and connection for each of run.async_calls."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.score, batch)

    def _post(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; 0 and the reason where there was none."""
        connection = getattr(self._own, "connection", None)
        if connection is None:  # http.client sets TCP_NODELAY itself
            connection = http.client.HTTPConnection(self._host, self._port, timeout=remote.CALL_DEADLINE_S)
            self._own.connection = connection
        try:
            connection.request("POST", PATH, request, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            return 0, f"{type(error).__name__}: {error}".encode()

    def _judge(self, status: int, text: str, give_up: float) -> None:
        """Return if the call is worth repeating, else raise what it means for people."""
        lost = status == http.HTTPStatus.INTERNAL_SERVER_ERROR and any(name in text for name in LOST_REPLICA)
        gone = lost or status in (0, http.HTTPStatus.SERVICE_UNAVAILABLE, http.HTTPStatus.NOT_FOUND)
        if gone and self._retries and time.monotonic() < give_up:
            return
        what = "does not answer" if gone else f"failed a request (status {status})"
        raise CrayfishError(f"ray_serve: the server at {self._job.server_address} {what}: {text[:500]}; see server.log")
