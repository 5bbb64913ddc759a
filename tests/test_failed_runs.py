"""A run that fails for good leaves a hole with its name; one that others disturbed is made again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from generated_runs import MACHINE, folder_of, spec_of, write_run

from crayfish.engine import child, jvm
from crayfish.harness import run, sizing, tries
from crayfish.harness.parts import Interrupted
from crayfish.harness.run import Places
from crayfish.results import digests, drawing, pages, tabulation
from crayfish.results.summaries import summarise
from crayfish.spec import discovery, paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

PACED = Segment("constant", 200, warmup_s=3, measure_s=9)
LOADS = {
    "constant": PACED,
    "backlog": Segment("backlog", rate=500, warmup_s=1, measure_s=3),
    "search": Segment("search", warmup_s=1, measure_s=3, objective_ms=1000, search_s=9),
    "bursty": Segment("bursty", 50, warmup_s=3, measure_s=57, peak_rate=150, burst_s=4, between_s=15),
}
REASON = "the processor died\nand its log says why"
HOLE = "failed: the processor died"
GIT = {"commit": "0" * 40, "clean": True}


def write_hole(root: Path, spec: dict, repetition: int) -> Path:
    """As execute_run leaves the run's folder."""
    folder = folder_of(root, spec, repetition)
    folder.mkdir(parents=True)
    about = {"failed": REASON, "spec": spec, "machine": {**MACHINE, "load_average": [0.1]}, "git": GIT}
    empty = {"segments": [], "warnings": [], "substitutes": [], "accounting": {}, "environments": []}
    (folder / "manifest.json").write_text(json.dumps({**about, **empty, "fixed_cost_s": None}))
    return folder


def tables_of(folders: list[Path]) -> dict:
    """Part -> the table of these runs."""
    summaries = [json.loads(json.dumps(summarise(folder))) for folder in folders]
    return {part: tabulation.tabulate("some", summaries, part) for part in tabulation.PARTS}


@pytest.mark.parametrize("kind", LOADS)
def test_a_run_whose_repetitions_all_failed_has_a_row_without_metrics(tmp_path, kind):
    spec = spec_of("flink", "onnx", LOADS[kind])
    made = tables_of([write_hole(tmp_path, spec, repetition) for repetition in (1, 2)])
    for part, table in made.items():
        assert len(table) == (2 if part in ("runs", "repetitions") else 1), part
        assert set(table["warnings"]) == {HOLE} and set(table["processor"]) == {"flink"}
    (row,) = made["means"].iter_rows(named=True)
    assert row["repetitions"] == 0
    assert {row[name] for name in ("latency_p50_ms", "throughput_events_per_s", "sent_events")} == {None}


def test_the_repetitions_that_are_there_count_and_a_warning_names_those_that_failed(tmp_path):
    spec = spec_of("flink", "onnx", PACED)
    folders = [write_run(folder_of(tmp_path, spec, number), spec, seed=number) for number in (2, 3)]
    alone = tables_of(folders)
    made = tables_of([write_hole(tmp_path, spec, 1), *folders])
    (row,), (without,) = made["means"].to_dicts(), alone["means"].to_dicts()
    assert row["warnings"] == f"1 of 3 repetitions {HOLE}"
    assert {**row, "warnings": ""} == {**without, "warnings": ""} and row["repetitions"] == 2
    assert made["runs"]["warnings"].to_list() == [HOLE, "", ""]
    assert len(made["series"]) == len(alone["series"]) and len(made["curves"]) == len(alone["curves"])


@pytest.mark.parametrize(
    ("digest", "kind"),
    [
        ("sustained_throughput", "backlog"),
        ("sustained_throughput", "search"),
        ("latency_percentiles", "constant"),
        ("recovery_times", "bursty"),
        ("accounting", "constant"),
    ],
)
def test_a_digest_names_the_hole(tmp_path, digest, kind):
    made = tables_of([write_hole(tmp_path, spec_of("flink", "onnx", LOADS[kind]), 1)])
    part = "series" if digest == "recovery_times" else "means"
    (row,) = digests.digest(digest, [made[part]]).to_dicts()
    assert row["warnings"] == HOLE and row["repetitions"] == 0
    other = "latency_percentiles" if digest == "sustained_throughput" else "sustained_throughput"
    assert not len(digests.digest(other, [made["means"]])) or digest == "accounting"


def drawn(tmp_path: Path, made: dict, kind: str) -> str:
    """The caption of a figure that is drawn from these tables as the rule does it."""
    for part, table in made.items():
        table.write_csv(tmp_path / f"{part}.csv")
    files = {part: tmp_path / f"{part}.csv" for part in drawing.PARTS}
    drawing.draw(kind, files, {"processor": ["flink", "ray"]}, [tmp_path / "figure.svg"], tmp_path / "figure.rst")
    assert (tmp_path / "figure.svg").stat().st_size > 1000
    return (tmp_path / "figure.rst").read_text()


