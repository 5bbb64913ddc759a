"""Summaries to tables, tables to figures and captions: what stands in them, and that equal inputs give equal bytes."""

import json
import subprocess
import sys
from pathlib import Path

import docutils.core
import jinja2
import matplotlib
import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from generated_runs import folder_of, spec_of, write_run
from matplotlib.backends.backend_agg import FigureCanvasAgg

from crayfish.results import captions, digests, looks, plots, ranking, tabulation, variances
from crayfish.results import tables as read
from crayfish.results.summaries import summarise
from crayfish.spec import discovery, metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

SCRIPTS = ROOT / "workflow/scripts"
REPORT = SCRIPTS.parent / "report"
RATES = (100, 400)
SYSTEMS = {("flink", "onnx"): 5.0, ("kafka_streams", "onnx"): 2.0, ("kafka_streams", "tf_serving"): 8.0}
SUBSTITUTE = "tf_serving (in-repo server)"
WARNING = "segment 2: other processes used 0.51 cores while it was measured"
BURSTY = Segment("bursty", 50, warmup_s=3, measure_s=57, peak_rate=150, burst_s=4, between_s=15)
SATURATED = Segment("backlog", rate=500, warmup_s=1, measure_s=3)
# The experiment of the fixture that a kind of figure draws; any other kind draws the first that has its columns.
EXPERIMENT_OF = {
    "throughput_by_parallelism": "scalability",
    "maximum_throughput": "scalability",
    "latency_by_rate": "input_rate",
    "latency_over_time": "input_rate",
    "latency_distribution": "input_rate",
    "cost": "input_rate",
    "latency_by_batch_size": "kafka_overhead",
    "comparison": "kafka_overhead",
    "through_burst": "bursty",
    "sustainable_rate": "sustainable_rate",
    "batching": "batching",
}
KINDS = discovery.names("results/figures")
PARTS = {"means": "", "series": "_series", "curves": "_curves", "repetitions": "_repetitions"}


def run_script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)], check=True, timeout=120)


def runs_of_experiments() -> list[tuple[str, dict, dict]]:
    """(experiment, spec, what write_run is told), of one repetition each."""
    found = []
    for (processor, scorer), median_ms in SYSTEMS.items():
        loads = [Segment("constant", rate, warmup_s=3, measure_s=9) for rate in RATES]
        found.append(("input_rate", spec_of(processor, scorer, *loads), {"median_ms": median_ms}))
        if scorer == "onnx":
            found.append(("bursty", spec_of(processor, scorer, BURSTY), {"median_ms": median_ms, "capacity": 120.0}))
        rate = {"sustainable": 3000.0 / median_ms}
        found.append(
            ("sustainable_rate", spec_of(processor, scorer, Segment("constant", 60, warmup_s=1, measure_s=3)), rate)
        )
    for processor, parallelism in [("flink", 1), ("flink", 2), ("kafka_streams", 1), ("kafka_streams", 2)]:
        spec = spec_of(processor, "noop", SATURATED, parallelism=parallelism)
        found.append(("scalability", spec, {"capacity": 500 * parallelism**0.1}))
    for size, wait_ms in ((1, 0.0), (8, 0.0), (8, 5.0)):
        loads = [Segment("constant", rate, warmup_s=2, measure_s=6) for rate in RATES]
        in_engine = {"scoring": "vectorised", "engine_batch_max": size, "engine_batch_wait_ms": wait_ms}
        spec = {**spec_of("ray", "onnx", *loads), **in_engine}
        found.append(("batching", spec, {"median_ms": 3 + wait_ms - size / 8}))
        if size == 1 or wait_ms:
            in_server = {"async_calls": 8, "server_batch_max": size, "server_batch_delay_ms": wait_ms}
            spec = {**spec_of("ray", "triton", *loads), **in_server}
            found.append(("batching", spec, {"median_ms": 6 + wait_ms}))
    for transport, points in [(name, size) for name in ("kafka", "in_engine") for size in (32, 128)]:
        spec = spec_of("flink", "onnx", Segment("constant", 150, batch_size=points, warmup_s=2, measure_s=8))
        median_ms = 10.0 if transport == "kafka" or points == 128 else 4.0
        found.append(("kafka_overhead", {**spec, "transport": transport}, {"median_ms": median_ms}))
    return found


@pytest.fixture(scope="module")
def summaries(tmp_path_factory):
    """summary.json files of every experiment: three repetitions of each run."""
    root, found = tmp_path_factory.mktemp("runs"), {}
    random = np.random.default_rng(1)
    for experiment, spec, how in runs_of_experiments():
        for repetition in (1, 2, 3):
            told = {
                name: value * random.normal(1, 0.001 if name == "capacity" else 0.02) for name, value in how.items()
            }
            told |= {"substitutes": (SUBSTITUTE,)} if spec["scorer"] == "tf_serving" else {}
            if (experiment, spec["processor"], repetition) == ("input_rate", "flink", 2):
                told["warnings"] = (WARNING,)
            folder = folder_of(root / experiment, spec, repetition)
            write_run(folder, spec, seed=int(random.integers(1e9)), **told)
            (folder / "summary.json").write_text(json.dumps(summarise(folder)))
            found.setdefault(experiment, []).append(folder / "summary.json")
    return found


