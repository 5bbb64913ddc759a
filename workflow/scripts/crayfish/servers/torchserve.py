"""TorchServe: its Java frontend and N Python workers; the model is a .mar archive.

The frontend is started without its Python launcher, which would leave it behind. All its ports are on the loopback,
all its files in the scratch folder.

Batches (run.server_batch_max) are the frontend's: each worker fills one of its own from the queue that all share, by
turns. It counts requests and waits whole ms: a delay is rounded up, and is 1 at least. What is told of batches: their
sizes as the handler counts them, and the waiting time that TorchServe logs of each request.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import re
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import jvm, kafka
from crayfish.servers import _batching, _child
from crayfish.spec.contracts import Server
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

JVM_OPTIONS = ("-XX:+UseSerialGC", "-Xms256m", "-Xmx2g", "-XX:MaxDirectMemorySize=1g", "-XX:-UsePerfData")
RESPONSE_TIMEOUT_S = 120
QUEUE = 10_000  # requests that may wait; the default of 100 refuses more
KEY_FILE = "key_file.json"  # which it writes into its working directory: a random token for each interface
KEYS_LAST_MIN = 525_600  # a year: no run outlives its token
DEVICE = "CRAYFISH_DEVICE"  # by which its handler knows run.device: TorchServe gives a worker a GPU, or none
# A worker's words (MODEL_LOG) are its failures; the default log writes several lines a request.
LOG = """<Configuration>
<Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d %-5p %c{1} %m%n"/></Console></Appenders>
<Loggers>
<Logger name="MODEL_LOG" level="info"/>
<Logger name="MODEL_METRICS" level="off"/><Logger name="TS_METRICS" level="off"/><Logger name="ACCESS_LOG" level="off"/>
<Root level="warn"><AppenderRef ref="out"/></Root>
</Loggers>
</Configuration>
"""
# With batches, it notes in a file how long each request waited, ns. Its metric QueueTime is that in whole ms.
QUEUE_LOG = "queue.log"
WAITED = re.compile(r"Waiting time ns: (\d+)")
BATCHES_LOG = LOG.replace(
    "</Appenders>", f'<File name="queue" fileName="{QUEUE_LOG}"><PatternLayout pattern="%m%n"/></File></Appenders>'
).replace(
    "<Root",
    '<Logger name="org.pytorch.serve.job.GRPCJob" level="debug" additivity="false">'
    '<AppenderRef ref="queue"/><AppenderRef ref="out" level="warn"/></Logger>\n<Root',
)


def settings(job: Job, grpc: int, grpc_management: int, inference: int, management: int) -> dict[str, object]:
    """TorchServe's config.properties; what is not here is its default."""
    workers, host = job.spec.parallelism, _child.HOST
    archive = Path(str(job.model_path))
    model = {
        "defaultVersion": True,
        "marName": archive.name,
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": job.spec.server_batch_max,
        "maxBatchDelay": max(1, math.ceil(job.spec.server_batch_delay_ms)),
        "responseTimeout": RESPONSE_TIMEOUT_S,
    }
    return {
        "inference_address": f"http://{host}:{inference}",
        "management_address": f"http://{host}:{management}",
        "metrics_address": f"http://{host}:{management}",
        "grpc_inference_address": host,
        "grpc_inference_port": grpc,
        "grpc_management_address": host,
        "grpc_management_port": grpc_management,
        "number_of_gpu": int(job.spec.device != "cpu"),  # its default is all that nvidia-smi lists
        "model_store": archive.parent,
        "load_models": f"{job.spec.model}={archive.name}",  # an archive may be named otherwise
        "models": json.dumps({job.spec.model: {"1.0": model}}),
        "job_queue_size": QUEUE,
        "max_request_size": MAX_MESSAGE_BYTES,
        "max_response_size": MAX_MESSAGE_BYTES,
        "disable_token_authorization": "false",
        "token_expiration_min": KEYS_LAST_MIN,
        "disable_system_metrics": "true",
        "enable_metrics_api": "false",
    }


def command(job: Job) -> list[str]:
    """The command line of the frontend, run in the job's scratch folder."""
    package = Path(str(importlib.metadata.distribution("torchserve").locate_file("ts")))
    options = [*JVM_OPTIONS, f"-Djava.io.tmpdir={job.workdir}", f"-Dmodel_server_home={package.parent}"]
    options += [f"-Dlog4j.configurationFile={Path(job.workdir, 'log4j2.xml').as_uri()}"]
    java = jvm.executable(jvm.home_of(job))
    main = ["-cp", f"{package}/frontend/*", "org.pytorch.serve.ModelServer", "--python", sys.executable]
    return [java, *options, *main, "-f", "config.properties", "-ncs"]


def workers_ready(job: Job, management: int, key_file: Path) -> bool:
    """Whether the management API says that all the model's workers are ready."""
    try:
        token = json.loads(key_file.read_text())["management"]["key"]
    except (FileNotFoundError, json.JSONDecodeError):  # it is not written yet
        return False
    # Spelled in numbers: a path with "/token" in it, as of a model called tokens, would be taken for another request.
    name = "".join(f"%{byte:02X}" for byte in job.spec.model.encode())
    answer = _child.get(management, f"/models/{name}", Authorization=f"Bearer {token}")
    workers = json.loads(answer)[0]["workers"] if answer else []
    return [worker["status"] for worker in workers] == ["READY"] * job.spec.parallelism


def run(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """Serve until `stop` is set."""
    if not zipfile.is_zipfile(str(job.model_path)):  # TorchServe would try it again and again
        raise CrayfishError(f"torchserve: {job.model_path} is no model archive: remove it, and it is made again")
    grpc, grpc_management, inference, management = _child.ports(job, 4)
    properties = settings(job, grpc, grpc_management, inference, management)
    folder = Path(job.workdir)
    (folder / "config.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    batches = job.spec.server_batch_max > 1
    (folder / "log4j2.xml").write_text(BATCHES_LOG if batches else LOG)
    (folder / QUEUE_LOG).touch()
    kafka.record(job, "server JVM", JVM_OPTIONS)
    version = f"TorchServe {importlib.metadata.version('torchserve')}"
    key_file = Path(job.server_key_file or job.seen / KEY_FILE)

    def tell() -> None:
        if key_file.parent != folder:  # where the clients of the one before this one look
            (folder / KEY_FILE).replace(key_file)
        ready(address=f"{_child.HOST}:{grpc}", version=version, key_file=str(key_file))

    _child.serve(
        job,
        command(job),
        is_ready=lambda: workers_ready(job, management, folder / KEY_FILE),
        ready=tell,
        stop=stop,
        environment={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            DEVICE: job.spec.device,
            **({"CRAYFISH_BATCHES": job.workdir} if batches else {}),
        },
    )
    if batches:
        sizes, _ = _batching.recorded(job.workdir)
        waits_ns = WAITED.findall((folder / QUEUE_LOG).read_text())
        _batching.tell_counts(job, sizes, [int(waited) / 1e6 for waited in waits_ns])


SERVER = Server(run=run)
