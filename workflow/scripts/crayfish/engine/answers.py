"""What a model of the user's own answers, as the predictions carry it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np


def chosen(answer: Any, output: str, where: str) -> Any:
    """Of what a TorchScript module answers, the tensor that `output` names: a key or a number from 0; "": the only one.

    CrayfishError where there is none of that name, or where there are several and none is named.
    """
    if isinstance(answer, Mapping):
        found = dict(answer)
    elif isinstance(answer, tuple | list):
        found = {str(number): each for number, each in enumerate(answer)}
    else:
        found = {"0": answer}
    name = output or (next(iter(found)) if len(found) == 1 else "")
    if name not in found:
        told = f"has no output {output!r}" if output else "has several outputs"
        raise CrayfishError(f"{where} {told}: set `output` of the model to one of: {', '.join(map(str, found))}")
    return found[name]


def rows(answer: np.ndarray, points: int, where: str) -> np.ndarray:
    """[points, ...] of numbers as float32[points, outputs], C order; CrayfishError if it is no row a data point."""
    import numpy as np

    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiub":
        kind = answer.dtype if isinstance(answer, np.ndarray) else type(answer).__name__
        raise CrayfishError(f"{where} answers {kind}; allowed: a tensor of numbers")
    if answer.shape[:1] != (points,):
        raise CrayfishError(
            f"{where} answers {list(answer.shape)} to {points} data points; allowed: their number as the first axis"
        )
    return np.ascontiguousarray(answer.reshape(points, -1), np.float32)
