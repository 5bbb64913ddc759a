"""Both codecs over events that hypothesis draws: round trips, refusals, a prediction carries the header on."""

import json
import struct

import numpy as np
import pytest
from generated_events import event_of, header_of, headers, points_of, prediction_of, shapes, types
from hypothesis import given
from hypothesis import strategies as st

from crayfish.spec.events import CARRIED, CODECS, HEADER, Binary, Json, MalformedEvent
from crayfish.spec.values import ITEM_BYTES

codecs = st.sampled_from(list(CODECS.values()))


@given(codecs, shapes, types, headers, st.integers(0, 2**31))
def test_an_event_comes_back_as_it_was(kind, shape, dtype, header, seed):
    codec = kind(shape, 10, dtype)
    event = event_of(codec, header, seed)
    assert header_of(codec, event) == header
    decoded = codec.decode(event)
    assert decoded.dtype == dtype
    assert np.array_equal(decoded, points_of(header.points, shape, seed, dtype))


@given(codecs, shapes, types, headers, st.integers(1, 20), st.integers(0, 2**31))
def test_a_prediction_carries_the_header_on_and_its_outputs(kind, shape, dtype, header, outputs, seed):
    codec = kind(shape, outputs, dtype)
    answers = points_of(header.points, (outputs,), seed)
    prediction = codec.encode_prediction(event_of(codec, header), answers)
    assert header_of(codec, prediction) == header
    carried, read = prediction_of(codec, prediction)
    assert carried == header
    assert np.array_equal(read, answers)


@given(shapes, types, headers)
def test_a_binary_event_is_its_header_and_its_values(shape, dtype, header):
    codec = Binary(shape, 2, dtype)
    event = event_of(codec, header)
    values = points_of(header.points, shape, 1, dtype)
    assert event[HEADER:] == values.tobytes() and len(event) == HEADER + ITEM_BYTES[dtype] * values.size
    assert codec.encode_prediction(event, points_of(header.points, (2,), 1))[:CARRIED] == event[:CARRIED]


@given(shapes, headers)
def test_a_json_event_is_the_originals_object_and_its_prediction_still_holds_the_input(shape, header):
    codec, answers = Json(shape, 3), points_of(header.points, (3,), 2)
    event = event_of(codec, header)
    sent, answered = json.loads(event), json.loads(codec.encode_prediction(event, answers))
    assert list(sent)[3:] == ["creationTimestamp", "dataPointSz1", "dataPointSz2", "dataPoint", "prediction"]
    assert sent["dataPointSz1"] == header.points and sent["dataPointSz2"] == np.prod(shape)
    assert len(sent["dataPoint"].split(",")) == header.points * np.prod(shape) and sent["prediction"] is None
    assert np.array_equal(np.float32(answered.pop("prediction")), answers)
    assert answered == {name: value for name, value in sent.items() if name != "prediction"}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), headers)
def test_the_header_of_float32_is_what_it_was_before_there_were_types(shape, header):
    said = struct.pack("<I3I", len(shape), *shape, *[0] * (3 - len(shape)))
    assert event_of(Binary(tuple(shape), 2), header)[CARRIED:HEADER] == said


@given(codecs, shapes, types, st.lists(headers, min_size=1, max_size=8))
def test_many_decoded_at_once_are_each_decoded(kind, shape, dtype, many):
    codec = kind(shape, 10, dtype)
    events = [event_of(codec, header, seed) for seed, header in enumerate(many)]
    batch, counts = codec.decode_many(events)
    assert counts == [header.points for header in many]
    assert np.array_equal(batch, np.concatenate([codec.decode(event) for event in events]))
    assert batch.flags.c_contiguous and batch.dtype == dtype


@given(codecs, st.lists(headers, min_size=1, max_size=8), st.integers(0, 8))
def test_many_predictions_read_at_once_are_each_read(kind, many, foreign_at):
    codec = kind((2, 3), 4)
    messages = [
        codec.encode_prediction(event_of(codec, header), points_of(header.points, (4,), seed))
        for seed, header in enumerate(many)
    ]
    foreign_at = min(foreign_at, len(messages))
    foreign = kind((2, 3), 8).encode_prediction(event_of(codec, many[0]), points_of(many[0].points, (8,), 1))
    messages.insert(foreign_at, foreign)
    messages.append(b"too short")
    found = {}
    for indices, records, outputs in codec.read_predictions(messages):
        found |= {
            int(index): (int(record["sequence"]), each)
            for index, record, each in zip(indices, records, outputs, strict=True)
        }
    assert sorted(found) == [index for index in range(len(messages) - 1) if index != foreign_at]
    for index, (sequence, outputs) in found.items():
        header, answers = prediction_of(codec, messages[index])
        assert header.sequence == sequence
        assert np.array_equal(outputs, answers)


@given(codecs, st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(kind, message):
    codec = kind((2, 3), 4)
    with pytest.raises(MalformedEvent):
        codec.decode(message)
    assert not any(len(indices) for indices, _, _ in codec.read_predictions([message]))


@given(codecs, headers, st.integers(1, 100), st.sampled_from([-1, 1]))
def test_a_cut_or_longer_message_is_refused(kind, header, size, sign):
    codec = kind((2, 3), 4)
    event = event_of(codec, header)
    prediction = codec.encode_prediction(event, points_of(header.points, (4,), 1))
    change = (lambda message: message[:-size]) if sign < 0 else (lambda message: message + bytes(size))
    with pytest.raises(MalformedEvent):
        codec.decode(change(event))
    with pytest.raises(MalformedEvent):
        codec.decode_many([event, change(event)])
    with pytest.raises(MalformedEvent):
        prediction_of(codec, change(prediction))


@given(headers)
def test_another_models_shape_or_another_version_is_refused(header):
    event = event_of(Binary((2, 3), 4), header)
    with pytest.raises(MalformedEvent, match=r"this model takes \(3, 2\)"):
        Binary((3, 2), 4).decode(event)
    with pytest.raises(MalformedEvent, match="version 1"):
        Binary((2, 3), 4).decode(event[:4] + b"\x02" + event[5:])
    with pytest.raises(MalformedEvent, match="data points of shape"):
        Json((3, 3), 4).decode(event_of(Json((2, 3), 4), header))


@given(types, types, headers)
def test_another_models_type_is_refused(one, other, header):
    event = event_of(Binary((2, 3), 4, one), header)
    if one != other:
        with pytest.raises(MalformedEvent, match=rf"this model takes \(2, 3\) of {other}"):
            Binary((2, 3), 4, other).decode(event)


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [("uint8", "256"), ("uint8", "-1"), ("int32", "2147483648"), ("int64", "1.5"), ("int32", "null")],
)
def test_numbers_that_the_type_cannot_hold_are_refused(dtype, numbers):
    event = b'{"sequence":1,"due_ns":1,"probe":false,"dataPointSz1":1,"dataPoint":"%s","prediction":null}'
    with pytest.raises(MalformedEvent):
        Json((1,), 1, dtype).decode(event % numbers.encode())


def test_shapes_of_other_models_are_refused():
    for kind in CODECS.values():
        with pytest.raises(ValueError, match="expected"):
            kind((2, 3), 1).encode_body(np.zeros((1, 3, 2)))
