"""Models: wrong answers, too little memory and wrong weights are refused; training repeats; every format answers right.

The last tests run the real programs in their environments (`snakemake environments` makes them).
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MODEL
from test_plan import laid_over

import describe_models
from crayfish.harness import verification
from crayfish.setup import dataset, formats, training
from crayfish.spec import discovery, memory, paths, plan
from crayfish.spec.errors import CrayfishError

ROOT = Path(__file__).parents[1]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def verify(outputs: np.ndarray, folder: Path) -> Path:
    """Verify the noop scorer, whose right answers are zeros, against these."""
    np.savez(folder / "reference.npz", inputs=np.zeros((4, 28, 28), np.float32), outputs=outputs)
    what = verification.Verification(
        scorer="noop",
        model="ffnn",
        dataset="synthetic",
        environment="kafka_streams",
        file=Path("none"),
        reference=folder / "reference.npz",
    )
    verification.verify(what, folder / "verified.json")
    return folder / "verified.json"


def test_right_answers_are_verified(tmp_path):
    assert verify(np.zeros((4, 10), np.float32), tmp_path).exists()


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_wrong_answers_are_refused(value, tmp_path):
    outputs = np.zeros((4, 10), np.float32)
    outputs[1, 3] = value
    with pytest.raises(CrayfishError, match="differs from torch"):
        verify(outputs, tmp_path)
    assert not (tmp_path / "verified.json").exists()


def test_answers_that_hardly_differ_from_input_to_input_are_refused():
    alike = np.tile(np.arange(10, dtype=np.float32), (3, 1))
    training.require_distinct(alike + np.float32([[1], [2], [6]]))
    for same in (alike, np.zeros((3, 10)), np.full((3, 10), np.nan)):
        with pytest.raises(CrayfishError, match="hardly differ"):
            training.require_distinct(same)


def test_a_file_of_weights_is_refused_unless_its_checksum_is_right(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    assert training.checked(file, digest(b"weights").upper()) == file
    with pytest.raises(CrayfishError, match=digest(b"weights")):
        training.checked(file, digest(b"other"))
    with pytest.raises(CrayfishError, match="cannot be read"):
        training.checked(tmp_path / "absent.pth", digest(b"weights"))


def test_every_model_says_what_it_is_made_in_and_needs():
    for name in discovery.names("models"):
        model = discovery.model(name)
        assert (
            set(model.formats) <= {"npz", *paths.SUFFIXES}
            and model.pool > 1
            and model.making_memory >= model.memory >= 0
        )


def test_what_needs_more_memory_than_is_free_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MAKES", str(tmp_path)[-90:])  # held until this process ends
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemFree: 1 kB\nMemAvailable:    2000000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    memory.require_making("ffnn", "a conversion")
    with pytest.raises(CrayfishError, match=r"conversion of vgg19 needs about 4\.3 GB of memory, 2\.0 GB are free"):
        memory.require_making("vgg19", "a conversion")
    (tmp_path / "meminfo").write_text("MemAvailable:    9000000 kB\n")
    memory.require_making("vgg19", "a conversion")  # what was refused does not hold up the next


def test_a_large_model_that_waits_too_long_for_its_turn_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MAKES", str(tmp_path)[-90:])
    monkeypatch.setattr(memory, "TURN_DEADLINE_S", 0.3)
    monkeypatch.setattr(memory, "available", lambda: 2**40)
    memory.require_making("resnet50", "a conversion")
    with pytest.raises(CrayfishError, match=rf"another large model, which process {os.getpid()} of"):
        memory.require_making("vgg19", "a conversion")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ffnn": {"file": "x", "sha256": "0" * 64}}, "ffnn is trained here"),
        ({"resnet5": {"file": "x", "sha256": "0" * 64}}, "did you mean 'resnet50'"),
        ({"resnet50": {"file": "x"}}, "lacks sha256"),
        ({"vgg19": {"file": "x", "sha256": "short"}}, "'short' is not allowed"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_before_anything_starts(weights, message):
    with pytest.raises(CrayfishError, match=message):
        plan.make_plan(laid_over() | {"weights": weights})


def test_the_model_table_has_a_row_a_model_and_the_size_of_files_and_folders(tmp_path, monkeypatch):
    training = []
    for name, accuracy in (("ffnn", 0.87), ("resnet50", None)):
        training.append(tmp_path / f"{name}.json")
        told = {"model": name, "dataset": "synthetic", "parameters": 7, "weights": "trained", "accuracy": accuracy}
        training[-1].write_text(json.dumps(told))
    (tmp_path / "folder" / "variables").mkdir(parents=True)
    for file in ("file", "folder/one", "folder/variables/two"):
        (tmp_path / file).write_bytes(b"12345")
    options = ["--training", *training, "--file", "ffnn", "savedmodel", tmp_path / "folder"]
    options += ["--file", "resnet50", "onnx", tmp_path / "file", "--out", tmp_path / "models.csv"]
    monkeypatch.setattr(sys, "argv", ["describe_models", *map(str, options)])
    describe_models.main()
    assert (tmp_path / "models.csv").read_text().splitlines() == [
        "model,dataset,inputs,outputs,parameters,weights,accuracy,savedmodel_bytes,onnx_bytes",
        "ffnn,synthetic,28x28,10,7,trained,0.87,10,",
        "resnet50,synthetic,224x224x3,1000,7,trained,,,5",
    ]


def program(env: str, name: str, **options: object) -> subprocess.CompletedProcess:
    """Run one of the workflow's programs in its environment."""
    python = ROOT / "resources" / "environments" / env / "python"
    script = ROOT / "workflow" / "scripts" / f"{name}.py"
    arguments = [f"--{key}={value}" for key, value in options.items()]
    return subprocess.run([python, script, *arguments], capture_output=True, text=True, timeout=300)


