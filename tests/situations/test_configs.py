"""Configs as other people write them."""

import shlex

import pytest
from conftest import ROOT, called, snakemake
from test_plan import CONFIG, changed

from crayfish.spec import config, dependencies, plan
from crayfish.spec.errors import CrayfishError

DEADLINE_S = 120.0
HOSTILE = [
    "r;id",
    "$(id)",
    "`id`",
    "a&b",
    "a|b",
    "a<b",
    "a>b",
    "it's",
    'say "x"',
    "{a,b}",
    "a b",
    "-rf",
    "a\nb",
    "*",
    "#a",
]


@pytest.mark.parametrize("number", [3, 3.0, "3", "3.0", "3e0", "0.3e1"])
def test_numbers_are_what_people_write_as_numbers(number):
    given = config.parsed({"repetitions": number, "pilot": {"rate": number}, "run": {"partitions": number}})
    made = plan.make_plan({**CONFIG, **given})
    assert {each.repetitions for each in made.experiments.values()} == {3}
    assert all(isinstance(spec.partitions, int) for spec in made.runs.values())


def test_a_fraction_of_a_repetition_is_refused():
    with pytest.raises(CrayfishError, match=r"repetitions: 2\.5 is not a whole number"):
        plan.make_plan(changed(repetitions=2.5))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "key",
    [
        "results",
        "dataset",
        "jar_mirror",
        "draw",
        "processors",
        "run__codec",
        "cluster__kafka",
        "experiments__input_rate__load__kind",
        "figures__cost__kind",
    ],
)
def test_no_text_of_a_config_reaches_a_shell(key, text):
    value = {"draw": [text], "processors": [text], "cluster__kafka": f"{text}:9092"}.get(key, text)
    with pytest.raises(CrayfishError):
        plan.make_plan(changed(**{key: value}))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("block", ["experiments", "figures"])
def test_no_name_of_a_config_reaches_a_shell(block, text):
    with pytest.raises(CrayfishError):
        plan.make_plan(changed(**{block: {**CONFIG[block], text: next(iter(CONFIG[block].values()))}}))


@pytest.mark.parametrize("text", HOSTILE)
def test_paths_that_may_have_any_name_are_quoted(text):
    folder = dependencies.dataset_options("pins", {"dataset_folder": text})
    assert shlex.split(folder) == ["--pins", "pins", "--folder", text]
    weights = dependencies.weights_options({"file": text, "sha256": "0"})
    assert shlex.split(weights) == ["--weights", text, "--sha256", "0"]


def test_a_narrowing_that_leaves_nothing_is_refused_with_its_key(tmp_path):
    given = ("processors=[ray]", "draw=[latency_serving_kinds]", f"results={tmp_path}")
    done = snakemake("-n", "--directory", str(tmp_path), "--config", *given, deadline_s=DEADLINE_S)
    assert (
        done.returncode != 0 and "no run is left of the figures that are drawn, with processors: ['ray']" in done.stdout
    )
    assert "Traceback (most recent call last)" not in done.stdout
    table = f"{tmp_path}/tables/kafka_overhead.csv"
    done = snakemake(table, "-n", "--directory", str(tmp_path), "--config", *given[::2], deadline_s=DEADLINE_S)
    assert done.returncode != 0 and f"No rule to produce {table}" in done.stdout, done.stdout
    (told,) = (line for line in done.stdout.splitlines() if "no run is left of" in line)
    assert " kafka_overhead" in told and told.endswith("with processors: ['ray']")
    assert "Traceback" not in done.stdout


def test_a_config_that_is_not_there_is_told_with_those_that_are():
    done = called("make", "figures", "CONFIG=nosuch", cwd=ROOT, deadline_s=DEADLINE_S)
    assert done.returncode != 0 and "there is no config/nosuch.yaml; there are:" in done.stdout
    assert "laptop" in done.stdout and "Traceback" not in done.stdout
