"""The tables of docs/configuration.md, made from the declarations that the config is checked by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import yaml

from crayfish.spec import config
from crayfish.spec.errors import CrayfishError
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import Known, RunSpec, Segment, known_fields

SCHEMA, PAGE = ROOT / "config/schema.yaml", ROOT / "docs/configuration.md"
HEAD = (
    "# What a file of config/ may hold, for editors. Made by `make schema`: change the declarations, not this file.\n"
)
TYPES = {"str": "text", "int": "whole number", "float": "number"}


def tables() -> dict[str, str]:
    """The name of a pair of markers in the page -> the Markdown table between them."""
    keys = [(f"`{name}`", key.doc, _default(key.default)) for name, key in config.KEYS.items()]
    return {
        "keys": _table(("key", "meaning", "default"), keys),
        "run fields": _fields(RunSpec, hidden=config.OF_THE_CONFIG),
        "load fields": _fields(Segment),
    }


def _fields(cls: type, hidden: tuple[str, ...] = ()) -> str:
    rows = [
        (f"`{name}`", known.doc, _values(type_name, known) + _words(name), _default(default))
        for name, (type_name, default, known) in known_fields(cls).items()
        if name not in hidden
    ]
    return _table(("field", "meaning", "values", "default"), rows)


def _values(type_name: str, known: Known) -> str:
    """What a field may hold, in words."""
    if known.choices:
        return ", ".join(f"`{each}`" for each in known.allowed)
    bounds = [f"> {known.above:g}"] if known.above is not None else []
    bounds += [f"≥ {known.least:g}"] if known.least is not None else []
    bounds += [f"and ≤ {known.most:.0f}"] if known.most is not None else []
    return ", ".join(filter(None, (" ".join([TYPES[type_name], *bounds]), known.unit)))


def _words(field: str) -> str:
    """The words that stand for several values, where a run's field varies."""
    words = ", ".join(f"`{each}`" for each in config.WORDS.get(field, ()))
    return f"; where it varies also {words}" if words else ""


def _default(value: Any) -> str:
    if value is MISSING:
        return ""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`".replace('"', "")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def with_tables(page: str) -> str:
    """The page with what stands between its markers made anew. CrayfishError if it lacks a pair of markers."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if (page.count(f"{begin}\n"), page.count(end)) != (1, 1):
            raise CrayfishError(f"{PAGE}: needs the lines {begin} and {end} once each")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return page


def generated() -> dict[Path, str]:
    """File -> the text that it should have."""
    schema = HEAD + yaml.safe_dump(
        config.schema(), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    return {SCHEMA: schema, PAGE: with_tables(PAGE.read_text())}


def write() -> None:
    """Bring the schema and the page up to date."""
    for path, text in generated().items():
        path.write_text(text)
