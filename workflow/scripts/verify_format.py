"""Check a converted model through the project's own scorer, against torch's answers to the reference inputs.

Each input is scored alone and all of them at once. A logit that differs from torch's by more than TOLERANCE of the
range of the logits is an error; else OUT.json tells the largest difference. Run it with the interpreter of an
environment that has the scorer.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from crayfish import discovery, errors
from crayfish.errors import CrayfishError
from crayfish.run_spec import Job, Load, RunSpec

TOLERANCE = 1e-4


def job_of(arguments: argparse.Namespace, workdir: str) -> Job:
    """A job that has all that a scorer asks for; no Kafka is used."""
    model = discovery.load("models", arguments.model)
    loads = (Load("constant", rate=1),)
    spec = RunSpec(arguments.environment, arguments.scorer, loads, model=arguments.model, dataset=arguments.dataset)
    return Job(
        spec=spec,
        bootstrap_servers="",
        input_topic="",
        output_topic="",
        group="",
        input_shape=model.INPUT_SHAPE,
        outputs=model.OUTPUTS,
        model_path=str(arguments.file.resolve()),
        server_address=None,
        jars=(),
        java_home=None,
        workdir=workdir,
    )


def answers(job: Job, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The scorer's answers, float32[n, outputs], by how the inputs were given to it."""
    with discovery.load("scorers", job.spec.scorer).Scorer(job) as scorer:
        alone = [np.array(scorer.score(inputs[index : index + 1])) for index in range(len(inputs))]
        return {"one at a time": np.concatenate(alone), "all at once": np.array(scorer.score(inputs))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorer", choices=discovery.names("scorers"), required=True)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--environment", required=True, help="the processor whose environment this runs in")
    parser.add_argument("--file", type=Path, required=True, help="the model in the scorer's format")
    parser.add_argument("--reference", type=Path, required=True, help="npz of inputs and outputs")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    with np.load(arguments.reference) as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    with tempfile.TemporaryDirectory() as workdir:
        answered = answers(job_of(arguments, workdir), inputs)
    spread = float(np.ptp(outputs))
    differences = {}
    for how, logits in answered.items():
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
