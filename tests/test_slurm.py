"""The pipeline through a real SLURM of two nodes, as a user calls it; and what is told where SLURM cannot do it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from conftest import ROOT, awaited, crayfish_folders, manifest_of
from namespaces import said

from crayfish.engine import child
from crayfish.spec import paths

DEADLINE_S = 300.0
SMALL = """
repetitions: 1
draw: [latency_by_rate]
run: {broker_warmup_s: 0}
experiments:
  input_rate:
    vary: {processor: [kafka_streams], linger_ms: [0, 1]}
    beside: []
    load: {rate: [50], warmup_s: 1, warmup_at_most_s: 1, measure_s: 2}
"""
TABLE = "results/tables/input_rate.csv"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[slurm_cluster.Cluster]:
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    made = slurm_cluster.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


CALLS: list[subprocess.Popen] = []


@pytest.fixture
def folder(tmp_path, resources, cluster) -> Iterator[Path]:
    """A working directory whose runs are few and short; no call in it outlives a test that fails."""
    (tmp_path / paths.RESOURCES).symlink_to(resources)
    (tmp_path / "small.yaml").write_text(SMALL)
    before = set(crayfish_folders())
    yield tmp_path
    while CALLS:
        CALLS.pop().kill()
    new = set(crayfish_folders()) - before
    awaited(lambda: not any(map(Path.exists, new)) or None, DEADLINE_S, lambda: f"the removal of {new}")


def call(folder: Path, *arguments: str) -> subprocess.Popen:
    """The README's line, in this folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--profile", str(ROOT / "slurm"), TABLE, "--configfile", "small.yaml", *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    output = (folder / "output").open("a")
    CALLS.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output))
    return CALLS[-1]


def ended(process: subprocess.Popen, folder: Path) -> str:
    """All that the calls in this folder have said, once this one has ended."""
    process.wait(DEADLINE_S)
    return (folder / "output").read_text()


def measuring(folder: Path) -> list[str]:
    """The jobs of this folder that run and have started to measure."""
    if not any(folder.glob("logs/execute_run/*/*.log")):
        return []
    lines = said("squeue", "--noheader", "--states=RUNNING", "--format=%i|%Z").splitlines()
    return [line.split("|")[0] for line in lines if line.endswith(f"|{folder}")]


