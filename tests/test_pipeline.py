"""The pipeline as a user runs it, on real parts: plans, figures, report, and what runs again after a change."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import called, edited, offline, snakemake
from test_plan import laid_over

from crayfish.spec import paths

FIGURES = ("latency_by_rate", "scalability", "burst", "kafka_overhead")


def planned(output: str) -> dict[str, int]:
    """Rule -> number of jobs, of a dry run's table."""
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", output, re.MULTILINE)}


def dry_run(checkout: Path, *arguments: str) -> dict[str, int]:
    done = snakemake("-n", *arguments, "--configfile", "test.yaml", cwd=checkout)
    assert done.returncode == 0, done.stdout
    return planned(done.stdout)


@pytest.mark.parametrize("arguments", [["-n"], ["-n", "--profile", "slurm", "figures"], ["--rulegraph"]], ids=" ".join)
def test_it_plans(arguments, tmp_path):
    done = snakemake(*arguments, "--config", f"results={tmp_path}")  # those of the checkout may have been made
    assert done.returncode == 0, done.stdout
    assert "execute_run" in done.stdout and "plot" in done.stdout


def test_every_figure_plans_from_nothing(tmp_path):
    figures = laid_over()["figures"]
    done = snakemake("-n", *(f"{tmp_path}/figures/{name}.svg" for name in figures), "--config", f"results={tmp_path}")
    assert done.returncode == 0, done.stdout
    assert planned(done.stdout)["plot"] == len(figures)


def test_a_bad_config_is_refused_before_anything_starts(tmp_path):
    done = snakemake("figures", "--config", "processors=[flnk]", f"results={tmp_path}")
    assert done.returncode != 0
    assert "'flnk' is not known; did you mean 'flink'?" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Snakefile" not in done.stdout and ".smk" not in done.stdout, "where the sentence came from helps nobody"
    assert not list(tmp_path.iterdir())


def test_what_was_not_received_is_told_in_a_sentence(tmp_path):
    done = snakemake("-n", "figures", "--config", "measure=false", f"results={tmp_path}")
    assert done.returncode != 0 and f"error: {tmp_path} lacks " in done.stdout
    assert "Traceback" not in done.stdout and ".smk" not in done.stdout


def test_figures_tables_and_report_are_there(made):
    for name in FIGURES:
        for kind, magic in {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}.items():
            assert (made / f"figures/{name}.{kind}").read_bytes().startswith(magic)
        assert "Held fixed" in (made / f"figures/{name}.rst").read_text()
        assert name in (made / "report.html").read_text()
    header, *rows = (made / "tables/runs.csv").read_text().splitlines()
    # Systems (with a twin and the floor), segments and repetitions of input_rate, of scalability, and what runs once.
    assert len(rows) == 4 * 2 * 2 + 2 * 2 + 1 + 2
    assert "throughput_events_per_s" in header and "lost_events" in header


def test_it_needs_no_network(made, checkout):
    """All of `made` was made without one, if this user may do that: after `environments` nothing is asked for."""
    if not offline():
        pytest.skip("this user may not take the network away (unshare --net)")
    reached = (*offline(), sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 5)")
    assert "unreachable" in called(*reached, cwd=checkout, deadline_s=60).stdout


def test_the_scheduler_sleeps_while_a_run_measures(made, checkout):
    output = (checkout / "made.log").read_text()
    done = len(re.findall(r"^Finished jobid", output, re.MULTILINE))
    assert 0 < output.count("Selected jobs: ") <= done + 1  # it looks at what is ready only after a job


def test_a_bursts_rates_are_fractions_of_what_the_search_found(made):
    (search,) = made.glob("runs/*_search*/1/summary.json")
    (burst,) = made.glob("runs/*of-sustainable/1/run.json")
    found = json.loads(search.read_text())["segments"][0]["sustainable_events_per_s"]
    (load,) = json.loads(burst.read_text())["segments"]
    assert not any("measured for" in each for each in json.loads(search.read_text())["segments"][0]["warnings"])
    assert (load["rate"], load["peak_rate"]) == (pytest.approx(0.7 * found), pytest.approx(1.1 * found))


def test_nothing_runs_twice(made, checkout):
    assert dry_run(checkout, "figures") == {}


def test_an_edit_of_a_plot_never_measures_again(made, checkout):
    with edited(checkout / paths.LIBRARY / "results/plots.py", "\n# an edit\n"):
        assert set(dry_run(checkout, "figures")) == {"plot", "execute_notebook", "figures", "total"}


