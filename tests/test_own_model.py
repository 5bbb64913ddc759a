"""Models of the user's own: what their files say, what is refused and how it is told; docs/own-model.md."""

import csv
import hashlib
import json
import re
import subprocess
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, called, copy_checkout, equip, snakemake
from hypothesis import given
from hypothesis import strategies as st
from model_files import FLOAT, HALF, INT64, STRING, onnx, part, tensor, zipmap
from snakemake.utils import update_config
from test_plan import changed

from crayfish.engine import answers
from crayfish.harness import own_answers
from crayfish.spec import discovery, own_models, paths, plan
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec

ROWS, SCORE = tensor("features", FLOAT, "n", 3), tensor("score", FLOAT, "n", 2)
PLAIN = onnx([ROWS], [SCORE])


def savedmodel(
    folder: Path, inputs: dict[str, tuple], outputs: dict[str, tuple], name: str = "serving_default"
) -> Path:
    """The folder of a SavedModel that has a signature and nothing else; a tensor is its type and its axes."""

    def info(key: str, kind: int, *axes: int) -> bytes:
        shape = b"".join(part(2, part(1, axis)) for axis in axes)
        return part(1, key) + part(2, part(1, f"{key}:0") + part(2, kind) + part(3, shape))

    signature = b"".join(part(1, info(key, *value)) for key, value in inputs.items())
    signature += b"".join(part(2, info(key, *value)) for key, value in outputs.items())
    graph = part(1, part(4, "serve")) + part(5, part(1, name) + part(2, signature))
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(part(1, 1) + part(2, graph))
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def torchscript(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names or ("data.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", b"")
    return file


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working directory with fraud.onnx and rows.npy."""
    (tmp_path / "fraud.onnx").write_bytes(PLAIN)
    np.save(tmp_path / "rows.npy", np.zeros((5, 3), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(**own: object) -> plan.Plan:
    """The plan of the default config for a model that it declares as fraud."""
    values = {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"} | own
    values = {key: value for key, value in values.items() if value is not None}
    return plan.make_plan(changed(own_models={"fraud": values}, models=["fraud"]))


def fraud(**own: object) -> own_models.Declared:
    (found,) = planned(**own).own.values()
    return found


# --- what is planned --------------------------------------------------------------------------------------------------


def test_a_model_takes_the_place_of_the_default_where_an_experiment_names_none(folder):
    made = planned()
    runs = [made.runs[run] for run in made.experiments["input_rate"].runs]
    assert {run.scorer for run in runs} == {"onnx", "noop"} and {run.model for run in runs} == {"fraud"}
    for run in runs:
        assert (run.dataset, run.dtype, run.declared_model.input_shape) == ("own", "float32", (3,))
        assert RunSpec.from_dict(json.loads(run.to_json())) == run
    assert made.experiments["scalability_resnet50"].runs == ()
    assert any("dl4j reads h5, and fraud has: onnx" in reason for reason in made.left_out["batch_size"])
    assert {run.scorer for run in made.runs.values()} >= {"onnx", "triton", "ray_serve"}


def test_a_model_beside_one_of_crayfishs_own(folder):
    own = {"fraud": {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}
    made = plan.make_plan(changed(own_models=own, models=["ffnn", "fraud"]))
    assert {made.runs[run].model for run in made.experiments["input_rate"].runs} == {"ffnn", "fraud"}
    named = changed(own_models=own, experiments__input_rate__vary__model=["ffnn", "fraud"])
    assert {made.runs[run].model for run in plan.make_plan(named).experiments["input_rate"].runs} == {"ffnn", "fraud"}
    alone = plan.make_plan(changed(own_models=own))
    assert alone.runs == plan.make_plan(changed()).runs


def test_another_file_of_the_same_name_is_another_run(folder):
    def names() -> set[str]:
        made = planned(files={"onnx": "fraud.onnx", "torchscript": torchscript(folder / "fraud.pt").name})
        return {run for run in made.experiments["input_rate"].runs if "onnx" in run}

    before = names()
    assert names() == before
    (folder / "fraud.onnx").write_bytes(PLAIN + part(3, "again"))  # who made it
    after = names()
    assert before.isdisjoint(after)
    torchscript(folder / "fraud.pt", "data.pkl", "code/other.py")
    assert names() == after  # what another scorer reads
    np.save("rows.npy", np.ones((5, 3), np.float32))
    assert after.isdisjoint(names())


def test_what_a_run_is_told_of_each_format(folder):
    savedmodel(folder / "fraud.savedmodel", {"x": (1, -1, 3)}, {"y": (19, -1, 2), "id": (9, -1)})
    torchscript(folder / "fraud.pt")
    files = {"torchscript": "fraud.pt", "onnx": "fraud.onnx", "savedmodel": "fraud.savedmodel"}
    model = fraud(files=files, output={"torchscript": "1", "savedmodel": "y"})
    assert model.first == "torchscript"
    told = {form: model.of(form) for form in ("onnx", "mar", "savedmodel", None)}
    assert (told["onnx"].input, told["onnx"].output) == ("features", "score")
    assert (told["savedmodel"].input, told["savedmodel"].output) == ("x", "y")
    assert told["mar"].output == "1" and told[None].formats == ()
    assert len({each.sha256 for each in told.values()}) == 4 and len({each.key for each in told.values()}) == 1
    assert {each.tolerance for each in told.values()} == {own_models.HALF_TOLERANCE}  # one of the answers is float16
    assert told["savedmodel"].told == ("the answers of fraud are float16, and compared as float32",)
    assert own_models.OwnModel.from_json(told["mar"].to_json()) == told["mar"]


@pytest.mark.parametrize(
    ("outputs", "named", "chosen"),
    [
        ([SCORE], None, "score"),
        ([tensor("label", INT64, "n"), tensor("probabilities", FLOAT, "n", 2)], None, "probabilities"),
        ([tensor("label", INT64, "n"), tensor("probabilities", FLOAT, "n", 2)], "label", "label"),
        ([tensor("label", INT64, "n"), zipmap("probabilities")], "label", "label"),
        ([tensor("tokens", FLOAT, "n", "len", 8), tensor("sentence", FLOAT, "n", 8)], "sentence", "sentence"),
    ],
)
def test_the_output_that_is_taken(folder, outputs, named, chosen):
    (folder / "fraud.onnx").write_bytes(onnx([ROWS], outputs))
    assert fraud(output=named).outputs == {"onnx": chosen}


def test_constants_that_stand_among_the_inputs_are_none(folder):
    weight = part(1, 3) + part(2, FLOAT) + part(8, "w")
    (folder / "fraud.onnx").write_bytes(onnx([ROWS, tensor("w", FLOAT, 3)], [SCORE], constants=(weight,)))
    assert fraud().inputs == {"onnx": "features"}


def test_the_sum_of_a_folder_is_what_the_shell_makes_of_it(folder):
    model = savedmodel(folder / "model", {"x": (1, -1, 3)}, {"y": (1, -1, 2)})
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    told = subprocess.run(["bash", "-c", command], cwd=model, capture_output=True, text=True, check=True).stdout
    files = {"savedmodel": "model"}
    assert fraud(files=files, sha256={"savedmodel": told.split()[0]}).sums == {"savedmodel": told.split()[0]}


def test_open_axes_are_filled_by_the_samples_or_by_shape(folder):
    (folder / "fraud.onnx").write_bytes(onnx([tensor("ids", INT64, "n", "len")], [SCORE]))
    np.save("rows.npy", np.zeros((5, 12), np.int64))
    assert (fraud().input_shape, fraud().dtype) == ((12,), "int64")
    assert fraud(samples=None, range=[0, 9], shape=[7]).input_shape == (7,)
    with pytest.raises(CrayfishError, match=r"fraud\.shape: missing: .*onnx \[n, \?\].*shape: \[128\]"):
        planned(samples=None, range=[0, 9])


# --- what is refused --------------------------------------------------------------------------------------------------

EXTERNAL = part(2, FLOAT) + part(8, "w") + part(14, 1)
FILES = {
    "inputs": (onnx([ROWS, tensor("mask", INT64, "n")], [SCORE]), r"has 2 inputs, features .*mask .*; allowed: one"),
    "batch": (onnx([tensor("x", FLOAT, 1, 3)], [SCORE]), r"x \(float32 \[1, 3\]\), whose first axis is 1; allowed"),
    "type": (onnx([tensor("x", STRING, "n", 3)], [SCORE]), r"x \(str .*allowed: a tensor of float32, float16"),
    "external": (onnx([ROWS], [SCORE], constants=(EXTERNAL,)), r"weights lie outside the file \(w\); allowed: all in"),
    "zipmap": (onnx([ROWS], [tensor("label", INT64, "n"), zipmap("p")]), r"a sequence of maps.*'zipmap': False"),
    "outputs": (onnx([ROWS], [SCORE, tensor("other", FLOAT, "n", 3)]), r"several outputs, score .*`output: score`"),
    "strings": (onnx([ROWS], [tensor("word", STRING, "n")]), r"its output is word \(str \[\?\]\); allowed"),
    "shape": (onnx([tensor("x", FLOAT, "n", 4)], [SCORE]), r"samples: data points are \[n, 3\], .*takes \[n, 4\]"),
    "halves": (onnx([tensor("x", HALF, "n", 3)], [SCORE]), r"samples: they are float32, and the model takes float16"),
    "empty": (b"", r"files\.onnx: fraud\.onnx is no ONNX file, or damaged"),
    "cut": (PLAIN[:-9], "is no ONNX file, or damaged"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "is no ONNX file, or damaged"),
}
KEYS = {
    "missing": ({"files": {"onnx": "fruad.onnx"}}, r"own_models\.fraud\.files\.onnx: 'fruad\.onnx' is no file"),
    "folder": ({"files": {"savedmodel": "fraud.onnx"}}, r"files\.savedmodel: 'fraud\.onnx' is no folder"),
    "format": ({"files": {"h5": "fraud.h5"}}, r"files\.h5: unknown key .*allowed: onnx, torchscript, savedmodel"),
    "key": ({"sampels": "rows.npy"}, r"fraud\.sampels: unknown key; did you mean 'samples'"),
    "sum": ({"sha256": {"onnx": "0" * 64}}, r"sha256\.onnx: 'fraud\.onnx' has the sum .* asks for 0000"),
    "sum of none": ({"sha256": {"savedmodel": "0" * 64}}, r"sha256\.savedmodel: there is no file of that format"),
    "short sum": ({"sha256": {"onnx": "abc"}}, r"'abc' is not allowed"),
    "no samples": ({"samples": None}, r"neither samples nor range is given"),
    "both": ({"range": [0, 1]}, r"both samples and range are given"),
    "range": ({"samples": None, "range": [1, 0]}, r"range: \[1, 0\]: the first must be less"),
    "no rows": ({"samples": "absent.npy"}, r"samples: absent\.npy cannot be read: No such file"),
    "no npy": ({"samples": "fraud.onnx"}, r"samples: fraud\.onnx is no npy or npz file"),
    "one row": ({"samples": "one.npy"}, r"float32\[1, 3\]; allowed: an array of at least two data points"),
    "doubles": ({"samples": "doubles.npy"}, r"they are float64, and the model takes float32: .*astype\('float32'\)"),
    "objects": ({"samples": "objects.npy"}, r"of the type '\|O'"),
    "arrays": ({"samples": "two.npz"}, r"two\.npz holds a, b; allowed: one array"),
    "output": ({"output": "logits"}, r"has no output 'logits' \(`output`\); allowed: score"),
    "typed": ({"type": "int64"}, r"type: 'int64', and the file's input is float32: leave it out"),
    "shaped": ({"shape": [4]}, r"shape: \[4\], and the samples are \[n, 3\]"),
    "pickle": ({"files": {"torchscript": "state.pt"}}, r"is no TorchScript file; allowed: what torch\.jit\.script"),
    "no type": (
        {"files": {"torchscript": "fraud.pt"}, "samples": None, "range": [0, 1], "shape": [3]},
        r"fraud\.type: missing: a TorchScript file does not tell",
    ),
    "no shape": (
        {"files": {"torchscript": "fraud.pt"}, "samples": None, "range": [0, 1], "type": "float32"},
        r"fraud\.shape: missing: .*TorchScript tells none",
    ),
    "apart": ({"files": {"onnx": "fraud.onnx", "savedmodel": "ints"}}, r"the input of onnx is float32, .*is int64"),
    "signature": ({"files": {"savedmodel": "trained"}}, r"has the signatures train; allowed: .* serving_default"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_served_is_refused(folder, case):
    content, told = FILES[case]
    (folder / "fraud.onnx").write_bytes(content)
    with pytest.raises(CrayfishError, match=told) as refused:
        planned()
    assert str(refused.value).startswith("own_models.fraud.")


@pytest.mark.parametrize("case", KEYS)
def test_what_the_config_says_wrongly_is_refused(folder, case):
    own, told = KEYS[case]
    np.save("one.npy", np.zeros((1, 3), np.float32))
    np.save("doubles.npy", np.zeros((5, 3)))
    np.save("objects.npy", np.full((5, 3), None), allow_pickle=True)
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    torchscript(folder / "fraud.pt")
    torchscript(folder / "state.pt", "data.pkl")
    savedmodel(folder / "ints", {"x": (9, -1, 3)}, {"y": (1, -1, 2)})
    savedmodel(folder / "trained", {"x": (1, -1, 3)}, {"y": (1, -1, 2)}, name="train")
    with pytest.raises(CrayfishError, match=told):
        planned(**own)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet50", r"own_models\.resnet50: 'resnet50' is a model of Crayfish's own: call yours otherwise"),
        ("onnx", r"own_models\.onnx: 'onnx' is the name of something else \(scorers\)"),
        ("all", r"own_models\.all"),
        ("Fraud", r"Fraud' is not allowed"),
    ],
)
def test_a_name_that_is_taken_is_refused(folder, name, told):
    with pytest.raises(CrayfishError, match=told):
        plan.make_plan(changed(own_models={name: {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}))


def test_a_model_that_nobody_declares_is_refused_with_those_that_are(folder):
    own = {"fraud": {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}
    for key in ("models", "experiments__input_rate__vary__model"):
        with pytest.raises(CrayfishError, match="'fruad' is not known; did you mean 'fraud'"):
            plan.make_plan(changed(own_models=own, **{key: ["fruad"]}))


@pytest.mark.parametrize(("scorer", "reads"), [("dl4j", "h5"), ("nd4j", "npz"), ("savedmodel", "")])
def test_a_scorer_that_cannot_read_its_files_is_refused(folder, scorer, reads):
    own = {"fraud": {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}
    vary = {"processor": ["kafka_streams"], "scorer": [scorer], "model": ["fraud"]}
    with pytest.raises(
        CrayfishError, match=rf"{scorer} reads {reads}.*fraud has: onnx, which onnx, ray_serve, torchserve, triton"
    ):
        plan.make_plan(changed(own_models=own, experiments__input_rate__vary=vary))


def test_a_scorer_says_what_its_format_is_made_of(folder):
    savedmodel(folder / "fraud.savedmodel", {"x": (1, -1, 3)}, {"y": (1, -1, 2)})
    own = {"fraud": {"files": {"savedmodel": "fraud.savedmodel"}, "samples": "rows.npy"}}
    vary = {"processor": ["kafka_streams"], "scorer": ["torchserve"], "model": ["fraud"]}
    with pytest.raises(
        CrayfishError, match=r"torchserve reads mar, which is made of torchscript or onnx, and fraud has: savedmodel"
    ):
        plan.make_plan(changed(own_models=own, experiments__input_rate__vary=vary))


def test_torchserve_computes_an_onnx_file_on_the_cpu_alone(folder):
    own = {"fraud": {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}
    vary = {"processor": ["kafka_streams"], "scorer": ["torchserve"], "model": ["fraud"]}
    experiment = {"own_models": own, "experiments__input_rate__vary": vary, "experiments__input_rate__beside": []}
    (planned_model,) = plan.make_plan(changed(**experiment)).own.values()
    assert planned_model.source("mar") == "onnx"
    with pytest.raises(CrayfishError, match=r"torchserve computes an ONNX file on the CPU alone.*fraud\.files"):
        plan.make_plan(changed(**experiment, experiments__input_rate__fix={"device": "cuda"}))
    torchscript(folder / "fraud.pt")
    own["fraud"]["files"]["torchscript"] = "fraud.pt"
    assert plan.make_plan(changed(**experiment, experiments__input_rate__fix={"device": "cuda"}))


@pytest.mark.parametrize(("kind", "drawn"), [("uint8", [0, 256]), ("int32", [0.5, 1]), ("float16", [0, 1e6])])
def test_a_range_that_the_type_cannot_hold_is_refused(folder, kind, drawn):
    torchscript(folder / "fraud.pt")
    with pytest.raises(CrayfishError, match=rf"fraud\.range: .*allowed for {kind}"):
        planned(files={"torchscript": "fraud.pt"}, samples=None, type=kind, shape=[3], range=drawn)


@given(st.binary(max_size=300), st.sampled_from([PLAIN, b""]), st.data())
def test_no_bytes_are_read_without_a_sentence(content, before, data):
    start = data.draw(st.integers(0, len(before)))
    mixed = memoryview(before[:start] + content)
    for read in (own_models._onnx, own_models._savedmodel):
        try:
            own_models._told(read, mixed, "file", "file of its format")
        except CrayfishError as error:
            assert str(error)


def test_a_copy_has_the_sum_that_was_planned_with(folder):
    source, out = folder / "fraud.onnx", folder / "copy.onnx"
    own_models.copy(source, hashlib.sha256(PLAIN).hexdigest(), out)
    assert out.read_bytes() == PLAIN
    with pytest.raises(CrayfishError, match="has changed since the run was planned"):
        own_models.copy(source, "0" * 64, out)
    assert not out.exists()


# --- samples ----------------------------------------------------------------------------------------------------------


def answering(model: own_models.Declared, **fields: object) -> own_answers.Answering:
    values = {
        "own": model.of("onnx"),
        "source": "fraud.onnx",
        "file": Path("fraud.onnx"),
        "environment": "kafka_streams",
    }
    values |= {"seed": 1, "samples": Path(model.samples) if model.samples else None, "range": model.range}
    return own_answers.Answering(**(values | fields))


def test_the_pool_is_the_samples_or_some_of_many_that_the_seed_chooses(folder):
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.save("rows.npy", rows)
    assert np.array_equal(own_answers.pool(answering(fraud())), rows)
    np.save("rows.npy", np.arange(3000, dtype=np.float32).reshape(1000, 3))
    pools = [own_answers.pool(answering(fraud(), seed=seed)) for seed in (1, 1, 2)]
    assert len(pools[0]) == own_answers.POOL == len(np.unique(pools[0], axis=0))
    assert np.array_equal(pools[0], pools[1]) and not np.array_equal(pools[0], pools[2])
    np.savez("rows.npz", rows=rows)
    assert np.array_equal(own_answers.pool(answering(fraud(samples="rows.npz"))), rows)


@pytest.mark.parametrize(("kind", "number"), [("float32", FLOAT), ("float16", HALF), ("int64", INT64), ("uint8", 2)])
def test_draws_lie_in_their_range_and_repeat(folder, kind, number):
    (folder / "fraud.onnx").write_bytes(onnx([tensor("x", number, "n", 3)], [SCORE]))
    model = fraud(samples=None, range=[2, 5])
    one, again = (own_answers.pool(answering(model)) for _ in range(2))
    assert one.dtype == kind and one.min() >= 2 and one.max() <= 5 and np.array_equal(one, again)
    if kind in ("int64", "uint8"):
        assert set(np.unique(one)) == {2, 3, 4, 5}
    assert model.of("onnx").told[0] == "the inputs of fraud are drawn within 2 to 5"


def test_samples_that_are_no_numbers_are_refused(folder):
    np.save("rows.npy", np.array([[1, 2, 3], [1, np.nan, 3]], np.float32))
    with pytest.raises(CrayfishError, match="holds values that are no numbers"):
        own_answers.pool(answering(fraud()))


def test_answers_that_prove_nothing_are_refused(folder):
    what = answering(fraud())
    own_answers._check(what, np.array([[0, 1], [0, 2]], np.float32))
    for outputs, told in (([[0, 1], [0, 1]], "answers the same"), ([[0, 1], [0, np.inf]], "NaN or infinity")):
        with pytest.raises(CrayfishError, match=told):
            own_answers._check(what, np.array(outputs, np.float32))


def test_a_job_of_such_a_model_is_read_as_it_was_written(folder):
    made = planned()
    spec = made.runs[made.experiments["input_rate"].runs[0]]
    job = Job.without_kafka(spec, str(folder), outputs=2)
    assert Job.read(job.write(folder / "job.json")) == job


def test_an_answer_of_any_kind_is_a_row_of_float32_for_each_data_point():
    doubles = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    for answer, width in ((doubles, 6), (np.array([True, False]), 1), (np.array([[7], [8]], np.int64), 1)):
        rows = answers.rows(answer, 2, "model")
        assert rows.dtype == np.float32 and rows.shape == (2, width) and rows.flags.c_contiguous
    for answer in (np.zeros((3, 2)), np.float32(1), np.array(["a", "b"]), [1, 2]):
        with pytest.raises(CrayfishError, match=r"^model answers .*allowed"):
            answers.rows(answer, 2, "model")


def test_the_tensor_that_is_taken_of_several():
    assert answers.chosen("one", "", "model") == answers.chosen(("one",), "0", "model") == "one"
    assert answers.chosen({"a": 1, "b": 2}, "b", "model") == answers.chosen([1, 2], "1", "model") == 2
    for answer, output in (((1, 2), ""), ({"a": 1}, "b"), ((1, 2), "2")):
        with pytest.raises(CrayfishError, match=r"model has .*set `output`"):
            answers.chosen(answer, output, "model")


# --- docs/own-model.md ------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs/own-model.md").read_text()
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def steps() -> list[str]:
    """The numbered steps of the walk."""
    walk = PAGE.partition("\n## Walk\n")[2].partition("\n## ")[0]
    last = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]
    return [*last[:-1], last[-1].partition("\n\n")[0]]


def test_the_documented_file_plans(folder):
    own = {"fraud": {"files": {"onnx": "fraud.onnx"}, "samples": "rows.npy"}}
    (block,) = [textwrap.dedent(body) for kind, body in FENCE.findall(PAGE) if kind == "yaml"]
    config = changed()
    update_config(config, yaml.safe_load(block) | {"own_models": own})
    made = plan.make_plan(config)
    assert {made.runs[run].scorer for run in made.runs_of("runs")} == {"onnx", "triton"} and made.drawn == ("my_rates",)


@pytest.mark.engine
def test_the_walk_ends_with_a_figure_of_the_model(resources, tmp_path):
    copy = equip(copy_checkout(tmp_path / "crayfish"), resources)
    looked_at = []
    for step in steps():
        saved = re.findall(r"save\s+this\s+as\s+`([^`]+)`(?:\s+in\s+`([^`]+)`)?", step, re.IGNORECASE)
        for kind, body in FENCE.findall(step):
            text = textwrap.dedent(body)
            if kind == "bash":
                for command in text.splitlines():
                    done = called("bash", "-c", command, cwd=copy, deadline_s=1200)
                    assert done.returncode == 0, done.stdout
            else:
                file, inside = saved.pop(0)
                (copy / inside / file).write_text(text)
        for command in re.findall(r"`(make [^`]+)`", step):
            done = called("bash", "-c", command, cwd=copy, deadline_s=1200)
            assert done.returncode == 0, done.stdout
            assert "fraud" in done.stdout
        looked_at += re.findall(r"`(results/[^`]+)`", step) if step.startswith("Look") else []
        assert not saved, step
    assert looked_at and all((copy / file).stat().st_size > 0 for file in looked_at)
    rows = list(csv.DictReader((copy / "results/fraud/tables/models.csv").open()))
    assert [(row["model"], row["inputs"], row["outputs"]) for row in rows] == [("fraud", "30 float32", "2")]
    runs = [json.loads(file.read_text()) for file in copy.glob("results/fraud/runs/*/1/manifest.json")]
    assert {run["spec"]["scorer"] for run in runs} == {"onnx", "triton"}
    assert all(run["accounting"]["wrong"] == run["accounting"]["lost"] == 0 for run in runs)


# --- every type, format and scorer on real parts ----------------------------------------------------------------------

BY_TORCH = """
import numpy as np, onnx, torch
from onnx import TensorProto as T, helper as h

random = np.random.default_rng(2)
save = lambda name, graph: onnx.save(
    h.make_model(graph, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)], ir_version=8), name
)
table = h.make_tensor("table", T.FLOAT, [1000, 8], random.normal(size=8000).astype("f4"))
nodes = [h.make_node("Gather", ["table", "ids"], ["tokens"])]
nodes += [h.make_node("ReduceMean", ["tokens"], ["sentence"], axes=[1], keepdims=0)]
outputs = [h.make_tensor_value_info("tokens", T.FLOAT, ["n", "length", 8])]
outputs += [h.make_tensor_value_info("sentence", T.FLOAT, ["n", 8])]
ids = h.make_tensor_value_info("ids", T.INT64, ["n", "length"])
save("tokens.onnx", h.make_graph(nodes, "g", [ids], outputs, [table]))
np.save("tokens.npy", random.integers(0, 1000, (300, 12)))

