"""A model's formats, each made from its weights by the libraries of the environment that it is made in.

All of them take any number of data points, NHWC: float32[n, *input_shape] -> float32[n, outputs].
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crayfish.spec import discovery, memory
from crayfish.spec.discovery import LIBRARY
from crayfish.spec.errors import CrayfishError
from crayfish.spec.own_models import OwnModel
from crayfish.spec.paths import SUFFIXES

if TYPE_CHECKING:
    import torch

ONNX_OPSET = 17
TORCHSERVE_HANDLER = LIBRARY / "servers" / "_torchserve_handler.py"


def restore(model: str, weights: Path) -> torch.nn.Module:
    """A model's torch module with the weights of an npz, ready to score.

    CrayfishError if the machine has not the memory for it; a large model waits until no other is being made.
    """
    import numpy as np
    import torch

    memory.require_making(model, "a conversion")
    module = discovery.model(model).build()
    with np.load(weights) as arrays:
        module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module.eval()


def restore_keras(model: str, weights: Path) -> Any:
    """The same as a tf_keras model."""
    import numpy as np

    memory.require_making(model, "a conversion")
    with np.load(weights) as arrays:
        return discovery.model(model).build_keras(dict(arrays))


def example(model: str) -> torch.Tensor:
    """Two data points, for torch to follow through the module."""
    import torch

    return torch.zeros(2, *discovery.model(model).input_shape)


def to_torchscript(model: str, weights: Path, out: Path) -> None:
    """TorchScript."""
    import torch

    torch.jit.trace(restore(model, weights), example(model), check_trace=False).save(out)  # its verification checks it


def to_onnx(model: str, weights: Path, out: Path) -> None:
    """ONNX: "input" -> "logits"."""
    import torch

    torch.onnx.export(
        restore(model, weights),
        (example(model),),
        out,
        dynamo=False,
        opset_version=ONNX_OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )


def to_savedmodel(model: str, weights: Path, out: Path) -> None:
    """TensorFlow's SavedModel, with one signature, serving_default: "input" -> "logits"."""
    import tensorflow as tf

    network = restore_keras(model, weights)
    archive = tf.Module()  # with the variables and the one signature alone, not with Keras's own functions
    archive.kept = network.variables
    archive.serve = tf.function(
        lambda batch: {"logits": network(batch, training=False)},
        input_signature=[tf.TensorSpec([None, *discovery.model(model).input_shape], tf.float32, name="input")],
    )
    tf.saved_model.save(archive, str(out), signatures={"serving_default": archive.serve})


def to_h5(model: str, weights: Path, out: Path) -> None:
    """Keras 2 H5, functional, without an optimizer: what DL4J's KerasModelImport reads."""
    restore_keras(model, weights).save(out, include_optimizer=False, save_format="h5")


def to_mar(model: str, source: Path, out: Path, own: OwnModel | None = None) -> None:
    """TorchServe's archive: the model's TorchScript or ONNX file, the handler, and what an input is."""
    from model_archiver.model_archiver import ModelArchiver
    from model_archiver.model_archiver_config import ModelArchiverConfig

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        about: dict[str, Any] = {"input_shape": (own or discovery.model(model)).input_shape}
        about |= {"dtype": own.dtype, "input": own.input, "output": own.output} if own else {}
        config.write_text(json.dumps(about))
        ModelArchiver.generate_model_archive(
            ModelArchiverConfig(
                model_name=out.stem,
                version="1.0",
                serialized_file=str(source),
                handler=str(TORCHSERVE_HANDLER),
                config_file=str(config),
                export_path=str(out.parent),
                force=True,
                archive_format="default",
            )
        )


WRITERS: dict[str, Callable[[str, Path, Path], None]] = {
    "torchscript": to_torchscript,
    "onnx": to_onnx,
    "savedmodel": to_savedmodel,
    "h5": to_h5,
    "mar": to_mar,
}


def convert(model: str, source: Path, out: Path, own: str | None = None) -> None:
    """Write a model in the format of the suffix; the source is its weights.npz, or for mar the file it holds.

    own: an OwnModel as JSON, of which only an archive is made.
    Raises CrayfishError for a suffix that is none of a format.
    """
    formats = {f".{suffix}": name for name, suffix in SUFFIXES.items()}
    if out.suffix not in formats:
        raise CrayfishError(f"convert: {out} has no suffix of a format; allowed: {', '.join(formats)}")
    if own:
        to_mar(model, source, out, OwnModel.from_json(own))
    else:
        WRITERS[formats[out.suffix]](model, source, out)
