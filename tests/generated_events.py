"""Events of either codec as hypothesis draws them, and predictions read back one at a time."""

import json
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from crayfish.spec.events import HEADER, PREDICTION_HEADER, PROBE, Binary, MalformedEvent
from crayfish.spec.values import ITEM_BYTES


@dataclass(frozen=True)
class Header:
    """What accounting needs of a message."""

    sequence: int
    due_ns: int
    points: int
    probe: bool


shapes = st.lists(st.integers(1, 6), max_size=4).map(tuple)
types = st.sampled_from(list(ITEM_BYTES))
headers = st.builds(
    Header,
    sequence=st.integers(0, 2**63 - 1),
    due_ns=st.integers(-(2**63), 2**63 - 1),
    points=st.integers(1, 5),
    probe=st.booleans(),
)


def points_of(count: int, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> np.ndarray:
    """dtype[count, *shape]; whole numbers of all that the type holds."""
    random = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return random.normal(size=(count, *shape)).astype(dtype)
    bounds = np.iinfo(dtype)
    return random.integers(bounds.min, bounds.max, (count, *shape), dtype, endpoint=True)


def event_of(codec, header: Header, seed: int = 1) -> bytes:
    body = codec.encode_body(points_of(header.points, codec.input_shape, seed, codec.dtype))
    return codec.stamp(body, header.points, header.sequence, header.due_ns, header.probe)


def header_of(codec, message: bytes) -> Header:
    """The header of an event or a prediction."""
    if isinstance(codec, Binary):
        (record,) = np.frombuffer(message[:HEADER], PREDICTION_HEADER)
        return _header(record)
    values = json.loads(message)
    return Header(values["sequence"], values["due_ns"], values["dataPointSz1"], values["probe"])


def _header(record: np.void) -> Header:
    return Header(int(record["sequence"]), int(record["due_ns"]), int(record["points"]), bool(record["flags"] & PROBE))


def prediction_of(codec, message: bytes) -> tuple[Header, np.ndarray]:
    """A prediction's header and its outputs, float32[n, outputs]; MalformedEvent if it is none."""
    for _, records, outputs in codec.read_predictions([message]):
        for record in records:
            return _header(record), outputs[0]
    raise MalformedEvent("no prediction")