tree = dict(nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3, nodes_values=[0.0] * 3)
tree |= dict(nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0])
tree |= dict(class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[0, 1], class_weights=[1.0, 1.0])
nodes = [h.make_node("TreeEnsembleClassifier", ["rows"], ["label", "scores"], domain="ai.onnx.ml", **tree,
                     classlabels_int64s=[0, 1], post_transform="NONE")]
outputs = [h.make_tensor_value_info("label", T.INT64, [None]), h.make_tensor_value_info("scores", T.FLOAT, [None, 2])]
save("trees.onnx", h.make_graph(nodes, "g", [h.make_tensor_value_info("rows", T.FLOAT, [None, 4])], outputs))

nodes = [h.make_node("Mul", ["x", "x"], ["y"])]
outputs = [h.make_tensor_value_info("y", T.FLOAT16, ["n", 2, 1, 1, 3])]
save("halves.onnx", h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT16, ["n", 2, 1, 1, 3])], outputs))

class Pixels(torch.nn.Module):
    def forward(self, pixels):
        if bool((pixels > 250).any()):
            sums = pixels.float().sum(1)
        else:
            sums = pixels.float().sum(1) * 1.0
        return {"sums": sums.double(), "first": pixels[:, 0]}

torch.jit.script(Pixels()).save("pixels.pt")
"""
BY_TENSORFLOW = """
import tensorflow as tf

