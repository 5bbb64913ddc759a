"""What makes a job run again: complete, so that no edit is missed, and no more than that."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_plan import CONFIG

from crayfish.spec import dependencies, discovery, paths, plan
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec

LOAD = {"kind": "constant", "rate": 10.0}
SCRIPTS = sorted(path.stem for path in (ROOT / paths.SCRIPTS).glob("*.py"))
# Loads a module as the named script would and prints the library's files that Python has then executed.
LOADED = """
import sys, importlib, importlib.util
from pathlib import Path
for name in sys.argv[2:]:
    importlib.import_module("crayfish." + name.replace("/", "."))
if sys.argv[1]:
    spec = importlib.util.spec_from_file_location("script", sys.argv[1])
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "").startswith("crayfish") and getattr(module, "__file__", None):
        print(Path(module.__file__).resolve())
"""


def executed(script: str, *modules: str) -> set[str]:
    """The library's files that an interpreter executes for these, those that hold nothing but a docstring apart."""
    command = [sys.executable, "-c", LOADED, script, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": paths.SCRIPTS})
    assert done.returncode == 0, done.stderr
    files = [str(Path(line).relative_to(ROOT)) for line in done.stdout.splitlines()]
    return {file for file in files if dependencies._does_something(file)}


@pytest.mark.parametrize("room", [room for room in discovery.ROOMS if room != "results/figures"])
def test_all_that_a_part_executes_is_listed(room):
    modules = [f"{room}/{name}" for name in discovery.names(room)]
    assert executed("", *modules) <= set(dependencies.of_modules(*modules))


def test_all_that_a_rules_program_executes_is_listed():
    for script in ("dataset", "environment", "configuration", "describe_models", "convert"):
        assert executed(paths.script(script)) <= set(dependencies.of_script(script)), script


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_program_uses_the_library(script):
    files = dependencies.of_script(script)
    assert files and all((ROOT / file).exists() for file in files)
    assert f"{paths.LIBRARY}/spec/errors.py" in files


def test_of_several_products_each_run_has_files_of_its_own_parts_alone():
    made = plan.make_plan(CONFIG)
    for spec in made.runs.values():
        files = set(dependencies.library_files(spec))
        assert {f"{paths.LIBRARY}/models/{spec.model}.py", f"{paths.LIBRARY}/scorers/{spec.scorer}.py"} <= files
        parts = {file for file in files if file.startswith(f"{paths.LIBRARY}/processors/")}
        own = dependencies.of_modules(f"processors/{spec.processor}")
        assert parts and parts <= set(own)


def test_a_checksum_tells_content_and_name(monkeypatch):
    files = dependencies.of_modules("spec/errors")
    before = dependencies.checksum(files)
    assert dependencies.checksum(reversed(dependencies.of_modules("spec/errors", "spec/memory"))) != before
    dependencies._content.cache_clear()
    dependencies._checksum.cache_clear()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n")
    assert dependencies.checksum(files) != before
    dependencies._content.cache_clear()
    dependencies._checksum.cache_clear()


def test_the_inputs_of_a_run_are_what_it_uses():
    spec = RunSpec.from_dict({"processor": "kafka_streams", "scorer": "triton", "segments": [LOAD]})
    inputs = dependencies.run_inputs(spec, {}, [])
    assert inputs["server_python"] == [paths.interpreter("triton")] and inputs["model"] and inputs["proof"]
    assert set(map(paths.compiled_jar, dependencies.java_sources(spec))) < set(inputs["jars"])
    there = dependencies.run_inputs(spec, {"kafka": "a:1", "triton": "b:2"}, ["resources/environments/jdk/python"])
    assert not (there["server_python"] or there["model"] or there["proof"] or there["broker_jars"])
    assert paths.packages("jdk") in there["packages"] and paths.packages("triton") not in there["packages"]
    addresses = dependencies.cluster_addresses(spec, {"kafka": "a:1", "triton": "b:2", "ray": "c:3"})
    assert addresses == {"broker_address": "a:1", "server_address": "b:2"}


def test_every_format_has_an_environment_and_a_suffix():
    from crayfish.setup import formats

    made = {each for name in discovery.names("models") for each in discovery.model(name).formats} - {"npz"}
    assert made <= set(dependencies.WRITERS) == set(paths.SUFFIXES) == set(formats.WRITERS)
    for suffix in paths.SUFFIXES.values():
        inputs = dependencies.conversion_inputs("fashion_mnist", "ffnn", suffix)
        assert (ROOT / f"envs/{Path(inputs['python'][0]).parent.name}.yaml").exists()


def test_every_java_source_is_compiled_against_its_adapters_jars():
    for name in dependencies.compiled_sources():
        inputs = dependencies.compilation_inputs(name)
        assert all((ROOT / source).exists() for source in inputs["source"]) and inputs["jars"]


def test_options_are_quoted_and_empty_ones_left_out():
    assert (
        dependencies.options(server_python=["a/b"][0], jdk=[], sized_by="x y") == "--server-python a/b --sized-by 'x y'"
    )
    assert dependencies.weights_options(None) == ""
    assert dependencies.weights_options({"file": "my file.pth", "sha256": "0"}) == "--weights 'my file.pth' --sha256 0"
