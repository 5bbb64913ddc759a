"""What the benchmark can tell apart, from the runs of config/resolution.yaml (`make resolution`).

It ranks the same systems, as figures do, by every choice of 3, 4, ... of the rounds that were made: how often does it
rank a system against itself (its twins), and how often does it find a slow-down that was planted (added_us)? How large
that really was is told by all rounds together. Writes resolution.json for benchmarks/report.py.
"""

import argparse
import itertools
import json
import math
from pathlib import Path

import numpy as np
import polars as pl

from crayfish.results import ranking
from crayfish.results.ranking import Value
from crayfish.results.tables import read_table
from crayfish.spec import errors, paths
from crayfish.spec.errors import CrayfishError

METRIC = "throughput_events_per_s"
LEAST_ROUNDS = 3
MOST_CHOICES = 200  # of rounds, drawn where there are more
Systems = dict[str, list[Value]]


def systems_of(table: pl.DataFrame) -> dict[str, tuple[Systems, dict[str, float]]]:
    """Of each processor: its systems' values, and of those that are slowed down how much is added (us an event)."""
    found: dict[str, tuple[Systems, dict[str, float]]] = {}
    for row in table.drop_nulls(METRIC).iter_rows(named=True):
        systems, added = found.setdefault(row["processor"], ({}, {}))
        name = f"added {row['added_us']:g} us" if row["added_us"] else f"twin {row['twin']}"
        value = Value(row.get("round") or row["repetition"], row[METRIC], row.get("position"), row.get("machine_speed"))
        systems.setdefault(name, []).append(value)
        if row["added_us"]:
            added[name] = row["added_us"]
    return found


def choices(rounds: list[int], count: int) -> list[tuple[int, ...]]:
    """Every choice of so many rounds, or MOST_CHOICES of them."""
    every = list(itertools.combinations(rounds, count))
    if len(every) <= MOST_CHOICES:
        return every
    drawn = np.random.default_rng(1).choice(len(every), MOST_CHOICES, replace=False)
    return [every[index] for index in drawn]


def told(systems: Systems, chosen: tuple[int, ...]) -> dict[frozenset[str], bool]:
    """Whether each pair of systems is ranked by these rounds alone."""
    kept = {name: [each for each in values if each.round in chosen] for name, values in systems.items()}
    panel = ranking.compared(kept, {}, higher=True, plain=False, place=())
    return {frozenset((pair.first, pair.second)): pair.told for pair in panel.pairs}


def slow_down(systems: Systems, name: str, twins: list[str]) -> float:
    """By which share fewer events a second a system did than the twins, of the geometric means of all rounds."""
    base = np.mean([math.log(each.value) for twin in twins for each in systems[twin]])
    return 1 - math.exp(float(np.mean([math.log(each.value) for each in systems[name]]) - base))


def resolution(table: pl.DataFrame) -> list[dict]:
    """A row a processor, number of rounds and kind of pair: how many pairs were looked at, and the share ranked."""
    rows = []
    for processor, (systems, added) in systems_of(table).items():
        twins = sorted(name for name in systems if name not in added)
        rounds = sorted({each.round for values in systems.values() for each in values})
        if len(rounds) < LEAST_ROUNDS or len(twins) < 2:
            raise CrayfishError(
                f"{processor}: {len(rounds)} rounds of {len(twins)} twins; {LEAST_ROUNDS} of 2 at least are needed:"
                " run `make resolution`"
            )
        pairs = {"A/A": list(itertools.combinations(twins, 2))}
        pairs |= {name: [(twin, name) for twin in twins] for name in sorted(added, key=lambda each: added[each])}
        for count in range(LEAST_ROUNDS, len(rounds) + 1):
            verdicts = [told(systems, chosen) for chosen in choices(rounds, count)]
            for kind, kind_pairs in pairs.items():
                found = [each[frozenset(pair)] for each in verdicts for pair in kind_pairs]
                slower = 0.0 if kind == "A/A" else slow_down(systems, kind, twins)
                rows.append(
                    {
                        "processor": processor,
                        "kind": kind,
                        "slower": slower,
                        "rounds": count,
                        "choices": len(verdicts),
                        "ranked": float(np.mean(found)),
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path(paths.table("results/resolution", "resolution_repetitions")))
    parser.add_argument("--out", type=Path, default=Path("results/benchmark/resolution.json"))
    arguments = parser.parse_args()
    if not arguments.table.exists():
        raise CrayfishError(f"{arguments.table} is not there: run `make resolution`")
    table = read_table(arguments.table)
    rows = resolution(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": table["machine"][0], "rows": rows}, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['processor']:14} {row['kind']:12} {row['slower']:6.1%} slower, {row['rounds']} rounds:"
            f" ranked {row['ranked']:.0%} of {row['choices']} choices"
        )


if __name__ == "__main__":
    errors.main(main)
