"""Train one model once: OUT/weights.npz, OUT/reference.npz, OUT/training.json. Every format is made from these weights.

Repeatable: one thread and deterministic algorithms, so that a seed gives the same weights again (on the same kind of
processor and the same torch). reference.npz is the pool that the load generator sends and its right answers: `inputs`
float32[256, *input shape] in [0, 1], drawn by the seed from the test images, and `outputs` float32[256, outputs],
torch's logits. An accuracy below what the model must reach on its data set is an error, and nothing is written.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch

from crayfish import discovery, errors
from crayfish.errors import CrayfishError

POOL = 256


def reference(module: torch.nn.Module, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The pool of inputs, drawn by the seed from uint8[n, ...] without replacement, and the module's answers."""
    chosen = np.random.default_rng(seed).choice(len(images), POOL, replace=False)
    inputs = images[chosen].astype(np.float32) / np.float32(255)
    with torch.no_grad():
        return {"inputs": inputs, "outputs": module(torch.from_numpy(inputs)).numpy()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data set's npz; its json lies beside it")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    model = discovery.load("models", arguments.model)
    about = json.loads(arguments.data.with_suffix(".json").read_text())
    with np.load(arguments.data) as arrays:
        data = dict(arrays)
    module = model.build()
    told = model.train(module, data, arguments.seed)
    wanted = model.ACCURACY.get(about["dataset"], 0.0)
    if not told["accuracy"] >= wanted:
        raise CrayfishError(
            f"train: {arguments.model} reached an accuracy of {told['accuracy']:.4f} on {about['dataset']}, and"
            f" at least {wanted} is asked for (seed {arguments.seed}): choose another `seed` in the config"
        )
    module.eval()
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(arguments.out / "weights.npz", **{key: value.numpy() for key, value in module.state_dict().items()})
    np.savez(arguments.out / "reference.npz", **reference(module, data["test_images"], arguments.seed))
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