@pytest.fixture(scope="module")
def tables(summaries, tmp_path_factory):
    """Every experiment's tables, as the rules name them."""
    folder = tmp_path_factory.mktemp("tables")
    for name, files in summaries.items():
        read = [json.loads(file.read_text()) for file in files]
        for part, suffix in PARTS.items():
            tabulation.tabulate(name, read, part).write_csv(folder / f"{name}{suffix}.csv")
    every = [file for name in ("input_rate", "scalability") for file in summaries[name]]
    run_script(
        "tabulate", "--experiment", "runs", "--part", "runs", "--summaries", *every, "--out", folder / "runs.csv"
    )
    return folder


def table_of(kind: str, tables: Path) -> pl.DataFrame:
    """A table that a kind of figure can draw."""
    declared = discovery.figure_kind(kind)
    suffix = "" if declared.part == "means" else f"_{declared.part}"
    for experiment in [EXPERIMENT_OF[kind]] if kind in EXPERIMENT_OF else dict.fromkeys(EXPERIMENT_OF.values()):
        table = read.read_table(tables / f"{experiment}{suffix}.csv")
        filled = [name for name in table.columns if table[name].null_count() < len(table)]
        if {*declared.axes} <= {*table.columns} and (not declared.metrics or {*declared.metrics} & {*filled}):
            return table
    pytest.fail(f"no table here has what {kind} draws: name an experiment in EXPERIMENT_OF")


@pytest.fixture(scope="module")
def repetitions(tables):
    """The repetitions of all experiments, by which the figures rank."""
    every = [read.read_table(file) for file in sorted(tables.glob("*_repetitions.csv"))]
    RANKED_FROM[:] = [pl.concat(every, how="diagonal_relaxed")]


@pytest.fixture(autouse=True)
def ranked(repetitions):
    """Every figure and caption here has the repetitions."""


RANKED_FROM: list[pl.DataFrame] = []


def ranks_of(kind: str, table: pl.DataFrame):
    return lambda metric: ranking.rank(table, RANKED_FROM[0], discovery.figure_kind(kind).axes, metric)


def draw(kind: str, table: pl.DataFrame):
    """The figure that plot.py makes of a table, and the rows that it shows."""
    module = discovery.figure_kind(kind)
    table = module.select(table)
    with matplotlib.rc_context(plots.STYLE):
        return module.draw(table, *([ranks_of(kind, table)] if module.ranked else [])), table


