# What the rules of tables and figures need, from a table or figure to what it is made of.
import json

# Digest -> which part of the experiments' tables it is made of.
DIGESTS = {"sustained_throughput": "", "latency_percentiles": "", "recovery_times": "_series", "accounting": ""}


def part_of(wildcards):
    """What tabulate makes of the summaries."""
    return "runs" if wildcards.table == "runs" else wildcards.part.removeprefix("_") or "means"


def tables_of(wildcards):
    """The tables of every experiment that has runs, of the part that a digest needs."""
    named = [name for name, experiment in PLAN.experiments.items() if experiment.runs]
    return [f"{RESULTS}/tables/{name}{DIGESTS[wildcards.digest]}.csv" for name in named]


def figure_of(wildcards):
    """A figure's block in the config: its experiment, kind and where."""
    return PLAN.figures[wildcards.figure]
