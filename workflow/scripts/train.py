"""Make one model's weights once: OUT/weights.npz, reference.npz and training.json. Every format is made from these.

They are trained, or a seeded initialisation, or the user's own file (--weights, whose sha256 must be right).
Repeatable: one thread and deterministic algorithms, so that a seed gives the same weights again (on the same kind of
processor and the same torch). reference.npz is the pool that the load generator sends and its right answers: `inputs`
float32[POOL, *input shape], drawn by the seed from the test images, and `outputs` float32[POOL, outputs], torch's
logits. An accuracy below what the model must reach on its data set is an error, and so are answers that hardly differ
from input to input: they would prove nothing. Then nothing is written.
"""

import argparse
import hashlib
import json
import platform
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from crayfish.spec import discovery, errors, memory
from crayfish.spec.errors import CrayfishError

DISTINCT = 1e-3  # of the answers' range: ten times what a format or a run may be wrong by


def reference(model: ModuleType, module: torch.nn.Module, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The pool of inputs, drawn by the seed from uint8[n, 28, 28] without replacement, and the module's answers."""
    inputs = model.inputs(images[np.random.default_rng(seed).choice(len(images), model.pool, replace=False)])
    with torch.no_grad():
        outputs = module(torch.from_numpy(inputs)).numpy()
    apart = np.abs(outputs - outputs.mean(axis=0)).max(axis=1).min() / np.ptp(outputs)
    if not apart >= DISTINCT:  # a NaN is an error too
        raise CrayfishError(
            f"train: the answers hardly differ from input to input (by {apart:.2g} of their range, and {DISTINCT:g} is"
            " asked for), so they would prove nothing: choose another `seed` or other `weights` in the config"
        )
    return {"inputs": inputs, "outputs": outputs}


def checked(path: Path, wanted: str) -> Path:
    """The file of weights, if it is there and its sum is right."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CrayfishError(
            f"weights: {path} cannot be read ({error.strerror}): correct `weights` in the config"
        ) from error
    if found != wanted.lower():
        raise CrayfishError(
            f"weights: {path} has the sha256 {found}, and the config asks for {wanted}: it is another file, or damaged;"
            " get it again, or correct `weights` in the config"
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data set's npz; its json lies beside it")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--weights", type=Path, help="the user's own file of weights, instead of a training")
    parser.add_argument("--sha256", help="of that file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()

    memory.require_making(arguments.model, "the training")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    model = discovery.model(arguments.model)
    about = json.loads(arguments.data.with_suffix(".json").read_text())
    with np.load(arguments.data) as arrays:
        data = dict(arrays)
    module = model.build()
    if arguments.weights:
        told = model.load(module, checked(arguments.weights, arguments.sha256))
        told["weights"] = f"{arguments.weights.name}, sha256 {arguments.sha256}"
    else:
        told = model.train(module, data, arguments.seed)
    accuracy, wanted = told["accuracy"], model.accuracy.get(about["dataset"], 0.0)
    if accuracy is not None and not accuracy >= wanted:
        raise CrayfishError(
            f"train: {arguments.model} reached an accuracy of {accuracy:.4f} on {about['dataset']}, and"
            f" at least {wanted} is asked for (seed {arguments.seed}): choose another `seed` in the config"
        )
    module.eval()
    answers = reference(model, module, data["test_images"], arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(arguments.out / "weights.npz", **{key: value.numpy() for key, value in module.state_dict().items()})
    np.savez(arguments.out / "reference.npz", **answers)
    training = {
        "model": arguments.model,
        "dataset": about["dataset"],
        "source": about["source"],
        "seed": arguments.seed,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        **told,
        "packages": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    (arguments.out / "training.json").write_text(json.dumps(training, indent=2) + "\n")


if __name__ == "__main__":
    errors.main(main)
