"""Every option of the original's scripts has its row in docs/original.md, and it plans the runs that are meant."""

import functools
import re
import shlex
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config
from test_plan import laid_over

from crayfish.spec import discovery, plan
from crayfish.spec.run_spec import RunSpec, choices

ORIGINAL = (Path(__file__).parents[1] / "docs" / "original.md").read_text()
ROWS = dict(re.findall(r"^\| ([^|`]+?) \| `(.+)` \|$", ORIGINAL.partition("<!-- run.sh -->")[2], re.MULTILINE))
MODELS, PROCESSORS, SCORERS = (set(choices()[name]) for name in ("model", "processor", "scorer"))
EXTERNAL = {name for name in SCORERS if discovery.scorer(name).external}
IBS = {"input_rate", "batch_size", "batch_size_large", "scalability"}


@functools.cache
def planned(arguments: str) -> tuple[dict, plan.Plan, set[str]]:
    """The config, the plan and the experiments of a line of Snakemake's arguments."""
    words, files, changes, targets = shlex.split(arguments), ["large", "product"], {}, []
    mode = None
    for word in words:
        if word.startswith("--"):
            mode = word
            files = [] if word == "--configfile" else files
        elif mode == "--configfile":
            files.append(Path(word).stem)
        elif mode == "--config":
            name, _, value = word.partition("=")
            update_config(changes, {name: yaml.safe_load(value)})
        elif mode is None:
            targets.append(Path(word))
    config = laid_over(*files)
    update_config(config, changes)
    made = plan.make_plan(config)
    assert all(str(target.parents[1]) == config["results"] for target in targets if target.suffix)
    named = {target.stem for target in targets if target.suffix}
    return config, made, named or set(made.experiments_of(made.drawn))


def runs_of(arguments: str) -> list[RunSpec]:
    """What is measured; runs that only size others are left out."""
    _, made, experiments = planned(arguments)
    return [made.runs[run] for name in experiments for run in made.experiments[name].runs]


# The options that processors, scorers and models declare: the row plans the runs of that part alone.
DECLARED = {
    f"run.sh {option}{letter}": {field: {name}}
    for field, option, part_of in (
        ("processor", "-sp ", discovery.processor),
        ("scorer", "", discovery.scorer),
        ("model", "-m ", discovery.model),
    )
    for name in choices()[field]
    if (letter := part_of(name).original)
}
EXPECTED = {
    **DECLARED,
    "run.sh": {"processor": PROCESSORS, "scorer": SCORERS, "model": MODELS},
    "run.sh -e a": {"processor": PROCESSORS, "scorer": SCORERS, "model": MODELS},
    "run.sh -e i": {"rate": {512, 2048, 4096}, "kind": {"constant"}, "parallelism": {1}},
    "run.sh -e b": {"batch_size": {8, 32, 128, 512}, "kind": {"constant"}},
    "run.sh -e s": {"parallelism": {1, 2, 4, 8, 16, 32}, "kind": {"backlog"}},
    "run.sh -e r": {"kind": {"bursty"}, "rate": {0.7}, "peak_rate": {1.1}, "burst_s": {30}, "between_s": {120}},
    "run.sh -ec s": {"rate": {128, 0.2, 256}, "batch_size": {1, 8}},
    "run.sh -ec l": {"rate": {512, 2048, 4096, 0.3333, 0.2, 30000}, "batch_size": {1, 8, 32, 128, 512}},
    "run.sh -ec d": {
        "processor": {name for name in PROCESSORS if (its := discovery.processor(name)).original or its.floor}
    },
    "run.sh -sp a": {"processor": PROCESSORS},
    "run.sh -m a": {"model": MODELS},
    "run.sh -msm x": {"scorer": EXTERNAL},
    "run.sh -msm a": {"scorer": {"onnx", "savedmodel", "dl4j"}},
    "run.sh -msx x": {"scorer": {name for name in SCORERS - EXTERNAL if discovery.scorer(name).format}},
    "run.sh -msx a": {"scorer": {"torchserve", "tf_serving"}},
    "Ray Serve": {"scorer": {"ray_serve"}},
    "run.sh -pm d": {"parallelism_model": {"data"}, "processor": {"flink"}},
    "run.sh -pm t": {"parallelism_model": {"task"}, "processor": {"flink"}, "partitions": {32}},
    "run.sh -em l": {"processor": PROCESSORS},
    "run.sh -em c": {"processor": PROCESSORS},
    "run.sh -d": {"processor": PROCESSORS},
    "run.sh -h": {"processor": PROCESSORS},
    "run-standalone.sh -em l -ec l": {
        "transport": {"kafka", "in_engine"},
        "processor": {"flink"},
        "rate": {0.3333, 30000},
    },
    "run-standalone.sh -em c": {"transport": {"kafka", "in_engine"}, "processor": {"flink"}, "rate": {0.3333}},
    "run-standalone.sh -ec s": {"transport": {"kafka", "in_engine"}, "processor": {"flink"}, "rate": {0.2}},
    "run-standalone.sh -ec d": {"transport": {"in_engine"}, "processor": {"flink"}},
    "start-daemon.sh -p dp": {"processor": PROCESSORS},
    "start-daemon.sh -p kp": {"processor": PROCESSORS, "transport": {"kafka"}},
    "start-daemon.sh -p es-tor": {"scorer": {"torchserve"}},
    "start-daemon.sh -p es-tfs": {"scorer": {"tf_serving"}},
    "start-daemon.sh -p es-rs": {"scorer": {"ray_serve"}},
    "start-daemon.sh -em l": {"processor": PROCESSORS},
    "start-daemon.sh -em c": {"processor": PROCESSORS},
}


def test_every_option_and_every_declared_letter_has_its_row():
    assert ROWS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("option", EXPECTED)
def test_an_option_plans_the_runs_that_it_means(option):
    runs = runs_of(ROWS[option])
    for name, expected in EXPECTED[option].items():
        if hasattr(runs[0], name):
            assert {getattr(run, name) for run in runs} == expected
        else:
            assert {getattr(load, name) for run in runs for load in run.segments} == expected


def test_the_default_is_all_but_the_bursts():
    assert planned(ROWS["run.sh"])[2] == planned(ROWS["run.sh -e a"])[2] == IBS


@pytest.mark.parametrize(("option", "repetitions"), [("run.sh -ec s", 2), ("run.sh -ec l", 2), ("run.sh -ec d", 1)])
def test_a_control_has_a_folder_and_repetitions_of_its_own(option, repetitions):
    config, made, experiments = planned(ROWS[option])
    assert {made.experiments[name].repetitions for name in experiments} == {repetitions}
    assert config["results"] == f"results/{ {'s': 'small', 'l': 'large', 'd': 'debug'}[option[-1]] }"


def test_a_cluster_uses_the_kafka_that_is_given():
    for script in ("run.sh", "run-standalone.sh", "start-daemon.sh"):
        assert planned(ROWS[f"{script} -em c"])[0].get("cluster") and "--profile slurm" in ROWS[f"{script} -em c"]
    for option in ("run.sh -em l", "run-standalone.sh -em l -ec l", "start-daemon.sh -em l"):
        assert not planned(ROWS[option])[0].get("cluster")
