"""The scorer dl4j against a plain Java loop over the same network: microseconds a call, in pairs, and their ratio.

Both run in one JVM, in turns, so that what disturbs the machine disturbs both. From the project's root, where
resources/ holds the environment kafka_streams, the jars dl4j and ecj, and ffnn.h5 (snakemake makes each by name):
    PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 resources/environments/kafka_streams/python benchmarks/dl4j.py
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from crayfish.engine import jvm
from crayfish.setup import java
from crayfish.spec import discovery, errors, paths
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import Job, RunSpec, Segment


def job_of(file: Path, jars: list[Path], workdir: str) -> Job:
    """A job that has what the scorer asks for."""
    spec = RunSpec("kafka_streams", "dl4j", (Segment("constant", rate=1),))
    return Job.without_kafka(spec, workdir, model_path=str(file), scorer_jars=tuple(map(str, jars)))


def seconds(score, batch: np.ndarray, calls: int) -> float:
    """Seconds a call of the scorer."""
    start = time.perf_counter()
    for _ in range(calls):
        score(batch)
    return (time.perf_counter() - start) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=ROOT / paths.model_file("fashion_mnist", "ffnn", "h5"))
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    jars = jvm.jar_files([ROOT / paths.jar_set("dl4j")])
    (compiler,) = jvm.jar_files([ROOT / paths.jar_set("ecj")])
    with tempfile.TemporaryDirectory() as workdir:
        loop_jar = Path(workdir, "Dl4jLoop.jar")
        java.compile_jar(ROOT / "benchmarks/Dl4jLoop.java", jars, compiler, jvm.find().executable, loop_jar)
        job = job_of(arguments.file, [*jars, loop_jar], workdir)
        with discovery.scorer("dl4j").open(job) as scorer:
            import jpype

            loop = jpype.JClass("crayfish.Dl4jLoop")(str(arguments.file))
            for size in (1, 32):
                shape = (size, *job.input_shape)
                batch, java_shape = np.zeros(shape, np.float32), jpype.JArray(jpype.JLong)(list(shape))
                seconds(scorer.score, batch, arguments.calls)  # both warm, on the same compiled code
                loop.run(java_shape, arguments.calls)
                pairs = [
                    (seconds(scorer.score, batch, arguments.calls), loop.run(java_shape, arguments.calls))
                    for _ in range(arguments.pairs)
                ]
                ours, plain = (1e6 * statistics.median(each) for each in zip(*pairs, strict=True))
                ratio = statistics.median(one / other for one, other in pairs)
                print(f"batch {size}: scorer {ours:.0f} us, Java loop {plain:.0f} us, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    errors.main(main)
