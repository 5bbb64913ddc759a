"""Loads whose events a file tells: what it may say, what is refused with its line, and which run it makes."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import manifest_of
from hypothesis import given
from hypothesis import strategies as st
from test_contract import assert_answered_once_and_rightly

from crayfish.harness import pacing
from crayfish.harness.loads import trace
from crayfish.spec.errors import CrayfishError
from crayfish.spec.plan import make_plan
from crayfish.spec.run_spec import RunSpec, Segment

WINDOW = {"warmup_s": 1.0, "measure_s": 2.0}


def load_of(file, text: str, **more: object) -> Segment:
    """The load that a config's trace of this content is."""
    file.write_text(text)
    return Segment.checked(trace.completed({"kind": "trace", "trace": str(file), **WINDOW, **more}))


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 9)), max_size=50), st.sampled_from([0.5, 1.0, 1.5]))
def test_events_are_due_and_as_large_as_the_file_says(tmp_path_factory, events, speed):
    events = sorted([(0.0, 3), *events, (9.0, 1)])
    text = "due_s,batch_size\n" + "".join(f"{due_s!r},{size}\n" for due_s, size in events)
    load = load_of(tmp_path_factory.mktemp("trace") / "trace.csv", text, speed=speed)
    kept = [(round(due_s / speed * 1e9), size) for due_s, size in events if due_s / speed < 3]
    assert pacing.due_offsets(load, 1).tolist() == [due_ns for due_ns, _ in kept]
    assert pacing.points_of(load, len(kept)).tolist() == [size for _, size in kept]
    assert load.batch_size == max(size for _, size in kept) and load.rate == len(kept) / 3


def test_without_batch_sizes_all_events_have_one_point(tmp_path):
    load = load_of(tmp_path / "trace.csv", "due_s\n0\n0\n2.5\n4\n")
    assert load.declared.sizes(load) is None and pacing.points_of(load, 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the columns are ''; allowed: 'due_s', or 'due_s,batch_size'"),
        ("time\n1\n", "line 1: the columns are 'time'"),
        ("due_s\n", "has no event"),
        ("due_s\n0\nsoon\n", "line 3: 'soon': due_s is no number"),
        ("due_s\n0\nnan\n", "line 3: 'nan': due_s must be a number of at least 0"),
        ("due_s\n-1\n", "line 2: '-1': due_s must be a number of at least 0"),
        ("due_s\n0\n2\n1\n", "line 4: '1': due_s must be a number of at least 2, that of the line before"),
        ("due_s\n0\n\n1\n", "line 3: '': 0 values; there are 1 columns"),
        ("due_s,batch_size\n0,1\n1\n", "line 3: '1': 1 values; there are 2 columns"),
        ("due_s,batch_size\n0,0\n", "line 2: '0,0': batch_size must be a whole number of at least 1"),
        ("due_s,batch_size\n0,1.5\n", "line 2: '0,1.5': batch_size must be a whole number"),
        ("due_s\n0\n2\n", r"load.measure_s: .* ends after 2 s, before warmup_s \+ measure_s = 3 s: lower them"),
        ("due_s\n5\n", "has no event before 3 s"),
        ("due_s\n\xff\n".encode("latin-1"), "is no text"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path, text, told):
    (file := tmp_path / "trace.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CrayfishError, match=told):
        trace.completed({"kind": "trace", "trace": str(file), **WINDOW})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "load.trace: missing: the CSV file with the columns due_s and perhaps batch_size"),
        ({"trace": "nowhere.csv"}, "nowhere.csv cannot be read: No such file"),
        ({"rate": 5.0}, "load.rate: the trace tells it: leave it out"),
        ({"batch_size": 5}, "load.batch_size: the trace tells it"),
        ({"trace_sha256": "0" * 64}, "load.trace_sha256: 0000.* is not that of"),
        ({"speed": 0.0}, "load.speed: 0.0 must be more than 0"),
        ({"speed": 4.0}, "ends after 2.25 s at 4 times its speed"),
        ({"measure_s": "long"}, "load.measure_s: 'long' is not a number"),
    ],
)
def test_what_does_not_go_with_a_trace_is_refused(tmp_path, given, told):
    (file := tmp_path / "trace.csv").write_text("due_s\n0\n9\n")
    load = {"kind": "trace", **({"trace": str(file)} if given else {}), **WINDOW, **given}
    with pytest.raises(CrayfishError, match=told):
        trace.completed(load)


def test_a_run_is_of_the_file_s_content_and_not_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {}
    config["experiments"] = {
        "one": {
            "vary": {"processor": ["flink"], "scorer": ["onnx"]},
            "load": {"kind": "trace", "trace": "$NAME", **WINDOW},
        }
    }
    names = []
    for name, text in (("a.csv", "due_s\n0\n4\n"), ("b.csv", "due_s\n0\n4\n"), ("c.csv", "due_s\n1\n4\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv("NAME", name)
        names += make_plan(config).runs
    assert names[0] == names[1] != names[2]
    (tmp_path / "c.csv").write_text("due_s\nnever\n")
    with pytest.raises(CrayfishError, match=r"experiments\.one\.load: load\.trace: .*c\.csv, line 2: 'never'"):
        make_plan(config)


def test_a_file_that_changes_after_the_plan_is_noticed(tmp_path):
    load = load_of(tmp_path / "trace.csv", "due_s\n0\n4\n")
    trace._read.cache_clear()
    (tmp_path / "trace.csv").write_text("due_s\n0\n5\n")
    with pytest.raises(CrayfishError, match="has changed since the run was planned: repeat the command"):
        pacing.due_offsets(load, 1)


def test_batches_of_several_sizes_need_kafka(tmp_path):
    load = load_of(tmp_path / "trace.csv", "due_s,batch_size\n0,1\n1,2\n4,1\n")
    with pytest.raises(CrayfishError, match=r"load\.trace: batches of several sizes need transport 'kafka'"):
        RunSpec("flink", "onnx", (load,), transport="in_engine")


@pytest.mark.parametrize(("processor", "scorer"), [("relay", "noop"), ("kafka_streams", "onnx")])
def test_events_of_a_trace_are_answered_as_they_were_recorded(harness, tmp_path, processor, scorer):
    times, sizes = np.sort(np.random.default_rng(1).uniform(0, 12, 300)), np.arange(300) % 4 + 1
    text = "due_s,batch_size\n" + "".join(map("{},{}\n".format, times, sizes)) + "99,1\n"
    load = load_of(tmp_path / "trace.csv", text, speed=4)
    spec = RunSpec(processor, scorer, (load,), broker_warmup_s=0.0)
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", 300)
    sent = pq.read_table(tmp_path / "run/producer.parquet")["due_ns"].to_numpy()
    (segment,) = manifest_of(tmp_path / "run")["segments"]
    assert np.array_equal(sent - segment["start_ns"], np.rint(times / 4 * 1e9).astype(np.int64))
    assert segment["points_per_event"] == 2.5
