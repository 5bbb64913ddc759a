"""What the clients of the external scorers share: a persistent gRPC channel, deadlines, and what a dead server means.

A client gives METHOD (the full gRPC method), prepare(types), encode(batch) -> bytes and decode(response: bytes, points)
-> float32[points, outputs]. A call that fails raises a CrayfishError that names the server; under on_server_failure:
retry a call to a server that is gone is repeated until it is back, at most RETRY_DEADLINE_S: the harness starts it
again and counts what it cost.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from crayfish.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.run_spec import Job

CALL_DEADLINE_S = 60.0
RETRY_DEADLINE_S = 120.0
RETRY_PAUSE_S = 0.1
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a channel of its own for each scorer
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
]


class GrpcScorer:
    """The base of the gRPC clients. One belongs to one thread, or to one event loop."""

    METHOD = ""
    METADATA: tuple[tuple[str, str], ...] = ()

    def __init__(self, job: Job):
        self._job = job
        self._retries = job.spec.on_server_failure == "retry"
        self._channel = self._call = None
        self._async_loop = self._async_channel = self._async_call = None

    def prepare(self, types: dict[str, type]) -> None:
        """Take what it needs of crayfish.protocols.TYPES; called once, before any call."""

    def encode(self, batch: np.ndarray) -> bytes:
        """The request for float32[n, *input_shape]."""
        raise NotImplementedError

    def decode(self, response: bytes, points: int) -> np.ndarray:
        """float32[points, outputs] of a response."""
        raise NotImplementedError

    def __enter__(self) -> GrpcScorer:
        import grpc

        from crayfish import protocols

        self._grpc = grpc
        self.prepare(protocols.TYPES)
        self._channel = grpc.insecure_channel(self._job.server_address, OPTIONS)
        self._call = self._channel.unary_unary(self.METHOD)
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs], by one call."""
        request, give_up = self.encode(batch), time.monotonic() + RETRY_DEADLINE_S
        while True:
            try:
                response = self._call(request, timeout=CALL_DEADLINE_S, metadata=self.METADATA)
                return self.decode(response, len(batch))
            except self._grpc.RpcError as error:
                self._judge(error, give_up)
            time.sleep(RETRY_PAUSE_S)

    async def score_async(self, batch: np.ndarray) -> np.ndarray:
        """The same on the running event loop, which gets a channel of its own."""
        loop = asyncio.get_running_loop()
        if self._async_loop is not loop:
            self._async_loop = loop
            self._async_channel = self._grpc.aio.insecure_channel(self._job.server_address, OPTIONS)
            self._async_call = self._async_channel.unary_unary(self.METHOD)
        request, give_up = self.encode(batch), time.monotonic() + RETRY_DEADLINE_S
        while True:
            try:
                response = await self._async_call(request, timeout=CALL_DEADLINE_S, metadata=self.METADATA)
                return self.decode(response, len(batch))
            except self._grpc.RpcError as error:
                self._judge(error, give_up)
            await asyncio.sleep(RETRY_PAUSE_S)

    def gone(self, error) -> bool:
        """Whether a failed call (grpc.RpcError) means that the server is not there."""
        return error.code() == self._grpc.StatusCode.UNAVAILABLE

    def _judge(self, error, give_up: float) -> None:
        """Return if the call is worth repeating, else raise what it means for people."""
        gone = self.gone(error)
        if gone and self._retries and time.monotonic() < give_up:
            return
        server, address = self._job.spec.scorer, self._job.server_address
        what = "does not answer" if gone else f"failed a request ({error.code().name})"
        raise CrayfishError(f"{server}: the server at {address} {what}: {error.details()}; see server.log") from error
