"""A machine of one core and 4 GB: what fits runs, what does not is refused at the start."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import awaited, manifest_of

from crayfish.spec import cgroups

BYTES = 4 * 10**9
LOAD = {"kind": "constant", "rate": 20.0, "warmup_s": 1.0, "warmup_at_most_s": 1.0, "measure_s": 3.0}


def removed(group: Path) -> bool | None:
    """Whether the group could be removed; None while it has processes."""
    try:
        group.rmdir()
    except OSError:
        return None
    return True


@contextlib.contextmanager
def confined(cpus: set[int], limit: int) -> Iterator[None]:
    """This process, and what it starts, has these CPUs and so much memory."""
    own = next((folder for folder, _ in cgroups.groups("memory", cgroups.ROOT)), None)
    if own is None:
        pytest.skip("there are no control groups")
    names = ("memory.limit_in_bytes", "memory.max")
    group, before = own / f"crayfish-test-{os.getpid()}", os.sched_getaffinity(0)
    try:
        group.mkdir()
        file = next(group / name for name in names if (group / name).exists())
        file.write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except (OSError, StopIteration) as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"this user may not make a control group: {error}")
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        (own / "cgroup.procs").write_text(str(os.getpid()))
        awaited(lambda: removed(group), 30, f"the end of what runs in {group}")


@pytest.fixture
def tiny() -> Iterator[None]:
    with confined({min(os.sched_getaffinity(0))}, BYTES):
        yield


def test_a_run_that_fits_measures(resources, tiny, harness, tmp_path):
    run = harness({"processor": "flink", "scorer": "onnx", "segments": [LOAD]}, tmp_path / "run")
    output = run.finish()
    assert run.process.returncode == 0, output
    manifest = manifest_of(tmp_path / "run")
    assert manifest["machine"]["cores"] == 1 and 0 < manifest["machine"]["memory_left_by_cgroups_bytes"] < BYTES
    assert manifest["accounting"]["lost"] == 0


@pytest.mark.parametrize(("processor", "parallelism"), [("spark", 1), ("flink", 8)])
def test_a_run_that_does_not_fit_is_refused(resources, tiny, harness, tmp_path, processor, parallelism):
    fields = {"processor": processor, "scorer": "onnx", "parallelism": parallelism, "segments": [LOAD]}
    run = harness(fields, tmp_path / "run")
    output = run.finish()
    assert "of memory" in output and "are free" in output
    run.assert_failed_cleanly(output)
