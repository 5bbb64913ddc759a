"""The scorer nd4j takes a chain of fully connected layers from an npz and refuses everything else with one message."""

from pathlib import Path

import numpy as np
import pytest

from crayfish.scorers import nd4j
from crayfish.spec.errors import CrayfishError


def saved(path: Path, *shapes: tuple[int, ...], kind: type = np.float32) -> str:
    """An npz of arrays of these shapes, named by their place."""
    np.savez(path, **{f"{place}.x": np.full(shape, place, kind) for place, shape in enumerate(shapes)})
    return str(path)


def test_layers_come_in_order_with_their_matrices_turned(tmp_path):
    layers = nd4j.read_layers(saved(tmp_path / "m.npz", (3, 5), (3,), (2, 3), (2,)))
    assert [(matrix.shape, bias.shape, bias[0]) for matrix, bias in layers] == [((5, 3), (3,), 1), ((3, 2), (2,), 3)]


@pytest.mark.parametrize(
    "shapes",
    [(), ((3, 5),), ((3, 5), (4,)), ((3, 5), (3,), (2, 4), (2,)), ((3, 5, 1, 1), (3,)), ((3, 5), (3,), (3,), (3,))],
    ids=["nothing", "no bias", "wrong bias", "does not fit", "convolution", "normalisation"],
)
def test_what_is_no_chain_is_refused(tmp_path, shapes):
    with pytest.raises(CrayfishError, match="no chain of fully connected layers"):
        nd4j.read_layers(saved(tmp_path / "m.npz", *shapes))


def test_other_numbers_are_refused(tmp_path):
    with pytest.raises(CrayfishError, match="float64"):
        nd4j.read_layers(saved(tmp_path / "m.npz", (3, 5), (3,), kind=np.float64))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    with pytest.raises(CrayfishError, match=r"m\.npz cannot be loaded"):
        nd4j.read_layers(str(path))


def test_an_array_alone_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros(3))
    with pytest.raises(CrayfishError, match="cannot be loaded"):
        nd4j.read_layers(str(tmp_path / "m.npy"))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CrayfishError, match="cannot be loaded"):
        nd4j.read_layers(str(tmp_path / "none.npz"))