def legend_of(figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def systems_of(figure) -> list[str]:
    """The legend without the ring of a warning, which a trend by chance adds to generated runs."""
    return [name for name in legend_of(figure) if name != "a warning, see caption"]


def caption(kind: str, table: pl.DataFrame) -> str:
    return captions.caption(discovery.figure_kind(kind), table, ranks_of(kind, table))


def intervals_of(kind: str) -> str:
    """What the caption of a figure of this kind says of its intervals."""
    shrunk = "variances shrunk towards the mean of those under the same load"
    own = shrunk if discovery.figure_kind(kind).part == "means" else "each alone"
    return f"95 % confidence intervals (Student's t on logarithms, {own})."


# --- tables --------------------------------------------------------------------------------------------------------


def test_a_row_is_the_mean_and_interval_of_its_repetitions(tables, summaries):
    table = read.read_table(tables / "input_rate.csv")
    assert len(table) == len(SYSTEMS) * len(RATES)
    assert table["repetitions"].to_list() == [3] * len(table)
    row = table.row(by_predicate=(pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400), named=True)
    systems: dict[str, list[dict]] = {}
    for file in summaries["input_rate"]:
        systems.setdefault(file.parent.parent.name, []).append(json.loads(file.read_text()))
    p99 = {
        name: [run["segments"][1]["latency_ms"]["received_minus_due"]["p99"] for run in runs]
        for name, runs in systems.items()
    }
    shared = dict(zip(p99, variances.intervals(list(p99.values())), strict=True))
    (name,) = (name for name in systems if name.startswith("flink"))
    interval, runs = shared[name], systems[name]
    assert interval != metrics.log_interval(p99[name])
    assert row["latency_p99_ms"] == pytest.approx(interval.mean, rel=1e-5)
    assert row["latency_p99_ms_low"] == pytest.approx(interval.low, rel=1e-5)
    assert row["latency_p99_ms_high"] == pytest.approx(interval.high, rel=1e-5)
    assert row["sent_events"] == sum(run["segments"][1]["events"] for run in runs)
    assert (row["lost_events"], row["duplicated_events"], row["wrong_events"]) == (0, 0, 0)
    assert row["cpu_processor_us_per_event"] == pytest.approx(40, rel=0.02)
    assert (row["memory_processor_mib"], row["peak_memory_processor_mib"]) == (512, 600)
    assert row["machine_speed"] == 1 and row["cpu_reference_us_per_event"] == row["cpu_us_per_event"]
    assert row["warnings"] == "other processes used 0.51 cores while it was measured"


def test_what_the_events_cannot_support_is_empty(tables):
    table = read.read_table(tables / "input_rate.csv").filter(pl.col("rate_events_per_s") == 100)
    assert table["latency_p99_9_ms"].null_count() == table["latency_p99_ms"].null_count() == len(table)  # 900 events
    assert table["latency_p95_ms"].null_count() == 0
    saturated = read.read_table(tables / "scalability.csv")
    assert saturated["latency_p50_ms"].null_count() == saturated["rate_events_per_s"].null_count() == len(saturated)


def test_columns_stand_in_their_order(tables):
    names = read.read_table(tables / "input_rate.csv").columns
    assert names[:5] == ["experiment", "processor", "scorer", "model", "parallelism"]
    assert names.index("segment") + 1 == names.index("repetitions")
    assert names[-4:] == ["warnings", "substitutes", "machine", "run"]


def test_each_run_has_a_row_a_segment_with_its_accounting(tables):
    table = read.read_table(tables / "runs.csv")
    assert len(table) == 3 * (len(SYSTEMS) * len(RATES) + 4)  # of input_rate and of scalability
    assert (table["sent_events"] == table["distinct_events"] + table["lost_events"]).all()
    assert table["repetition"].unique().sort().to_list() == [1, 2, 3]
    assert not [name for name in table.columns if name.endswith("_low")]
    assert table["round"].to_list() == table["repetition"].to_list()
    assert not table["position"].null_count()


def test_a_position_is_that_of_a_run_among_those_of_its_round(summaries):
    each = [json.loads(file.read_text()) for file in summaries["input_rate"]]
    for place, summary in enumerate(each):
        summary["started_ns"] = 1000 - place
    table = tabulation.tabulate("input_rate", each, "repetitions")
    first = each[0]["run"]
    assert set(table.filter(pl.col("run") == first)["position"]) == {len(SYSTEMS)}
    assert sorted(set(table["position"])) == list(range(1, len(SYSTEMS) + 1))
    del each[0]["started_ns"]  # of a summary of an earlier version
    assert tabulation.tabulate("input_rate", each, "repetitions")["position"].null_count() == len(RATES)


def test_a_table_does_not_depend_on_the_order_of_its_summaries(tables, summaries, tmp_path):
    files = summaries["input_rate"][::-1]
    run_script("tabulate", "--experiment", "input_rate", "--summaries", *files, "--out", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tables / "input_rate.csv").read_bytes()


def test_a_repetition_given_twice_is_refused(summaries):
    summary = json.loads(summaries["input_rate"][0].read_text())
    with pytest.raises(CrayfishError, match="given twice"):
        tabulation.tabulate("input_rate", [summary, summary], "means")


def test_a_second_is_the_mean_and_interval_of_its_repetitions(tables, summaries):
    table = read.read_table(tables / "input_rate_series.csv")
    assert len(table) == len(SYSTEMS) * len(RATES) * 12
    of_flink = (pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400)
    row = table.row(by_predicate=of_flink & (pl.col("second") == 7), named=True)
    runs = [json.loads(file.read_text()) for file in summaries["input_rate"] if "flink" in str(file)]
    interval = metrics.log_interval([run["segments"][1]["series"]["p50_ms"][7] for run in runs])
    assert (row["latency_p50_ms"], row["latency_p50_ms_low"]) == pytest.approx(interval[:2], rel=1e-5)
    assert (row["due_events_per_s"], row["repetitions"]) == (400, 3)
    assert row["latency_p99_ms"] is None  # 400 events
    assert row["appended_events_per_s"] == pytest.approx(400, abs=10)


def test_a_burst_is_told_with_the_recovery_of_those_that_recovered(summaries):
    read = [json.loads(file.read_text()) for file in summaries["bursty"] if "flink" in str(file)]
    expected = metrics.t_interval([run["segments"][0]["recovery_s"][0] for run in read[1:]])
    read[0]["segments"][0]["recovery_s"][0] = None
    table = tabulation.tabulate("bursty", read, "series")
    assert table["burst"].to_list() == [None] * 18 + [1] * 19 + [2] * 19 + [3] * 4
    first = table.row(20, named=True)
    assert (first["burst_start_s"], first["burst_end_s"], first["recovered_repetitions"]) == (18, 22, 2)
    assert (first["recovery_s"], first["recovery_s_high"]) == pytest.approx((expected.mean, expected.high), rel=1e-5)


def test_a_curve_ends_where_its_smallest_repetition_ends(tables, summaries):
    table = read.read_table(tables / "input_rate_curves.csv")
    flink = table.filter((pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400))
    assert flink["quantile"].max() == pytest.approx(1 - 10 / 3600, abs=1e-3)
    assert (flink["latency_ms"].diff().drop_nulls() >= 0).all()
    means = read.read_table(tables / "input_rate.csv")
    row = means.row(by_predicate=(pl.col("run") == flink["run"][0]) & (pl.col("segment") == 2), named=True)
    for quantile, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99")):
        at = flink.row(by_predicate=(pl.col("quantile") - quantile).abs() < 1e-9, named=True)
        assert at["latency_ms"] == pytest.approx(row[f"latency_{name}_ms"], rel=0.01)
        assert at["latency_ms_low"] == pytest.approx(row[f"latency_{name}_ms_low"], rel=0.03)


def test_a_backlog_has_neither_series_nor_curves(tables):
    for part in ("series", "curves"):
        table = pl.read_csv(tables / f"scalability_{part}.csv")
        assert len(table) == 0 and "processor" in table.columns


def test_a_search_gives_a_sustainable_rate_and_no_rate(tables):
    table = read.read_table(tables / "sustainable_rate.csv")
    assert table["rate_events_per_s"].null_count() == len(table) == len(SYSTEMS)
    row = table.row(by_predicate=pl.col("processor") == "flink", named=True)
    assert row["sustainable_events_per_s_low"] < row["sustainable_events_per_s"] == pytest.approx(600, rel=0.05)


def test_cost_is_what_is_under_test_and_a_run_without_kafka_has_no_broker(tables):
    table = read.read_table(tables / "kafka_overhead.csv")
    assert {"cpu_broker_us_per_event", "peak_memory_broker_mib"} <= set(table.columns)
    for row in table.iter_rows(named=True):
        assert (row["cpu_broker_us_per_event"] is None) == (row["transport"] == "in_engine")
        assert row["cpu_us_per_event"] == pytest.approx(60 if row["transport"] == "kafka" else 40, rel=0.02)


def test_rates_that_repetitions_found_out_are_their_mean(summaries):
    read = [json.loads(file.read_text()) for file in summaries["bursty"] if "flink" in str(file)]
    for run, rate in zip(read, (50, 60, 70), strict=True):
        run["segments"][0]["load"] |= {"rate": rate, "of": "sustainable"}
    (row,) = tabulation.tabulate("bursty", read, "means").rows(named=True)
    assert (row["rate_events_per_s"], row["rates_of"], row["repetitions"]) == (60, "sustainable", 3)


# --- digests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part", "rows"),
    [
        ("sustained_throughput", "", 4 + len(SYSTEMS)),
        ("latency_percentiles", "", 2 * len(SYSTEMS) + 4 + 2 + len(SYSTEMS)),
        ("recovery_times", "_series", 2 * 3),
        ("accounting", "", 4 + 2 * len(SYSTEMS) + 4 + 2 + len(SYSTEMS)),
    ],
)
def test_a_digest_holds_its_rows_of_every_experiment(name, part, rows, tables, summaries, tmp_path):
    files = [tables / f"{experiment}{part}.csv" for experiment in summaries if experiment != "batching"]
    run_script("digest", "--digest", name, "--tables", *files, "--out", tmp_path / "digest.csv")
    table = read.read_table(tmp_path / "digest.csv")
    assert len(table) == rows and len(table.columns) <= 27
    assert table.columns[:3] == ["experiment", "processor", "scorer"] and table.columns[-2:] == ["warnings", "run"]
    assert set(table["scorer"]) <= {"onnx", "noop", SUBSTITUTE}
    if name == "accounting":
        assert (table["sent_events"] == table["distinct_events"] + table["lost_events"]).all()
    else:
        figure = "recovery_s" if name == "recovery_times" else digests.METRICS[name][0]
        there = table.drop_nulls(figure)
        assert len(there) and (there[f"{figure}_low"] <= there[figure]).all()


