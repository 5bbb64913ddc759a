"""One figure of one kind from the tables of an experiment, and its caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

from crayfish.results import captions, plots, ranking, tables
from crayfish.results.ranking import Ranks
from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError

PARTS = ("means", "series", "curves", "repetitions")


def draw(
    kind_name: str,
    paths: Mapping[str, Path | None],
    where: dict[str, list],
    figures: list[Path],
    caption: Path | None,
    ranking_table: Path | None = None,
) -> None:
    """Write a figure in the formats of the files' suffixes, its caption, and the ranking of its systems. Equal tables
    give equal files.

    paths: part of the table -> its file; the part that the kind draws must be there, and without the repetitions
    nothing is ranked. where: column -> the values that
    are kept. Raises CrayfishError for a table that is missing, empty or lacks what the kind draws.
    """
    kind = discovery.figure_kind(kind_name)
    path = paths[kind.part]
    if path is None:
        raise CrayfishError(f"--{kind.part}: {kind_name} draws this part of a table, and it was not given")
    table = tables.read_table(path)
    if not len(table):
        raise CrayfishError(f"{path}: the table is empty, there is nothing to draw")
    repetitions = paths.get("repetitions")
    each = None if repetitions is None else tables.read_table(repetitions)
    ranks: Ranks = lambda metric: ranking.rank(table, each, kind.axes, metric)  # noqa: E731 # of what `table` is then
    try:
        whole = tables.filtered(table, where)
        table = tables.measured(whole)
        with matplotlib.rc_context(plots.STYLE):
            if len(table):
                table = kind.select(table)
                figure = kind.draw(table, ranks) if kind.ranked else kind.draw(table)
            else:
                figure = plots.nothing("every run failed: see the caption")
    except CrayfishError as error:
        raise CrayfishError(f"{path}: {error}") from error
    for out in figures:
        plots.save(figure, out)
    if caption:
        drawn = captions.caption(kind, table, ranks) if len(table) else f"**{kind.title}.** Every run failed.\n"
        caption.write_text(drawn + captions.failures(whole, kind))
    if ranking_table:
        rankings = [ranks(metric) for metric in captions.ranked_by(kind, table)]
        ranking.as_table(rankings).write_csv(ranking_table)
