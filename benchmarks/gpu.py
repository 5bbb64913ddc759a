"""What a call of each scorer takes on the CPU and on a GPU, without a stream processor; and one run on the GPU.

benchmarks/gpu.sh calls it. Each scorer that offers both devices scores events of 1, 8 and 32 data points of a model for
a while on each, in the environment of a run, with its server where it has one; its answers are compared with torch's.
Then the harness makes one short run on the GPU, whose manifest tells its name, driver, clocks and utilisation. It
writes OUT/gpu.json after every step and prints a table at the end. What does not fit into the time is named.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from crayfish.engine.child import SCRIPTS
from crayfish.spec import dependencies, discovery, errors, gpus, inheritance, paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.limits import allowed_difference, thread_variables
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec, Segment

PROCESSOR, DATASET = "kafka_streams", "fashion_mnist"
BATCHES = (1, 8, 32)
SECONDS = 2.0  # of calls for each batch size
WARMUP_CALLS = 3
LEAST_S, MOST_S = 20.0, 110.0  # that are left for a scorer to be tried, and that it may take at most
RUN_S = 90.0  # of a run of the harness


def spec_of(scorer: str, device: str, model: str, batch: int = 1, **load: Any) -> RunSpec:
    """One event after the other, of so many data points."""
    segment = Segment("constant", batch_size=batch, **{"rate": 1.0, **load})
    return RunSpec(PROCESSOR, scorer, (segment,), model=model, device=device, broker_warmup_s=0.0)


def offering_both() -> list[str]:
    """The scorers that compute on CPUs and on GPUs."""
    return [name for name in discovery.names("scorers") if {"cpu", "cuda"} <= {*discovery.scorer(name).devices}]


def needed(scorers: list[str], devices: list[str], model: str) -> list[str]:
    """The files of resources/ that must be there."""
    specs = [spec_of(scorer, device, model) for scorer in scorers for device in devices]
    inputs = (dependencies.run_inputs(spec, {}, []) for spec in specs)
    return sorted(
        {paths.interpreter("harness"), *(file for each in inputs for files in each.values() for file in files)}
    )


def measured(scorer: str, device: str, model: str, log: Path) -> dict:
    """In the scorer's own environment: how long calls take, ms, and how far the answers are from torch's, by batch."""
    from crayfish.harness import verification

    spec, jdk = spec_of(scorer, device, model), ROOT / paths.interpreter("jdk")
    what = verification.Verification(
        scorer=scorer,
        model=model,
        dataset=DATASET,
        environment=PROCESSOR,
        file=ROOT / paths.model_file(DATASET, model, discovery.scorer(scorer).format or ""),
        reference=ROOT / paths.reference(DATASET, model),
        server_python=ROOT / paths.interpreter(spec.environments["server"]) if "server" in spec.environments else None,
        harness_python=ROOT / paths.interpreter("harness"),
        server_log=log,
        jdk=jdk if jdk.exists() else None,
    )
    with np.load(what.reference) as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    found = {}
    with tempfile.TemporaryDirectory() as workdir:
        job = verification.job_of(what, "grpc", workdir, inputs.shape[1:], outputs[0].size)
        job = dataclasses.replace(job, spec=spec)
        with verification.served(job, what) as job, discovery.scorer(scorer).open(job) as opened:
            for batch in BATCHES:
                chosen = np.arange(batch) % len(inputs)
                points = np.ascontiguousarray(inputs[chosen])
                for _ in range(WARMUP_CALLS):
                    answers = np.array(opened.score(points))
                took: list[float] = []
                end = time.monotonic() + SECONDS
                while not took or time.monotonic() < end:
                    began = time.perf_counter()
                    opened.score(points)
                    took.append(1000 * (time.perf_counter() - began))
                off = float(np.abs(answers - outputs[chosen]).max())
                found[str(batch)] = {
                    "calls": len(took),
                    "median_ms": median(took),
                    "least_ms": min(took),
                    "most_ms": max(took),
                    "off": off,
                    "right": off <= allowed_difference(outputs),
                }
    return found


def tried(scorer: str, device: str, model: str, out: Path, deadline_s: float) -> dict:
    """The same as a process of its own; `failed` tells why where it did not end well."""
    spec = spec_of(scorer, device, model)
    python = ROOT / paths.interpreter(spec.environments["processor"])
    environment = {**inheritance.inherited(os.environ), **thread_variables(1), "PYTHONPATH": str(SCRIPTS)}
    if device != "cpu":
        environment |= gpus.required(gpus.ask()).variables
    log = out / f"{scorer}-{device}.log"
    command = [str(python), __file__, "--measure", scorer, device, "--model", model, "--out", str(out)]
    began = time.monotonic()
    with log.open("w") as errors_to:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors_to, text=True)
        try:
            printed, _ = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            process.terminate()  # its server ends with it
            process.communicate()
            return {"failed": f"not done within {deadline_s:.0f} s; see {log}"}
    lines = log.read_text(errors="replace").strip().splitlines()
    if process.returncode:
        return {"failed": next((line for line in lines if line.startswith("error:")), (lines or ["no reason"])[-1])}
    return {"seconds": round(time.monotonic() - began, 1), "batches": json.loads(printed.splitlines()[-1])}


def run_on_gpu(scorer: str, model: str, out: Path) -> dict:
    """One run of the harness: what its manifest tells of the GPU."""
    from places import places

    from crayfish.harness.run import execute

    spec = spec_of(scorer, "cuda", model, batch=8, rate=20.0, warmup_s=3.0, warmup_at_most_s=3.0, measure_s=10.0)
    packages = [ROOT / paths.packages(name) for name in spec.environments.values()]
    disturbed = execute(spec, dataclasses.replace(places(spec, out / "run"), packages=packages))
    manifest = json.loads((out / "run" / "manifest.json").read_text())
    (segment,) = manifest["segments"]
    names = ("accounting", "gpus", "warnings")
    return {**{name: manifest[name] for name in names}, "window": segment["machine"], "disturbed": disturbed}


def table(found: dict) -> str:
    """What was measured, in Markdown: ms a call, and how many times as fast the GPU is."""
    lines = ["| scorer | data points a call | CPU, ms | GPU, ms | CPU/GPU |", "|---|---|---|---|---|"]
    for scorer, devices in found["scorers"].items():
        for batch in map(str, BATCHES):
            took = {device: each["batches"].get(batch) for device, each in devices.items() if "batches" in each}
            cells = [
                f"{own['median_ms']:.2f}{'' if own['right'] else ' (wrong)'}" if (own := took.get(device)) else "-"
                for device in ("cpu", "cuda")
            ]
            both = len(took) == 2 and all(took.values())
            ratio = f"{took['cpu']['median_ms'] / took['cuda']['median_ms']:.1f}" if both else "-"
            lines.append(f"| `{scorer}` | {batch} | {cells[0]} | {cells[1]} | {ratio} |")
        lines += [f"{scorer} on {name}: {each['failed']}" for name, each in devices.items() if "failed" in each]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50", choices=discovery.names("models"))
    parser.add_argument("--scorers", nargs="+", default=offering_both())
    parser.add_argument("--devices", nargs="+", default=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=ROOT / "results/gpu-benchmark")
    parser.add_argument("--at-most-s", type=float, default=440.0)
    parser.add_argument("--measure", nargs=2, metavar=("SCORER", "DEVICE"), help="one of them, in this environment")
    arguments = parser.parse_args()
    end, out, model = time.monotonic() + arguments.at_most_s, arguments.out.absolute(), arguments.model
    os.chdir(ROOT)
    if arguments.measure:
        scorer, device = arguments.measure
        print(json.dumps(measured(scorer, device, model, out / f"{scorer}-{device}.server.log")))
        return
    out.mkdir(parents=True, exist_ok=True)
    if missing := [each for each in needed(arguments.scorers, arguments.devices, model) if not Path(each).exists()]:
        raise CrayfishError(
            "these are not there, and come by `make environments CONFIG=gpu` where there is a network:\n  "
            + "\n  ".join(missing)
        )
    found: dict = {"model": model, "scorers": {name: {} for name in arguments.scorers}, "run": None}
    if "cuda" in arguments.devices:
        found["gpu"] = dataclasses.asdict(gpus.required(gpus.ask()))
    for device in arguments.devices:
        for scorer in arguments.scorers:
            left = end - time.monotonic()
            each = {"failed": "no time was left"} if left < LEAST_S else None
            each = each or tried(scorer, device, model, out, min(left, MOST_S))
            found["scorers"][scorer][device] = each
            print(f"{scorer} on {device}: {each.get('failed') or each['batches']}", file=sys.stderr, flush=True)
            (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    if "cuda" in arguments.devices and end - time.monotonic() > RUN_S:
        try:
            found["run"] = run_on_gpu(arguments.scorers[0], model, out)
        except CrayfishError as error:
            found["run"] = {"failed": str(error)}
        (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if found["run"]:
        print(json.dumps(found["run"], indent=1))


if __name__ == "__main__":
    errors.main(main)