def test_a_digest_names_what_is_not_the_default(tables):
    table = read.read_table(tables / "scalability.csv").with_columns(scoring=pl.lit("vectorised"), linger_ms=1)
    found = digests.digest("sustained_throughput", [table])
    assert found["otherwise"].unique().to_list() == ["scoring vectorised, linger_ms 1"]
    assert digests.digest("recovery_times", [table]).is_empty()


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_drawn_and_equal_tables_give_equal_bytes(kind, tables, tmp_path):
    written = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        figure, table = draw(kind, table_of(kind, tables))
        for suffix in (".svg", *([".pdf", ".png"] if kind == "cost" else [])):  # as one kind is written, so are all
            plots.save(figure, folder / f"figure{suffix}")
        written.append([file.read_bytes() for file in sorted(folder.iterdir())])
        text = caption(kind, table)
    assert written[0] == written[1] and min(map(len, written[0])) > 2000
    for part in (
        "**",
        "of 3 repetitions",
        intervals_of(kind),
        "Held fixed: ",
        "Machine: 2 cores of Example",
    ):
        assert part in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_has_words_for_columns_and_fields(kind, tables):
    table = table_of(kind, tables)
    text = caption(kind, table)
    assert [name for name in table.columns if "_" in name and name in text] == []


# A kind, and the one whose table it draws: that of batches has the longest names.
@pytest.mark.parametrize(("kind", "of"), [*((kind, kind) for kind in KINDS), ("maximum_throughput", "batching")])
def test_nothing_in_a_figure_is_cut_off_or_covers_another(kind, of, tables):
    figure, _ = draw(kind, table_of(of, tables))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, edge = canvas.get_renderer(), figure.bbox
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes._left_title if axes._left_title.get_text() else axes.title for axes in shown]
    boxes = [title.get_window_extent(renderer) for title in titles if title.get_text()]
    assert not any(box.overlaps(other) for number, box in enumerate(boxes) for other in boxes[:number])
    labels = [label for axes in shown for label in (*axes.get_yticklabels(), axes.yaxis.label, *axes.texts)]
    boxes += [label.get_window_extent(renderer) for label in labels if label.get_visible() and label.get_text()]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    assert all(box.x0 >= -1 and box.x1 <= edge.x1 + 1 for box in boxes)


