"""The handler inside the model archive: raw float32 in, raw float32 out, by the archive's TorchScript module.

It lives in TorchServe's worker processes and imports nothing of this library. The archive's configuration tells the
input's shape; OMP_NUM_THREADS, which the run sets to scorer_threads, tells the threads; CRAYFISH_DEVICE the run's
device, and TorchServe which GPU is the worker's.
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
        self.device = os.environ.get("CRAYFISH_DEVICE", "cpu")
        if self.device != "cpu":
            self.device = f"{self.device}:{context.system_properties['gpu_id']}"  # an error where it is None
        file = folder / context.manifest["model"]["serializedFile"]
        module = torch.jit.load(file, map_location=self.device).eval()
        self.module = torch.jit.optimize_for_inference(module)
        self.shape = (-1, *context.model_yaml_config["input_shape"])

    def handle(self, requests: list[dict], context) -> list[bytes]:
        with torch.inference_mode():
            return [self.answer(request["data"]) for request in requests]

    def answer(self, data: bytearray) -> bytes:
        """float32[n, *input_shape] to float32[n, outputs], both as bytes."""
        batch = torch.frombuffer(data, dtype=torch.float32).view(self.shape).to(self.device)
        return self.module(batch).cpu().numpy().tobytes()
