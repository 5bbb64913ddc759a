"""Writes what `make benchmark` has measured into docs/performance.md, between its markers.

It reads the tables of config/benchmark.yaml, and speed.json, servers.json and resolution.json beside them, which the
benchmarks of these names write. What was not measured has no section.
"""

import argparse
import csv
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

from crayfish.spec import errors, paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.metrics import Interval, t_interval
from crayfish.spec.paths import ROOT

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
LATENCY_RATE = 512.0
MISSING = "-"
Row = dict[str, str]  # of a table: column -> cell


def rounded(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, its thousands apart: 34 700."""
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, places):,.{max(0, places)}f}".replace(",", " ")


def with_interval(interval: Interval | None) -> str:
    """A mean, and the half width of its interval where it has one."""
    if interval is None:
        return MISSING
    half = "" if interval.high is None else f" ± {rounded(interval.high - interval.mean, 2)}"
    return f"{rounded(interval.mean)}{half}"


def interval_of(row: Row, column: str) -> Interval | None:
    """A metric of a table's row with its interval; None where it is not defined."""
    mean, low, high = (
        float(row[name]) if row.get(name) else None for name in (column, f"{column}_low", f"{column}_high")
    )
    return None if mean is None else Interval(mean, low, high, int(row["repetitions"]))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table, with an empty line after it."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def by_processor(corner: str, cells: dict[tuple[str, str], str]) -> list[str]:
    """A table of cells by (row, processor)."""
    names, processors = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    rows = ([f"`{name}`", *(cells.get((name, each), MISSING) for each in processors)] for name in names)
    return table([corner, *(f"`{each}`" for each in processors)], rows)


def throughput(rows: list[Row], relays: list[dict]) -> list[str]:
    """For each scorer and processor: rate, cost, and rate as a share of the plain relay's."""
    relay = t_interval([each["events_per_s"] for each in relays]) if relays else None
    cells = {}
    for row in rows:
        rate, cpu = (interval_of(row, name) for name in ("throughput_events_per_s", "cpu_processor_us_per_event"))
        share = rounded(rate.mean / relay.mean, 2) if rate and relay else MISSING
        mark = " \\*" if row["warnings"] else ""
        cells[row["scorer"], row["processor"]] = f"{with_interval(rate)}; {with_interval(cpu)}; {share}{mark}"
    return by_processor("scorer", cells)


def fixed_costs(rows: list[Row]) -> list[str]:
    """For each scorer and processor: what a run takes beside its backlog, s."""
    cells = {(row["scorer"], row["processor"]): with_interval(interval_of(row, "fixed_cost_s")) for row in rows}
    return by_processor("scorer", cells)


def latency(rows: list[Row]) -> list[str]:
    """Each system's latency at LATENCY_RATE, by both definitions, ms."""
    definitions = {"intended send time": "latency", "actual send time (the original's)": "append_minus_sent"}
    found = [
        [
            f"`{row['processor']}`",
            f"`{row['scorer']}`",
            counted_from,
            *(with_interval(interval_of(row, f"{metric}_{part}_ms")) for part in ("p50", "p95", "p99")),
        ]
        for row in rows
        if float(row["rate_events_per_s"]) == LATENCY_RATE
        for counted_from, metric in definitions.items()
    ]
    return table(["processor", "scorer", "counted from", "p50", "p95", "p99"], found)


def servers(pairs: list[dict]) -> list[str]:
    """Each processor beside a bare client of the same server: means over the pairs."""
    systems: dict[tuple[str, str], list[dict]] = {}
    for pair in pairs:
        systems.setdefault((pair["server"], pair["processor"]), []).append(pair)
    metrics = ("requests_per_s", "events_per_s", "ratio", "cpu_us_per_request", "cpu_us_per_event")
    head = [
        "server",
        "processor",
        "bare client, requests/s",
        "events/s",
        "ratio",
        "CPU µs a request",
        "CPU µs an event",
    ]
    return table(
        head,
        (
            [server, f"`{processor}`", *(with_interval(t_interval([pair[name] for pair in found])) for name in metrics)]
            for (server, processor), found in systems.items()
        ),
    )


def measuring_system(speed: dict) -> list[str]:
    """The relay, what the measuring system takes and how late it is at each rate, and the summary, as a list."""
    relay = [with_interval(t_interval([each[name] for each in speed["relays"]])) for name in speed["relays"][0]]
    summary = speed["summary_of_a_million"]
    return [
        f"- The relay moves {relay[0]} events/s for {relay[1]} µs of CPU each.",
        *(at_a_rate(load) for load in speed["paced"]),
        f"- The summary of a run of 1 000 000 events takes {summary['seconds']:.1f} s and {summary['peak_gb']:.2f} GB.",
        "",
    ]


def at_a_rate(load: dict) -> str:
    """What one paced load with the relay as the processor took and how late it was, as an item of a list."""
    cores = ", ".join(f"{name} {rounded(value, 2)}" for name, value in load["cores"].items())
    append, received = (load[name] for name in ("due_to_append_ms", "received_minus_due_ms"))
    told = {
        "due to input append p99": append["p99"],
        "at most": append["most"],
        "received minus due p50": received["p50"],
        "p99": received["p99"],
    }
    late = ", ".join(f"{name} {MISSING if value is None else rounded(value, 2)}" for name, value in told.items())
    return f"- At {rounded(load['rate'], 4)} events/s of 3 KB for {load['seconds']:.0f} s, cores: {cores}; ms: {late}."


def resolution(rows: list[dict]) -> list[str]:
    """Of each processor and slow-down: the share of choices of so many rounds that ranked it."""
    rounds = sorted({row["rounds"] for row in rows})
    found: dict[tuple[str, str, float], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["processor"], row["kind"], row["slower"]), {})[row["rounds"]] = row["ranked"]
    return table(
        ["processor", "against itself", "slower by", *(f"{count} rounds" for count in rounds)],
        (
            [
                f"`{processor}`",
                kind,
                f"{slower:.0%}",
                *(f"{shares[each]:.0%}" if each in shares else "" for each in rounds),
            ]
            for (processor, kind, slower), shares in found.items()
        ),
    )