def test_batches_of_a_slow_model_are_drawn_by_the_percentile_that_all_runs_have(tables):
    table = table_of("batching", tables).with_columns(latency_p99_ms=pl.lit(None, pl.Float64))
    figure, _ = draw("batching", table)
    assert figure.axes[0].get_ylabel().startswith("95th percentile of latency")
    assert any(len(line.get_xdata()) for line in figure.axes[0].get_lines())


def test_the_script_draws_the_part_that_its_kind_names_of_the_rows_that_are_kept(tables, tmp_path):
    options = ["--kind", "latency_over_time", "--caption", tmp_path / "figure.rst", "--out", tmp_path / "figure.svg"]
    options += ["--means", tables / "input_rate.csv", "--series", tables / "input_rate_series.csv"]
    run_script("plot", *options, "--where", json.dumps({"scorer": ["onnx"], "rate_events_per_s": [400]}))
    text = (tmp_path / "figure.rst").read_text()
    assert text.startswith("**Latency over time.**") and (tmp_path / "figure.svg").stat().st_size > 2000
    assert "Held fixed: scorer ONNX Runtime" in text and "input rate 400 events/s" in text and SUBSTITUTE not in text


def test_a_table_without_rows_is_read_and_tells_of_no_recovery(tables, tmp_path):
    """As the series of runs that are over within a second."""
    header = (tables / "input_rate_series.csv").read_text().partition("\n")[0]
    (tmp_path / "input_rate_series.csv").write_text(header + "\n")
    out = tmp_path / "recovery_times.csv"
    options = ["--digest", "recovery_times", "--tables", tmp_path / "input_rate_series.csv", "--out", out]
    run_script("digest", *options)
    assert len(out.read_text().splitlines()) == 1


def test_a_script_without_its_part_of_the_table_says_so(tables, tmp_path):
    command = [sys.executable, SCRIPTS / "plot.py", "--kind", "latency_over_time", "--means", tables / "input_rate.csv"]
    done = subprocess.run([*command, "--out", tmp_path / "figure.svg"], capture_output=True, text=True)
    assert done.returncode == 1 and "--series: latency_over_time draws this part" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_keeps_rows_and_refuses_what_is_not_there(tables):
    table = read.read_table(tables / "input_rate.csv")
    kept = read.filtered(table, {"processor": ["flink", "spark"], "rate_events_per_s": [400]})
    assert kept.select("processor", "rate_events_per_s").rows() == [("flink", 400.0)]
    with pytest.raises(CrayfishError, match="no column 'procesor'; allowed: processor, scorer"):
        read.filtered(table, {"procesor": ["flink"]})
    with pytest.raises(CrayfishError, match=r"no row has a processor of .*'spark'.*'flink', 'kafka_streams'"):
        read.filtered(table, {"processor": ["spark"]})


def test_latency_shows_every_rate_system_interval_warning_and_substitute(tables):
    figure, table = draw("latency_by_rate", table_of("latency_by_rate", tables))
    assert [axes.get_title() for axes in figure.axes] == ["100 events/s", "400 events/s"]
    assert legend_of(figure) == [
        "Flink, ONNX Runtime",
        "Kafka Streams, ONNX Runtime",
        "Kafka Streams, TensorFlow Serving (in-repo server)",
        "a warning, see caption",
    ]
    assert figure.legends[0].get_title().get_text() == ""  # the system's name tells it
    for axes in figure.axes:
        assert len(axes.containers) == 2 * len(SYSTEMS)  # a system's percentiles, and its maximum
        assert axes.get_yscale() == "log"
    rings = [
        line for axes in figure.axes for line in axes.lines if line.get_markersize() == 10 and len(line.get_xdata())
    ]
    assert {line.axes.get_title() for line in rings} == {"400 events/s"}
    assert read.notes(table) == [SUBSTITUTE]


def test_throughput_starts_at_zero_and_shows_every_parallelism(tables):
    figure, _ = draw("throughput_by_parallelism", table_of("throughput_by_parallelism", tables))
    (axes,) = figure.axes
    assert axes.get_ylim()[0] == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    assert [len(container[0].get_xdata()) for container in axes.containers] == [2, 2]


