"""Where the pipeline has put what a benchmark's runs need, and where their measurements go."""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crayfish.engine import jvm
from crayfish.harness import machine
from crayfish.harness.run import Places
from crayfish.spec import dependencies, discovery, paths
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec

RESULTS = ROOT / "results/benchmark"


def java() -> jvm.Java:
    """The pipeline's own JDK where the machine had no Java, else the machine's."""
    jdk = ROOT / paths.interpreter("jdk")
    return jvm.of_environment(jdk) if jdk.exists() else jvm.find()


def places(spec: RunSpec, out: Path) -> Places:
    """What this run needs of resources/; its folder is `out`."""
    jars, scorer_jars = ([ROOT / paths.jar_set(name) for name in each] for each in dependencies.jar_sets(spec))
    jars += [ROOT / paths.compiled_jar(source) for source in dependencies.java_sources(spec)]
    scorer = discovery.scorer(spec.scorer)
    return Places(
        python=ROOT / paths.interpreter(spec.environments["processor"]),
        reference=ROOT / paths.reference(spec.dataset, spec.model),
        model=ROOT / paths.model_file(spec.dataset, spec.model, scorer.format) if scorer.format else None,
        java=java(),
        broker_jars=jvm.jar_files([ROOT / paths.jar_set("kafka")]),
        jars=jvm.jar_files(jars),
        scorer_jars=jvm.jar_files(scorer_jars),
        server_python=ROOT / paths.interpreter(spec.environments["server"]) if scorer.external else None,
        out=out,
        title=f"{spec.processor} {spec.scorer}",
    )


def latencies(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each event of a run when it was due, ns, and how long then to its input append and to its receipt, ms."""
    events, answers = (pq.read_table(folder / f"{name}.parquet") for name in ("producer", "consumer"))
    due, received = events["due_ns"].to_numpy(), np.zeros(len(events), np.int64)
    # Backwards, so that the first answer stays: some processors repeat events after a pause.
    received[answers["sequence"].to_numpy()[::-1]] = answers["received_ns"].to_numpy()[::-1]
    return due, events["input_append_ms"].to_numpy() - due / 1e6, (received - due) / 1e6


def write(results: Path, name: str, measured: dict) -> None:
    """Keep what was measured, with the date and the machine, for benchmarks/report.py."""
    results.mkdir(parents=True, exist_ok=True)
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine.describe()}
    (results / f"{name}.json").write_text(json.dumps({**about, **measured}, indent=2) + "\n")
