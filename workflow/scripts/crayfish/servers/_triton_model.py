"""The model inside Triton's Python backend: onnxruntime, one session an instance.

It lives in the backend's own processes and imports nothing of this library; the parameters of config.pbtxt tell it the
model's file, the number of threads, the provider that computes it and, of a model of the user's own, the output that is
taken.
"""

import json

import numpy as np
import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    """One instance; Triton calls initialize() once and execute() for every batch of requests."""

    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = json.loads(arguments["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file, provider = (parameters[name]["string_value"] for name in ("file", "provider"))
        if provider != "CPUExecutionProvider":
            onnxruntime.preload_dlls()  # CUDA's libraries, of the environment's own packages
        session = onnxruntime.InferenceSession(file, options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise RuntimeError(f"run.device: {provider} cannot be used, onnxruntime has {session.get_providers()}")
        self.own = "output" in parameters
        self.input = session.get_inputs()[0].name
        self.outputs = [parameters["output"]["string_value"] if self.own else "logits"]
        self.run = session.run

    def execute(self, requests: list) -> list:
        """[n, *input_shape] of each request to its float32[n, outputs], each with its own n, in one call."""
        batches = [backend.get_input_tensor_by_name(request, "input").as_numpy() for request in requests]
        batch = batches[0] if len(batches) == 1 else np.concatenate(batches)
        (outputs,) = self.run(self.outputs, {self.input: batch})
        if self.own:  # of any type and shape
            outputs = outputs.reshape(len(batch), -1).astype("float32")
        responses, start = [], 0
        for batch in batches:
            answer = backend.Tensor("logits", outputs[start : start + len(batch)])
            responses.append(backend.InferenceResponse([answer]))
            start += len(batch)
        return responses