class Counts(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.int32, name="counts")])
    def serve(self, counts):
        return {"share": tf.cast(counts, tf.float32) / 7.0, "most": tf.argmax(counts, 1)}

counts = Counts()
tf.saved_model.save(counts, "counts", signatures={"serving_default": counts.serve})
"""
TYPED = """
own_models:
  tokens: {files: {onnx: tokens.onnx}, samples: tokens.npy, output: sentence}
  trees: {files: {onnx: trees.onnx}, range: [-1, 1]}
  halves: {files: {onnx: halves.onnx}, range: [-1, 1]}
  pixels: {files: {torchscript: pixels.pt}, range: [0, 255], type: uint8, shape: [6], output: sums}
  counts: {files: {savedmodel: counts}, range: [0, 100], output: most}
results: results/typed
draw: [typed]
repetitions: 1
experiments:
  typed:
    vary:
      - {processor: [kafka_streams], scorer: [onnx], model: [halves]}
      - {processor: [flink], scorer: [savedmodel], model: [counts]}
      - {processor: [spark], scorer: [torchscript], model: [pixels], codec: [json]}
      - {processor: [ray], scorer: [torchserve], model: [halves], codec: [json]}
    load: {kind: constant, rate: [100], warmup_s: 1, warmup_at_most_s: 1, measure_s: 2}
