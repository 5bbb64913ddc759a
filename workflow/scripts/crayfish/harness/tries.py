"""A run is made again where others disturbed it, and leaves a hole with its name where it fails for good."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from crayfish.engine.child import SCRIPTS
from crayfish.harness import machine, run
from crayfish.harness.run import Places
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.paths import FAILURES, MEASUREMENTS
from crayfish.spec.run_spec import RunSpec

TRIES = 3  # at most: the last one stays, with its warning
log = logging.getLogger("crayfish")


def execute(spec: RunSpec, places: Places, tries: int = TRIES) -> None:
    """Execute one run as run.execute does, again while it was disturbed and there are tries left.

    A try that fails after a disturbed one leaves that one's measurements, and its manifest says so.
    """
    earlier: list[list[str]] = []
    while True:
        try:
            disturbed = run.execute(spec, places, earlier)
        except NotMade:
            raise
        except CrayfishError as error:
            if not earlier:
                raise
            log.warning("%s  try %d failed, the one before it stays: %s", places.title, len(earlier) + 1, error)
            _warn(places.out / "manifest.json", f"disturbed, and the next try failed: {first_line(str(error))}")
            return
        if not disturbed or len(earlier) + 1 >= tries:
            return
        earlier.append(disturbed)
        log.info("%s  disturbed: try %d of %d follows: %s", places.title, len(earlier) + 1, tries, "; ".join(disturbed))


def first_line(text: str) -> str:
    """What a table says of an error."""
    return text.strip().partition("\n")[0].rstrip(":") or "no reason was given"


def _warn(manifest: Path, warning: str) -> None:
    """Add a warning to a manifest."""
    about = json.loads(manifest.read_text())
    about["warnings"].append(warning)
    part = manifest.with_suffix(".part")
    part.write_text(json.dumps(about, indent=2) + "\n")
    part.replace(manifest)


def leave_hole(spec: RunSpec, places: Places, reason: str) -> None:
    """Write outputs that say that the run failed, and why: its manifest, and empty files; and add the reason to the
    list of its failures, whose length tells Snakemake to make the run again in its next call."""
    failures = places.out / FAILURES
    failed_before = json.loads(failures.read_text()) if failures.exists() else []
    manifest = {
        "spec": json.loads(spec.to_json()),
        "failed": reason,
        "segments": [],
        "substitutes": [],
        "warnings": [],
        "accounting": {},
        "fixed_cost_s": None,
        "machine": machine.describe(),
        "git": machine.git_state(SCRIPTS),
        "environments": [json.loads(path.read_text()) for path in places.packages],
    }
    with tempfile.TemporaryDirectory(prefix="crayfish-hole-") as made:
        for name in MEASUREMENTS:
            (Path(made) / name).touch()
        (Path(made) / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        part = failures.with_suffix(".part")
        part.write_text(json.dumps([*failed_before, reason], indent=1) + "\n")
        part.replace(failures)
        run.replace_outputs(Path(made), places.out)
