"""The highest rate that each system sustains, by the objective of its latency."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event")
METRIC = "sustainable_events_per_s"
OBJECTIVES_MS = (100, 300, 1000)  # that every search tells beside its own


def draw(table: pl.DataFrame) -> Figure:
    metric = chosen_metric((METRIC,), table)
    parts = [
        table.with_columns(
            pl.lit(objective).alias("objective_ms"),
            *(
                pl.col(f"sustainable_{objective}ms_events_per_s{end}").alias(metric + end)
                for end in ("", "_low", "_high")
            ),
        )
        for objective in OBJECTIVES_MS
        if f"sustainable_{objective}ms_events_per_s" in table.columns
    ]
    told = pl.concat(parts).drop_nulls(metric) if parts else table.clear()
    if not len(told):  # searches of an older version, or of another objective that alone was met
        return plots.ranked_rows(table, metric, AXES)
    return plots.by_column(told, "objective_ms", AXES, metric)


FIGURE_KIND = FigureKind(
    title="Sustainable rate",
    text=(
        "The highest input rate at which the 99th percentile of latency stays below an objective and the backlog does"
        " not grow, found by a search of short probes, against that objective. A system without a point met the"
        " objective at none of the probed rates."
    ),
    part="means",
    axes=(*AXES, "objective_ms"),
    metrics=(METRIC,),
    draw=draw,
)
