"""docs/adding.md is true: who adds a part of any kind by exactly its steps has one that plans, lints, passes the fast
check and answers rightly.

One copy of the checkout receives a part of every kind. The steps are read out of the page; a step that this module does
not understand is an error.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, called, copy_checkout, equip

from crayfish.spec import discovery, paths

PAGE = (ROOT / "docs/adding.md").read_text()
ADD = re.compile(
    r"Add `(?P<file>[^`]+)`(?:, a copy of `(?P<template>[^`]+)`|[^`]*\n\n(?P<body> +```\n.*?```))", re.DOTALL
)
MAKE, PLAN = re.compile(r": `make (.+)`$"), re.compile(r"Plan it: `snakemake (.+)`$")
ANSWERS = ("embedded_scorer", "external_scorer", "processor", "model", "load")  # those that a run has
IN_PROCESS = """
import json, sys
sys.path += ["workflow/scripts", "tests"]
from snakemake.utils import update_config
from test_plan import laid_over
from crayfish.spec import plan
from crayfish.spec.config import parsed

found = {}
for name, (files, changes, experiment) in json.loads(sys.argv[1]).items():
    config = laid_over(*files)
    update_config(config, parsed(changes))
    made = plan.make_plan(config)
    experiments = [experiment] if experiment in made.experiments else made.experiments_of([experiment])
    found[name] = [made.runs[run].to_json() for each in experiments for run in made.experiments[each].runs]
print(json.dumps(found))
"""


@dataclass
class Walk:
    """The steps of one section of the page, for a part of this name."""

    name: str
    files: dict[str, str] = field(default_factory=dict)  # path in the checkout -> content
    targets: list[str] = field(default_factory=list)  # of make
    plan: str = ""  # Snakemake's arguments


def in_checkout(file: str) -> str:
    """A path of the page, from the checkout's root."""
    rooms = {room.partition("/")[0] for room in discovery.ROOMS}
    return f"{paths.LIBRARY}/{file}" if file.partition("/")[0] in rooms else file


def filled(template: str, name: str) -> str:
    """A template for a part of this name."""
    words = {"_template_external": name, "_template": name, "template": name, "TEMPLATE": name}
    words["Template"] = name.title().replace("_", "")
    return re.sub("_template_external|_template|template|TEMPLATE|Template", lambda found: words[found[0]], template)


def walks() -> dict[str, Walk]:
    """Kind of part -> its walk; the part is called new_KIND."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        walk = Walk(f"new_{title.lower().replace(' ', '_')}")
        steps = re.split(r"^\d+\. ", section.replace("NAME", walk.name), flags=re.MULTILINE)[1:]
        for step in steps:
            step = step.partition("\n\n")[0] if "```" not in step else step
            if add := ADD.match(step):
                body = "\n".join(line.strip() for line in (add["body"] or "").splitlines()[1:-1]) + "\n"
                template = add["template"] and (ROOT / in_checkout(add["template"])).read_text()
                walk.files[in_checkout(add["file"])] = filled(template, walk.name) if template else body
            elif make := MAKE.search(step.strip()):
                walk.targets += make[1].split()
            elif planned := PLAN.match(step.strip()):
                walk.plan = planned[1]
            else:
                raise AssertionError(f"docs/adding.md, {title}: a step that no test can follow: {step}")
        found[walk.name.removeprefix("new_")] = walk
    return found


WALKS = walks()


def lock(envs: Path, name: str) -> None:
    """`make lock` for one environment without a package index: the pins of one that has all of its packages."""
    lines = [
        (envs / line[3:]).read_text() if line.startswith("-r ") else line
        for line in (envs / f"{name}.in").read_text().splitlines()
    ]
    direct = set("\n".join(lines).split())
    usual = [each for each in sorted(envs.glob("*.yaml")) if "==" not in each.with_suffix(".in").read_text()]
    pinned = {each: set(re.findall(r"- ([\w.-]+)==", each.read_text())) for each in usual if each.stem != name}
    source = min((each for each, packages in pinned.items() if direct <= packages), key=lambda each: len(pinned[each]))
    (envs / f"{name}.yaml").write_text(source.read_text())


def run(copy: Path, *command: str, deadline_s: float = 600) -> str:
    """What a command prints in the copy; it must end with 0."""
    done = called(*command, cwd=copy, deadline_s=deadline_s)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """A copy of the checkout, under git, with one more part of every kind."""
    copy = copy_checkout(tmp_path_factory.mktemp("grown") / "crayfish")
    for walk in WALKS.values():
        for file, content in walk.files.items():
            assert not (copy / file).exists()
            (copy / file).write_text(content)
        if "lock" in walk.targets:
            lock(copy / "envs", walk.name)
    (copy / ".venv").symlink_to(Path(sys.executable).parents[1])
    run(copy, "make", *sorted({target for walk in WALKS.values() for target in walk.targets} - {"lock"}))
    run(copy, "git", "init", "--quiet")
    run(copy, "git", "add", "--all")
    run(
        copy,
        "git",
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "commit",
        "--quiet",
        "--message",
        "grown",
    )
    return copy


def test_every_kind_of_part_has_a_walk():
    rooms = {in_checkout(f"{room}/") for room in discovery.ROOMS}
    walked = {f"{Path(file).parent}/" for walk in WALKS.values() for file in walk.files}
    assert rooms <= walked and "config/" in walked
    assert all(walk.plan for walk in WALKS.values())


def told(arguments: str) -> tuple[list[str], dict, str]:
    """Files of config/, changes of the config and the experiment or figure of Snakemake's arguments."""
    words = shlex.split(arguments)
    files = [Path(word).stem for word in words if re.fullmatch(r"config/\w+\.yaml", word)]
    changes = dict(word.split("=", 1) for word in words if re.match(r"\w+=", word))
    (target,) = [word for word in words if word.startswith("results/")] or files
    return files, {key: yaml.safe_load(value) for key, value in changes.items()}, Path(target).stem


