"""The config's one source: schema, checks, tables of the docs and defaults come from the same declarations."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from test_plan import CONFIG, REFUSED, changed

from crayfish.spec import config, discovery, documentation
from crayfish.spec.errors import CrayfishError
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec, Segment, known_fields

FILES = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "schema.yaml")


def test_schema_and_tables_are_current():
    for path, text in documentation.generated().items():
        assert path.read_text() == text, f"{path} is not current: make schema"


def test_make_schema_writes_what_is_current(tmp_path, monkeypatch):
    monkeypatch.setattr(documentation, "SCHEMA", tmp_path / "schema.yaml")
    monkeypatch.setattr(documentation, "PAGE", tmp_path / "page.md")
    pairs = [f"<!-- {name} -->\nold\n<!-- end of {name} -->" for name in documentation.tables()]
    documentation.PAGE.write_text("before\n" + "\nbetween\n".join(pairs) + "\nafter\n")
    documentation.write()
    page = documentation.PAGE.read_text()
    assert page.startswith("before\n") and page.endswith("\nafter\n")
    assert "\nold\n" not in page and "`at_most_s`" in page
    assert yaml.safe_load(documentation.SCHEMA.read_text()) == config.schema()


def test_a_page_without_markers_is_an_error():
    with pytest.raises(CrayfishError, match="<!-- keys -->"):
        documentation.with_tables("# Configuration\n")


def test_the_schema_is_a_valid_schema_and_closed_everywhere():
    jsonschema.Draft202012Validator.check_schema(config.schema())

    def objects(schema: object) -> list[dict]:
        if isinstance(schema, list):
            return [found for each in schema for found in objects(each)]
        if not isinstance(schema, dict):
            return []
        own = [schema] if "properties" in schema else []
        return own + [found for each in schema.values() for found in objects(each)]

    assert all("additionalProperties" in each for each in objects(config.schema()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_editor_finds_no_fault_in_the_files_of_config(path):
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.yaml\n")
    jsonschema.Draft202012Validator(config.schema()).validate(yaml.safe_load(path.read_text()))


def test_every_field_has_a_description_for_editors():
    experiment = config.schema()["properties"]["experiments"]["additionalProperties"]["properties"]
    one, several = experiment["vary"]["anyOf"]
    assert several["items"] == one and set(one["properties"]) == set(known_fields(RunSpec))
    load = experiment["load"]["anyOf"][0]
    assert set(load["properties"]) == set(known_fields(Segment))
    for value in (*config.run_fields().values(), *config.load_fields().values()):
        assert value["description"]


def test_defaults_fill_what_a_config_lacks():
    assert config.complete({})["repetitions"] == config.KEYS["repetitions"].default
    partial = config.complete({"pilot": {"rate": 7}, "search": {"search_s": 1}})
    assert partial["pilot"] == {**config.KEYS["pilot"].default, "rate": 7}
    assert partial["search"]["objective_ms"] == config.KEYS["search"].default["objective_ms"]
    config.validate(config.complete({}))


def test_a_completed_config_is_read_again_as_it_is():
    """As the report reads the results' configuration."""
    made = config.complete(config.parsed(CONFIG))
    again = config.complete(config.parsed(json.loads(json.dumps(made))))
    assert again == made
    config.validate(again)