def markdown(
    tables: dict[str, list[Row]], speed: dict | None, pairs: dict | None, told_apart: dict | None = None
) -> str:
    """All sections. tables: the rows of `throughput`, `vectorised` and `latency`, where they were made."""
    lines: list[str] = []
    relays = speed["relays"] if speed else []
    saturated = "Events/s; the processor's CPU, µs an event; the share of the relay's events/s."
    if about := speed or pairs:
        machine = about["machine"]
        size = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
        lines += [
            f"Measured on {about['date']} on {machine['cores']} cores of {machine['cpu']}, {size}, Linux"
            f" {machine['kernel']}; ± is half of the 95 % confidence interval over the repetitions, \\* a run that"
            " warns (see `runs.csv`).",
            "",
        ]
    if rows := tables.get("throughput"):
        lines += ["## Throughput", "", saturated, "", *throughput(rows, relays)]
    if rows := tables.get("vectorised"):
        told = "The same with one model call for the events at hand (`scoring: vectorised`)."
        lines += ["## Throughput, vectorised", "", told, "", *throughput(rows, relays)]
    if rows := tables.get("latency"):
        told = f"At {LATENCY_RATE:.0f} events/s, after a segment at a higher rate, in ms."
        lines += ["## Latency", "", told, "", *latency(rows)]
    if pairs:
        told = (
            f"A backlog drained through a server with {pairs['in_flight']} requests in flight, beside a bare client of"
            " the same server in the same run."
        )
        lines += ["## External servers", "", told, "", *servers(pairs["pairs"])]
    if rows := tables.get("throughput"):
        told = "Seconds of a run beside its load: broker, engine, model, tables."
        lines += ["## Fixed cost of a run", "", told, "", *fixed_costs(rows)]
    if speed:
        lines += ["## The measuring system", "", *measuring_system(speed)]
    if told_apart:
        told = (
            "Saturated runs of a system again under another name (A/A), and slowed down by CPU time that is added to"
            " each event: the share of choices of so many rounds that rank them. Of A/A that is the false share."
        )
        lines += ["## What is told apart", "", f"{told} Measured on {told_apart['machine']}.", ""]
        lines += resolution(told_apart["rows"])
    if not lines:
        raise CrayfishError("nothing was measured: run `make benchmark`")
    return "\n".join(lines).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results/benchmark")
    parser.add_argument("--file", type=Path, default=ROOT / "docs/performance.md", help="the page with the markers")
    arguments = parser.parse_args()
    tables, measured = {}, {}
    for name in ("throughput", "vectorised", "latency"):
        if (file := Path(paths.table(str(arguments.results), name))).exists():
            with file.open() as opened:
                tables[name] = list(csv.DictReader(opened))
    for name in ("speed", "servers", "resolution"):
        if (file := arguments.results / f"{name}.json").exists():
            measured[name] = json.loads(file.read_text())
    text = markdown(tables, measured.get("speed"), measured.get("servers"), measured.get("resolution"))
    page, found = re.subn(
        f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", arguments.file.read_text(), flags=re.DOTALL
    )
    if found != 1:
        raise CrayfishError(f"{arguments.file} needs the markers {BEGIN} and {END}, once each")
    arguments.file.write_text(page)


if __name__ == "__main__":
    errors.main(main)
