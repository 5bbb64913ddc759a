"""The notebook: how it is committed, how it is executed, and that it says what was not run. Its pages, too."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from generated_runs import folder_of, spec_of, write_run

from crayfish.results import page, pages, tabulation
from crayfish.results.summaries import summarise
from crayfish.spec import discovery
from crayfish.spec.run_spec import Segment

NOTEBOOK = ROOT / "notebooks/analysis.ipynb"


def executed(resources: Path, notebook: Path, results: Path, **environment: str) -> subprocess.CompletedProcess:
    """The script in the notebook's environment; its pages lie in the results folder."""
    command = [resources / "environments/notebook/python", ROOT / "workflow/scripts/execute_notebook.py"]
    command += ["--notebook", notebook, "--results", results]
    command += ["--out", results / "out.ipynb", "--html", results / "out.html"]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def test_it_is_committed_without_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]


def test_it_names_what_was_not_run_and_heeds_no_setting_of_the_user(resources, tmp_path):
    kernel = tmp_path / "home/.local/share/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "mine", "language": "python"}))
    startup = tmp_path / "home/.ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "mine.py").write_text("raise SystemExit('a startup file of the user')")
    results = tmp_path / "results"
    results.mkdir()
    done = executed(resources, NOTEBOOK, results, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    text = (results / "out.html").read_text()
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    assert text.count("<strong>Not run:</strong>") == sum(cell.startswith("experiment(") for cell in cells) > 0
    assert "<strong>No runs:</strong>" in text
    with (NOTEBOOK.parent / "published.csv").open(newline="") as file:
        published = [row for row in csv.DictReader(file) if row["device"] == "cpu"]
    assert f"0 of {len(published)} published numbers" in text
    assert "http://" not in text and "https://" not in text and "<script" not in text


def test_a_cell_that_fails_is_named(resources, tmp_path):
    notebook = json.loads(NOTEBOOK.read_text())
    notebook["cells"][1]["source"] = ["1 / 0"]
    (tmp_path / "broken.ipynb").write_text(json.dumps(notebook))
    done = executed(resources, tmp_path / "broken.ipynb", tmp_path)
    assert done.returncode == 1
    assert "of " + str(tmp_path / "broken.ipynb") + " failed: ZeroDivisionError" in done.stderr
    assert not (tmp_path / "out.html").exists()


def test_a_run_that_experiments_share_stands_once_beside_a_published_number(resources, tmp_path):
    spec = spec_of("flink", "onnx", Segment("backlog", 2000.0, warmup_s=2.0, measure_s=6.0))
    write_run(folder := folder_of(tmp_path / "runs", spec, 1), spec)
    summary = summarise(folder)
    (tmp_path / "tables").mkdir()
    for name in ("scalability", "serialisation"):
        tabulation.tabulate(name, [summary], "means").write_csv(tmp_path / f"tables/{name}.csv")
    done = executed(resources, NOTEBOOK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.html").read_text().count("<td>throughput at parallelism 1</td>") == 1


def test_the_published_numbers_are_of_systems_that_there_are():
    with (ROOT / "notebooks/published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["processor"] for row in rows} <= set(discovery.names("processors"))
    assert {row["scorer"] for row in rows} <= set(discovery.names("scorers"))
    assert {row["model"] for row in rows} <= set(discovery.names("models"))
    assert all(float(row["value"]) > 0 and row["source"] and row["machine"] for row in rows)
    keys = [tuple(value for name, value in row.items() if name != "value") for row in rows]
    assert len(keys) == len(set(keys))


@pytest.fixture
def manifest() -> dict:
    return {
        "accounting": {"sent": 1200, "lost": 0, "duplicated": 0, "wrong": 0, "late": 3},
        "warnings": ["segment 1: <late>"],
        "substitutes": [],
        "fixed_cost_s": 15.5,
        "machine": {"load_average": [0.5, 0, 0], "cores": 2, "cpu": "a CPU", "memory_bytes": 2**33},
        "git": {"commit": None, "clean": None},
        "environments": [{"environment": "ray", "python": "3.11.7", "deployment": "uv", "packages": {"numpy": "2"}}],
    }


def test_the_page_of_runs_holds_every_manifest_and_each_environment_once(manifest):
    other = json.loads(json.dumps(manifest)) | {"warnings": []}
    other["environments"][0]["packages"]["numpy"] = "3"
    text = pages.runs_page({"a/1": manifest, "a/2": manifest, "b/1": other})
    assert "3 runs (repetitions counted), 2 of them with warnings" in text
    assert "&lt;late&gt;" in text and "<late>" not in text
    assert text.count("<details>") == 3 + 2
    assert text.count("numpy==2") == text.count("numpy==3") == 1
    assert text.count("&#34;ray (1)&#34;") == 2 and text.count("&#34;ray (2)&#34;") == 1


def test_numbers_are_written_for_readers():
    assert [page.number(value) for value in (0.012345, 12.345, 123456.7)] == ["0.0123", "12.3", "123,457"]
