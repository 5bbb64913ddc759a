"""The handler inside the model archive: raw float32 in, raw float32 out, by the archive's TorchScript module.

It lives in TorchServe's worker processes and imports nothing of this library. The archive's configuration tells the
input's shape; OMP_NUM_THREADS, which the run sets to scorer_threads, tells the threads.
"""

import logging
import os
from pathlib import Path

import torch


class Handler:
    """One a worker; TorchServe calls initialize() once and handle() for every batch of requests."""

    def initialize(self, context) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # else the worker writes two lines a request
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        folder = Path(context.system_properties["model_dir"])
        module = torch.jit.load(folder / context.manifest["model"]["serializedFile"], map_location="cpu").eval()
        self.module = torch.jit.optimize_for_inference(module)
        self.shape = (-1, *context.model_yaml_config["input_shape"])

    def handle(self, requests: list[dict], context) -> list[bytes]:
        with torch.inference_mode():
            return [self.answer(request["data"]) for request in requests]

    def answer(self, data: bytearray) -> bytes:
        """float32[n, *input_shape] to float32[n, outputs], both as bytes."""
        return self.module(torch.frombuffer(data, dtype=torch.float32).view(self.shape)).numpy().tobytes()