def test_the_maximum_is_each_system_s_highest_row_highest_first(tables):
    table = read.read_table(tables / "scalability.csv")
    slower = pl.when(pl.col("processor") == "flink").then(1 / pl.col("parallelism")).otherwise(2)
    faked = {f"throughput_events_per_s{end}": 500 * slower for end in ("", "_low", "_high")}
    figure, shown = draw("maximum_throughput", table.with_columns(**faked))
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split(",")[0] for label in labels] == ["Kafka Streams", "Flink"]
    assert [container[0].get_xdata()[0] for container in axes.containers] == [1000, 500]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first at the top
    texts = [text.get_text().split("  ")[0] for text in axes.texts]
    assert texts == ["1\u202f000", "500", "not told apart"]  # by the repetitions, which nobody faked
    assert shown.filter(pl.col("processor") == "flink")["parallelism"].to_list() == [1]


def test_latency_by_batch_size_takes_the_mean_where_events_are_few(tables):
    table = table_of("latency_by_batch_size", tables)
    figure, _ = draw("latency_by_batch_size", table)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "median latency (ms)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["32", "128"]
    assert systems_of(figure) == ["Flink, ONNX Runtime (without Kafka)", "Flink, ONNX Runtime (with Kafka)"]
    few = table.with_columns(latency_p50_ms=pl.lit(None, pl.Float64))
    figure, _ = draw("latency_by_batch_size", few)
    assert figure.axes[0].get_ylabel() == "mean latency (ms)"
    assert figure.axes[0].containers[0][0].get_ydata() == pytest.approx(few["latency_mean_ms"][:2].to_list())


def test_latency_over_time_is_a_line_a_system_with_its_band_and_the_warm_up(tables):
    figure, _ = draw("latency_over_time", table_of("latency_over_time", tables))
    assert [axes.get_title() for axes in figure.axes] == [
        "100 events/s, ONNX Runtime",
        "100 events/s, TensorFlow Serving",
        "400 events/s, ONNX Runtime",
        "400 events/s, TensorFlow Serving",
    ]
    lines = [line for line in figure.axes[2].lines if len(line.get_xdata()) > 1]
    assert [len(line.get_xdata()) for line in lines] == [12, 12]
    assert np.median(lines[0].get_ydata()) == pytest.approx(5.3, rel=0.1)
    assert len(figure.axes[2].collections) == 2  # bands
    assert figure.axes[2].patches[0].get_width() == 3  # the warm-up


def test_a_distribution_goes_down_to_the_last_ten_events(tables):
    figure, table = draw("latency_distribution", table_of("latency_distribution", tables))
    few, many = figure.axes
    assert few.get_xscale() == few.get_yscale() == "log"
    assert [label.get_text() for label in few.get_yticklabels()] == ["0", "50", "90", "99"]
    lines = [line for line in many.lines if len(line.get_xdata()) > 1]
    assert len(lines) == len(SYSTEMS)
    assert lines[0].get_ydata().min() == pytest.approx(10 / 3600, rel=0.3)
    flink = table.filter((pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400))
    assert lines[0].get_xdata() == pytest.approx(flink["latency_ms"].to_numpy())
    marked = lines[0].get_ydata()[lines[0].get_markevery()]
    assert marked == pytest.approx([0.5, 0.1, 0.01])


def test_bursts_from_which_nothing_recovered_are_drawn_and_told(tables):
    table = table_of("through_burst", tables)
    never = [pl.lit(None, pl.Float64).alias(f"recovery_s{end}") for end in ("", "_low", "_high")]
    table = table.with_columns(*never, recovered_repetitions=pl.when(pl.col("burst").is_not_null()).then(0))
    figure, _ = draw("through_burst", table)
    assert "not recovered" in legend_of(figure)
    assert "Ranking" not in caption("through_burst", table)


def test_bursts_are_shaded_and_recovery_is_marked(tables):
    table = table_of("through_burst", tables)
    figure, _ = draw("through_burst", table)
    above, beside, below, _ = figure.axes
    assert [axes.get_title(loc="left") for axes in (above, beside)] == [
        "Flink, ONNX Runtime",
        "Kafka Streams, ONNX Runtime",
    ]
    for axes in (above, below):
        assert [(patch.get_x(), patch.get_width()) for patch in axes.patches] == [(18, 4), (37, 4), (56, 4)]
    flink = table.filter(pl.col("processor") == "flink")
    first = flink.drop_nulls("burst").row(0, named=True)
    triangle = above.containers[0][0]
    assert triangle.get_xdata()[0] == pytest.approx(first["burst_end_s"] + first["recovery_s"])
    due, appended = below.lines
    assert due.get_ydata().max() == 150 and appended.get_ydata().max() < 125  # the capacity is 120
    crosses = [line for line in above.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [60]  # nothing comes after the last burst
    assert {"burst", "recovered", "not recovered"} <= set(legend_of(figure))
    with pytest.raises(CrayfishError, match="must be bursty"):
        draw("through_burst", read.read_table(tables / "input_rate_series.csv"))


def test_sustainable_rates_are_sorted_and_need_a_search(tables):
    figure, _ = draw("sustainable_rate", table_of("sustainable_rate", tables))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "Kafka Streams, ONNX Runtime",
        "Flink, ONNX Runtime",
        "Kafka Streams, TensorFlow Serving (in-repo server)",
    ]
    assert figure._suptitle is None
    with pytest.raises(CrayfishError, match="no value of sustainable_events_per_s"):
        draw("sustainable_rate", read.read_table(tables / "input_rate.csv"))


