"""The documentation holds together: links lead somewhere, what it names is there, and no sentence stands twice."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from generated_runs import spec_of, write_run
from markdown_it import MarkdownIt
from markdown_it.token import Token
from snakemake.utils import update_config
from test_plan import laid_over

from crayfish.results import tabulation
from crayfish.results.summaries import summarise
from crayfish.spec import plan
from crayfish.spec.run_spec import Segment

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LIBRARY = ROOT / "workflow" / "scripts" / "crayfish"
BASES = (ROOT, LIBRARY.parent, LIBRARY)  # what a page may name a file from
MADE = {"resources", "results", "logs"}  # by the pipeline: not there in a fresh checkout
LONG = 10  # words: a shorter sentence may stand twice
TABLE_KINDS = {"experiments": 0, "figures": 2}  # of docs/experiments.md: kind of name -> its column


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def inline(page: Path) -> Iterator[Token]:
    """What lies inside the page's paragraphs, list items and cells."""
    return (child for token in tokens(page) for child in token.children or ())


def code(page: Path) -> Iterator[str]:
    """Every code span and code block of a page."""
    yield from (child.content for child in inline(page) if child.type == "code_inline")
    yield from (token.content for token in tokens(page) if token.type in ("fence", "code_block"))


def text_of(token: Token) -> str:
    """An inline token's text without its markup."""
    return "".join(" " if child.type == "softbreak" else child.content for child in token.children or ())


@cache
def anchors(page: Path) -> set[str]:
    """How GitHub names the headings: lower case, no punctuation, hyphens for spaces, a number where one is repeated."""
    found: dict[str, int] = defaultdict(int)
    names = set()
    for heading, content in zip(tokens(page), tokens(page)[1:], strict=False):
        if heading.type == "heading_open":
            name = re.sub(r"[^\w\- ]", "", text_of(content).lower()).replace(" ", "-")
            names.add(f"{name}-{found[name]}" if found[name] else name)
            found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = [
        child.attrGet("href") or child.attrGet("src") for child in inline(page) if child.type in ("link_open", "image")
    ]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page):
    for word in (word for span in code(page) for word in re.findall(r"[\w.\-/]+", span)):
        first, slash, rest = word.partition("/")
        if not slash or first in MADE or not rest or re.search(r"\b[A-Z]{2,}\b(?!\.md)", word):  # NAME stands for any
            continue
        bases = [base for base in BASES if first and (base / first).is_dir()]
        assert not bases or any((base / word).exists() for base in bases), f"{page.name} names {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_is_there(page):
    for name, function in (pair for span in code(page) for pair in re.findall(r"\b(test_\w+\.py)::(test_\w+)", span)):
        assert f"def {function}(" in (ROOT / "tests" / name).read_text(), f"{page.name} names {name}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_is_named_is_there(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for span in code(page) for name in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", span)}
    assert named <= targets, f"{page.name} names targets that the Makefile lacks: {named - targets}"


def test_no_sentence_stands_twice():
    places = defaultdict(list)
    for page in PAGES:
        for token in tokens(page):
            if token.type == "inline":
                for sentence in re.split(r"(?<=[.?!])\s+", " ".join(text_of(token).split())):
                    if len(sentence.split()) > LONG:
                        places[sentence.lower()].append(page.name)
    assert {sentence: pages for sentence, pages in places.items() if len(pages) > 1} == {}


@pytest.mark.parametrize(("kind", "column"), TABLE_KINDS.items())
def test_the_documented_experiments_and_figures_exist(kind, column):
    page = (ROOT / "docs" / "experiments.md").read_text()
    table = page[page.index("| experiment |") :].partition("\n\n")[0].splitlines()[2:]
    named = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1 + column])}
    assert named and named <= laid_over("laptop")[kind].keys()


def test_the_documented_experiment_plans():
    blocks = [block for block in code(ROOT / "docs" / "configuration.md") if block.startswith("experiments:")]
    assert blocks
    for block in map(yaml.safe_load, blocks):
        config = laid_over()
        update_config(config, block)
        assert block["figures"].keys() <= plan.make_plan(config).figures.keys()


def test_what_troubleshooting_quotes_is_an_error_of_this_project():
    sources = [*ROOT.glob("workflow/scripts/**/*.py"), ROOT / "Makefile"]
    # A message that spans lines is several literals; what lies between them is left out.
    told = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(path.read_text() for path in sources))
    rows = re.findall(r"^\| \*(.+?)\* \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert rows
    fragments = [part.strip().replace("`", "") for row in rows for part in row.split("…")]
    assert [fragment for fragment in fragments if fragment not in told.replace("`", "")] == []


def test_the_documented_walls_are_those_that_lint_checks():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    forbidden = {contract["source_modules"][0]: set(contract["forbidden_modules"]) for contract in contracts}
    rooms = {room.removeprefix("crayfish.") for room in forbidden}
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|\n]+ \|([^|\n]*)\|", page[page.index("| room |") :], re.MULTILINE)
    documented = {room: set(re.findall(r"`(\w+)`", imports)) for room, imports in rows if room in rooms}
    allowed = {
        room: {other for other in rooms - {room} if f"crayfish.{other}" not in forbidden[f"crayfish.{room}"]}
        for room in rooms
    }
    assert documented == allowed


def test_the_documented_columns_are_those_of_a_table(tmp_path):
    folder = tmp_path / "run" / "1"
    write_run(folder, spec_of("flink", "onnx", Segment("constant", 50, warmup_s=1, measure_s=3)))
    columns = tabulation.tabulate("input_rate", [summarise(folder)], "runs").columns
    page = (ROOT / "docs" / "results.md").read_text()
    table = page[page.index("| columns |") :].partition("\n\n")[0].splitlines()[2:]
    named = [name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    patterns = [re.sub(r"STAGE|\bP\b|(?<=_)P(?=_)", r"\\w+", name) for name in named]
    assert [name for name in patterns if not any(re.fullmatch(name, column) for column in columns)] == []
    metrics = columns[columns.index("repetition") + 1 :]
    explained = [*patterns, "warnings", "machine", "run"]
    assert [column for column in metrics if not any(re.fullmatch(name, column) for name in explained)] == []
