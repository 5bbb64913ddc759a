"""Parts are found by their declarations, and a bad declaration is an error that names its file."""

import re
from pathlib import Path

import pytest

from crayfish import scorers
from crayfish.spec import contracts, discovery
from crayfish.spec.errors import CrayfishError

FIELDS = {
    "display_name": '"New"',
    "marker": '"o"',
    "fill": "None",
    "open": "print",
    "format": "None",
}


def declaration(**changes: str | None) -> str:
    """The source of a scorer's module with some fields changed, added or (None) left out."""
    kept = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    fields = "".join(f"    {name}={value},\n" for name, value in kept.items())
    return f"from crayfish.spec.contracts import Scorer\n\nSCORER = Scorer(\n{fields})\n"


@pytest.fixture
def room(tmp_path, monkeypatch) -> Path:
    """A folder whose modules are in the room of scorers too."""
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(tmp_path)])
    monkeypatch.setattr(discovery, "file_of", lambda room, name: tmp_path / f"{name}.py")
    discovery._load.cache_clear()
    yield tmp_path
    discovery._load.cache_clear()


def test_what_a_room_has_is_what_it_declares():
    for room, kind in discovery.ROOMS.items():
        names = discovery.names(room)
        assert names and not [name for name in names if name.startswith("_")]
        if kind is not contracts.FigureKind:  # these need the environment that draws
            assert all(type(discovery._load(room, name)) is kind for name in names)


def test_a_right_declaration_is_taken(room):
    (room / "right_one.py").write_text(declaration(external="True"))
    assert discovery.scorer("right_one").external and discovery.scorer("right_one").display_name == "New"


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("unknown_field", declaration(formatt='"onnx"'), ["formatt", "did you mean 'format'", "fields: display_name"]),
        ("missing_field", declaration(marker=None), ["missing 1 required keyword-only argument: 'marker'"]),
        ("missing_fields", declaration(marker=None, fill=None), ["'marker' and 'fill'"]),
        ("text_for_tuple", declaration(jars='"dl4j"'), ["Scorer.jars", "'dl4j'", "('name',)"]),
        ("number_for_text", declaration(display_name="3"), ["Scorer.display_name", "3", "a text"]),
        ("text_for_truth", declaration(external='"yes"'), ["Scorer.external", "'yes'", "true or false"]),
        ("text_for_function", declaration(open='"print"'), ["Scorer.open", "'print'", "a function"]),
        ("list_for_text_or_none", declaration(format='["onnx"]'), ["Scorer.format", "['onnx']", "a text or None"]),
        ("text_for_number", declaration(answer='"1"'), ["Scorer.answer", "'1'", "a number or None"]),
        ("numbers_for_names", declaration(jars="(1, 2)"), ["Scorer.jars", "(1, 2)", "a tuple of texts"]),
        ("no_declaration", "VALUE = 1\n", ["declares 0 Scorers", "SCORER = Scorer(...)"]),
        ("two_declarations", declaration() + declaration().replace("SCORER", "OTHER"), ["declares 2 Scorers"]),
        ("not_python", "SCORER = Scorer(\n", ["was never closed"]),
        ("missing_library", "import no_such_library\n", ["no_such_library", "inside the functions"]),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_bad_declaration_is_an_error_that_names_the_file(room, name, source, told):
    file = room / f"{name}.py"
    file.write_text(source)
    with pytest.raises(CrayfishError) as refused:
        discovery.scorer(name)
    for text in (str(file), *told):
        assert text in str(refused.value)


def test_an_error_inside_a_function_of_a_part_is_not_taken_for_its_declaration(room):
    (room / "broken.py").write_text("def broken():\n    return len(3)\n\n\nbroken()\n")
    with pytest.raises(TypeError, match=re.escape("len()")):
        discovery.scorer("broken")


def test_one_name_bound_twice_is_one_declaration(room):
    (room / "bound_twice.py").write_text(declaration() + "ALIAS = SCORER\n")
    assert discovery.scorer("bound_twice").marker == "o"
