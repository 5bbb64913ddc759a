"""What the clients of the external scorers share: persistent connections, deadlines, and what a dead server means.

A client gives encode(batch) -> bytes and decode(response: bytes, points) -> float32[points, outputs], and how one
request is sent: by gRPC (GrpcScorer, which asks for METHOD, the full gRPC method, and prepare(types)) or by call() and
call_async() of its own. A call that fails raises a CrayfishError that names the server; under on_server_failure: retry
a call to a server that is gone is repeated until it is back, at most RETRY_DEADLINE_S: the harness starts it again and
counts what it cost.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import TYPE_CHECKING

from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from typing import Any, Self

    import numpy as np

    from crayfish.spec.run_spec import Job

CALL_DEADLINE_S = 60.0
RETRY_DEADLINE_S = 120.0
RETRY_PAUSE_S = 0.1
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a channel of its own for each scorer
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
]


class NoAnswer(Exception):
    """A call failed: whether the server is gone, the protocol's name for the failure, and what the server said."""

    def __init__(self, gone: bool, code: str, details: str | None):
        super().__init__(details)
        self.gone, self.code, self.details = gone, code, details


class RemoteScorer:
    """The base of all clients. One belongs to one thread, or to one event loop."""

    def __init__(self, job: Job):
        self._job = job
        self._retries = job.spec.on_server_failure == "retry"

    def __enter__(self) -> Self:
        """Load what encode() and decode() need; the server is first asked by the first call."""
        import numpy

        self._frombuffer = numpy.frombuffer
        return self

    def floats(self, content: bytes | memoryview | array, points: int) -> np.ndarray:
        """Raw little-endian float32 of a response as float32[points, outputs]."""
        return self._frombuffer(content, "<f4").reshape(points, -1)

    def encode(self, batch: np.ndarray) -> bytes:
        """The request for [n, *input_shape] in the model's type."""
        raise NotImplementedError

    def decode(self, response: bytes, points: int) -> np.ndarray:
        """float32[points, outputs] of a response."""
        raise NotImplementedError

    def call(self, request: bytes) -> bytes:
        """The response to a request; NoAnswer if the call fails."""
        raise NotImplementedError

    async def call_async(self, request: bytes) -> bytes:
        """The same on the running event loop."""
        raise NotImplementedError

    def score(self, batch: np.ndarray) -> np.ndarray:
        """[n, *input_shape] in the model's type -> float32[n, outputs], by one call.

        CrayfishError, which names the server, if it does not answer, or answers with an error.
        """
        request, give_up = self.encode(batch), time.monotonic() + RETRY_DEADLINE_S
        while True:
            try:
                return self.decode(self.call(request), len(batch))
            except NoAnswer as failure:
                self._judge(failure, give_up)
            time.sleep(RETRY_PAUSE_S)

    async def score_async(self, batch: np.ndarray) -> np.ndarray:
        """The same on the running event loop, while other requests are in flight."""
        request, give_up = self.encode(batch), time.monotonic() + RETRY_DEADLINE_S
        while True:
            try:
                return self.decode(await self.call_async(request), len(batch))
            except NoAnswer as failure:
                self._judge(failure, give_up)
            await asyncio.sleep(RETRY_PAUSE_S)

    def _judge(self, failure: NoAnswer, give_up: float) -> None:
        """Return if the call is to be repeated, else raise a CrayfishError."""
        if failure.gone and self._retries and time.monotonic() < give_up:
            return
        what = "does not answer" if failure.gone else f"failed a request ({failure.code})"
        raise CrayfishError(
            f"{self._job.spec.scorer}: the server at {self._job.server_address} {what}: {failure.details};"
            " see server.log"
        ) from failure


class GrpcScorer(RemoteScorer):
    """The base of the gRPC clients: a channel, and one more for an event loop."""

    METHOD = ""
    METADATA: tuple[tuple[str, str], ...] = ()

    def __init__(self, job: Job):
        super().__init__(job)
        self._loop: asyncio.AbstractEventLoop | None = None

    def prepare(self, types: dict[str, Any]) -> None:
        """Take what it needs of crayfish.engine.protocols.TYPES; called once, before any call."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries; asked at the start and before a call is repeated."""
        return self.METADATA

    def gone(self, error) -> bool:
        """Whether a failed call (grpc.RpcError) means that the server is not there."""
        code = self._grpc.StatusCode
        return error.code() in ((code.UNAVAILABLE, code.DEADLINE_EXCEEDED) if self._retries else (code.UNAVAILABLE,))

    def __enter__(self) -> Self:
        """Open the channel; the server is first asked by the first call."""
        import grpc

        from crayfish.engine import protocols

        super().__enter__()
        self._grpc = grpc
        self.prepare(protocols.TYPES)
        self._channel = grpc.insecure_channel(self._job.server_address, OPTIONS)
        self._call = self._channel.unary_unary(self.METHOD)
        self._metadata = self.metadata()
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def call(self, request: bytes) -> bytes:
        # A call that is to be repeated waits for its server: of those that fail at once none stays long enough for the
        # connection to be made, and gRPC itself looks after it every 5 s only.
        waits = self._retries
        try:
            return self._call(request, timeout=CALL_DEADLINE_S, wait_for_ready=waits, metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise self._no_answer(error) from error

    async def call_async(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._channel_of_loop = self._grpc.aio.insecure_channel(self._job.server_address, OPTIONS)
            self._call_of_loop = self._channel_of_loop.unary_unary(self.METHOD)
        try:
            return await self._call_of_loop(request, timeout=CALL_DEADLINE_S, metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise self._no_answer(error) from error

    def _judge(self, failure: NoAnswer, give_up: float) -> None:
        super()._judge(failure, give_up)
        self._metadata = self.metadata()

    def _no_answer(self, error) -> NoAnswer:
        return NoAnswer(self.gone(error), error.code().name, error.details())
