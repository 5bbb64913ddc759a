"""How close each processor comes to a bare client of the same server, with so many requests in flight, in pairs.

A pair is one run of the harness: its broker and server are up; a bare client (client.py) calls the server, the
processor drains a backlog through it with `async_calls`, and the bare client calls it once more, so that what slows the
machine down slows both. `make benchmark` calls this for every processor and server of which it has made all. It writes
results/benchmark/servers.json: of each pair the requests/s and events/s, their ratio, and the CPU us that client and
server use for a request, and processor, server and broker for an event: on full cores the ratio can be no better than
that of these. benchmarks/report.py makes a table of it.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow.parquet as pq
from places import RESULTS, places, write

from crayfish.harness.loads import backlog
from crayfish.harness.run import Run
from crayfish.harness.stages import Stage
from crayfish.spec import dependencies, discovery, errors, metrics, paths
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec, Segment

RATE_AT_FIRST = 1000.0  # until the bare client tells
CLIENT_DEADLINE_S = 120.0


def spec_of(processor: str, server: str, in_flight: int, seconds: float) -> RunSpec:
    """A drained backlog of so many seconds, after half as many of warm-up."""
    load = Segment("backlog", RATE_AT_FIRST, warmup_s=seconds / 2, measure_s=seconds)
    return RunSpec(processor, server, (load,), async_calls=in_flight, linger_ms=1)


def asynchronous_processors() -> list[str]:
    """The processors that can keep several requests in flight."""
    return [name for name in discovery.names("processors") if discovery.processor(name).asynchronous]


def is_made(spec: RunSpec) -> bool:
    """Whether all is there for a run: its environments and jars, and the proof that the server answers rightly."""
    jars, _ = dependencies.jar_sets(spec)
    needed = [
        paths.interpreter(spec.processor),
        paths.interpreter(spec.scorer),
        paths.proof(spec.dataset, spec.model, spec.scorer),
        *map(paths.jar_set, jars),
        *map(paths.compiled_jar, dependencies.java_sources(spec)),
    ]
    return all((ROOT / each).exists() for each in needed)


def bare(run: Run, number: int, seconds: float) -> dict:
    """What a bare client of the run's server reports: how many requests were answered, from when to when."""
    command = [str(run.places.python), str(ROOT / "benchmarks/client.py"), "--job", str(run.job_file)]
    name = f"client-{number}"
    stage = run.open(Stage(name, [*command, "--seconds", str(seconds)], run.log_of(name), run.tag))
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
    appended = pq.read_table(run.folder / "consumer.parquet")["output_append_ms"].to_numpy()
    warmup_end_ms = run.segments[0]["load_start_ns"] / 1e6
    start_ms, end_ms = metrics.drained_window(appended, warmup_end_ms, appended.max(), run.spec.segments[0].measure_s)
    window = appended[(appended >= start_ms) & (appended <= end_ms)] * 1_000_000
    return {"calls": len(window) - 1, "start_ns": int(window.min()), "end_ns": int(window.max())}


def rate_of(done: dict) -> float:
    return 1e9 * done["calls"] / (done["end_ns"] - done["start_ns"])


def cpu_us(samples: dict, stages: tuple[str, ...], done: dict) -> float:
    """What these stages used together for each of them; a stage that was not sampled within it has no part."""
    series = [(np.array(samples[stage]["time_ns"]), np.array(samples[stage]["cpu_s"])) for stage in stages]
    return sum(metrics.cost_per_event(*each, done["start_ns"], done["end_ns"], done["calls"]) or 0.0 for each in series)


def measured_pair(spec: RunSpec, out: Path, seconds: float) -> dict:
    """One run: the bare client, the processor, the bare client; and what the server is."""
    with Run(spec, places(spec, out)) as run:
        run.open_broker()
        run.start_server()
        before = bare(run, 1, seconds)
        size_backlog(run, rate_of(before))
        backlog.saturate(run)
        after, done = bare(run, 2, seconds), drained(run)
        samples = run.sampler.finish()["stages"]
        server = run.server.about.get("substitute", spec.scorer) if run.server else spec.scorer
    client = mean((rate_of(before), rate_of(after)))
    return {
        "server": server,
        "processor": spec.processor,
        "requests_per_s": client,
        "events_per_s": rate_of(done),
        "ratio": rate_of(done) / client,
        "cpu_us_per_request": cpu_us(samples, ("client-1", "server"), before),
        "cpu_us_per_event": cpu_us(samples, ("processor", "server", "broker"), done),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    servers = [name for name in discovery.names("scorers") if discovery.scorer(name).external]
    parser.add_argument("--processors", nargs="*", default=asynchronous_processors())
    parser.add_argument("--servers", nargs="*", default=servers)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="that count, after half as many of warm-up")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: list[dict] = []
    with tempfile.TemporaryDirectory() as scratch:
        for server in arguments.servers:
            for processor in arguments.processors:
                spec = spec_of(processor, server, arguments.in_flight, arguments.seconds)
                for number in range(arguments.pairs) if is_made(spec) else ():
                    folder = Path(scratch, f"{server}-{processor}-{number}")
                    found.append(measured_pair(spec, folder, arguments.seconds / 4))
                    print(f"{processor} {server}: {found[-1]['ratio']:.2f} of the bare client's rate", file=sys.stderr)
                    write(arguments.results, "servers", {"in_flight": arguments.in_flight, "pairs": found})


if __name__ == "__main__":
    errors.main(main)