def run_code(env: str, code: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run some lines in an environment, with the library on the path."""
    command = [ROOT / "resources/environments" / env / "python", "-c", code, *map(str, arguments)]
    paths = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=paths)


def test_training_repeats_and_a_conversion_that_answers_otherwise_is_refused(resources, tmp_path):
    data, one, again = tmp_path / "data.npz", tmp_path / "one", tmp_path / "again"
    dataset.make_synthetic(data, 1, train=1024, test=300)
    for out in (one, again):
        done = program("train", "train", model="ffnn", data=data, seed=1, out=out)
        assert done.returncode == 0, done.stderr
    for name in ("weights.npz", "reference.npz", "training.json"):
        assert (one / name).read_bytes() == (again / name).read_bytes()
    with np.load(one / "reference.npz") as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    assert (inputs.shape, inputs.dtype, outputs.shape, outputs.dtype) == ((256, 28, 28), "f4", (256, 10), "f4")
    assert inputs.min() >= 0 and inputs.max() <= 1

    done = program("train", "convert", model="ffnn", source=one / "weights.npz", out=one / "ffnn.onnx")
    assert done.returncode == 0, done.stderr
    options = {"scorer": "onnx", "model": "ffnn", "dataset": "synthetic", "environment": "kafka_streams"}
    options |= {"file": one / "ffnn.onnx", "out": one / "verified.json"}
    outputs[7, 3] += 2e-4 * np.ptp(outputs)
    np.savez(tmp_path / "wrong.npz", inputs=inputs, outputs=outputs)
    wrong = program("kafka_streams", "verify_format", reference=tmp_path / "wrong.npz", **options)
    assert wrong.returncode == 1 and "differs from torch" in wrong.stderr and not (one / "verified.json").exists()
    right = program("kafka_streams", "verify_format", reference=one / "reference.npz", **options)
    assert right.returncode == 0 and (one / "verified.json").exists(), right.stderr


def test_too_low_an_accuracy_is_an_error_and_leaves_nothing(resources, tmp_path):
    arrays = dataset.synthetic(1, train=256, test=300)
    arrays["test_labels"] = (arrays["test_labels"] + 1) % 10
    dataset.write(tmp_path / "data.npz", arrays, {"dataset": "fashion_mnist", "source": "mislabelled on purpose"})
    done = program("train", "train", model="ffnn", data=tmp_path / "data.npz", seed=1, out=tmp_path / "model")
    assert done.returncode == 1 and "at least 0.86" in done.stderr and not (tmp_path / "model").exists()


def test_savedmodel_and_h5_answer_as_torch_does(resources, tmp_path):
    options = {"model": "ffnn", "source": MODEL / "weights.npz"}
    for name in ("savedmodel", "h5"):
        done = program("convert", "convert", out=tmp_path / f"ffnn.{name}", **options)
        assert done.returncode == 0, done.stderr
    with np.load(MODEL / "reference.npz") as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    options = {"scorer": "savedmodel", "model": "ffnn", "dataset": "fashion_mnist", "environment": "kafka_streams"}
    options |= {"file": tmp_path / "ffnn.savedmodel", "reference": MODEL / "reference.npz"}
    done = program("kafka_streams", "verify_format", out=tmp_path / "verified.json", **options)
    assert done.returncode == 0, done.stderr
    code = "import sys, numpy, tf_keras; m = tf_keras.models.load_model(sys.argv[1], compile=False);"
    code += "numpy.save(sys.argv[3], m.predict(numpy.load(sys.argv[2])['inputs'], verbose=0)); print(m.input_shape)"
    done = run_code("convert", code, tmp_path / "ffnn.h5", MODEL / "reference.npz", tmp_path / "answers.npy")
    assert "(None, 28, 28)" in done.stdout, done.stderr
    assert inputs.shape[1:] == (28, 28)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), outputs, atol=1e-4 * np.ptp(outputs))


def test_the_users_weights_are_checked_and_resnet50_is_the_same_in_keras(resources, tmp_path):
    dataset.make_synthetic(tmp_path / "data.npz", 1, train=20, test=40)
    code = "import sys, torch, torchvision; torch.manual_seed(3);"
    code += "torch.save(torchvision.models.resnet50().state_dict(), sys.argv[1])"
    weights, out = tmp_path / "official.pth", tmp_path / "model"
    done = run_code("train", code, weights)
    assert done.returncode == 0, done.stderr
    right = digest(weights.read_bytes())
    options = {"model": "resnet50", "data": tmp_path / "data.npz", "seed": 1, "out": out}
    for file, wanted, told in ((weights, "0" * 64, right), (tmp_path / "absent.pth", right, "cannot be read")):
        done = program("train", "train", weights=file, sha256=wanted, **options)
        assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr and not out.exists()
    done = program("train", "train", weights=weights, sha256=right, **options)
    assert done.returncode == 0, done.stderr
    training = json.loads((out / "training.json").read_text())
    assert right in training["weights"] and training["accuracy"] is None and training["parameters"] == 25_557_032

    code = "import sys, numpy; from pathlib import Path; from crayfish.setup import formats;"
    code += "m = formats.restore_keras('resnet50', Path(sys.argv[1], 'weights.npz'));"
    code += "i = numpy.load(Path(sys.argv[1], 'reference.npz'))['inputs'][:1];"
    code += "numpy.save(Path(sys.argv[1], 'keras.npy'), m(i, training=False).numpy())"
    done = run_code("convert", code, out)
    assert done.returncode == 0, done.stderr
    with np.load(out / "reference.npz") as reference:
        outputs = reference["outputs"]
    np.testing.assert_allclose(np.load(out / "keras.npy"), outputs[:1], atol=1e-4 * np.ptp(outputs))


def test_a_format_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CrayfishError, match=r"ffnn\.tflite has no suffix of a format; allowed: \.pt, "):
        formats.convert("ffnn", tmp_path / "weights.npz", tmp_path / "ffnn.tflite")
