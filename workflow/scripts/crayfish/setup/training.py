"""A model's weights, made once; every format is made from them.

They are trained, or a seeded initialisation, or the user's own file. One thread and deterministic algorithms make it
repeatable: a seed gives the same weights again on the same kind of processor and the same torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crayfish.spec import discovery, memory
from crayfish.spec.contracts import Model
from crayfish.spec.errors import CrayfishError
from crayfish.spec.limits import TOLERANCE

if TYPE_CHECKING:
    import torch

DISTINCT = 10 * TOLERANCE  # of the logits' range: by how much the answers to different inputs must differ


def train(model: str, data: Path, seed: int, out: Path, weights: Path | None = None, sha256: str | None = None) -> None:
    """Write weights.npz, reference.npz and training.json into the folder `out`.

    `data` is the data set's npz, beside which its JSON lies; `weights` the user's own file, whose checksum must be
    `sha256`. reference.npz is the pool that the load generator sends and its right answers: `inputs`
    float32[pool, *input_shape], drawn by the seed from the test images, and `outputs` float32[pool, outputs], torch's
    logits. CrayfishError, and nothing is written, if the file of weights cannot be used, if the accuracy is below what
    the model must reach on this data set, or if the answers hardly differ from input to input.
    """
    import torch

    memory.require_making(model, "the training")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    declared = discovery.model(model)
    about = json.loads(data.with_suffix(".json").read_text())
    with np.load(data) as file:
        arrays = dict(file)
    module = declared.build()
    if weights is None:
        report = declared.train(module, arrays, seed)
    elif declared.load is None:
        raise CrayfishError(f"weights: {model} is trained here: remove `weights` of {model} from the config")
    else:
        report = declared.load(module, checked(weights, sha256 or ""))
        report["weights"] = f"{weights.name}, sha256 {sha256}"
    accuracy, wanted = report["accuracy"], declared.accuracy.get(about["dataset"], 0.0)
    if accuracy is not None and not accuracy >= wanted:
        raise CrayfishError(
            f"train: {model} reached an accuracy of {accuracy:.4f} on {about['dataset']}, and at least {wanted} is"
            f" needed (seed {seed}): choose another `seed` in the config"
        )
    pool = reference(declared, module.eval(), arrays["test_images"], seed)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "weights.npz", **{name: tensor.numpy() for name, tensor in module.state_dict().items()})
    np.savez(out / "reference.npz", **pool)
    described = {
        "model": model,
        "dataset": about["dataset"],
        "source": about["source"],
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        **report,
        "packages": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    (out / "training.json").write_text(json.dumps(described, indent=2) + "\n")


def reference(model: Model, module: torch.nn.Module, images: np.ndarray, seed: int) -> dict[str, Any]:
    """The pool of inputs, drawn by the seed from uint8[n, 28, 28] without replacement, and the module's answers."""
    import torch

    inputs = model.inputs(images[np.random.default_rng(seed).choice(len(images), model.pool, replace=False)])
    with torch.no_grad():
        outputs = module(torch.from_numpy(inputs)).numpy()
    require_distinct(outputs)
    return {"inputs": inputs, "outputs": outputs}


def require_distinct(outputs: np.ndarray) -> None:
    """CrayfishError if the answers, float32[n, outputs], hardly differ: they would prove nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(outputs - outputs.mean(axis=0)).max(axis=1).min() / np.ptp(outputs)
    if not apart >= DISTINCT:  # a NaN is an error too
        raise CrayfishError(
            f"train: the answers hardly differ from input to input (by {apart:.2g} of their range; {DISTINCT:g} is"
            " needed), so they would prove nothing: choose another `seed` or other `weights` in the config"
        )


def checked(path: Path, wanted: str) -> Path:
    """The user's file of weights; CrayfishError if it cannot be read or its sha256 is not the wanted one."""
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
