"""Data sets: what is damaged is refused and leaves nothing; errors tell why each source fails. No network is used."""

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from crayfish.setup import dataset
from crayfish.spec.errors import CrayfishError

PINS = Path(__file__).parents[1] / "envs" / "data" / "fashion_mnist.yaml"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


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
    pins = yaml.safe_load(PINS.read_text())
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


def test_a_refused_data_set_leaves_nothing(folder, tmp_path):
    for name in dataset.ARRAYS.values():
        (folder / name).write_bytes(b"damaged")
    out = tmp_path / "out" / "fashion_mnist.npz"
    with pytest.raises(CrayfishError, match="refused"):
        dataset.make_fashion_mnist(out, PINS, folder)
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


def test_the_data_set_is_pinned():
    pins = yaml.safe_load(PINS.read_text())
    assert sorted(pins) == sorted(dataset.ARRAYS.values())
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in pins.values())