def test_a_change_of_one_field_reruns_only_what_it_touches(made, checkout):
    jobs = dry_run(checkout, "tables", "--config", "experiments={scalability: {load: {measure_s: 4}}}")
    assert jobs["execute_run"] == 4  # 2 systems, 2 repetitions; their pilots and input_rate stay
    jobs = dry_run(checkout, "results/test/tables/input_rate.csv", "--config", "run={partitions: 4}")
    assert jobs["execute_run"] == 8  # 2 systems, a twin and the floor


def test_one_figure_needs_only_its_runs(checkout):
    jobs = dry_run(checkout, "results/test/figures/latency_by_rate.svg", "--config", "seed=2")
    assert jobs["execute_run"] == 8 and jobs["plot"] == 1


def test_received_results_are_redrawn_without_measuring(made, checkout, tmp_path):
    """As they come from somebody else: copied with their times, and unknown to this Snakemake."""
    received = tmp_path / "received"
    shutil.copytree(made / "runs", received / "runs")
    figure = f"{received}/figures/scalability.svg"
    told = (figure, "--configfile", "test.yaml", "--config", f"results={received}", "measure=false")
    (lost, *_) = (received / "runs").glob("*backlog*/2")
    lost.rename(tmp_path / "lost")
    refused = snakemake("-n", *told, cwd=checkout)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout
    assert f"lacks 1 repetitions of runs that are drawn: {lost.parent.name} 2" in refused.stdout, refused.stdout
    (tmp_path / "lost").rename(lost)
    drawn = snakemake(*told, cwd=checkout)
    assert drawn.returncode == 0, drawn.stdout
    assert planned(drawn.stdout).keys() <= {"summarise_run", "tabulate", "plot", "total"}
    assert "nothing is measured" in drawn.stdout and "4 repetitions of runs" in drawn.stdout
    assert Path(figure).read_bytes() == (made / "figures/scalability.svg").read_bytes()


FAILING = """
repetitions: 1
draw: [latency_by_rate]
experiments:
  input_rate:
    vary: {processor: [kafka_streams], scorer: [onnx], ready_timeout_s: [180, 0.001]}
    beside: []
    fix: {broker_warmup_s: 0}
    load: {rate: [50], warmup_s: 1, warmup_at_most_s: 1, measure_s: 3}
"""


def test_a_run_that_fails_is_named_takes_nothing_away_and_is_made_again(resources, tmp_path):
    (tmp_path / "failing.yaml").write_text(FAILING)
    results = tmp_path / "results"
    command = ("figures", "report", "--configfile", str(tmp_path / "failing.yaml"), "--config", f"results={results}")
    done = snakemake(*command)
    assert done.returncode == 1 and "ready_timeout_s-0.001" in done.stdout.rpartition("Failed runs")[2], done.stdout
    for name in ("tables/input_rate.csv", "tables/accounting.csv", "tables/runs.csv", "runs.html"):
        assert "failed: " in (results / name).read_text() or "<h2>Failed</h2>" in (results / name).read_text(), name
    assert "Failed runs" in (results / "figures/latency_by_rate.rst").read_text()
    assert "Failed runs" in (results / "report.html").read_text()
    again = snakemake("-n", *command)
    assert again.returncode == 0 and planned(again.stdout)["execute_run"] == 1, again.stdout


def test_rounds_go_on_where_intervals_are_wide(resources, tmp_path):
    (tmp_path / "rounds.yaml").write_text(FAILING.replace("[180, 0.001]", "180"))
    results = tmp_path / "results"
    command = ("figures", "--configfile", str(tmp_path / "rounds.yaml"), "--config", f"results={results}")
    first = snakemake("-n", *command, "precision=0.0001", "at_most=4")
    assert first.returncode == 0 and planned(first.stdout)["execute_run"] == 3, first.stdout
    wide = snakemake(*command, "precision=10", "at_most=4")
    assert wide.returncode == 0 and len(list(results.glob("runs/*/*/summary.json"))) == 3, wide.stdout
    narrow = snakemake(*command, "precision=0.0001", "at_most=4")
    assert narrow.returncode == 0 and len(list(results.glob("runs/*/*/summary.json"))) == 4, narrow.stdout
    assert len((results / "tables/runs.csv").read_text().splitlines()) == 1 + 4
