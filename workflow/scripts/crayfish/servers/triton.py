"""Triton Inference Server as nvidia-pytriton brings it: the server and its Python backend, with onnxruntime behind.

N instances are N processes of the backend. All its ports are on the loopback; its shared memory bears the run's tag and
is removed at the end, by this process or by the harness.

Batches (run.server_batch_max) are those of its dynamic batcher, of one queue for all instances; without them a request
is a call. It counts data points: the largest batch is server_batch_max times those of the largest request, and smaller
requests go together in larger numbers. What is told of batches are its statistics (requests a call, and how long they
were queued); the percentiles of sizes where all requests have equally many data points; those of the queue by its
metrics, which hold the last 60 s.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import shutil
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child
from crayfish.scorers.onnx import PROVIDERS
from crayfish.scorers.triton import DATATYPES
from crayfish.servers import _batching, _child
from crayfish.spec.contracts import Server
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

SHARED = Path("/dev/shm")
MODEL = Path(__file__).with_name("_triton_model.py")
QUANTILES = {"0.5": "p50", "0.99": "p99"}
SUMMARY = {"latencies": "true", "quantiles": "0.5:0.01,0.99:0.001"}  # each with its error, as a share of the requests
QUEUE = "nv_inference_queue_summary_us"
REGION_BYTES, GROWTH_BYTES = 4 * 1024 * 1024, 1024 * 1024  # of an instance's shared memory, which grows as needed


def model_config(job: Job) -> str:
    """The model's config.pbtxt."""
    most = _batching.most_points(job) if job.spec.server_batch_max > 1 else 0
    points = [] if most else [-1]  # with batches its own axis, which is not told
    shapes = [", ".join(map(str, [*points, *shape])) for shape in (job.input_shape, (job.outputs,))]
    delay_us = round(1000 * job.spec.server_batch_delay_ms)
    batching = f"preferred_batch_size: [ {most} ] max_queue_delay_microseconds: {delay_us}"
    values = {"file": job.model_path, "threads": str(job.spec.scorer_threads), "provider": PROVIDERS[job.spec.device]}
    values |= {"output": job.spec.own.output} if job.spec.own else {}
    kind = "KIND_CPU" if job.spec.device == "cpu" else "KIND_GPU gpus: [ 0 ]"
    parameters = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in values.items()
    )
    return (
        f'name: "{job.spec.model}"\nbackend: "python"\nmax_batch_size: {most}\n'
        f'input [ {{ name: "input" data_type: TYPE_{DATATYPES[job.spec.dtype]} dims: [ {shapes[0]} ] }} ]\n'
        f'output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {shapes[1]} ] }} ]\n'
        f"instance_group [ {{ kind: {kind} count: {job.spec.parallelism} }} ]\n{parameters}"
        f"{f'dynamic_batching {{ {batching} }}' if most else ''}"
    )


def layout(job: Job, package: Path) -> None:
    """The model repository, and the Python backend with the stub of this Python's version, in the scratch folder."""
    model, backend = Path(job.workdir, "models", job.spec.model), Path(job.workdir, "backends", "python")
    Path(model, "1").mkdir(parents=True)
    shutil.copy(MODEL, model / "1" / "model.py")
    (model / "config.pbtxt").write_text(model_config(job))
    backend.mkdir(parents=True)
    for file in Path(package, "tritonserver", "backends", "python").iterdir():
        if file.is_file():
            shutil.copy(file, backend)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = Path(package, "tritonserver", "python_backend_stubs", version, "triton_python_backend_stub")
    if not stub.exists():
        raise CrayfishError(f"triton: nvidia-pytriton has no Python backend for Python {version}: pin another in envs/")
    shutil.copy(stub, backend)


