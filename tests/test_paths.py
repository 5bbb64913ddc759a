"""Every path is a pure text; rules use the same functions with wildcards."""

import inspect
import re

import pytest

from crayfish.spec import paths

FUNCTIONS = {
    name: function
    for name, function in vars(paths).items()
    if inspect.isfunction(function)
    and function.__module__ == paths.__name__
    and name not in ("stem", "folder", "log", "measurements")
}


def arguments(function, text: str) -> list[str]:
    """A wildcard for each parameter without a default; a format is one that there is."""
    parameters = inspect.signature(function).parameters.values()
    required = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    return ["onnx" if name == "format" else text.format(name=name) for name in required]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_path_is_relative_and_takes_wildcards(name):
    pattern = FUNCTIONS[name](*arguments(FUNCTIONS[name], "{{{name}}}"))
    assert not pattern.startswith("/") and "//" not in pattern
    names = set(re.findall(r"{(\w+)}", pattern))
    assert names, pattern
    filled = FUNCTIONS[name](*arguments(FUNCTIONS[name], "x-{name}"))
    assert pattern.format(**{each: f"x-{each}" for each in names}) == filled


def test_paths_of_different_things_differ():
    made = [function(*arguments(function, "x-{name}")) for function in FUNCTIONS.values()]
    made = [path for path in made if not path.endswith("x-name.x-suffix")]  # any conversion, and model_file is one
    assert len(set(made)) == len(made)


def test_some_paths_as_a_user_types_them():
    assert paths.interpreter("flink") == "resources/environments/flink/python"
    assert paths.model_file("fashion_mnist", "ffnn", "npz") == "resources/models/fashion_mnist/ffnn/weights.npz"
    assert paths.model_file("fashion_mnist", "ffnn", "torchscript") == "resources/models/fashion_mnist/ffnn/ffnn.pt"
    assert paths.compiled_jar("flink/FlinkInEngine.java") == "resources/java/FlinkInEngine.jar"
    assert paths.summary("results", "a-run") == "results/runs/a-run/1/summary.json"
    assert paths.measurements("results", "a-run", 2)["consumer"] == "results/runs/a-run/2/consumer.parquet"
    assert paths.table("results", "scalability_series") == "results/tables/scalability_series.csv"
    assert paths.log("train", "fashion_mnist", "ffnn") == "logs/train/fashion_mnist/ffnn.log"
    assert paths.log("configuration") == "logs/configuration.log"
