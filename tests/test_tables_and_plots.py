"""Summaries to tables, tables to figures and captions: what stands in them, and that equal inputs give equal bytes."""

import json
import subprocess
import sys
from pathlib import Path

import docutils.core
import jinja2
import numpy as np
import polars as pl
import pytest
from generated_runs import folder_of, spec_of, write_run

import summarise_run
import tabulate
from crayfish import plots, statistics
from crayfish.errors import CrayfishError
from crayfish.run_spec import Load

SCRIPTS = Path(tabulate.__file__).parent
REPORT = SCRIPTS.parent / "report"
RATES = (100, 400)
SYSTEMS = {("flink", "onnx"): 5.0, ("kafka_streams", "onnx"): 2.0, ("kafka_streams", "tf_serving"): 8.0}
SUBSTITUTE = "tf_serving (in-repo server)"
WARNING = "segment 2: other processes used 0.51 cores while it was measured"


def run_script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)], check=True, timeout=120)


@pytest.fixture(scope="module")
def summaries(tmp_path_factory):
    """summary.json files of two experiments: three repetitions of three systems at two rates, and of two saturated."""
    root, found = tmp_path_factory.mktemp("runs"), {"input_rate": [], "scalability": []}
    random = np.random.default_rng(1)

    def keep(experiment, spec, repetition, **how):
        how |= {"substitutes": (SUBSTITUTE,)} if spec["scorer"] == "tf_serving" else {}
        folder = write_run(folder_of(root / experiment, spec, repetition), spec, seed=int(random.integers(1e9)), **how)
        (folder / "summary.json").write_text(json.dumps(summarise_run.summarise(folder)))
        found[experiment].append(folder / "summary.json")

    for (processor, scorer), median_ms in SYSTEMS.items():
        for repetition in (1, 2, 3):
            spec = spec_of(processor, scorer, *[Load("constant", rate, warmup_s=3, measure_s=9) for rate in RATES])
            warnings = (WARNING,) if (processor, repetition) == ("flink", 2) else ()
            keep("input_rate", spec, repetition, median_ms=median_ms * random.normal(1, 0.02), warnings=warnings)
    for processor, parallelism in [("flink", 1), ("flink", 2), ("kafka_streams", 1), ("kafka_streams", 2)]:
        for repetition in (1, 2, 3):
            load = Load("backlog", rate=500, warmup_s=1, measure_s=3)
            capacity = 500 * parallelism**0.1 * random.normal(1, 0.001)
            keep(
                "scalability", spec_of(processor, "noop", load, parallelism=parallelism), repetition, capacity=capacity
            )
    return found