def command(job: Job, package: Path, grpc: int, http: int, metrics: int, region: str) -> list[str]:
    """The server's command line."""
    batches = job.spec.server_batch_max > 1
    options = {
        "model-repository": f"{job.workdir}/models",
        "backend-directory": f"{job.workdir}/backends",
        "grpc-address": _child.HOST,
        "grpc-port": grpc,
        "http-address": _child.HOST,
        "http-port": http,
        "http-thread-count": 1,
        "allow-metrics": str(batches).lower(),
        "log-info": "false",
        "exit-timeout-secs": 5,
    }
    backend = {
        "shm-region-prefix-name": region,
        "shm-default-byte-size": REGION_BYTES,
        "shm-growth-byte-size": GROWTH_BYTES,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [f"--backend-config=python,{name}={value}" for name, value in backend.items()]
    if batches:
        arguments += [f"--metrics-address={_child.HOST}", f"--metrics-port={metrics}"]
        arguments += ["--allow-gpu-metrics=false", "--allow-cpu-metrics=false"]
        arguments += [f"--metrics-config=summary_{name}={value}" for name, value in SUMMARY.items()]
    return [str(package / "tritonserver" / "bin" / "tritonserver"), *arguments]


def environment(package: Path) -> dict[str, str]:
    """Where the server finds its libraries, and the backend this environment's Python."""
    folders = [
        package.parent / "nvidia_pytriton.libs",
        sysconfig.get_config_var("LIBDIR"),
        os.environ.get("LD_LIBRARY_PATH"),
    ]
    return {
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders if folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def version(http: int) -> str:
    """What it is: the server's own version, and where it came from."""
    server = json.loads(_child.get(http, "/v2") or b"{}").get("version", "")
    pytriton = importlib.metadata.version("nvidia-pytriton")
    return f"Triton {server} (Python backend of nvidia-pytriton {pytriton})"


def batches(job: Job, http: int, metrics: int) -> dict[str, float | None]:
    """What its batches were (servers._batching.tell), by its statistics and its metrics."""
    (model,) = json.loads(_child.get(http, f"/v2/models/{job.spec.model}/stats") or "{}").get("model_stats") or [{}]
    if not (calls := model.get("execution_count")):
        return {}
    queued = model["inference_stats"]["queue"]
    found: dict[str, float | None] = {}
    if points := _batching.points_of_each(job):
        sizes = [
            math.ceil(each["batch_size"] / points)
            for each in model["batch_stats"]
            for _ in range(each["compute_infer"]["count"])
        ]
        found = _batching.statistics("size", sizes)
    exposed = (_child.get(metrics, "/metrics") or b"").decode()
    for labels, waited_us in _batching.samples(exposed, QUEUE):
        name = QUANTILES.get(labels.get("quantile", ""))
        if name and _batching.supported(queued["count"], name) and not math.isnan(waited_us):
            found[f"queue_ms_{name}"] = waited_us / 1000
    means = {"size_mean": queued["count"] / calls, "queue_ms_mean": queued["ns"] / queued["count"] / 1e6}
    return found | means


def run(job: Job, stop: threading.Event, ready: Callable[..., None]) -> None:
    """Serve until `stop` is set."""
    package = Path(str(importlib.metadata.distribution("nvidia-pytriton").locate_file("pytriton")))
    layout(job, package)
    grpc, http, metrics = _child.ports(job, 3)
    region = f"crayfish-{os.environ.get(child.TAG, '')}-{os.getpid()}-"
    address = f"{_child.HOST}:{grpc}"

    def tell() -> None:
        if job.spec.server_batch_max > 1:
            _batching.tell(job, batches(job, http, metrics))

    try:
        _child.serve(
            job,
            command(job, package, grpc, http, metrics, region),
            is_ready=lambda: _child.get(http, f"/v2/models/{job.spec.model}/ready") is not None,
            ready=lambda: ready(address=address, version=version(http)),
            stop=stop,
            environment=environment(package),
            stopping=tell,
        )
    finally:
        for left in SHARED.glob(f"{region}*"):
            left.unlink(missing_ok=True)


SERVER = Server(run=run, starts=("servers/_triton_model",))
