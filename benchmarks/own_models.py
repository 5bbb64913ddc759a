"""What the scorer onnx adds to a bare call of its session, for models of the user's own, in pairs.

    PYTHONPATH=workflow/scripts resources/environments/kafka_streams/python benchmarks/own_models.py

A pair is a number of calls of each, one after the other, in random order, on one batch of the examples' samples. It
prints the geometric mean of the pairs' ratios with its 95 % interval (bootstrap), and what a bare call takes.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from crayfish.spec import discovery, errors, own_models, paths
from crayfish.spec.run_spec import Job, RunSpec, Segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from crayfish.scorers.onnx import OnnxScorer

BATCHES = (1, 32)
CALLS_S = 0.1  # of one side of a pair
SEED = 1
DRAWS = 10_000


def job_of(name: str) -> Job:
    """A job of the scorer alone, for an example."""
    file, samples = (paths.example(name, suffix) for suffix in ("onnx", "npy"))
    own = own_models.declared({name: {"files": {"onnx": file}, "samples": samples}}, str)[name].of("onnx")
    load = (Segment("constant", 1.0),)
    spec = RunSpec("kafka_streams", "onnx", load, model=name, dataset=own_models.DATASET, own=own)
    return Job.without_kafka(spec, "", model_path=file)


def seconds_of(call: Callable[[], object], count: int) -> float:
    """How long so many calls take."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - began


def sides_of(scorer: OnnxScorer, batch: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """The two calls that are compared, of one session."""
    run, outputs, inputs = scorer._run, scorer._outputs, {scorer._input: batch}
    return {"bare": lambda: run(outputs, inputs)[0], "scorer": lambda: scorer.score(batch)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["minilm", "tree"])
    parser.add_argument("--pairs", type=int, default=60)
    arguments = parser.parse_args()
    order = random.Random(SEED)
    for name in arguments.models:
        samples = np.load(paths.example(name, "npy"))
        with discovery.scorer("onnx").open(job_of(name)) as scorer:
            for size in BATCHES:
                batch = np.ascontiguousarray(samples[:size])
                sides = sides_of(cast("OnnxScorer", scorer), batch)
                count = max(1, round(CALLS_S / (seconds_of(sides["bare"], 5) / 5)))
                ratios, bare = [], []
                for _ in range(arguments.pairs):
                    took = {side: seconds_of(sides[side], count) for side in order.sample(sorted(sides), 2)}
                    ratios.append(took["scorer"] / took["bare"])
                    bare.append(1e6 * took["bare"] / count)
                logs = np.log(ratios)
                drawn = np.random.default_rng(SEED).choice(logs, (DRAWS, len(logs))).mean(axis=1)
                mean, low, high = np.exp([logs.mean(), *np.quantile(drawn, (0.025, 0.975))])
                print(
                    f"{name}, batch of {size}: {mean:.3f} [{low:.3f}, {high:.3f}] of a bare call,"
                    f" which takes {np.median(bare):.1f} us ({arguments.pairs} pairs)",
                    flush=True,
                )


if __name__ == "__main__":
    errors.main(main)
