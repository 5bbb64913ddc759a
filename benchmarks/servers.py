"""Prints how close each processor comes to a bare client of the same server, with so many calls in flight, in pairs.

A pair is one run of the harness: its broker and server are up; a bare client (client.py) calls the server, the
processor drains a backlog through it with `async_calls`, and the bare client calls it once more, so that what slows the
machine down slows both. `make benchmark` calls this for every processor and server of which it has made all. Rows are
Markdown, means over the pairs: calls/s and events/s, their ratio, and the CPU us that client and server use for a call,
and processor, server and broker for an event: on full cores the ratio can be no better than that of these.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow.parquet as pq

from crayfish.engine import jvm
from crayfish.harness import machine
from crayfish.harness.loads import backlog
from crayfish.harness.run import Places, Run
from crayfish.harness.stages import Stage
from crayfish.spec import discovery, errors, metrics, paths
from crayfish.spec.run_spec import RunSpec, Segment

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "resources"
MODEL = RESOURCES / "models/fashion_mnist/ffnn"
RATE_AT_FIRST = 1000.0  # until the bare client tells
CLIENT_DEADLINE_S = 120.0


def python_of(environment: str) -> Path:
    return RESOURCES / "environments" / environment / "python"


def jars_of(processor: str) -> list[Path]:
    adapter = discovery.processor(processor)
    compiled = adapter.java.get("kafka")
    jars = [RESOURCES / "jars" / name for name in adapter.jars]
    return jars + ([ROOT / paths.compiled_jar(compiled)] if compiled else [])


def processors_made() -> list[str]:
    """The processors for whose runs all is there."""
    names = discovery.names("processors")
    return [name for name in names if all(path.exists() for path in (python_of(name), *jars_of(name)))]


def servers_made() -> list[str]:
    """The servers whose environment is there and whose answers were found right."""
    external = (name for name in discovery.names("scorers") if discovery.scorer(name).external)
    return [name for name in external if python_of(name).exists() and (MODEL / f"verified_{name}.json").exists()]


def places(spec: RunSpec, out: Path) -> Places:
    """Where the pipeline has put what this run needs."""
    return Places(
        python=python_of(spec.processor),
        reference=MODEL / "reference.npz",
        model=ROOT / paths.model_file("fashion_mnist", spec.model, discovery.scorer(spec.scorer).format),
        java=jvm.find(),
        broker_jars=jvm.jar_files([RESOURCES / "jars/kafka"]),
        jars=jvm.jar_files(jars_of(spec.processor)),
        server_python=python_of(spec.scorer),
        out=out,
        title=f"{spec.processor} {spec.scorer}",
    )


def bare(run: Run, number: int, seconds: float) -> dict:
    """What a bare client of the run's server reports: how many calls were answered, from when to when."""
    command = [str(run.places.python), str(ROOT / "benchmarks/client.py"), "--job", str(run.job_file)]
    name = f"client-{number}"
    stage = run.start(Stage(name, [*command, "--seconds", str(seconds)], run.log_of(name), run.tag))
    done = stage.wait_for("done", CLIENT_DEADLINE_S, run.watch)
    stage.stopping = True
    return done


def size_backlog(run: Run, rate: float) -> None:
    """As many events as the bare client's rate would drain in the load's seconds."""
    load = dataclasses.replace(run.spec.segments[0], rate=round(rate, 1))
    run.spec = dataclasses.replace(run.spec, segments=(load,))
    run.job = dataclasses.replace(run.job, spec=run.spec)
    run.job.write(run.job_file)


def drained(run: Run) -> dict:
    """The backlog's measured window, in the same words: events, from when to when."""
    appended = np.sort(pq.read_table(run.folder / "consumer.parquet")["output_append_ms"].to_numpy()) * 1_000_000
    window = appended[metrics.measured_window(appended, run.segments[0]["load_start_ns"])]
    return {"calls": len(window) - 1, "start_ns": int(window[0]), "end_ns": int(window[-1])}


def rate(done: dict) -> float:
    return 1e9 * done["calls"] / (done["end_ns"] - done["start_ns"])


def cpu_us(samples: dict, stages: tuple[str, ...], done: dict) -> float:
    """What these stages used together for each of them."""
    series = [(np.array(samples[stage]["time_ns"]), np.array(samples[stage]["cpu_s"])) for stage in stages]
    return sum(metrics.cost_per_event(*each, done["start_ns"], done["end_ns"], done["calls"]) for each in series)


def pair(spec: RunSpec, out: Path, seconds: float) -> dict:
    """One run: the bare client, the processor, the bare client; and what the server is."""
    with Run(spec, places(spec, out)) as run:
        run.open_broker()
        run.start_server()
        before = bare(run, 1, seconds)
        size_backlog(run, rate(before))
        backlog.saturate(run)
        after, done = bare(run, 2, seconds), drained(run)
        samples = run.sampler.finish()["stages"]
    client = mean((rate(before), rate(after)))
    return {
        "server": run.server.get("substitute", spec.scorer),
        "client": client,
        "events": rate(done),
        "ratio": rate(done) / client,
        "client_cpu": cpu_us(samples, ("client-1", "server"), before),
        "events_cpu": cpu_us(samples, ("processor", "server", "broker"), done),
    }


def row(spec: RunSpec, folders: list[Path], seconds: float) -> str:
    """The means of as many pairs as folders are given."""
    found = [pair(spec, folder, seconds / 4) for folder in folders]
    ratio = metrics.t_interval([each["ratio"] for each in found])
    interval = "" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    client, events, client_cpu, events_cpu = (
        mean(each[name] for each in found) for name in ("client", "events", "client_cpu", "events_cpu")
    )
    figures = f"{client:,.0f} | {events:,.0f} | {ratio.mean:.2f}{interval} | {client_cpu:.0f} | {events_cpu:.0f}"
    return f"| {found[0]['server']} | {spec.processor} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processors", nargs="*", default=processors_made())
    parser.add_argument("--servers", nargs="*", default=servers_made())
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="that count, after half as many of warm-up")
    arguments = parser.parse_args()
    load = Segment("backlog", RATE_AT_FIRST, warmup_s=arguments.seconds / 2, measure_s=arguments.seconds)
    about = machine.describe()
    print(
        f"\n{about['cores']} cores of {about['cpu']}; {arguments.in_flight} calls in flight, pairs: {arguments.pairs}\n"
    )
    print("| server | processor | bare client, calls/s | events/s | ratio | CPU us a call | CPU us an event |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for server in arguments.servers:
            for processor in arguments.processors:
                spec = RunSpec(processor, server, (load,), async_calls=arguments.in_flight, linger_ms=1)
                folders = [Path(scratch, f"{server}-{processor}-{number}") for number in range(arguments.pairs)]
                print(row(spec, folders, arguments.seconds), flush=True)


if __name__ == "__main__":
    errors.main(main)