@pytest.fixture(scope="module")
def tables(summaries, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name, files in summaries.items():
        run_script("tabulate", "--experiment", name, "--summaries", *files, "--out", folder / f"{name}.csv")
    every = [file for files in summaries.values() for file in files]
    run_script("tabulate", "--experiment", "runs", "--each-run", "--summaries", *every, "--out", folder / "runs.csv")
    return folder


KIND_OF = {"input_rate": "latency_by_rate", "scalability": "throughput_by_parallelism"}


# --- tables --------------------------------------------------------------------------------------------------------


def test_a_row_is_the_mean_and_interval_of_its_repetitions(tables, summaries):
    table = plots.read_table(tables / "input_rate.csv")
    assert len(table) == len(SYSTEMS) * len(RATES)
    assert table["repetitions"].to_list() == [3] * len(table)
    row = table.row(by_predicate=(pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400), named=True)
    runs = [json.loads(file.read_text()) for file in summaries["input_rate"] if "flink" in str(file)]
    p99 = [run["segments"][1]["latency_ms"]["received_minus_due"]["p99"] for run in runs]
    interval = statistics.t_interval(p99)
    assert row["latency_p99_ms"] == pytest.approx(interval.mean, rel=1e-5)
    assert row["latency_p99_ms_low"] == pytest.approx(interval.low, rel=1e-5)
    assert row["latency_p99_ms_high"] == pytest.approx(interval.high, rel=1e-5)
    assert row["sent_events"] == sum(run["segments"][1]["events"] for run in runs)
    assert (row["lost_events"], row["duplicated_events"], row["wrong_events"]) == (0, 0, 0)
    assert row["cpu_processor_us_per_event"] == pytest.approx(40, rel=0.02)
    assert row["peak_memory_processor_mib"] == 512
    assert row["warnings"] == "other processes used 0.51 cores while it was measured"


def test_what_the_events_cannot_support_is_empty(tables):
    table = plots.read_table(tables / "input_rate.csv").filter(pl.col("rate_events_per_s") == 100)
    assert table["latency_p99_9_ms"].null_count() == table["latency_p99_ms"].null_count() == len(table)  # 900 events
    assert table["latency_p95_ms"].null_count() == 0
    saturated = plots.read_table(tables / "scalability.csv")
    assert saturated["latency_p50_ms"].null_count() == saturated["rate_events_per_s"].null_count() == len(saturated)


def test_columns_stand_in_their_order(tables):
    names = plots.read_table(tables / "input_rate.csv").columns
    assert names[:5] == ["experiment", "processor", "scorer", "model", "parallelism"]
    assert names.index("segment") + 1 == names.index("repetitions")
    assert names[-4:] == ["warnings", "substitutes", "machine", "run"]


def test_each_run_has_a_row_a_segment_with_its_accounting(tables):
    table = plots.read_table(tables / "runs.csv")
    assert len(table) == 3 * (len(SYSTEMS) * len(RATES) + 4)
    assert (table["sent_events"] == table["distinct_events"] + table["lost_events"]).all()
    assert table["repetition"].unique().sort().to_list() == [1, 2, 3]
    assert not [name for name in table.columns if name.endswith("_low")]


def test_a_table_does_not_depend_on_the_order_of_its_summaries(tables, summaries, tmp_path):
    files = summaries["input_rate"][::-1]
    run_script("tabulate", "--experiment", "input_rate", "--summaries", *files, "--out", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tables / "input_rate.csv").read_bytes()


def test_a_repetition_given_twice_is_refused(summaries):
    summary = json.loads(summaries["input_rate"][0].read_text())
    with pytest.raises(CrayfishError, match="given twice"):
        tabulate.tabulate("input_rate", [summary, summary], each_run=False)


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", KIND_OF)
def test_figures_are_drawn_and_equal_tables_give_equal_bytes(experiment, tables, tmp_path):
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        files = [folder / f"figure{suffix}" for suffix in (".svg", ".pdf", ".png")]
        options = [
            "--kind",
            KIND_OF[experiment],
            "--table",
            tables / f"{experiment}.csv",
            "--caption",
            folder / "figure.rst",
        ]
        run_script("plot", *options, "--out", *files)
    for file in (tmp_path / "one").iterdir():
        assert file.stat().st_size > 500
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()


def drawn(experiment: str, tables: Path):
    table = plots.read_table(tables / f"{experiment}.csv")
    return plots.KINDS[KIND_OF[experiment]].draw(table), table


def test_latency_shows_every_rate_system_interval_warning_and_substitute(tables):
    figure, table = drawn("input_rate", tables)
    assert [axes.get_title() for axes in figure.axes] == ["100 events/s", "400 events/s"]
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        "Flink, ONNX Runtime",
        "Kafka Streams, ONNX Runtime",
        "Kafka Streams, TensorFlow Serving (in-repo server)",
        "a warning, see caption",
    ]
    assert legend.get_title().get_text() == SUBSTITUTE
    for axes in figure.axes:
        assert len(axes.containers) == 2 * len(SYSTEMS)  # a system's percentiles, and its maximum
        assert axes.get_yscale() == "log"
    rings = [
        line for axes in figure.axes for line in axes.lines if line.get_markersize() == 10 and len(line.get_xdata())
    ]
    assert {line.axes.get_title() for line in rings} == {"400 events/s"}
    assert plots.notes(table) == [SUBSTITUTE]