def test_cost_is_stacked_by_stage_and_adds_up(tables):
    figure, table = draw("cost", table_of("cost", tables))
    assert legend_of(figure) == ["processor", "server", "broker", "a warning, see caption"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["100 events/s", "400 events/s"]
    bars = figure.axes[1].patches
    assert len(bars) == 3 * len(SYSTEMS)
    row = table.filter((pl.col("processor") == "flink") & (pl.col("rate_events_per_s") == 400)).row(0, named=True)
    flink = bars[:3]
    assert [bar.get_width() for bar in flink] == pytest.approx([0.04, 0, 0.02], rel=0.02)  # s a thousand predictions
    assert flink[2].get_x() + flink[2].get_width() == pytest.approx(row["cpu_us_per_event"] / 1000, rel=1e-4)
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in flink}) == 3
    without, _ = draw(
        "cost", read.filtered(read.read_table(tables / "kafka_overhead.csv"), {"transport": ["in_engine"]})
    )
    assert sum(bar.get_width() > 0 for axes in without.axes for bar in axes.patches) == 2  # the engine alone


def test_a_comparison_puts_pairs_on_rows_and_tells_the_ratio_of_those_that_part(tables):
    figure, _ = draw("comparison", table_of("comparison", tables))
    median, tail = figure.axes
    assert systems_of(figure) == ["with Kafka", "without Kafka"]
    assert [label.get_text() for label in median.get_yticklabels()] == [
        "Flink, ONNX Runtime, 32 data points per event",
        "Flink, ONNX Runtime, 128 data points per event",
    ]
    assert (median.get_xlabel(), tail.get_xlabel()) == ("median latency (ms)", "99th percentile of latency (ms)")
    assert len(median.containers) == 4
    told, untold = [text.get_text() for text in median.texts]
    assert float(told.partition("\u00d7")[0]) == pytest.approx(0.42, abs=0.03) and untold == "not told apart"
    text = caption("comparison", table_of("comparison", tables))
    assert (
        "data points per event 32: Flink, ONNX Runtime (without Kafka) ahead of Flink, ONNX Runtime (with Kafka) by 2."
        in text
    )
    untold = text[text.index("data points per event 128: not told apart: ") :]
    assert "Flink, ONNX Runtime (without Kafka)" in untold and "(a difference of 1." in untold


def test_a_comparison_of_backlogs_is_of_throughput(tables):
    table = read.read_table(tables / "scalability.csv")
    figure, _ = draw("comparison", table)  # narrowed to one way, it shows that one
    assert figure.legends == [] and [text.get_text() for text in figure.axes[0].texts] == [""] * 4
    half = [pl.col(f"throughput_events_per_s{end}") / 2 for end in ("", "_low", "_high")]
    other = table.with_columns(*half, codec=pl.lit("json"), run=pl.col("run") + "_json")
    slower = [
        pl.col("throughput_events_per_s") / 2,
        pl.lit("json").alias("codec"),
        (pl.col("run") + "_json").alias("run"),
    ]
    RANKED_FROM[0] = pl.concat([RANKED_FROM[0], RANKED_FROM[0].with_columns(slower)], how="diagonal_relaxed")
    figure, _ = draw("comparison", pl.concat([other, table]))
    assert figure.axes[0].get_xlabel() == "throughput (events/s)"
    assert legend_of(figure) == ["binary", "JSON"]
    assert [text.get_text()[:5] for text in figure.axes[0].texts] == ["0.50\u00d7"] * 4
    with pytest.raises(CrayfishError, match="several loads"):
        draw("comparison", pl.concat([other, table.with_columns(load=pl.lit("constant"))]))


def test_a_system_looks_the_same_in_every_figure(tables):
    rate, saturated = (read.read_table(tables / f"{name}.csv") for name in ("input_rate", "scalability"))
    by_rate = {system.label: system.looks() for system in looks.systems(rate, ("rate_events_per_s",))}
    both = {system.label: system.looks() for system in looks.systems(saturated, ("parallelism",))}
    flink, streams = by_rate["Flink, ONNX Runtime"], by_rate["Kafka Streams, ONNX Runtime"]
    assert flink["color"] == both["Flink, no-op"]["color"] != streams["color"]
    assert flink["linestyle"] != streams["linestyle"]
    assert flink["marker"] == streams["marker"] != both["Flink, no-op"]["marker"]
    alone = looks.systems(rate.filter(pl.col("processor") == "kafka_streams"), ("rate_events_per_s",))
    assert alone[0].looks() == streams


