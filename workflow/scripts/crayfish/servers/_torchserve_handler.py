"""The handler inside the model archive: raw values in, raw float32 out, by the archive's TorchScript module or, of a
model of the user's own, ONNX file. (TorchServe's own handler loads an ONNX file too, but cannot call it.)

It lives in TorchServe's worker processes and imports nothing of this library. The archive's configuration tells the
input's shape and type and, of a model of the user's own, its names; OMP_NUM_THREADS, which the run sets to
scorer_threads, tells the threads; CRAYFISH_DEVICE the run's device, and TorchServe which GPU is the worker's.
CRAYFISH_BATCHES, if it is set, names the folder where it notes how many requests each of its model calls had
(servers/_batching.py reads that).
"""

import logging
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import torch

# TorchServe takes a file that has one class alone.


def of_torchscript(file: Path, config: dict, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a TorchScript module on a device makes of [n, *input_shape]: float32[n, ...], on the CPU again."""
    module = torch.jit.optimize_for_inference(torch.jit.load(file, map_location=device).eval())
    output = config.get("output")

    def chosen(outputs) -> torch.Tensor:
        """The tensor that is taken of several: by its name, or its number."""
        if isinstance(outputs, dict):
            return outputs[output or next(iter(outputs))]
        return outputs[int(output or 0)] if isinstance(outputs, tuple | list) else outputs

    def score(batch: torch.Tensor) -> torch.Tensor:
        outputs = module(batch.to(device))
        if output is not None:
            outputs = chosen(outputs).float().contiguous()
        return outputs.cpu()

    return score


def of_onnx(file: Path, config: dict, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same of a session of ONNX Runtime on the CPU, with the settings of the scorer onnx."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def score(batch: torch.Tensor) -> torch.Tensor:
        (answers,) = session.run([config["output"]], {config["input"]: batch.numpy()})
        return torch.from_numpy(answers.astype("float32", copy=False))

    return score


class Handler:
    """One a worker; TorchServe calls initialize() once and handle() for every batch of requests."""

    def initialize(self, context) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # else the worker writes two lines a request
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        folder = Path(context.system_properties["model_dir"])
        device = os.environ.get("CRAYFISH_DEVICE", "cpu")
        if device != "cpu":
            device = f"{device}:{context.system_properties['gpu_id']}"  # an error where it is None
        file = folder / context.manifest["model"]["serializedFile"]
        config = context.model_yaml_config
        self.shape, self.dtype = (-1, *config["input_shape"]), getattr(torch, config.get("dtype", "float32"))
        self.score = (of_onnx if file.suffix == ".onnx" else of_torchscript)(file, config, device)
        noted = os.environ.get("CRAYFISH_BATCHES")
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.sizes = os.open(Path(noted, f"sizes-{os.getpid()}"), how) if noted else None

    def handle(self, requests: list[dict], context) -> list[bytes]:
        if self.sizes is not None:
            os.write(self.sizes, array("I", [len(requests)]))
        with torch.inference_mode():
            if len(requests) == 1:
                return [self.score(self.points(requests[0])).numpy().tobytes()]
            batches = [self.points(request) for request in requests]
            outputs = self.score(torch.cat(batches)).split([len(batch) for batch in batches])
            return [answer.numpy().tobytes() for answer in outputs]

    def points(self, request: dict) -> torch.Tensor:
        """The [n, *input_shape] of a request, each with its own n."""
        return torch.frombuffer(request["data"], dtype=self.dtype).view(self.shape)
