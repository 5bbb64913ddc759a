"""Results that are drawn as they lie there, whoever measured them (`measure: false`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from crayfish.spec import paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

SHOWN = 5  # of those that are missing


def require(results: str, jobs: Iterable[tuple[str, int]]) -> None:
    """CrayfishError with the repetitions of runs that are not there, or lack a file."""
    missing = [
        f"{run} {repetition}"
        for run, repetition in jobs
        if not all(Path(file).exists() for file in paths.measurements(results, run, repetition).values())
    ]
    if missing:
        more = f", and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise CrayfishError(
            f"{results} lacks {len(missing)} repetitions of runs that are drawn: {', '.join(missing[:SHOWN])}{more}."
            " Draw what was measured (the same config as then, `draw`, or fewer `repetitions`), or leave"
            " `measure: false` out, and they are measured"
        )


def lines(results: str, jobs: Iterable[tuple[str, int]], specs: Mapping[str, RunSpec]) -> list[str]:
    """What is printed of them: by which commit, where and how many, and which would be another run today."""
    sources: Counter[str] = Counter()
    others = []
    for run, repetition in jobs:
        files = {name: Path(file) for name, file in paths.measurements(results, run, repetition).items()}
        if not (files["manifest"].exists() and files["run"].exists()):
            sources["whoever made their summaries, which is all that is here of them"] += 1
            continue
        manifest, spec = (json.loads(files[name].read_text()) for name in ("manifest", "run"))
        machine = manifest["machine"]
        sources[f"commit {manifest['git']['commit']} on {machine['cores']} cores of {machine['cpu']}"] += 1
        if not _is(specs[run], spec):
            others.append(f"  {run} {repetition} was another run than the config asks for today: see its run.json")
    return [
        "Crayfish: nothing is measured. What is drawn was measured by",
        *(f"  {source}: {count} repetitions of runs" for source, count in sources.items()),
        "What the code has changed since a commit: git diff --stat COMMIT -- workflow/scripts envs",
        *others,
    ]


def _is(wanted: RunSpec, found: dict) -> bool:
    try:
        return RunSpec.from_dict(found) == wanted
    except CrayfishError:  # fields of another version
        return False
