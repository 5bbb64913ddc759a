"""Variables of the user or the site: they reach no engine, and the manifest names what would have mattered."""

import os
import shlex
import subprocess

import pytest
from conftest import manifest_of

from crayfish.spec import inheritance
from crayfish.spec.run_spec import Segment

SITE = {
    "FLINK_HOME": "/nonsense/flink",
    "SPARK_HOME": "/nonsense/spark",
    "HADOOP_CONF_DIR": "/nonsense/hadoop",
    "JAVA_TOOL_OPTIONS": "-javaagent:/nonsense/agent.jar",
    "CLASSPATH": "/nonsense/classes",
    "PYTHONPATH": "/nonsense/python",
    "RAY_ADDRESS": "192.0.2.1:6379",
    "OMP_PROC_BIND": "true",
    "http_proxy": "http://192.0.2.1:3128",
}


@pytest.mark.parametrize("processor", ["flink", pytest.param("spark", marks=pytest.mark.full)])
def test_a_run_goes_on_as_without_them(processor, harness, tmp_path, monkeypatch):
    for name, value in SITE.items():
        if name != "PYTHONPATH":  # of the rule's own program a rule's shell has dropped it
            monkeypatch.setenv(name, value)
    load = Segment("constant", rate=50.0, warmup_s=1.0, measure_s=2.0, warmup_at_most_s=1.0)
    one = harness({"processor": processor, "scorer": "onnx", "broker": "own", "segments": [vars(load)]}, tmp_path)
    output = one.finish()
    assert one.process.returncode == 0, output
    assert set(manifest_of(tmp_path)["variables"]["dropped"]) >= SITE.keys() - {"PYTHONPATH"}


def test_the_shell_of_a_rule_drops_them_and_tells_the_harness():
    environment = {
        **SITE,
        "PATH": os.environ["PATH"],
        "UV_CACHE_DIR": "/cache",
        "OWN": "x y",
        "BASH_FUNC_ml%%": "() { :; }",
    }
    command = inheritance.shell_prefix(environment) + "env"
    said = subprocess.run(["bash", "-euc", command], env=environment, capture_output=True, text=True, check=True).stdout
    left = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert not left.keys() & {*SITE.keys() - {"http_proxy"}, "OWN"}
    assert left["UV_CACHE_DIR"] == "/cache" and left["http_proxy"]  # by which packages are found
    assert set(left[inheritance.DROPPED].split()) == SITE.keys()
    assert inheritance.told(left)["dropped"] == sorted(SITE)
    assert "http_proxy" not in inheritance.inherited(left)


def test_without_any_variable_the_shell_goes_on():
    assert shlex.split(inheritance.shell_prefix({})) == ["export", f"{inheritance.DROPPED}=;"]