def test_a_variant_of_a_system_is_open_and_named(tables):
    table = read.read_table(tables / "scalability.csv")
    other = table.with_columns(scoring=pl.lit("vectorised"), run=pl.col("run") + "_vectorised")
    found = looks.systems(pl.concat([table, other]), ("parallelism",))
    assert [(system.label, system.looks()["markerfacecolor"] == "white") for system in found[:1] + found[2:3]] == [
        ("Flink, no-op (per event)", False),
        ("Flink, no-op (vectorised)", True),
    ]


def test_a_system_is_named_by_what_is_not_expected_of_it(tables):
    table = read.read_table(tables / "scalability.csv").filter(pl.col("processor") == "flink")
    fault = table.with_columns(delivery=pl.lit("exactly_once"), brokers=3, run=pl.col("run") + "_exactly_once")
    found = looks.systems(pl.concat([table, fault], how="vertical_relaxed"), ("parallelism",))
    assert [system.label for system in found] == ["Flink, no-op", "Flink, no-op (brokers 3, exactly once)"]


def test_a_table_of_the_wrong_load_is_refused(tables):
    with pytest.raises(CrayfishError, match="no value of latency_p50_ms"):
        draw("latency_by_rate", read.read_table(tables / "scalability.csv"))


# --- captions ------------------------------------------------------------------------------------------------------


def test_a_caption_warns_of_runs_on_different_hardware(tables):
    table = read.read_table(tables / "input_rate.csv")
    first, other = table["machine"][0], "64 cores of Another, 256 GiB"
    assert "do not compare" not in caption("latency_by_rate", table)
    for cells in ([other, *[first] * (len(table) - 1)], [f"{first}; {other}"] * len(table)):
        text = caption("latency_by_rate", table.with_columns(machine=pl.Series(cells)))
        assert "64 cores of Another, 256 GiB" in text and "Warning: runs on different hardware do not compare." in text


def test_a_caption_says_what_a_reader_must_know(tables):
    text = caption("latency_by_rate", read.read_table(tables / "input_rate.csv"))
    for part in [
        "means of 3 repetitions",
        intervals_of("latency_by_rate"),
        "Held fixed: model FFNN, parallelism 1",
        "codec binary",
        "Machine: 2 cores of Example CPU @ 2.20GHz, 24 GiB.",
        f"Substitutes: {SUBSTITUTE}.",
        "input rate 400 events/s: other processes used 0.51 cores",
    ]:
        assert part in text
    assert "Kafka Streams, ONNX Runtime ahead of Flink, ONNX Runtime by 2." in text  # medians of 2, 5 and 8 ms
    assert "not told apart" not in text


def test_a_caption_tells_whom_the_repetitions_do_not_tell_apart(tables):
    table = read.read_table(tables / "scalability.csv")
    alike = caption("throughput_by_parallelism", table)
    assert "parallelism 1: not told apart: " in alike and "parallelism 2: not told apart: " in alike
    single = table.with_columns(repetitions=1, throughput_events_per_s_low=None, throughput_events_per_s_high=None)
    assert "nothing is ranked" in caption("throughput_by_parallelism", single)


def test_synthetic_data_is_named(tables):
    table = read.read_table(tables / "scalability.csv").with_columns(dataset=pl.lit("synthetic"))
    assert read.notes(table) == ["synthetic data"]
    assert "Substitutes: synthetic data." in caption("throughput_by_parallelism", table)
    figure = draw("throughput_by_parallelism", table)[0]
    assert figure.legends[0].get_title().get_text() == "synthetic data"


def test_a_caption_reaches_the_report_through_its_template(tables, tmp_path, monkeypatch):
    table = read.read_table(tables / "input_rate.csv").with_columns(machine=pl.lit("a *strange_ `CPU|"))
    (tmp_path / "figure.rst").write_text(caption("latency_by_rate", table))
    monkeypatch.chdir(tmp_path)
    template = jinja2.Template((REPORT / "caption.rst").read_text())
    text = template.render(snakemake={"output": {"caption": "figure.rst"}})
    strict = {"report_level": 1, "halt_level": 1}
    page = docutils.core.publish_parts(text, writer="html", settings_overrides=strict)["body"]
    assert "<strong>Latency by rate.</strong>" in page
    assert "a *strange_ `CPU|" in page


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("latency_by_rate", "latency_p50_ms"), ("throughput_by_parallelism", "throughput_events_per_s")],
)
def test_an_interval_of_two_repetitions_does_not_squeeze_what_was_measured(kind, metric, tables):
    table = table_of(kind, tables)
    figure, shown = draw(kind, table.with_columns((pl.col(metric) * 1e6).alias(f"{metric}_high")))
    highest = max(shown[name].max() or 0 for name in shown.columns if f"{name}_high" in shown.columns)
    assert figure.axes[0].get_ylim()[1] <= 4 * highest
