"""Names of engines and libraries that they do not promise to keep, as far as no run would miss them at once.

docs/architecture.md has the whole list, with the test that guards each.
"""

import subprocess
from pathlib import Path

import pytest

from crayfish.engine import child
from crayfish.spec import paths

DEADLINE_S = 120
# environment -> what must hold in it
NAMES = {
    "flink": """
from pyflink.find_flink_home import _find_flink_home
from pyflink.java_gateway import get_gateway
from pyflink.pyflink_gateway_server import read_from_config
from pyflink.table import StreamTableEnvironment, Table
assert "_j_tenv" in Table.__init__.__code__.co_names + StreamTableEnvironment.__mro__[1].__init__.__code__.co_names
assert "_j_table" in Table.__init__.__code__.co_names
""",
    "spark": """
from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException
from pyspark.serializers import UTF8Deserializer, read_int
assert "_origin" in CapturedException.__init__.__code__.co_names
""",
    "ray": """
import ray, psutil
from ray._private.node import Node
from ray.exceptions import RayTaskError
assert psutil.__file__.startswith(ray.__path__[0]), "Ray no longer brings psutil: pin it"
assert psutil.Process().children(recursive=True) == [] and psutil.wait_procs
assert ray._private.worker._global_node is None and Node.dead_processes
assert RayTaskError("task", "trace", ValueError("why")).cause.args == ("why",)
""",
    # A server that asks for all interfaces is reached by 127.0.0.1 alone, by no other address of this machine.
    "ray_serve": """
import asyncio, socket
import grpc
from crayfish.servers import ray_serve

async def reached(address):
    server = grpc.aio.server()
    port = server.add_insecure_port("[::]:0")
    await server.start()
    with socket.socket() as asked:
        refused = asked.connect_ex((address, port))
    await server.stop(None)
    return not refused

assert asyncio.run(reached("127.0.0.2")), "gRPC does not bind what it is asked for: this proves nothing"
ray_serve.bind_loopback()
assert asyncio.run(reached("127.0.0.1")) and not asyncio.run(reached("127.0.0.2"))
""",
}


@pytest.mark.parametrize("environment", NAMES)
def test_names_that_nobody_promises(resources, tmp_path: Path, environment: str) -> None:
    command = [paths.ROOT / paths.interpreter(environment), "-c", NAMES[environment]]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(child.SCRIPTS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
