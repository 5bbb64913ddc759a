"""One figure of one kind from the tables of an experiment, and its caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

from crayfish.results import captions, plots, tables
from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError

PARTS = ("means", "series", "curves")


def draw(
    kind_name: str,
    paths: Mapping[str, Path | None],
    where: dict[str, list],
    figures: list[Path],
    caption: Path | None,
) -> None:
    """Write a figure in the formats of the files' suffixes, and its caption. Equal tables give equal files.

    paths: part of the table -> its file; the part that the kind draws must be there. where: column -> the values that
    are kept. Raises CrayfishError for a table that is missing, empty or lacks what the kind draws.
    """
    kind = discovery.figure_kind(kind_name)
    path = paths[kind.part]
    if path is None:
        raise CrayfishError(f"--{kind.part}: {kind_name} draws this part of a table, and it was not given")
    table = tables.read_table(path)
    if not len(table):
        raise CrayfishError(f"{path}: the table is empty, there is nothing to draw")
    try:
        table = kind.select(tables.filtered(table, where))
        with matplotlib.rc_context(plots.STYLE):
            figure = kind.draw(table)
    except CrayfishError as error:
        raise CrayfishError(f"{path}: {error}") from error
    for out in figures:
        plots.save(figure, out)
    if caption:
        caption.write_text(captions.caption(kind, table))