def times(folder: Path) -> dict[Path, int]:
    """Each result that is there, and when it was made."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("results/runs/*/*/producer.parquet")}


def left() -> list[psutil.Process]:
    """Processes of jobs and their runs."""
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and _of_a_job(each)]


def _of_a_job(process: psutil.Process) -> bool:
    try:
        return bool({child.TAG, "CRAYFISH_CALL"} & {*process.environ()})
    except psutil.Error:
        return False


def test_a_killed_call_s_jobs_end_and_are_never_submitted_twice(folder, cluster):
    first = call(folder)
    awaited(lambda: measuring(folder) or None, DEADLINE_S, "a job that measures")
    first.send_signal(signal.SIGKILL)
    first.wait(DEADLINE_S)
    shutil.rmtree(folder / ".snakemake/locks")  # as --unlock does
    output = ended(again := call(folder), folder)
    assert again.returncode and "jobs of an earlier call from this folder have not ended" in output, output
    cluster.idle()
    made = times(folder)
    assert len(made) == 2, "the jobs went on without the call that submitted them"
    output = ended(last := call(folder), folder)
    assert last.returncode == 0 and (folder / TABLE).exists(), output
    assert made == times(folder), "a result that was there was measured again"
    manifests = [manifest_of(file.parent) for file in made]
    assert {each["machine"]["slurm"]["partition"] for each in manifests} == {"main"}
    assert {each["machine"]["slurm"]["node"] for each in manifests} <= set(slurm_cluster.NODES)
    assert {each["machine"]["cores"] for each in manifests} == {os.cpu_count()}
    titles = [log.read_text() for log in folder.glob("logs/execute_run/*/*.log")]
    assert all(re.search(r" \[[12]/2\] ", text) for text in titles), titles
    awaited(lambda: not left() or None, DEADLINE_S, lambda: f"an end of {left()}")


ENDS = {
    "was cancelled": lambda job: said("scancel", job),
    "ran into its time limit": lambda job: said("scontrol", "update", f"JobId={job}", "TimeLimit=1"),
    "lost its node": lambda job: said("scontrol", "update", f"NodeName={node_of(job)}", "State=DOWN", "Reason=test"),
}


def node_of(job: str) -> str:
    return said("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()


@pytest.mark.parametrize(
    "how", [name if number == 0 else pytest.param(name, marks=pytest.mark.full) for number, name in enumerate(ENDS)]
)
def test_a_job_that_is_ended_leaves_nothing_and_the_same_command_goes_on(folder, cluster, how):
    if "limit" in how:  # SLURM's shortest is a minute, which the first run takes then
        (folder / "small.yaml").write_text(SMALL.replace("measure_s: 2", "measure_s: 60"))
    first = call(folder)
    awaited(lambda: len([*folder.glob("logs/execute_run/*/*.log")]) == 2 or None, DEADLINE_S, "a job's second run")
    (job,) = measuring(folder)
    made = times(folder)
    assert len(made) == 1
    ENDS[how](job)
    output = ended(first, folder)
    for node in slurm_cluster.NODES:
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)
    assert first.returncode and re.search(rf"SLURM: job {job} .* {how}", output), output
    awaited(lambda: not left() or None, DEADLINE_S, lambda: f"an end of {left()}")
    output = ended(last := call(folder), folder)
    assert last.returncode == 0 and (folder / TABLE).exists(), output
    assert made.items() <= times(folder).items(), "what the job had finished was measured again"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["slurm={partition: nowhere}"], ["slurm.partition: 'nowhere' is not known", "main", "short"]),
        (
            ["experiments={input_rate: {fix: {device: cuda}}}"],
            ["run.device: 'cuda': no node that a run may get has a GPU", "main: 2 with"],
        ),
        (["slurm={constraint: gpu}"], ["slurm.constraint: no node has the feature 'gpu'", "fast", "slow"]),
        (["slurm={partition: short}"], ["minutes, and no job may take as long", "short: 2 with"]),
        (["placement={broker: 2}"], ["needs 3 nodes, and there are 2"]),
        (["run={parallelism: 32, partitions: 32}", "processors=[flink]"], ["GB, and no node has that", "12.6 GB"]),
    ],
    ids=["partition", "gpu", "constraint", "time", "nodes", "memory"],
)
def test_what_no_node_offers_is_refused_at_the_start(folder, given, told):
    if "flink" in given[-1]:
        (folder / "small.yaml").write_text(SMALL.replace("kafka_streams", "flink"))
    process = call(folder, "--config", *given)
    output = ended(process, folder)
    assert process.returncode and all(word in output for word in told), output
    assert "Traceback" not in output and not (folder / "logs/execute_run").exists()


@pytest.mark.full
def test_a_model_is_trained_converted_and_verified_by_jobs(folder, resources, cluster):
    made = folder / paths.RESOURCES
    made.unlink()
    made.mkdir()
    for each in resources.iterdir():
        if each.name != "models":
            (made / each.name).symlink_to(each)
    output = ended(process := call(folder), folder)
    assert process.returncode == 0 and (folder / TABLE).exists(), output
    assert {"train", "convert", "verify_format"} <= {*re.findall(r"SLURM jobid .*/rule_(\w+)/", output)}
    awaited(lambda: not left() or None, DEADLINE_S, lambda: f"an end of {left()}")
    cluster.idle()


PLACED = ("--config", "placement={broker: 1, processor: 1}")


def test_a_run_over_two_nodes_has_each_part_on_its_own(folder, cluster):
    (folder / "small.yaml").write_text(SMALL.replace("[0, 1]", "[0]"))
    output = ended(process := call(folder, *PLACED), folder)
    assert process.returncode == 0 and (folder / TABLE).exists(), output
    for manifest in [manifest_of(file.parent) for file in times(folder)]:
        here, (broker, processor) = manifest["machine"]["slurm"]["node"], manifest["nodes"]
        assert broker["slurm"]["node"] == processor["slurm"]["node"] in {*slurm_cluster.NODES} - {here}
        assert broker["address"].startswith(f"{slurm_cluster.NET}.1")
        assert len(processor["cpus"]) == os.cpu_count()
        assert manifest["stages"]["processor"]["cpu_s"] > 0 and manifest["stages"]["broker"]["cpu_s"] > 0
    assert len(times(folder)) == 1
    awaited(lambda: not left() or None, DEADLINE_S, lambda: f"an end of {left()}")
    cluster.idle()


@pytest.mark.parametrize("how", ["was cancelled", pytest.param("lost its node", marks=pytest.mark.full)])
def test_a_run_over_two_nodes_that_is_ended_leaves_nothing_on_either(folder, cluster, how):
    (folder / "small.yaml").write_text(SMALL.replace("measure_s: 2", "measure_s: 60"))
    process = call(folder, *PLACED)

    def measures() -> bool | None:
        assert process.poll() is None, (folder / "output").read_text()
        return "segment 1/1" in "".join(log.read_text() for log in folder.glob("logs/execute_run/*/*.log")) or None

    awaited(measures, DEADLINE_S, "a run that measures")
    (job,) = measuring(folder)
    ENDS[how](job)
    output = ended(process, folder)
    for node in slurm_cluster.NODES:
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)
    assert process.returncode and how in output, output
    awaited(lambda: not left() or None, DEADLINE_S, lambda: f"an end of {left()}")
    assert not times(folder)  # of the run's folder SLURM may leave time to remove it, or else the next run does
    cluster.idle()


def test_a_job_that_waits_for_ever_is_named(folder, cluster):
    said("scontrol", "update", "PartitionName=main", "State=DOWN")
    process = call(folder)
    try:
        waits = awaited(lambda: re.search(r"job (\d+) .*\(PartitionDown\)", (folder / "output").read_text()), 120, "it")
        assert f"scancel {waits[1]}" in (folder / "output").read_text()
    finally:
        said("scancel", "--me")
        said("scontrol", "update", "PartitionName=main", "State=UP")
        process.wait(DEADLINE_S)
