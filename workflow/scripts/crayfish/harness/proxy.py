"""A way to the brokers that can be cut: `python -m crayfish.harness.proxy PORT=HOST:PORT...` passes on what comes.

A line {"cut_s": 5} on its standard input aborts all connections and takes none for so long. It ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import threading

from crayfish.engine import child
from crayfish.engine.child import HOST
from crayfish.spec import errors

PIECE = 1 << 16


class Proxy:
    """All of its connections, and whether they are cut."""

    def __init__(self, ways: dict[int, tuple[str, int]]):
        """ways: port -> the host and port that it stands for."""
        self._ways, self._open = ways, set[asyncio.StreamWriter]()
        self._servers: list[asyncio.Server] = []

    async def listen(self) -> None:
        """Take connections from now on."""
        for port, (host, target) in self._ways.items():

            async def pass_on(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = host, target: int = target
            ) -> None:
                await self._join(reader, writer, host, target)

            self._servers.append(await asyncio.start_server(pass_on, HOST, port))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, target: int) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, target)
            self._open.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._abort(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                writer.write(piece)
                await writer.drain()
        self._abort(writer)

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort()

    async def cut(self, seconds: float) -> None:
        """Abort what is connected, and take nothing for so long."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for writer in [*self._open]:
            self._abort(writer)
        await asyncio.sleep(seconds)
        await self.listen()


async def run(proxy: Proxy) -> None:
    """Until the input ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    await proxy.listen()
    child.reporter()(event="listening")

    def obey() -> None:
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(proxy.cut(json.loads(line)["cut_s"]), loop)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=obey, daemon=True).start()
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="+", metavar="PORT=HOST:PORT")
    ways = {}
    for way in parser.parse_args().ways:
        port, _, target = way.partition("=")
        host, _, target_port = target.rpartition(":")
        ways[int(port)] = (host.strip("[]"), int(target_port))
    asyncio.run(run(Proxy(ways)))


if __name__ == "__main__":
    errors.main(main)
