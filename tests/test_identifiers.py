"""The name of a run's folder: no two specs share one, none is too long, and names that were exact stay as they were."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import LONGEST_NAME, RunSpec, Segment, known_fields

NUMBERS = st.one_of(
    st.floats(1e-9, 1e12),
    st.floats(0.001, 1e7).map(lambda value: float(f"{value:.3g}")),
    st.sampled_from([1234567.0, 1234567.5, 1e6, 0.1, 0.1 + 2**-54, 5.0, 15.0]),
)


def values_of(kind: str, known) -> st.SearchStrategy:
    """Allowed values of a field."""
    if known.choices:
        return st.sampled_from(known.allowed)
    return NUMBERS if kind == "float" else st.integers(int(known.least or 1), 10_000_000)


def some_fields(cls: type, without: tuple[str, ...]) -> st.SearchStrategy[dict]:
    """Some of the fields of RunSpec or Segment that are numbers or choices, with allowed values."""
    drawn = {
        name: values_of(kind, known)
        for name, (kind, _, known) in known_fields(cls).items()
        if name not in without and (known.choices or kind in ("int", "float"))
    }
    return st.fixed_dictionaries({}, optional=drawn)


def load_of(kind: str, rate: float, others: dict) -> Segment:
    if "warmup_at_most_s" in others:  # which is at least the warm-up
        others = {**others, "warmup_at_most_s": 2 * others.get("warmup_s", 5.0) + others["warmup_at_most_s"]}
    return Segment(kind, rate=rate, **others)


segments = st.builds(
    load_of,
    st.sampled_from(["constant", "poisson"]),
    NUMBERS,
    some_fields(Segment, ("kind", "rate", "batch_size")),
)


def made(fields: dict, loads: list[Segment]) -> RunSpec:
    try:
        return RunSpec("flink", "tf_serving", tuple(loads), **{"partitions": 10_000_000, **fields})
    except CrayfishError:  # not all values go together
        return RunSpec("flink", "tf_serving", tuple(loads))


specs = st.builds(
    made,
    some_fields(RunSpec, ("processor", "scorer", "model", "partitions")),
    st.lists(segments, min_size=1, max_size=4),
)


@settings(max_examples=25)
@given(specs, specs)
def test_no_two_specs_share_a_name_and_none_is_too_long(one, other):
    assert (one.identifier == other.identifier) == (one == other)
    assert len(one.identifier.encode()) <= LONGEST_NAME


@settings(max_examples=15)
@given(specs, st.data())
def test_a_spec_that_differs_in_the_last_digit_has_another_name(spec, data):
    load = spec.segments[0]
    names = [name for name, value in dataclasses.asdict(load).items() if isinstance(value, float) and value > 0]
    name = data.draw(st.sampled_from(names))
    value = getattr(load, name)
    other = dataclasses.replace(load, **{name: value * (1 + 2**-52)})
    assert dataclasses.replace(spec, segments=(other, *spec.segments[1:])).identifier != spec.identifier


@pytest.mark.parametrize(
    ("load", "label"),
    [
        (Segment("constant", 1e6), "constant1e+06"),
        (Segment("constant", 1234567.0), "constant1234567"),
        (Segment("constant", 1234567), "constant1234567"),
        (Segment("constant", 0.7, of="sustainable"), "constant0.7-of-sustainable"),
        (Segment("poisson", 2048, warmup_s=2.5, measure_s=10), "poisson2048-w2.5-m10"),
    ],
)
def test_a_load_is_named_by_its_numbers(load, label):
    assert load.label() == label


def test_a_long_name_is_cut_where_it_can_still_be_read_and_is_the_same_every_time():
    loads = tuple(Segment("constant", 1000.5 + number) for number in range(40))
    name = RunSpec("flink", "onnx", loads).identifier
    assert name == RunSpec("flink", "onnx", loads).identifier
    assert name.startswith("flink-onnx-ffnn_constant1000.5+constant1001.5+")
    assert name != RunSpec("flink", "onnx", loads[:-1]).identifier


def test_every_number_of_a_load_has_a_label_of_its_own():
    numbers = {name: known for name, (kind, _, known) in known_fields(Segment).items() if kind in ("int", "float")}
    labels = [known.label for name, known in numbers.items() if name != "rate"]
    assert all(labels) and len(set(labels)) == len(labels)


def test_no_two_fields_of_a_run_write_the_same_word():
    words = [
        word
        for name, (_, default, known) in known_fields(RunSpec).items()
        if known.choices and name not in ("processor", "scorer", "model")
        for word in known.allowed
        if word != default
    ]
    assert len(set(words)) == len(words)