KINDS = ["latency_by_rate", "latency_distribution", "latency_over_time"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_draws_the_others_and_its_caption_names_the_hole(tmp_path, kind):
    spec = spec_of("flink", "onnx", PACED)
    caption = drawn(
        tmp_path,
        tables_of(
            [write_run(folder_of(tmp_path, spec, 1), spec), write_hole(tmp_path, spec_of("ray", "onnx", PACED), 1)]
        ),
        kind,
    )
    assert f"Failed runs (not drawn): Ray, {discovery.scorer('onnx').display_name}: {HOLE}." in caption
    assert "Warnings" not in caption


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_of_holes_alone_says_so(tmp_path, kind):
    caption = drawn(tmp_path, tables_of([write_hole(tmp_path, spec_of("ray", "onnx", PACED), 1)]), kind)
    assert "Every run failed" in caption and HOLE in caption


def test_the_page_of_runs_has_a_list_of_those_that_failed(tmp_path):
    folder = write_hole(tmp_path, spec_of("ray", "onnx", PACED), 2)
    page = pages.runs_page(pages.read_manifests([folder / "manifest.json"]))
    assert "<h2>Failed</h2>" in page and "and its log says why" in page


# --- the harness ------------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path) -> Places:
    java = jvm.Java("/no/java", "17")
    out = tmp_path / "runs/some/1"
    out.mkdir(parents=True)
    return Places(Path("python"), Path("reference.npz"), None, java, [], [], out)


SPEC = RunSpec("flink", "noop", (PACED,))


@pytest.fixture
def executed(monkeypatch, places):
    """Lets each try end as told, with what disturbed it or an error, and notes the earlier ones that it was told of."""
    noted: list[list] = []

    def ends_as(*ends: list[str] | Exception) -> list[list]:
        remaining = list(ends)

        def execute(spec, places, earlier=()):
            noted.append(list(earlier))
            end = remaining.pop(0)
            if isinstance(end, Exception):
                raise end
            (places.out / "manifest.json").write_text(json.dumps({"warnings": end, "tries": len(earlier) + 1}))
            return end

        monkeypatch.setattr(run, "execute", execute)
        return noted

    return ends_as


def test_a_disturbed_run_is_made_again_at_most_twice_and_the_last_try_stays(executed, places):
    noted = executed(["a"], ["b"], ["c"], ["d"])
    tries.execute(SPEC, places)
    assert noted == [[], [["a"]], [["a"], ["b"]]]
    assert json.loads((places.out / "manifest.json").read_text()) == {"warnings": ["c"], "tries": 3}


def test_a_run_that_nothing_disturbed_is_not_made_again(executed, places):
    noted = executed(["a"], [])
    tries.execute(SPEC, places)
    assert len(noted) == 2
    noted = executed(["a"], [])
    tries.execute(SPEC, places, tries=1)
    assert len(noted) == 3


def test_a_try_that_fails_does_not_take_away_the_disturbed_one_before(executed, places):
    executed(["a"], CrayfishError("too slow\nsee the log"))
    tries.execute(SPEC, places)
    warnings = json.loads((places.out / "manifest.json").read_text())["warnings"]
    assert warnings == ["a", "disturbed, and the next try failed: too slow"]


@pytest.mark.parametrize("ends", [[CrayfishError("x")], [Interrupted("x")], [["a"], Interrupted("x")]])
def test_a_failure_or_an_interruption_ends_the_tries(executed, places, ends):
    executed(*ends)
    with pytest.raises(CrayfishError, match="x"):
        tries.execute(SPEC, places)


def test_a_hole_is_a_complete_set_of_outputs_and_its_failures_are_counted(places):
    for number in (1, 2):
        tries.leave_hole(SPEC, places, REASON)
        assert len(json.loads((places.out / paths.FAILURES).read_text())) == number
    assert all((places.out / name).exists() for name in paths.MEASUREMENTS)
    assert not list(places.out.glob("*.part"))
    assert summarise(places.out)["failed"] == REASON


def test_what_a_failed_run_sizes_fails_with_its_reason(places, tmp_path):
    tries.leave_hole(SPEC, places, REASON)
    (tmp_path / "summary.json").write_text(json.dumps(summarise(places.out)))
    backlog = RunSpec("flink", "noop", (LOADS["backlog"],))
    with pytest.raises(CrayfishError, match="finds its rate failed: some: the processor died"):
        sizing.sized(backlog, tmp_path / "summary.json")


def executed_run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    """execute_run.py on a machine of its own, where no broker can be started: there are no jars."""
    spec = RunSpec("flink", "noop", (PACED,), broker="own")
    command = [sys.executable, ROOT / paths.script("execute_run"), "--spec", spec.to_json(), "--out", tmp_path / "run"]
    command += ["--python", "no/python", "--reference", "no.npz", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "TMPDIR": str(tmp_path)}
    )


def made_of(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "run").iterdir() if path.is_file()}


def test_the_program_succeeds_with_a_hole_where_it_is_asked_for_one(tmp_path):
    done = executed_run(tmp_path, "--hole")
    assert done.returncode == 0 and "failed: broker" in done.stderr and "Traceback" not in done.stderr
    assert made_of(tmp_path) == {*paths.MEASUREMENTS, paths.FAILURES}
    assert "broker" in summarise(tmp_path / "run")["failed"]


def test_the_program_fails_without_a_trace_where_no_hole_is_asked_for(tmp_path):
    assert executed_run(tmp_path).returncode == 1 and not made_of(tmp_path)


def test_what_the_user_must_start_first_leaves_no_hole(tmp_path):
    (port,) = child.free_ports(1)
    done = executed_run(tmp_path, "--hole", "--processor-address", f"127.0.0.1:{port}")
    assert done.returncode == 1 and "does not answer" in done.stderr and not made_of(tmp_path)
