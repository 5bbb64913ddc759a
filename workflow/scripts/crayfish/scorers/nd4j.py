"""ND4J, in process through JPype: fully connected layers with ReLU between them, by ND4J's matrix operations.

The model is an npz: for each layer, in order, a matrix float32[outputs, inputs] and a bias float32[outputs]; anything
else is refused. A batch size's matrices are allocated once and refilled. `scorer_threads` threads an operation.
What both users of ND4J share is here too (dl4j): JARS, JVM_OPTIONS, start, allocate, memory.
"""

from __future__ import annotations

import ctypes
import math
import os
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child, jvm
from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from typing import Any, Literal

    import numpy as np

    from crayfish.spec.run_spec import Job

JARS = ("dl4j",)
JVM_OPTIONS = (
    "-Dorg.bytedeco.javacpp.maxbytes=6g",
    "-Dorg.bytedeco.javacpp.maxphysicalbytes=0",  # else it reads the process's memory from /proc at each allocation
    "-Dorg.nd4j.log.initialization=false",
)


def start(job: Job) -> None:
    """This process's JVM with ND4J, whose native libraries are unpacked into the job's folder and use its threads."""
    os.environ["OMP_NUM_THREADS"] = str(job.spec.scorer_threads)  # ND4J asks the environment when it starts
    jvm.start(job)
    import jpype

    folder = os.environ.get(child.SCRATCH, job.workdir)  # of this node, where the processor is on several
    jpype.JClass("java.lang.System").setProperty("org.bytedeco.javacpp.cachedir", str(Path(folder, "javacpp")))


def memory(array: Any, size: int) -> Any:
    """The `size` float32 that an INDArray begins with, as a buffer without a copy; valid as long as the array lives."""
    return (ctypes.c_float * size).from_address(int(array.data().address()))


def allocate(shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> tuple[Any, np.ndarray]:
    """An INDArray of zeros, float32[shape], and its memory as a numpy array."""
    import jpype
    import numpy as np

    kind = jpype.JClass("org.nd4j.linalg.api.buffer.DataType").FLOAT
    create = jpype.JClass("org.nd4j.linalg.factory.Nd4j").create
    array = create(kind, jpype.JArray(jpype.JLong)(list(shape)), jpype.JChar(order.lower()))
    return array, np.ndarray(shape, np.float32, memory(array, math.prod(shape)), order=order)


def read_layers(path: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers of an npz: [(float32[inputs, outputs], float32[outputs])]; CrayfishError if it is no such chain."""
    import numpy as np

    try:
        with np.load(path) as arrays:
            names, found = list(arrays), [arrays[name] for name in arrays]
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CrayfishError(f"nd4j: the model {path} cannot be loaded: {error}") from error
    layers = list(zip(found[::2], found[1::2], strict=False))
    fit = found and len(found) % 2 == 0
    fit = fit and all(matrix.ndim == 2 and bias.shape == matrix.shape[:1] for matrix, bias in layers)
    fit = fit and all(above.shape[0] == below.shape[1] for (above, _), (below, _) in pairwise(layers))
    if not fit or any(array.dtype != np.float32 for array in found):
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in zip(names, found, strict=True))
        raise CrayfishError(
            f"nd4j: the model {path} is no chain of fully connected layers: it holds {shapes[:300] or 'nothing'};\n"
            "allowed are pairs of a matrix float32[outputs, inputs] and a bias float32[outputs], each fitting the last"
        )
    return [(matrix.T, bias) for matrix, bias in layers]


class Nd4jScorer:
    """The job's layers as INDArrays, and the matrices between them for the batch size at hand."""

    def __init__(self, job: Job):
        self._job = job
        self._size = 0
        self._layers: list[list[Any]] = []
        self._steps: list[tuple[Any, tuple]] = []

    def __enter__(self) -> Nd4jScorer:
        """Read the layers and start the JVM; CrayfishError if the model is no chain of layers that fits the job."""
        import numpy as np

        layers = read_layers(str(self._job.model_path))
        inputs, outputs = math.prod(self._job.input_shape), self._job.outputs
        if (layers[0][0].shape[0], layers[-1][0].shape[1]) != (inputs, outputs):
            raise CrayfishError(f"nd4j: the model {self._job.model_path} does not turn {inputs} inputs into {outputs}")
        start(self._job)
        import jpype

        for pair in layers:
            arrays = []
            for values in pair:
                array, view = allocate(values.shape)
                view[...] = values
                arrays.append(array)
            self._layers.append(arrays)
        self._relu = jpype.JClass("org.nd4j.linalg.ops.transforms.Transforms").relu
        self.score(np.zeros((1, *self._job.input_shape), np.float32))
        return self

    def __exit__(self, *error: object) -> None:
        self._layers, self._steps = [], []

    def _prepare(self, size: int) -> None:
        """The operations for a batch size, in order, each a bound method and its arguments."""
        values, self._input = allocate((size, math.prod(self._job.input_shape)))
        self._steps = []
        for matrix, bias in self._layers:
            # A product is written column by column, as BLAS does; else ND4J makes a copy of it.
            answer, self._answer = allocate((size, int(bias.length())), "F")
            self._steps += [(values.mmuli, (matrix, answer)), (answer.addiRowVector, (bias,))]
            self._steps += [(self._relu, (answer, False))]
            values = answer
        self._steps.pop()
        self._size = size

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs]; ValueError for another shape."""
        if len(batch) != self._size:
            self._prepare(len(batch))
        self._input[...] = batch.reshape(self._input.shape)
        for step, arguments in self._steps:
            step(*arguments)
        return self._answer.copy()


SCORER = Scorer(
    display_name="ND4J",
    marker="v",
    fill="#8c8c8c",
    open=Nd4jScorer,
    unpacks_code=True,
    format="npz",
    own_process=True,
    jars=JARS,
    jvm_options=JVM_OPTIONS,
    original="-msm n",
)
