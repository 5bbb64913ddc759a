"""The wire formats: how an event and a prediction lie in a Kafka message's value.

Every message starts with what accounting needs, and a prediction carries that part on unchanged.

binary (little-endian), 48 bytes and then the values, C order:
    offset  0  4s   magic "CRAY"
            4  u8   version, 1
            5  u8   flags: bit 0 set on a probe
            6  u16  zero
            8  u32  number of data points n
           12  u32  zero
           16  u64  sequence number
           24  i64  due time, ns since the epoch
           32  u16  number of dimensions of one data point
           34  u16  type of the values: 0 float32, 1 float16, 2 uint8, 3 int32, 4 int64
           36  3u32 the dimensions, unused ones 0; of more than three the last is the product of the third and the rest
json: the original's object, in both directions (see Json).
A prediction's values are float32, whatever its event's are.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from crayfish.spec.values import ITEM_BYTES

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

MAGIC = b"CRAY\x01"
PROBE = 1
CARRIED = 32  # bytes of the binary header that a prediction repeats
HEADER = 48
_CARRIED = struct.Struct("<4sBBHIIQq")
_SHAPE = struct.Struct("<2H3I")
TYPES = tuple(ITEM_BYTES)  # the number of each is its place
_POINTS = struct.Struct("<I")

PREDICTION_HEADER = np.dtype(
    {
        "names": ["magic", "flags", "points", "sequence", "due_ns", "shape"],
        "formats": ["S5", "u1", "<u4", "<i8", "<i8", "V16"],
        "offsets": [0, 5, 8, 16, 24, 32],
        "itemsize": HEADER,
    }
)


class MalformedEvent(ValueError):
    """A message that is not an event of this run; the text says what is wrong with it."""


def _shape_bytes(shape: tuple[int, ...], dtype: str = "float32") -> bytes:
    told = shape if len(shape) <= 3 else (*shape[:2], math.prod(shape[2:]))
    return _SHAPE.pack(len(shape), TYPES.index(dtype), *told, *([0] * (3 - len(told))))


class Binary:
    """The binary codec for one model: its data points' shape and type in, its number of outputs out."""

    name = "binary"

    def __init__(self, input_shape: tuple[int, ...], outputs: int, dtype: str = "float32"):
        self.input_shape = tuple(input_shape)
        self.outputs = outputs
        self.dtype = dtype
        self._type = np.dtype(dtype).newbyteorder("<")
        self._input_shape_bytes = _shape_bytes(self.input_shape, dtype)
        self._output_shape_bytes = _shape_bytes((outputs,))
        self._point_bytes = ITEM_BYTES[dtype] * math.prod(self.input_shape)

    def encode_body(self, values: np.ndarray) -> bytes:
        """The part of an event that does not change with its sequence and due time: dtype[n, *input_shape]."""
        values = np.ascontiguousarray(values, dtype=self._type)
        if values.shape[1:] != self.input_shape:
            raise ValueError(f"data points of shape {values.shape[1:]}, expected {self.input_shape}")
        return self._input_shape_bytes + values.tobytes()

    def stamp(self, body: bytes, points: int, sequence: int, due_ns: int, probe: bool = False) -> bytes:
        """A whole event from a body: the only work that the producer does for each event."""
        return _CARRIED.pack(b"CRAY", 1, PROBE if probe else 0, 0, points, 0, sequence, due_ns) + body

    def points(self, event: bytes) -> int:
        """How many data points an event has; MalformedEvent where it is none of this model."""
        if event[:5] != MAGIC or len(event) < HEADER:
            raise MalformedEvent(f"not a binary event of version 1: {len(event)} bytes that start with {event[:5]!r}")
        points = _POINTS.unpack_from(event, 8)[0]
        if len(event) != HEADER + points * self._point_bytes or event[CARRIED:HEADER] != self._input_shape_bytes:
            raise MalformedEvent(
                f"an event of {len(event)} bytes whose header says {points} data points and shape"
                f" {_SHAPE.unpack_from(event, CARRIED)}; this model takes {self.input_shape} of {self.dtype}"
            )
        return points

    def decode(self, event: bytes) -> np.ndarray:
        """The data points of one event, dtype[n, *input_shape], a read-only view of its bytes."""
        points = self.points(event)
        return np.frombuffer(event, self._type, offset=HEADER).reshape(points, *self.input_shape)

    def decode_many(self, events: list[bytes]) -> tuple[np.ndarray, list[int]]:
        """The data points of all events as one batch, and how many each event has."""
        counts = [self.points(event) for event in events]
        length = len(events[0])
        if counts.count(counts[0]) == len(counts):
            block = np.frombuffer(b"".join(events), np.uint8).reshape(len(events), length)
            batch = np.ascontiguousarray(block[:, HEADER:]).view(self._type)
        else:
            batch = np.concatenate([np.frombuffer(event, self._type, offset=HEADER) for event in events])
        return batch.reshape(sum(counts), *self.input_shape), counts

    def encode_prediction(self, event: bytes, outputs: np.ndarray) -> bytes:
        """The prediction that answers an event: its header carried on, then float32[n, outputs]."""
        return event[:CARRIED] + self._output_shape_bytes + outputs.tobytes()

    def read_predictions(self, messages: list[bytes]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Many predictions at once, grouped by their number of data points, in no particular order.

        Each group: the messages' indices int64[k], their PREDICTION_HEADER records [k], outputs float32[k, n, outputs].
        A message that is not a prediction of this run is in no group.
        """
        by_length: dict[int, list[int]] = {}
        for index, message in enumerate(messages):
            by_length.setdefault(len(message), []).append(index)
        groups = []
        for length, indices in by_length.items():
            points, rest = divmod(length - HEADER, 4 * self.outputs)
            if rest or points < 1:
                continue
            block = np.frombuffer(b"".join([messages[index] for index in indices]), np.uint8).reshape(-1, length)
            headers = np.ascontiguousarray(block[:, :HEADER]).view(PREDICTION_HEADER)[:, 0]
            whole = (headers["magic"] == MAGIC) & (headers["points"] == points)
            whole &= headers["shape"] == np.void(self._output_shape_bytes)
            outputs = np.ascontiguousarray(block[:, HEADER:]).view("<f4").reshape(-1, points, self.outputs)
            groups.append((np.array(indices)[whole], headers[whole], outputs[whole]))
        return groups


def _whole(numbers: list, dtype: np.dtype) -> np.ndarray:
    """Whole numbers as this type; ValueError for others, which numpy would round, or wrap round."""
    values = np.array(numbers, np.int64)
    whole = values.astype(dtype)
    if whole.tolist() != numbers:
        raise ValueError(f"they are not all {dtype}")
    return whole


class Json:
    """The original's JSON, in both directions, for one model; plus sequence, due_ns and probe, which accounting needs.

    An event: {"sequence": ..., "due_ns": ..., "probe": false, "creationTimestamp": ms, "dataPointSz1": points,
    "dataPointSz2": values of a point, "dataPoint": "0.93,0.39,...", "prediction": null}; its prediction is the same
    text with the outputs, [[...], ...], in the place of null. Numbers are the shortest that give back their float32, or
    whole ones.
    """

    name = "json"
    _END = b'"prediction":null}'

    def __init__(self, input_shape: tuple[int, ...], outputs: int, dtype: str = "float32"):
        import orjson  # every environment that speaks JSON has it; the others need not

        self._loads, self._dumps = orjson.loads, orjson.dumps
        self._numpy = orjson.OPT_SERIALIZE_NUMPY
        self._error = orjson.JSONDecodeError
        self.input_shape = tuple(input_shape)
        self.outputs = outputs
        self.dtype = dtype
        self._type = np.dtype(dtype)
        self._array = np.array if dtype.startswith("float") else _whole
        self._values = math.prod(self.input_shape)

    def encode_body(self, values: np.ndarray) -> bytes:
        """The part of an event that does not change with its sequence and due time: dtype[n, *input_shape]."""
        if values.shape[1:] != self.input_shape:
            raise ValueError(f"data points of shape {values.shape[1:]}, expected {self.input_shape}")
        flat = np.ascontiguousarray(values, self._type).reshape(-1)
        text = self._dumps(flat, option=self._numpy)[1:-1]
        sizes = b'"dataPointSz1":%d,"dataPointSz2":%d' % (len(values), self._values)
        return sizes + b',"dataPoint":"' + text + b'",' + self._END

    def stamp(self, body: bytes, points: int, sequence: int, due_ns: int, probe: bool = False) -> bytes:
        """A whole event from a body: the only work that the producer does for each event."""
        probed = b"true" if probe else b"false"
        head = b'{"sequence":%d,"due_ns":%d,"probe":%s,"creationTimestamp":%d,'
        return head % (sequence, due_ns, probed, due_ns // 1_000_000) + body

    def points(self, event: bytes) -> int:
        """How many data points an event has, read from its text alone."""
        before, _, rest = event.partition(b'"dataPointSz1":')
        count = rest.partition(b",")[0]
        if not before.startswith(b'{"sequence":') or not count.isdigit():
            raise MalformedEvent(f"not an event: {event[:60]!r}")
        return int(count)

    def _read(self, message: bytes) -> dict:
        try:
            found = self._loads(message)
        except self._error as error:
            raise MalformedEvent(f"not JSON: {error}") from error
        if not isinstance(found, dict):
            raise MalformedEvent("not a JSON object")
        return found

    def decode(self, event: bytes) -> np.ndarray:
        """The data points of one event, dtype[n, *input_shape]."""
        found = self._read(event)
        try:
            values = self._array(self._loads(f"[{found['dataPoint']}]"), self._type)
            points = found["dataPointSz1"]
            return values.reshape(points, *self.input_shape)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MalformedEvent(
                f"not an event for data points of shape {self.input_shape}: {type(error).__name__}: {error}"
            ) from error

    def decode_many(self, events: list[bytes]) -> tuple[np.ndarray, list[int]]:
        """The data points of all events as one batch, and how many each event has."""
        decoded = [self.decode(event) for event in events]
        return np.concatenate(decoded), [len(points) for points in decoded]

    def encode_prediction(self, event: bytes, outputs: np.ndarray) -> bytes:
        """The prediction that answers an event: its text, with float32[n, outputs] in the place of null."""
        if not event.endswith(self._END):
            raise MalformedEvent("an event does not end with its empty prediction")
        return event[: -len(b"null}")] + self._dumps(np.ascontiguousarray(outputs), option=self._numpy) + b"}"

    def read_predictions(self, messages: list[bytes]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Many predictions at once, grouped by their number of data points; see Binary.read_predictions."""
        by_points: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
        for index, message in enumerate(messages):
            try:
                found = self._read(message)
                points, outputs = found["dataPointSz1"], np.array(found["prediction"], np.float32)
                header = (b"", PROBE * found["probe"], points, found["sequence"], found["due_ns"], b"")
                record = np.array(header, PREDICTION_HEADER)
            except (MalformedEvent, KeyError, TypeError, ValueError, OverflowError):
                continue
            if outputs.shape == (points, self.outputs):
                by_points.setdefault(points, []).append((index, record, outputs))
        groups = (zip(*rows, strict=True) for rows in by_points.values())
        return [(np.array(indices), np.array(records), np.array(outputs)) for indices, records, outputs in groups]


CODECS: dict[str, type[Binary] | type[Json]] = {codec.name: codec for codec in (Binary, Json)}


def codec_of(job: Job) -> Binary | Json:
    """The codec of a job's events."""
    return CODECS[job.spec.codec](job.input_shape, job.outputs, job.spec.dtype)
