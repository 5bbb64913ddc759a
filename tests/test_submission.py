"""What is made of sinfo's and squeue's words."""

import pytest

from crayfish.spec import submission
from crayfish.spec.errors import CrayfishError

SINFO = """\
a1|main*|64|256000|infinite|fast,new|idle|gpu:h200:4(S:0-1),shard:8
a2|main*|64|256000|infinite|fast,new|mix|(null)
b1|main*|8|16000|infinite|slow|alloc|shard:1
b1|short|8|16000|30:00|slow|alloc|shard:1
c1|main*|128|512000|infinite|fast|down*|gpu:2
"""
NODES = submission.parsed(line.split("|") for line in SINFO.splitlines())


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("infinite", float("inf")),
        ("30:00", 30),
        ("1:00:00", 60),
        ("2-00:00:00", 2880),
        ("0:30", 0.5),
        ("n/a", float("inf")),
    ],
)
def test_time_limits(limit, minutes):
    assert submission.minutes(limit) == minutes


@pytest.mark.parametrize(
    ("partition", "constraint", "names"),
    [(None, None, ["a1", "a2", "b1"]), ("short", None, ["b1"]), (None, "new", ["a1", "a2"]), ("main", "slow", ["b1"])],
)
def test_the_nodes_that_a_run_may_get(partition, constraint, names):
    assert [node.name for node in submission.eligible(NODES, partition, constraint)] == names


@pytest.mark.parametrize(
    ("partition", "constraint", "told"),
    [
        ("long", None, r"slurm.partition: 'long' is not known \(sinfo offers: main, short\)"),
        ("short", "new", r"slurm.constraint: no node has the feature 'new' \(sinfo offers: slow\)"),
    ],
)
def test_what_is_not_offered(partition, constraint, told):
    with pytest.raises(CrayfishError, match=told):
        submission.eligible(NODES, partition, constraint)


def test_the_nodes_that_have_a_gpu():
    assert [(node.name, node.gpus) for node in submission.with_gpus(NODES)] == [
        ("a1", "gpu:h200:4"),
        ("c1", "gpu:2"),
    ]
    assert submission.told(submission.with_gpus(NODES)).startswith("main: 1 with 64 CPUs, gpu:h200:4 and ")
    short = submission.eligible(NODES, "short", None)
    with pytest.raises(CrayfishError, match=r"run.device: 'cuda': no node .* has a GPU \(short: 1 with 8 CPUs and"):
        submission.with_gpus(short)


def test_nodes_that_are_down_are_no_offer():
    with pytest.raises(CrayfishError, match="no node can be used now: main: 1 with 128 CPUs"):
        submission.eligible([node for node in NODES if node.name == "c1"], None, None)


def test_what_no_node_can_take():
    short = submission.eligible(NODES, "short", None)
    wanted = {"small": (10**9, 10, 1), "large": (10**11, 10, 1), "slow": (10**9, 31, 1), "wide": (10**9, 10, 2)}
    memory, time, nodes = submission.refusals(short, wanted)
    assert memory.startswith(
        "large needs 100.0 GB, and no node has that (short: 1 with 8 CPUs and 16.8 GB, for 30 minutes"
    )
    assert time.startswith("slow needs 31 minutes, and no job may take as long")
    assert nodes.startswith("wide needs 2 nodes, and there are 1 (short: 1 with 8 CPUs")


def test_runs_that_are_too_long_together():
    wanted = {"one": (10**9, 20, 1), "other": (10**9, 9, 1), "third": (10**9, 15, 1)}
    short = submission.eligible(NODES, "short", None)
    (told,) = submission.refusals(short, wanted, together=2)
    assert told.startswith("a job of 2 runs needs 35 minutes, and none may take as long")
    assert submission.refusals(short, wanted, together=1) == submission.refusals(NODES[:2], wanted, together=8) == []


def job(state: str, reason: str = "None", folder: str = "/here") -> submission.Job:
    return submission.Job("7", state, reason, "rule_execute_run", folder)


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("PENDING", "Resources", None),
        ("PENDING", "PartitionConfig", "waits for ever: no node of its partition"),
        ("RUNNING", "None", None),
        ("COMPLETED", "None", None),
        ("TIMEOUT", "TimeLimit", "ran into its time limit"),
        ("NODE_FAIL", "None", "lost its node"),
    ],
)
def test_what_is_told_of_a_job(state, reason, told):
    found = submission.trouble(job(state, reason))
    assert found is None if told is None else told in found and "job 7" in found


def test_jobs_that_live_here_keep_others_from_being_submitted():
    assert submission.alive([job("COMPLETED"), job("CANCELLED"), job("RUNNING", folder="/there")], "/here") == []
    (told,) = submission.alive([job("COMPLETING")], "/here")
    assert "scancel 7" in told and "7 completing: rule_execute_run" in told
