"""Limits of control groups, in trees of files as the kernel's two versions write them."""

from pathlib import Path

import pytest

from crayfish.harness import machine, sizing
from crayfish.spec import cgroups, memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

GB = 10**9
NO_LIMIT = "9223372036854771712"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Files of /proc and /sys, by their paths."""
    for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 20000000 kB", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.fixture
def version_2(tmp_path):
    """A group with a memory limit in one with a CPU quota."""
    return tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/outer/cpu.max": "150000 100000",
            "sys/fs/cgroup/outer/cpu.stat": "usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000",
            "sys/fs/cgroup/outer/memory.max": "max",
            "sys/fs/cgroup/outer/memory.current": "1",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
            "sys/fs/cgroup/outer/inner/cpu.stat": "usage_usec 5",
            "sys/fs/cgroup/outer/inner/memory.max": str(8 * GB),
            "sys/fs/cgroup/outer/inner/memory.current": str(5 * GB),
            "sys/fs/cgroup/outer/inner/memory.stat": f"anon 1\nactive_file {GB}\ninactive_file {GB}",
        },
    )


@pytest.fixture
def version_1(tmp_path):
    """The groups of a container, which sees its own at the top, under a name of the host's."""
    return tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(8 * GB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(5 * GB),
            "sys/fs/cgroup/memory/memory.stat": f"total_active_file {GB}\ntotal_inactive_file {GB}\nactive_file 7",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000",
        },
    )


@pytest.fixture(params=["version_1", "version_2"])
def limited(request):
    return request.getfixturevalue(request.param)


def test_memory_that_is_free_is_within_the_limit_and_counts_what_only_caches_files(limited):
    assert memory.available(limited) == cgroups.memory_left(limited) == 5 * GB


def test_a_backlog_is_sized_by_the_memory_that_the_group_leaves(limited, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda ask=memory.available: ask(limited))
    spec = RunSpec("flink", "onnx", (Segment("backlog", warmup_s=2, measure_s=3),))
    found = tmp_path / "summary.json"
    found.write_text('{"run": "pilot", "segments": [{"throughput": {"events_per_s": 1e9}}]}')
    (load,) = sizing.sized(spec, found).segments
    assert load.rate * 5 * spec.event_bytes == pytest.approx(sizing.MEMORY_SHARE * 5 * GB, rel=1e-3)


def test_a_run_that_the_group_has_no_memory_for_is_refused(limited, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda ask=memory.available: ask(limited))
    with pytest.raises(CrayfishError, match=r"needs about 6\.0 GB of memory, 5\.0 GB are free"):
        memory.require(6 * GB, "it")


def test_a_quota_is_so_many_cores_and_what_it_withheld_is_seconds_of_a_core(limited):
    assert cgroups.cpu_limit(limited) == 1.5
    assert cgroups.throttled_s(limited) == 2.5


def test_no_more_cores_can_be_used_than_the_quota_allows(limited):
    assert machine.usable_cores([0, 1, 2, 3], limited) == 1.5
    assert machine.usable_cores([0], limited) == 1


def test_without_limits_there_are_none(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/\n3:cpu:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert (cgroups.memory_left(root), cgroups.cpu_limit(root), cgroups.throttled_s(root)) == (None, None, 0)
    assert memory.available(root) == 20_000_000 * 1024
    (root / "proc/self/cgroup").unlink()
    assert memory.available(root) == 20_000_000 * 1024
    assert machine.usable_cores([0, 1], root) == 2


@pytest.mark.parametrize(
    ("variables", "bytes_left", "cores"),
    [
        ({}, 5 * GB, 1.5),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "1024"}, 2**30, 1),
        ({"SLURM_CPUS_ON_NODE": "3", "SLURM_MEM_PER_CPU": "512"}, 3 * 2**29, 1.5),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_MEM_PER_NODE": "0"}, 5 * GB, 1.5),
    ],
    ids=["no job", "a job that is smaller", "memory by CPU", "all of the node"],
)
def test_a_job_of_slurm_has_no_more_than_it_was_given(limited, monkeypatch, variables, bytes_left, cores):
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert memory.available(limited) == bytes_left
    assert machine.usable_cores([0, 1, 2, 3], limited) == cores