def test_every_part_is_planned(grown):
    asked = json.dumps({name: told(walk.plan) for name, walk in WALKS.items()})
    planned = json.loads(run(grown, sys.executable, "-c", IN_PROCESS, asked))
    for kind, walk in WALKS.items():
        assert planned[kind], kind
        assert kind not in ANSWERS or all(f'"{walk.name}"' in spec for spec in planned[kind])


def test_every_part_keeps_the_style_and_the_walls(grown):
    run(grown, "make", "lint-python", "lint-walls")


def test_tests_of_declarations_plans_and_pages_pass_with_more_parts(grown):
    """Those that look at what is discovered; the whole check with more parts takes as long as the check."""
    names = ("config", "discovery", "docs", "environments", "models", "pacing", "parity", "plan", "sampling", "tools")
    run(grown, "pytest", "-q", "-m", "not engine", *(f"tests/test_{name}.py" for name in names))


# --- what takes minutes ----------------------------------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.parametrize("kind", WALKS)
def test_snakemake_plans_as_the_page_says(grown, kind):
    output = run(grown, "snakemake", *shlex.split(WALKS[kind].plan))
    assert "execute_run" in output and WALKS[kind].name in output


@pytest.mark.engine
@pytest.mark.full
def test_the_whole_check_passes_with_more_parts(grown):
    run(grown, "make", "check", "ARGS=--ignore=tests/test_adding.py")


@pytest.fixture(scope="module")
def equipped(grown, resources) -> Path:
    """The same with what has been made already."""
    return equip(grown, resources)


def test_new_parts_answer_every_event_once_and_rightly(equipped, request):
    """By the first of the contract suite's tests of each; with --all by all."""
    contract = ("pytest", "-q", "-p", "no:randomly")
    of_the_parts = ("tests/test_contract.py", "-k", " or ".join(WALKS[kind].name for kind in ANSWERS))
    collected = run(equipped, *contract, "--collect-only", *of_the_parts)
    tests = re.findall(r"^tests/\S+::.+$", collected, re.MULTILINE)
    chosen = []
    for kind in ANSWERS:
        own = [test for test in tests if WALKS[kind].name in test]
        chosen += own if request.config.getoption("--all") else own[:1]
    chosen = list(dict.fromkeys(chosen))
    output = run(equipped, *contract, *chosen, deadline_s=1800)
    assert f"{len(chosen)} passed" in output
