"""Config -> runs: what comes out, and that what cannot run is refused with the key, the value and what is allowed."""

import copy
import dataclasses
import json
import math
import tempfile
from pathlib import Path

import pytest
import yaml
from model_files import stand_ins
from snakemake.utils import update_config

from crayfish.spec import config, dependencies, discovery, plan
from crayfish.spec.config import parsed
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, choices

FOLDER = Path(__file__).parents[1] / "config"
STAND_INS = tempfile.TemporaryDirectory(prefix="models-")
CONTROLS = ("config", "laptop", "debug", "small", "large")


def laid_over(*names: str) -> dict:
    """The config that Snakemake makes of some files of config/, each laid over those before it."""
    laid: dict = {}
    for name in ("experiments", "config", *names):
        update_config(laid, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    stand_ins(laid, Path(STAND_INS.name))
    return laid


CONFIG = laid_over()
ALL = list(config.expanded("processor", ["all"]))  # which a floor, such as a plain relay, is not among


def changed(**changes: object) -> dict:
    """The default config with some keys set: experiments__input_rate__load__rate=3."""
    config = copy.deepcopy(CONFIG)
    for path, value in changes.items():
        *parents, last = path.split("__")
        block = config
        for name in parents:
            block = block.setdefault(name, {})
        block[last] = value
    return config


def test_the_default_plan_holds_every_combination_once():
    made = plan.make_plan(CONFIG)
    block = CONFIG["experiments"]["scalability"]["vary"]
    varied, beside = [len(config.expanded(name, values)) for name, values in block.items()], 2  # A/A and floor
    assert len(made.experiments["scalability"].runs) == math.prod(varied) + beside
    assert len(made.jobs()) == len(set(made.jobs()))
    assert set(made.figures) == set(CONFIG["figures"]) > set(made.drawn) == set(CONFIG["draw"])


def test_repetitions_are_interleaved_and_what_sizes_others_comes_first():
    made = plan.make_plan(changed(repetitions=2))
    sizing = set(made.sized_by.values())
    jobs = made.jobs(["scalability", "bursty"])
    numbers = [number for run, number in jobs if run not in sizing]
    assert numbers == sorted(numbers) and set(numbers) == {1, 2}
    first_measured = next(index for index, (run, _) in enumerate(jobs) if run not in sizing)
    assert all(run in sizing for run, _ in jobs[:first_measured])
    assert [number for run, number in jobs if run in sizing] == [1] * first_measured


def test_each_round_has_a_random_order_of_its_own_from_the_seed():
    orders = []
    for seed in (1, 1, 2):
        made = plan.make_plan(changed(seed=seed, experiments__input_rate__repetitions=4))
        jobs = made.jobs(["input_rate"])
        orders += [[run.partition("_seed")[0] for run, number in jobs if number == each] for each in (1, 2, 3, 4)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders[:8])
    assert orders[:4] == orders[4:8] and orders[:4] != orders[8:]
    assert len({tuple(order) for order in orders[:4]}) > 1 and len({order[0] for order in orders[:4]}) > 1


def test_the_order_of_an_experiment_does_not_depend_on_what_else_is_wanted():
    made = plan.make_plan(CONFIG)
    alone = made.jobs(["input_rate"])
    assert [job for job in made.jobs(["input_rate", "scalability"]) if job in alone] == alone


def test_a_twin_shares_its_systems_pilot_and_needs_its_system():
    made = plan.make_plan(CONFIG)
    twins = [run for run in made.experiments["scalability"].runs if made.runs[run].twin]
    assert len(twins) == 1 and not any(made.runs[made.sized_by[run]].twin for run in twins)
    for run in twins:
        assert made.sized_by[run] == made.sized_by[dataclasses.replace(made.runs[run], twin=0).identifier]
    without = plan.make_plan(changed(experiments__scalability__vary__processor=["flink"]))
    assert not [run for run in without.experiments["scalability"].runs if without.runs[run].twin]


def test_what_stands_beside_is_laid_over_what_varies():
    block = {"vary": {"processor": ["flink", "ray"], "scorer": "onnx", "parallelism": [1, 2]}}
    block |= {"load": {"kind": "constant", "rate": 5}, "beside": {"processor": "relay", "scorer": "noop"}}
    made = plan.make_plan(changed(experiments={"words": block}, figures={}, draw=[]))
    specs = [made.runs[run] for run in made.experiments["words"].runs]
    assert [(spec.processor, spec.scorer, spec.parallelism) for spec in specs[4:]] == [
        ("relay", "noop", 1),
        ("relay", "noop", 2),
    ]


def test_a_list_in_the_load_makes_segments_of_one_run():
    made = plan.make_plan(changed(experiments__input_rate__load__rate=[10, 20, 30]))
    (run, *_) = made.experiments["input_rate"].runs
    assert [load.rate for load in made.runs[run].segments] == [10, 20, 30]


def test_narrowing_keeps_only_what_is_named():
    made = plan.make_plan(changed(processors=["flink"]))
    assert {spec.processor for spec in made.runs.values()} == {"flink"}


def test_a_backlog_with_a_rate_needs_no_pilot():
    made = plan.make_plan(changed(experiments__scalability__load__rate=1000))
    assert not made.sized_by.keys() & set(made.experiments["scalability"].runs)


def test_a_pilot_of_a_large_model_writes_no_more_than_a_disk_holds():
    made = plan.make_plan(CONFIG)
    for run in made.experiments["scalability_resnet50"].runs:
        (load,) = made.runs[made.sized_by[run]].segments
        assert load.rate * (load.warmup_s + load.measure_s) * 224 * 224 * 3 * 4 <= plan.PILOT_BYTES


def test_a_fraction_of_the_sustainable_rate_needs_the_search_of_the_same_system():
    made = plan.make_plan(CONFIG)
    for run in made.experiments["bursty"].runs:
        spec, search = made.runs[run], made.runs[made.sized_by[run]]
        assert spec.segments[0].rate == 0.7 and spec.segments[0].peak_rate == 1.1 and spec.relative
        assert search.searches and (search.processor, search.scorer) == (spec.processor, spec.scorer)
        assert search.identifier in made.experiments["sustainable_rate"].runs
    assert "0.7" in run and "of-sustainable" in run


def test_several_products_are_laid_together():
    vary = [
        {"processor": ["flink", "ray"], "scorer": ["onnx"]},
        {"processor": "flink", "scorer": ["dl4j", "onnx"], "parallelism": 1},
    ]
    made = plan.make_plan(changed(experiments__input_rate__vary=vary, experiments__input_rate__beside=[]))
    systems = [(made.runs[run].processor, made.runs[run].scorer) for run in made.experiments["input_rate"].runs]
    assert systems == [("flink", "onnx"), ("ray", "onnx"), ("flink", "dl4j")]


def test_several_loads_are_segments_one_after_the_other():
    loads = [{"kind": "constant", "rate": 9, "batch_size": [1, 2]}, {"kind": "poisson", "rate": 5}]
    made = plan.make_plan(changed(experiments__input_rate__load=loads))
    (run, *_) = made.experiments["input_rate"].runs
    described = [(load.kind, load.rate, load.batch_size) for load in made.runs[run].segments]
    assert described == [("constant", 9, 1), ("constant", 9, 2), ("poisson", 5, 1)]


def test_a_figure_of_which_nothing_is_left_is_not_drawn():
    made = plan.make_plan(changed(scorers=["dl4j"], figures__cost__where={"scorer": ["onnx"]}))
    assert "cost" not in made.figures and made.drawn == ("latency_serving_kinds",)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_controls_draw_what_they_promise(name):
    config = laid_over(name)
    made = plan.make_plan(config)
    hours = made.seconds(made.jobs(made.experiments_of(made.drawn))) / 3600
    systems = {spec.processor for spec in made.runs.values()}, {spec.scorer for spec in made.runs.values()}
    if name != "config":
        assert set(made.drawn) == set(config["figures"]) and config["results"] == f"results/{name}"
    if name not in ("config", "debug"):  # which name the systems that they run
        assert systems[0] == set(choices()["processor"]) and systems[1] >= set(choices()["scorer"]) - {"noop"}
    # Of the processors and scorers that there are: 45 minutes, 5 hours and 20 minutes of the 14 at first.
    parts = len(discovery.names("processors")) + len(discovery.names("scorers"))
    if name in (most := {"config": 0.75 / 14, "laptop": 5.0 / 14, "debug": 20 / 60 / 14}):
        assert hours <= most[name] * parts


def test_the_identifier_tells_every_field_that_is_not_the_default():
    load = {"kind": "constant", "rate": 10.0}
    base = RunSpec.from_dict({"processor": "flink", "scorer": "onnx", "segments": [load]})
    other = RunSpec.from_dict({**json.loads(base.to_json()), "parallelism": 2, "delivery": "exactly_once"})
    assert "parallelism-2" in other.identifier and "exactly_once" in other.identifier
    assert base.identifier == "flink-onnx-ffnn_constant10"
    assert RunSpec.from_dict(json.loads(other.to_json())) == other


def planned(*changes_of_vary: dict, **changes: object) -> plan.Plan:
    """The plan of one experiment, with some products of values and other changes of the config."""
    block = {"vary": list(changes_of_vary), "load": {"kind": "constant", "rate": 5}}
    return plan.make_plan(changed(experiments={"words": block}, figures={}, draw=[], **changes))


def systems_of(made: plan.Plan) -> list[tuple[str, str]]:
    return [(made.runs[run].processor, made.runs[run].scorer) for run in made.experiments["words"].runs]


def test_a_word_stands_for_all_that_is_there_and_what_is_named_comes_first():
    made = planned({"processor": "all", "scorer": ["triton", "external", "noop"]})
    external = [name for name in discovery.names("scorers") if discovery.scorer(name).external]
    scorers = ["triton", *(name for name in external if name != "triton"), "noop"]
    assert systems_of(made) == [(name, scorer) for name in ALL for scorer in scorers]
    assert not made.left_out


def test_what_a_part_refuses_is_left_out_and_named_where_a_word_stands_for_it():
    made = planned({"processor": "all", "scorer": "onnx", "transport": ["kafka", "in_engine"]})
    able = [name for name in ALL if "in_engine" in discovery.processor(name).transports]
    inside = [made.runs[run].processor for run in made.experiments["words"].runs if made.runs[run].transport != "kafka"]
    assert inside == able
    for name in set(ALL) - set(able):
        assert any("left out of words: 1 runs" in line and name in line for line in made.left_out_lines())


def test_what_the_config_names_itself_is_refused_beside_a_word_too():
    with pytest.raises(CrayfishError, match="kafka_streams does not offer 'in_engine'"):
        planned({"processor": ["kafka_streams", "all"], "scorer": "onnx", "transport": ["kafka", "in_engine"]})


def test_what_no_part_of_a_word_can_do_is_refused():
    with pytest.raises(CrayfishError, match="async_calls"):
        planned({"processor": "all", "scorer": "embedded", "async_calls": 4})
    with pytest.raises(CrayfishError, match="64 instances cannot share"):
        planned({"processor": "all", "scorer": "all", "parallelism": 64})


def test_a_narrowed_config_still_leaves_out_what_a_word_stands_for():
    vary = {"processor": "all", "scorer": "onnx", "transport": ["kafka", "in_engine"]}
    made = planned(vary, processors=["ray"])
    assert [made.runs[run].transport for run in made.experiments["words"].runs] == ["kafka"]


def test_words_narrow_and_filter_too():
    made = plan.make_plan(changed(scorers=["embedded"], figures__cost__where={"scorer": ["external"]}))
    assert not [spec for spec in made.runs.values() if discovery.scorer(spec.scorer).external]
    assert "cost" not in made.figures
    made = plan.make_plan(changed(figures__cost__where={"processor": ["all"]}))
    assert made.kept("cost") == {"processor": ALL}


def test_every_part_is_in_the_product_and_in_the_benchmark():
    for names in (("laptop", "product"), ("benchmark",), ("laptop",)):
        made = plan.make_plan(laid_over(*names))
        runs = made.runs.values()
        assert {spec.processor for spec in runs} == set(discovery.names("processors"))
        serving = {name for name in discovery.names("scorers") if discovery.scorer(name).format}
        assert {spec.scorer for spec in runs} >= serving
        if "product" in names:
            assert {spec.model for spec in runs if not spec.own} == set(discovery.names("models"))


def test_a_new_part_is_in_every_comparison_of_its_kind(monkeypatch):
    """As if the folder had one scorer and one processor more."""
    names = discovery.names
    parts = {"zz_scorer": ("scorers", "onnx"), "zz_processor": ("processors", "ray")}

    def more_names(room: str) -> tuple[str, ...]:
        return (*names(room), *(part for part, (where, _) in parts.items() if where == room))

    monkeypatch.setattr(discovery, "names", more_names)
    for kind, load in {"scorer": discovery.scorer, "processor": discovery.processor}.items():
        monkeypatch.setattr(discovery, kind, lambda name, load=load: load(parts.get(name, ("", name))[1]))
    assert "zz_scorer" in config.expanded("scorer", ["embedded"])
    assert "zz_processor" in config.expanded("processor", ["flink", "all"])


def test_equal_runs_of_two_experiments_are_one():
    config = changed()
    config["experiments"]["again"] = copy.deepcopy(config["experiments"]["input_rate"])
    config["experiments"]["again"]["repetitions"] = 5
    made = plan.make_plan(config)
    assert made.experiments["again"].runs == made.experiments["input_rate"].runs
    assert made.repetitions(made.experiments["again"].runs[0]) == 5


def test_nested_values_of_the_command_line_are_parsed():
    given = {"a": {"b": "4", "c": ["1.5", "x", "null", "true"]}, "d": "host:9092"}
    assert parsed(given) == {"a": {"b": 4, "c": [1.5, "x", None, True]}, "d": "host:9092"}


def test_a_run_depends_on_every_module_that_it_imports_and_on_no_other():
    load = {"kind": "constant", "rate": 10.0}
    for scorer in ("onnx", "triton"):
        spec = RunSpec.from_dict({"processor": "ray", "scorer": scorer, "segments": [load]})
        inputs = {
            Path(path).relative_to("workflow/scripts/crayfish").as_posix() for path in dependencies.library_files(spec)
        }
        assert inputs >= {"harness/run.py", "harness/consumer.py", "harness/janitor.py", "processors/ray.py"}
        assert inputs >= {"engine/ray_node.py", "engine/scoring.py", "harness/loads/constant.py"}
        assert inputs >= {f"scorers/{scorer}.py", "models/ffnn.py"}
        assert ("engine/remote.py" in inputs) == ("servers/_triton_model.py" in inputs) == (scorer == "triton")
        assert not inputs & {"processors/flink/__init__.py", "plots.py", "metrics.py", "scorers/noop.py"}


REFUSED = [
    ({"procesors": ["flink"]}, ["procesors", "did you mean 'processors'"]),
    ({"processors": ["flnk"]}, ["processors", "'flnk'", "did you mean 'flink'", "kafka_streams"]),
    ({"processors": "flink"}, ["processors", "'flink'", "array"]),
    ({"dataset": "mnist"}, ["dataset", "'mnist'", "fashion_mnist", "synthetic"]),
    ({"repetitions": 0}, ["repetitions", "0"]),
    ({"repetitions": "three"}, ["repetitions", "'three'", "integer"]),
    ({"cluster": {"kafka": "nowhere"}}, ["cluster.kafka", "nowhere"]),
    ({"cluster": {"kafca": "a:1"}}, ["cluster.kafca", "did you mean 'kafka'", "spark://host:port"]),
    ({"cluster": {"kafka_streams": "a:1"}}, ["cluster.kafka_streams", "has no address", "flink"]),
    ({"cluster": {"onnx": "a:1"}}, ["cluster.onnx", "has no address", "torchserve"]),
    ({"cluster": {"flink": "a:1"}}, ["cluster.flink", "'a:1'", "give an address of kafka"]),
    ({"cluster": {"flink": "a:1", "kafka": "a:2"}}, ["cluster.flink", "give an address of torchserve"]),
    ({"run__partitons": 4}, ["run.partitons", "did you mean 'partitions'"]),
    ({"run__partitions": 0}, ["run.partitions", "0"]),
    ({"run__partitions": "8"}, ["run.partitions", "'8'", "whole number"]),
    ({"run__codec": "xml"}, ["run.codec", "'xml'", "binary"]),
    ({"run__model": "ffn"}, ["run.model", "'ffn'", "ffnn"]),
    ({"experiments__input_rate__vary__scorer": ["onyx"]}, ["scorer", "'onyx'", "did you mean 'onnx'"]),
    ({"experiments__input_rate__load__rates": [1]}, ["load.rates", "did you mean 'rate'"]),
    ({"experiments__input_rate__load__rate": -5}, ["load.rate", "-5"]),
    ({"experiments__input_rate__load__kind": "steady"}, ["load.kind", "'steady'", "constant"]),
    (
        {"experiments__input_rate__load__batch_size": 200, "run__model": "resnet50"},
        ["load.batch_size", "200", "resnet50", "at most 111"],
    ),
    ({"experiments__input_rate__load__batch_size": 0}, ["load.batch_size", "0"]),
    ({"experiments__scalability__vary__parallelism": [64]}, ["parallelism", "64", "partitions"]),
    ({"experiments__scalability__vary__parallelism": [1.5]}, ["parallelism", "1.5", "whole number"]),
    ({"draw": ["burts"]}, ["draw", "'burts'", "did you mean 'burst'"]),
    ({"figures__cost__where": {"scorer": ["onyx"]}}, ["figures.cost.where.scorer", "'onyx'", "did you mean 'onnx'"]),
    ({"figures__cost__where": {"scorers": ["onnx"]}}, ["figures.cost.where.scorers", "did you mean 'scorer'"]),
    ({"search__objektive_ms": 5}, ["objektive_ms", "did you mean 'objective_ms'"]),
    ({"experiments__input_rate__load__rate": {"fraction": 0.5}}, ["load.rate", "fraction: 0.7, of: sustainable"]),
    (
        {"experiments__input_rate__load__rate": {"fraction": 0.5, "of": "maximum"}},
        ["load.rate", "'maximum'", "sustainable"],
    ),
    ({"experiments__bursty__load__peak_rate": 100}, ["experiments.bursty.load", "both numbers, or both fractions"]),
    (
        {"experiments__input_rate__fix": {"transport": "in_engine"}},
        ["transport", "kafka_streams", "'in_engine'", "kafka"],
    ),
    (
        {"run__engine_batch": {"max": 8, "wait_ms": 1}, "experiments__input_rate__fix": {"scoring": "per_event"}},
        ["run.engine_batch_max: 8", "1 ms to wait", "'vectorised'"],
    ),
    (
        {"experiments__input_rate__fix": {"engine_batch": {"max": 1, "wait_ms": 1}}},
        ["run.engine_batch_wait_ms: 1", "engine_batch_max of 1"],
    ),
    ({"run__engine_batch": {"max": 10**6}}, ["run.engine_batch_max: 1000000", "64 MiB; at most"]),
    ({"run__engine_batch": {"wait": 1}}, ["run.engine_batch.wait", "wait_ms"]),
    (
        {"experiments__input_rate__fix": {"server_batch": {"max": 8}, "scorer": "onnx"}},
        ["run.server_batch_max: 8", "onnx calls no server"],
    ),
    ({"run__server_batch": {"delay_ms": 2}}, ["run.server_batch_delay_ms: 2", "server_batch_max of 1"]),
    ({"experiments__input_rate__vari": {}}, ["experiments.input_rate.vari", "unknown key"]),
    ({"figures__cost__experiment": "input"}, ["figures.cost.experiment", "'input'", "input_rate"]),
    ({"figures__cost__kind": "pie"}, ["figures.cost.kind", "'pie'", "latency_by_rate"]),
]


@pytest.mark.parametrize(
    ("changes", "told"), REFUSED, ids=lambda value: next(iter(value)) if isinstance(value, dict) else ""
)
def test_what_cannot_run_is_refused(changes, told):
    with pytest.raises(CrayfishError) as refused:
        plan.make_plan(changed(**changes))
    for text in told:
        assert text in str(refused.value)


def test_a_server_batch_that_callers_never_fill_is_refused():
    values = {"processor": "ray", "scorer": "triton", "segments": [{"kind": "constant", "rate": 1}], "parallelism": 2}
    for calls, most in ((0, 2), (8, 16)):
        RunSpec.from_dict({**values, "async_calls": calls, "server_batch_max": most})
        with pytest.raises(CrayfishError, match=rf"run.server_batch_max: {most + 1} .*at most {most}, run.parallelism"):
            RunSpec.from_dict({**values, "async_calls": calls, "server_batch_max": most + 1})


@pytest.mark.parametrize(("most", "meant"), [(64, 64), (None, 0)])
def test_batches_of_the_engine_are_written_as_one_mapping(most, meant):
    changes = {"max": most, **({"wait_ms": 1.5} if most else {})}
    made = plan.make_plan(changed(experiments__input_rate__fix={"engine_batch": changes}))
    for run in map(made.runs.get, made.experiments["input_rate"].runs):
        assert (run.scoring, run.engine_batch_max) == ("vectorised", meant)
        assert run.engine_batch_wait_ms == changes.get("wait_ms", 0)


def test_a_scorer_needs_a_format_that_the_model_has(monkeypatch):
    ffnn = dataclasses.replace(discovery.model("ffnn"), formats=("npz",))
    monkeypatch.setattr(discovery, "model", lambda name: ffnn)
    with pytest.raises(CrayfishError, match="onnx reads onnx, and ffnn is made in: npz"):
        plan.make_plan(CONFIG)