def test_throughput_starts_at_zero_and_shows_every_parallelism(tables):
    figure, _ = drawn("scalability", tables)
    (axes,) = figure.axes
    assert axes.get_ylim()[0] == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_a_system_looks_the_same_in_every_figure(tables):
    rate, saturated = (plots.read_table(tables / f"{name}.csv") for name in KIND_OF)
    looks = {system.label: system.looks() for system in plots.systems(rate, ("rate_events_per_s",))}
    both = {system.label: system.looks() for system in plots.systems(saturated, ("parallelism",))}
    flink, streams = looks["Flink, ONNX Runtime"], looks["Kafka Streams, ONNX Runtime"]
    assert flink["color"] == both["Flink, no-op"]["color"] != streams["color"]
    assert flink["linestyle"] != streams["linestyle"]
    assert flink["marker"] == streams["marker"] != both["Flink, no-op"]["marker"]
    alone = plots.systems(rate.filter(pl.col("processor") == "kafka_streams"), ("rate_events_per_s",))
    assert alone[0].looks() == streams


def test_a_variant_of_a_system_is_open_and_named(tables):
    table = plots.read_table(tables / "scalability.csv")
    other = table.with_columns(scoring=pl.lit("vectorised"), run=pl.col("run") + "_vectorised")
    found = plots.systems(pl.concat([table, other]), ("parallelism",))
    assert [(system.label, system.open) for system in found[:1] + found[2:3]] == [
        ("Flink, no-op (scoring per_event)", False),
        ("Flink, no-op (scoring vectorised)", True),
    ]


def test_a_table_of_the_wrong_load_is_refused(tables):
    with pytest.raises(CrayfishError, match="no value of latency_p50_ms"):
        plots.KINDS["latency_by_rate"].draw(plots.read_table(tables / "scalability.csv"))


# --- captions ------------------------------------------------------------------------------------------------------


def test_a_caption_says_what_a_reader_must_know(tables):
    text = plots.caption("latency_by_rate", plots.read_table(tables / "input_rate.csv"))
    for part in [
        "means of 3 repetitions",
        "Student's t 95 % intervals",
        "Held fixed: model FFNN, parallelism 1, codec binary",
        "Machine: 2 cores of Example CPU @ 2.20GHz, 24 GiB.",
        f"Substitutes: {SUBSTITUTE}.",
        "rate_events_per_s 400: other processes used 0.51 cores",
    ]:
        assert part in text
    assert "Not ranked" not in text  # medians of 2, 5 and 8 ms within 2 %


def test_a_caption_ranks_nothing_where_intervals_overlap_or_lack(tables):
    table = plots.read_table(tables / "scalability.csv")
    overlapping = plots.caption("throughput_by_parallelism", table)
    assert "overlap: Flink, no-op and Kafka Streams, no-op (parallelism 1, 2)." in overlapping
    single = table.with_columns(repetitions=1, throughput_events_per_s_low=None, throughput_events_per_s_high=None)
    assert "nothing is ranked" in plots.caption("throughput_by_parallelism", single)


def test_synthetic_data_is_named(tables):
    table = plots.read_table(tables / "scalability.csv").with_columns(dataset=pl.lit("synthetic"))
    assert plots.notes(table) == ["synthetic data"]
    assert "Substitutes: synthetic data." in plots.caption("throughput_by_parallelism", table)
    figure = plots.KINDS["throughput_by_parallelism"].draw(table)
    assert figure.legends[0].get_title().get_text() == "synthetic data"


def test_a_caption_reaches_the_report_through_its_template(tables, tmp_path, monkeypatch):
    table = plots.read_table(tables / "input_rate.csv").with_columns(machine=pl.lit("a *strange_ `CPU|"))
    (tmp_path / "figure.rst").write_text(plots.caption("latency_by_rate", table))
    monkeypatch.chdir(tmp_path)
    template = jinja2.Template((REPORT / "caption.rst").read_text())
    text = template.render(snakemake={"output": {"caption": "figure.rst"}})
    strict = {"report_level": 1, "halt_level": 1}
    page = docutils.core.publish_parts(text, writer="html", settings_overrides=strict)["body"]
    assert "<strong>Latency by rate.</strong>" in page
    assert "a *strange_ `CPU|" in page
