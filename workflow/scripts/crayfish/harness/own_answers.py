"""The right answers of a model of the user's own: what the file that the config names first answers to its samples.

It runs in a processor's environment, as scorers do.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crayfish.harness import verification
from crayfish.spec import discovery, memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.limits import thread_variables
from crayfish.spec.own_models import OwnModel
from crayfish.spec.values import ITEM_BYTES

POOL = 256  # data points that events cycle through, at most
POOL_BYTES = 64 * 2**20  # that they take, at most


@dataclass(frozen=True)
class Answering:
    """What answers what."""

    own: OwnModel  # in the format that is named first
    source: str  # the path that the config gives
    file: Path  # what was made of it
    environment: str  # the processor whose environment this runs in
    seed: int
    samples: Path | None  # npy, or npz of one array; None: they are drawn within `range`
    range: tuple[float, float] | None


def answer(what: Answering, out: Path) -> None:
    """Write reference.npz (`inputs`, in the model's type, and `outputs`, float32[n, outputs]) and training.json, which
    says what the model is, into the folder `out`.

    CrayfishError, and nothing is written, if the file cannot be loaded, does not score the samples, or answers all of
    them alike.
    """
    os.environ.update(thread_variables(1))  # as in a run
    memory.require(what.own.memory, f"{what.own.name}")
    inputs = pool(what)
    scorer = next(
        name
        for name in discovery.names("scorers")
        if discovery.scorer(name).format == what.own.format and not discovery.scorer(name).external
    )
    asked = verification.Verification(
        scorer=scorer,
        model=what.own.name,
        dataset="own",
        environment=what.environment,
        file=what.file,
        reference=what.file,
        own=what.own,
    )
    with tempfile.TemporaryDirectory() as workdir:
        job = verification.job_of(asked, "grpc", workdir, what.own.input_shape, outputs=0)
        with discovery.scorer(scorer).open(job) as opened:
            outputs = verification.scored(asked, opened, inputs, "all at once")
    _check(what, outputs)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "reference.npz", inputs=inputs, outputs=outputs)
    about = {
        "model": what.own.name,
        "key": what.own.key,
        "dataset": "own",
        "source": str(what.samples) if what.samples else f"drawn by the seed, {what.seed}",
        "seed": what.seed,
        "inputs": "x".join(map(str, what.own.input_shape)) + f" {what.own.dtype}",
        "outputs": outputs.shape[1],
        "parameters": None,
        "accuracy": None,
        "weights": f"{Path(what.source).name}, own {what.own.key.rpartition('-')[2]}",
        "told": what.own.told,
    }
    (out / "training.json").write_text(json.dumps(about, indent=2) + "\n")


def pool(what: Answering) -> np.ndarray:
    """The inputs of events, [n, *input_shape]: the samples, of many some that the seed chooses; or seeded draws."""
    shape, dtype = what.own.input_shape, np.dtype(what.own.dtype)
    count = max(2, min(POOL, POOL_BYTES // max(1, int(np.prod(shape)) * ITEM_BYTES[what.own.dtype])))
    random = np.random.default_rng(what.seed)
    if what.samples is None:
        assert what.range is not None
        low, high = what.range
        if dtype.kind in "iu":
            return random.integers(int(low), int(high), (count, *shape), dtype, endpoint=True)
        return random.uniform(low, high, (count, *shape)).astype(dtype)
    try:
        samples = np.load(what.samples, allow_pickle=False)
        if not isinstance(samples, np.ndarray):
            with samples as arrays:
                (samples,) = arrays.values()
    except (OSError, ValueError, EOFError) as error:
        raise CrayfishError(f"own_models.{what.own.name}.samples: {what.samples} cannot be read: {error}") from error
    if samples.dtype != dtype or samples.shape[1:] != shape:
        raise CrayfishError(
            f"own_models.{what.own.name}.samples: {what.samples} has changed since the run was planned: repeat the"
            " command"
        )
    if not np.isfinite(samples).all():
        raise CrayfishError(
            f"own_models.{what.own.name}.samples: {what.samples} holds values that are no numbers (NaN or infinite);"
            " allowed: finite ones"
        )
    chosen = random.choice(len(samples), count, replace=False) if len(samples) > count else slice(None)
    return np.ascontiguousarray(samples[chosen])


def _check(what: Answering, outputs: np.ndarray) -> None:
    """CrayfishError if the answers, float32[n, outputs], are not finite, or alike: they would prove nothing."""
    samples = f"the {len(outputs)} samples" if what.samples else f"{len(outputs)} draws within `range`"
    if not np.isfinite(outputs).all():
        raise CrayfishError(f"own_models.{what.own.name}: {what.source} answers NaN or infinity to some of {samples}")
    if outputs.size == 0 or not np.ptp(outputs, axis=0).any():
        raise CrayfishError(
            f"own_models.{what.own.name}: {what.source} answers the same to all of {samples}, so that its answers would"
            " prove nothing: give others"
        )