figures: {typed: {experiment: typed, kind: latency_by_rate}}
"""


@pytest.fixture(scope="module")
def typed(resources, tmp_path_factory) -> Path:
    """A copy of the checkout with models of every type as files, and a configuration that declares them."""
    copy = equip(copy_checkout(tmp_path_factory.mktemp("typed") / "crayfish"), resources)
    for environment, code in (("train", BY_TORCH), ("convert", BY_TENSORFLOW)):
        python = str(copy / paths.interpreter(environment))
        (copy / "make.py").write_text(code)  # TorchScript reads it
        done = called(python, "make.py", cwd=copy, deadline_s=300)
        assert done.returncode == 0, done.stdout
    (copy / "typed.yaml").write_text(TYPED)
    return copy


@pytest.mark.engine
def test_every_scorer_that_reads_a_file_answers_as_its_library_does(typed, monkeypatch):
    monkeypatch.chdir(typed)
    proofs = []
    for model in own_models.declared(yaml.safe_load(TYPED)["own_models"], lambda path: path).values():
        for name in discovery.names("scorers"):
            form = discovery.scorer(name).format
            if {form, *own_models.SOURCES.get(form, ())} & model.files.keys():
                proofs.append(paths.proof(own_models.DATASET, model.key, name))
    assert len(proofs) >= 3 * 3 + 2 + 2
    done = snakemake("--keep-going", *proofs, "--configfile", "typed.yaml", cwd=typed)
    assert done.returncode == 0, done.stdout


@pytest.mark.engine
def test_events_of_every_type_are_answered_once_and_rightly(typed):
    done = snakemake("figures", "--configfile", "typed.yaml", cwd=typed)
    assert done.returncode == 0, done.stdout
    manifests = [json.loads(file.read_text()) for file in (typed / "results/typed/runs").glob("*/*/manifest.json")]
    assert {manifest["spec"]["model"] for manifest in manifests} == {"halves", "counts", "pixels"}
    for manifest in manifests:
        counts = manifest["accounting"]
        assert counts["received_once"] == counts["sent"] == 300
        assert counts["lost"] == counts["wrong"] == counts["duplicated"] == 0
