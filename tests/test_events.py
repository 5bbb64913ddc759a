"""The binary codec over events that hypothesis draws: round trips, refusals, a prediction carries the header on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayfish.events import CARRIED, HEADER, PROBE, Binary, Header, MalformedEvent

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
headers = st.builds(
    Header,
    sequence=st.integers(0, 2**63 - 1),
    due_ns=st.integers(-(2**63), 2**63 - 1),
    points=st.integers(1, 5),
    probe=st.booleans(),
)


def points_of(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def event_of(codec: Binary, header: Header, seed: int = 1) -> bytes:
    body = codec.encode_body(points_of(header.points, codec.input_shape, seed))
    return codec.stamp(body, header.points, header.sequence, header.due_ns, header.probe)


@given(shapes, headers, st.integers(0, 2**31))
def test_an_event_comes_back_as_it_was(shape, header, seed):
    codec = Binary(shape, 10)
    event = event_of(codec, header, seed)
    assert len(event) == HEADER + 4 * header.points * int(np.prod(shape))
    assert codec.read_header(event) == header
    decoded = codec.decode(event)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, points_of(header.points, shape, seed))


@given(shapes, headers, st.integers(1, 20), st.integers(0, 2**31))
def test_a_prediction_carries_the_header_on_and_its_outputs(shape, header, outputs, seed):
    codec = Binary(shape, outputs)
    event, answers = event_of(codec, header), points_of(header.points, (outputs,), seed)
    prediction = codec.encode_prediction(event, answers)
    assert prediction[:CARRIED] == event[:CARRIED]
    carried, read = codec.read_prediction(prediction)
    assert carried == header
    assert np.array_equal(read, answers)


@given(shapes, st.lists(headers, min_size=1, max_size=8))
def test_many_decoded_at_once_are_each_decoded(shape, many):
    codec = Binary(shape, 10)
    events = [event_of(codec, header, seed) for seed, header in enumerate(many)]
    batch, counts = codec.decode_many(events)
    assert counts == [header.points for header in many]
    assert np.array_equal(batch, np.concatenate([codec.decode(event) for event in events]))
    assert batch.flags.c_contiguous


@given(st.lists(headers, min_size=1, max_size=8), st.integers(0, 8))
def test_many_predictions_read_at_once_are_each_read(many, foreign_at):
    codec = Binary((2, 3), 4)
    messages = [
        codec.encode_prediction(event_of(codec, header), points_of(header.points, (4,), seed))
        for seed, header in enumerate(many)
    ]
    foreign_at = min(foreign_at, len(messages))
    foreign = Binary((2, 3), 8).encode_prediction(event_of(codec, many[0]), points_of(many[0].points, (8,), 1))
    messages.insert(foreign_at, foreign)
    messages.append(b"too short")
    found = {}
    for indices, records, outputs in codec.read_predictions(messages):
        for index, record, output in zip(indices, records, outputs, strict=True):
            probe = bool(record["flags"] & PROBE)
            found[int(index)] = (Header(int(record["sequence"]), int(record["due_ns"]), len(output), probe), output)
    assert sorted(found) == [index for index in range(len(messages) - 1) if index != foreign_at]
    for index, (header, outputs) in found.items():
        known, answers = codec.read_prediction(messages[index])
        assert header == known
        assert np.array_equal(outputs, answers)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(message):
    codec = Binary((2, 3), 4)
    for read in (codec.decode, codec.read_header, codec.read_prediction):
        with pytest.raises(MalformedEvent):
            read(message)
    assert not any(len(indices) for indices, _, _ in codec.read_predictions([message]))


@given(headers, st.integers(1, 100), st.sampled_from([-1, 1]))
def test_a_cut_or_longer_message_is_refused(header, size, sign):
    codec = Binary((2, 3), 4)
    event = event_of(codec, header)
    prediction = codec.encode_prediction(event, points_of(header.points, (4,), 1))
    change = (lambda message: message[:-size]) if sign < 0 else (lambda message: message + bytes(size))
    with pytest.raises(MalformedEvent):
        codec.decode(change(event))
    with pytest.raises(MalformedEvent):
        codec.decode_many([event, change(event)])
    with pytest.raises(MalformedEvent):
        codec.read_prediction(change(prediction))


@given(headers)
def test_another_models_shape_or_another_version_is_refused(header):
    event = event_of(Binary((2, 3), 4), header)
    with pytest.raises(MalformedEvent, match=r"this model takes \(3, 2\)"):
        Binary((3, 2), 4).decode(event)
    with pytest.raises(MalformedEvent, match="version 1"):
        Binary((2, 3), 4).decode(event[:4] + b"\x02" + event[5:])


def test_shapes_that_the_header_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        Binary((1, 2, 3, 4), 1)
    with pytest.raises(ValueError, match="expected"):
        Binary((2, 3), 1).encode_body(np.zeros((1, 3, 2)))
