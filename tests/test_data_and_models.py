"""Data, jars, models and pins: what is damaged is refused and leaves nothing; pins agree; training repeats.

No network is used. The last tests run the real programs in their environments (`snakemake environments` makes them).
"""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import MODEL
from test_plan import laid_over

import dataset
import describe_models
import environment
import jars
import lock
import verify_format
from crayfish import models
from crayfish.spec import discovery, memory, plan
from crayfish.spec.errors import CrayfishError

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
LOCKED = sorted(path.stem for path in ENVS.glob("*.in"))
JAR_SETS = sorted((ENVS / "java").glob("*.yaml"))
APART = {"workflow", "test"}  # they measure nothing, and the SLURM plugin asks for newer packages


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


# --- the data set


def test_idx_files_are_read():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(dataset.parse_idx(idx(array)), array)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x0d\x01\0\0\0\0", idx(np.zeros(5, np.uint8))[:-1], b"\0\0\x08\x03\0\0\0\1"]
)
def test_what_is_no_idx_file_is_refused(content):
    with pytest.raises(ValueError, match="idx file"):
        dataset.parse_idx(content)


@pytest.fixture
def folder(tmp_path):
    """A folder with one file plain and one packed."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "plain").write_bytes(b"one")
    (tmp_path / "files" / "packed.gz").write_bytes(gzip.compress(b"two"))
    return tmp_path / "files"


def test_files_are_taken_plain_or_packed_if_their_sums_are_right(folder):
    pins = {"plain": digest(b"one"), "packed": digest(b"two")}
    source, contents = dataset.find(pins, {"folder": lambda _: folder})
    assert (source, contents) == ("folder", {"plain": b"one", "packed": b"two"})


def test_a_wrong_sum_is_refused_with_both_sums(folder):
    pins = {"plain": digest(b"one"), "packed": digest(b"other")}
    with pytest.raises(CrayfishError) as error:
        dataset.find(pins, {"folder": lambda _: folder, "next": lambda _: pytest.fail("went on to the next source")})
    assert digest(b"two") in str(error.value) and digest(b"other") in str(error.value)


def test_a_damaged_archive_is_passed_over(folder):
    (folder / "packed.gz").write_bytes(gzip.compress(b"two")[:-6])
    with pytest.raises(dataset.Unavailable, match="cannot be read"):
        dataset.read_checked(folder, {"packed": digest(b"two")})


def test_without_any_source_the_error_names_all_four_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "PACKAGE_FOLDER", tmp_path / "absent")
    monkeypatch.setattr(dataset, "SITE", "http://127.0.0.1:9")
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    pins = yaml.safe_load((ENVS / "data" / "fashion_mnist.yaml").read_text())
    places = dataset.sources(tmp_path / "wrong")
    with pytest.raises(CrayfishError) as error:
        dataset.find(pins, places)
    assert len(places) == 4 and all(name in str(error.value) for name in places)
    for reason in (
        f"{tmp_path}/wrong",
        f"{tmp_path}/absent",
        "apt-get is not on this system",
        "127.0.0.1:9",
        "synthetic",
    ):
        assert reason in str(error.value)


def test_a_refused_data_set_leaves_nothing(folder, tmp_path, monkeypatch):
    for name in dataset.ARRAYS.values():
        (folder / name).write_bytes(b"damaged")
    out, pins = tmp_path / "out" / "fashion_mnist.npz", ENVS / "data" / "fashion_mnist.yaml"
    monkeypatch.setattr(sys, "argv", ["dataset", "--folder", str(folder), "--pins", str(pins), "--out", str(out)])
    with pytest.raises(CrayfishError, match="refused"):
        dataset.main()
    assert not out.parent.exists()


def test_the_synthetic_set_has_the_shapes_and_follows_its_seed():
    one, again, other = (dataset.synthetic(seed, train=50, test=20) for seed in (1, 1, 2))
    assert {name: (array.shape, array.dtype) for name, array in one.items()} == {
        "train_images": ((50, 28, 28), np.uint8),
        "train_labels": ((50,), np.uint8),
        "test_images": ((20, 28, 28), np.uint8),
        "test_labels": ((20,), np.uint8),
    }
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["train_images"], other["train_images"])


# --- jars


def served(coordinate: str, cache: Path) -> Path:
    cache.mkdir(exist_ok=True)
    file = cache / f"{coordinate.split(':')[1]}.jar"
    file.write_bytes(coordinate.encode())
    return file


def test_jars_lie_flat_in_their_folder_and_replace_older_ones(tmp_path):
    out = tmp_path / "jars" / "set"
    for coordinates in (["g:old:1"], ["g:one:1", "g:two:2"]):
        jars.assemble({each: digest(each.encode()) for each in coordinates}, out, served)
    assert sorted(path.name for path in out.iterdir()) == ["one.jar", "two.jar"]
    assert list(out.parent.iterdir()) == [out]


def test_a_jar_with_a_wrong_sum_is_refused_and_leaves_nothing(tmp_path):
    out = tmp_path / "jars" / "set"
    wrong = digest(b"what was pinned")
    with pytest.raises(CrayfishError) as error:
        jars.assemble({"g:one:1": digest(b"g:one:1"), "g:two:2": wrong}, out, served)
    assert all(text in str(error.value) for text in ("g:two:2", digest(b"g:two:2"), wrong, "make lock"))
    assert list(out.parent.iterdir()) == []


def test_a_jar_is_asked_for_again_when_the_network_is_away_for_a_moment(tmp_path, monkeypatch):
    tries = []

    def artifact(coordinate: str, cache: Path) -> SimpleNamespace:
        def resolve() -> Path:
            tries.append(coordinate)
            if "missing" in coordinate:
                raise RuntimeError("not found in remote repositories")
            if len(tries) < 3:
                raise OSError("Temporary failure in name resolution")
            return served(coordinate, cache)

        return SimpleNamespace(resolve=resolve)

    monkeypatch.setattr(jars, "artifact", artifact)
    monkeypatch.setattr(jars, "PAUSES_S", (0, 0))
    assert jars.download("g:one:1", tmp_path / "cache").read_bytes() == b"g:one:1"
    assert len(tries) == 3
    with pytest.raises(CrayfishError, match="g:missing:1 cannot be downloaded: not found"):
        jars.download("g:missing:1", tmp_path / "cache")
    assert len(tries) == 4
    tries.clear()
    monkeypatch.setattr(jars, "PAUSES_S", (0,))
    with pytest.raises(CrayfishError, match="Temporary failure"):
        jars.download("g:one:1", tmp_path / "cache")


# --- pins


def pinned(name: str) -> dict[str, str]:
    pins = [pin.split("==") for pin in environment.pins(ENVS / f"{name}.yaml")]
    return {environment.normalised(package): version for package, version in pins}


@pytest.mark.parametrize("name", LOCKED)
def test_every_direct_package_is_pinned(name):
    wanted = {environment.normalised(lock.package(line)) for line in lock.requirements(ENVS / f"{name}.in")}
    assert wanted <= pinned(name).keys(), f"run `make lock`: {wanted - pinned(name).keys()}"


@pytest.mark.parametrize("name", LOCKED)
def test_environment_files_are_valid_for_conda(name):
    content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    assert content.keys() == {"channels", "dependencies"} and "nodefaults" in content["channels"]
    python, pip, packages = content["dependencies"]
    assert (python, pip, packages.keys()) == (f"python={environment.PYTHON}", "pip", {"pip"})
    assert packages["pip"] == environment.pins(ENVS / f"{name}.yaml")
    assert len(pinned(name)) == len(packages["pip"])


def test_environments_and_their_pins_are_the_same_names():
    assert sorted(path.stem for path in ENVS.glob("*.yaml")) == LOCKED


def test_chosen_versions_hold_everywhere():
    for line in lock.requirements(ENVS / "constraints.txt"):
        package, version = line.split("==")
        for name in LOCKED:
            own = [each for each in lock.requirements(ENVS / f"{name}.in") if each.startswith(f"{package}==")]
            assert pinned(name).get(environment.normalised(package), version) == version or own, (name, line)


def test_environments_that_measure_share_versions():
    versions: dict[str, dict[str, str]] = {}
    for name in set(LOCKED) - APART:
        own = {line.split("==")[0] for line in lock.requirements(ENVS / f"{name}.in") if "==" in line}
        for package, version in pinned(name).items():
            if package in own:
                continue  # the exception stands, with its reason, where it is made
            versions.setdefault(package, {})[name] = version
    assert {package: found for package, found in versions.items() if len(set(found.values())) > 1} == {}


@pytest.mark.parametrize("path", JAR_SETS, ids=lambda path: path.stem)
def test_jar_sets_pin_everything(path):
    content = jars.read_set(path)
    assert set(content["direct"]) <= content["artifacts"].keys(), "run `make lock`"
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in content["artifacts"].values())
    assert not {":".join(each.split(":")[:2]) for each in content["artifacts"]} & set(content["excluded"])
    assert all(re.fullmatch(r"[\w.-]+(:[\w.-]+){2,3}", coordinate) for coordinate in content["artifacts"])


def test_the_data_set_is_pinned():
    pins = yaml.safe_load((ENVS / "data" / "fashion_mnist.yaml").read_text())
    assert sorted(pins) == sorted(dataset.ARRAYS.values())
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in pins.values())


# --- models


def verify(outputs: np.ndarray, folder: Path, monkeypatch) -> Path:
    """Run verify_format with the noop scorer, whose right answers are zeros."""
    np.savez(folder / "reference.npz", inputs=np.zeros((4, 28, 28), np.float32), outputs=outputs)
    options = {"scorer": "noop", "model": "ffnn", "dataset": "synthetic", "environment": "kafka_streams"}
    options |= {"file": "none", "reference": folder / "reference.npz", "out": folder / "verified.json"}
    monkeypatch.setattr(sys, "argv", ["verify_format", *(f"--{key}={value}" for key, value in options.items())])
    verify_format.main()
    return folder / "verified.json"


def test_right_answers_are_verified(tmp_path, monkeypatch):
    assert verify(np.zeros((4, 10), np.float32), tmp_path, monkeypatch).exists()


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_wrong_answers_are_refused(value, tmp_path, monkeypatch):
    outputs = np.zeros((4, 10), np.float32)
    outputs[1, 3] = value
    with pytest.raises(CrayfishError, match="differs from torch"):
        verify(outputs, tmp_path, monkeypatch)
    assert not (tmp_path / "verified.json").exists()


def test_every_model_says_what_it_is_made_in_and_needs():
    for name in discovery.names("models"):
        model = discovery.model(name)
        assert set(model.formats) <= set(models.FILE) and model.pool > 1 and model.making_memory >= model.memory >= 0


def test_what_needs_more_memory_than_is_free_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemFree: 1 kB\nMemAvailable:    2000000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    memory.require_making("ffnn", "a conversion")
    with pytest.raises(CrayfishError, match=r"conversion of vgg19 needs about 4\.3 GB of memory, 2\.0 GB are free"):
        memory.require_making("vgg19", "a conversion")
    (tmp_path / "meminfo").write_text("MemAvailable:    9000000 kB\n")
    memory.require_making("vgg19", "a conversion")  # what was refused does not hold up the next


def test_a_large_model_that_waits_too_long_for_its_turn_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(memory, "TURN_DEADLINE_S", 0.3)
    monkeypatch.setattr(memory, "available", lambda: 2**40)
    memory.require_making("resnet50", "a conversion")
    with pytest.raises(CrayfishError, match="being made"):
        memory.require_making("vgg19", "a conversion")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ffnn": {"file": "x", "sha256": "0" * 64}}, "ffnn is trained here"),
        ({"resnet5": {"file": "x", "sha256": "0" * 64}}, "did you mean 'resnet50'"),
        ({"resnet50": {"file": "x"}}, "'sha256' is a required property"),
        ({"vgg19": {"file": "x", "sha256": "short"}}, "does not match"),
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
    dataset.write(data, dataset.synthetic(1, train=1024, test=300), {"dataset": "synthetic", "source": ""})
    for out in (one, again):
        done = program("train", "train", model="ffnn", data=data, seed=1, out=out)
        assert done.returncode == 0, done.stderr
    for name in ("weights.npz", "reference.npz", "training.json"):
        assert (one / name).read_bytes() == (again / name).read_bytes()
    with np.load(one / "reference.npz") as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    assert (inputs.shape, inputs.dtype, outputs.shape, outputs.dtype) == ((256, 28, 28), "f4", (256, 10), "f4")
    assert inputs.min() >= 0 and inputs.max() <= 1

    done = program("train", "convert_onnx", model="ffnn", weights=one / "weights.npz", out=one / "ffnn.onnx")
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
    options = {"model": "ffnn", "weights": MODEL / "weights.npz"}
    for name in ("savedmodel", "h5"):
        done = program("convert", f"convert_{name}", out=tmp_path / f"ffnn.{name}", **options)
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
    dataset.write(
        tmp_path / "data.npz", dataset.synthetic(1, train=20, test=40), {"dataset": "synthetic", "source": ""}
    )
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

    code = "import sys, numpy; from pathlib import Path; from crayfish import models;"
    code += "m = models.restore_keras('resnet50', Path(sys.argv[1], 'weights.npz'));"
    code += "i = numpy.load(Path(sys.argv[1], 'reference.npz'))['inputs'][:1];"
    code += "numpy.save(Path(sys.argv[1], 'keras.npy'), m(i, training=False).numpy())"
    done = run_code("convert", code, out)
    assert done.returncode == 0, done.stderr
    with np.load(out / "reference.npz") as reference:
        outputs = reference["outputs"]
    np.testing.assert_allclose(np.load(out / "keras.npy"), outputs[:1], atol=1e-4 * np.ptp(outputs))
