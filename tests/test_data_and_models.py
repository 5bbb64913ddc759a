"""Data, jars, models and pins: what is damaged is refused and leaves nothing; pins agree; training repeats.

No network is used. The last tests run the real programs in their environments (`snakemake environments` makes them).
"""

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import dataset
import environment
import jars
import lock
import verify_format
from crayfish.errors import CrayfishError

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


def program(env: str, name: str, **options: object) -> subprocess.CompletedProcess:
    """Run one of the workflow's programs in its environment."""
    python = ROOT / "resources" / "environments" / env / "python"
    script = ROOT / "workflow" / "scripts" / f"{name}.py"
    arguments = [f"--{key}={value}" for key, value in options.items()]
    return subprocess.run([python, script, *arguments], capture_output=True, text=True, timeout=300)


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