def test_a_field_has_one_default():
    declared = {name: default for name, (_, default, _) in known_fields(RunSpec).items()}
    assert config.KEYS["dataset"].default == declared["dataset"]
    assert config.KEYS["seed"].default == declared["seed"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"experiments__input_rate__load": {"rate": 5}}, ["experiments.input_rate.load", "kind"]),
        ({"experiments__new": {"load": {"kind": "constant"}}}, ["experiments.new.vary: missing"]),
        ({"figures__new": {"experiment": "input_rate"}}, ["figures.new.kind: missing"]),
        ({"weights": {"resnet50": {"file": "a.pth"}}}, ["weights.resnet50", "lacks sha256"]),
        ({"weights": {"resnet50": {"file": "a.pth", "sha256": "12"}}}, ["weights.resnet50.sha256", "'12'"]),
        ({"weights": {"ffnn": {"file": "a.pth", "sha256": "0" * 64}}}, ["weights.ffnn", "is trained here"]),
        ({"weights": {"resnet5": {"file": "a", "sha256": "0" * 64}}}, ["weights", "'resnet5'", "'resnet50'"]),
        ({"experiments__input_rate__vary__scorer": []}, ["experiments.input_rate.vary.scorer", "[]"]),
        ({"experiments__input_rate__vary__parallelism": "two"}, ["parallelism", "'two'", "whole number"]),
        ({"experiments__input_rate__vary__scorer": ["embeded"]}, ["scorer", "did you mean 'embedded'"]),
        ({"experiments__input_rate__vary__processor": "embedded"}, ["processor", "'embedded'", "all"]),
        ({"experiments__input_rate__fix": {"scorer": "all"}}, ["fix.scorer", "'all'", "onnx"]),
        ({"experiments__input_rate__fix": {"seed": 3}}, ["fix.seed", "unknown key"]),
        ({"experiments__Input": {}}, ["experiments", "Input"]),
        ({"run__lateness_bound_ms": 0}, ["run.lateness_bound_ms", "0", "more than 0"]),
        ({"run": [1]}, ["run", "[1]", "a block of keys"]),
        ({"draw": "cost"}, ["draw", "'cost'", "a list"]),
        ({"search__rate": [1, 2]}, ["search.rate", "[1, 2]", "a number"]),
        ({"dataset_folder": 3}, ["dataset_folder", "3", "null or a text"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_fault_is_told_with_its_key_its_value_and_what_is_allowed(changes, told):
    from crayfish.spec import plan

    with pytest.raises(CrayfishError) as refused:
        plan.make_plan(changed(**changes))
    for text in told:
        assert text in str(refused.value)


def test_every_fault_is_named_at_once():
    with pytest.raises(CrayfishError) as refused:
        config.validate(config.complete(changed(repetitions=0, procesors=["flink"], run__codec="xml")))
    assert len(str(refused.value).splitlines()) == 4


@pytest.mark.parametrize("changes", [changes for changes, _ in REFUSED], ids=lambda changes: next(iter(changes)))
def test_what_the_schema_refuses_is_refused_with_a_sentence(changes):
    wrong = config.complete(changed(**changes))
    valid = jsonschema.Draft202012Validator(config.schema(())).is_valid(wrong)
    try:
        config.validate(wrong)
    except CrayfishError as error:
        assert not valid and all(": " in line for line in str(error).splitlines()[1:])
    else:
        assert valid


def test_words_stand_for_what_is_discovered():
    scorers = {name: discovery.scorer(name) for name in discovery.names("scorers")}
    embedded, external = (list(config.expanded("scorer", [word])) for word in ("embedded", "external"))
    assert external == [name for name, each in scorers.items() if each.external]
    assert embedded == [name for name, each in scorers.items() if not each.external and each.format]
    assert list(config.expanded("scorer", ["all"])) == list(scorers)
    assert next(iter(config.expanded("processor", ["ray", "all"]))) == "ray"
    processors = {name: discovery.processor(name) for name in discovery.names("processors")}
    systems = {name for name, each in processors.items() if not each.floor}
    assert config.expanded("processor", ["ray", "all"]).keys() == systems
    named = config.expanded("scorer", ["onnx", "embedded"])
    assert named.pop("onnx") and not any(named.values())


def test_the_default_plan_needs_nothing_beyond_snakemakes_dependencies(tmp_path):
    """What the Snakefile imports, and the default plan, without numpy and the libraries of the environments."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    code = f"""
import sys
for name in "numpy pandas scipy pyarrow confluent_kafka jpype polars matplotlib psutil torch".split():
    sys.modules[name] = None
import json
from pathlib import Path
from crayfish.engine import jvm
from crayfish.spec import config, dependencies, discovery, paths, plan
made = plan.make_plan(config.complete(config.parsed(json.loads(Path({str(tmp_path / "config.json")!r}).read_text()))))
for spec in made.runs.values():
    dependencies.library_files(spec), dependencies.run_inputs(spec, {{}}, [])
for room in discovery.ROOMS:
    if room != "results/figures":
        dependencies.declarations(room)
print(len(made.jobs()))
"""
    environment = {"PYTHONPATH": str(ROOT / "workflow/scripts"), "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_parsing_leaves_the_config_of_a_caller_alone():
    before = copy.deepcopy(CONFIG)
    config.complete(config.parsed(CONFIG))["run"]["model"] = "other"
    assert before == CONFIG
