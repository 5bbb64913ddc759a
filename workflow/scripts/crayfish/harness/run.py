"""One run from start to stop: the harness around broker, processor, producer and consumer. See `execute`."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from crayfish.engine import child
from crayfish.engine.child import SCRIPTS
from crayfish.engine.jvm import Java
from crayfish.harness import broker, in_engine, machine, probes, stages
from crayfish.harness.consumer import Checker, right_answers
from crayfish.harness.stages import Stage
from crayfish.spec import discovery, memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec, Segment

OUTPUTS = ("run.json", "producer.parquet", "consumer.parquet", "processor.json", "manifest.json")
LOCK_DEADLINE_S = 30.0
GIVEN_DEADLINE_S = 10.0
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
PROGRESS_S = 5.0
LATE_SHARE = 0.01  # of the events: more than that sent late, and p99 shows the generator
ENDING_S = 5.0  # for a stage's own processes, such as Flink's Python worker with an event in hand, to follow it
OTHERS_CORES = 0.25  # that other processes may use, or the hypervisor withhold, in a window before the run says so
log = logging.getLogger("crayfish")


class Interrupted(CrayfishError):
    """The run was told to stop, or who had started it is gone."""


@dataclass(frozen=True)
class Places:
    """What a run needs beside its RunSpec: interpreters, files and addresses. None of it changes what is measured."""

    python: Path  # the processor's environment
    reference: Path  # inputs and right answers of the model
    model: Path | None  # in the scorer's format
    java: Java
    broker_jars: list[Path]
    jars: list[Path]  # the processor's
    out: Path  # the run's folder
    scorer_jars: list[Path] = field(default_factory=list)
    server_python: Path | None = None  # the environment of an external scorer's server
    packages: list[Path] = field(default_factory=list)  # packages.json of every environment used
    given: dict[str, str] = field(default_factory=dict)  # stage (broker, processor, server) -> address of one elsewhere
    owner: int | None = None  # the process whose end ends the run
    title: str = ""


def machine_lock(path: Path | None = None, deadline_s: float = LOCK_DEADLINE_S) -> int:
    """Hold the machine for one run, so that no two measure at once; returns the lock's file descriptor."""
    path = path or Path(tempfile.gettempdir()) / "crayfish.lock"
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    end = time.monotonic() + deadline_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                raise CrayfishError(
                    f"another Crayfish run measures on this machine ({holder}), and two at once would disturb each"
                    " other: wait for it or stop it, then run the same command again"
                ) from None
            time.sleep(0.1)  # flock has no wait with a deadline
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
    return descriptor


class Run:
    """The state of one run. A context manager: leaving it stops everything, whatever happened."""

    def __init__(self, spec: RunSpec, places: Places):
        self.spec, self.places = spec, places
        self.tag = uuid.uuid4().hex
        self.name = f"crayfish-{self.tag[:12]}"
        self.anchor_ns = time.time_ns() - time.monotonic_ns()
        self.started = time.monotonic()
        self.excluded_s = 0.0  # preload, warm-up and load: what is not fixed cost
        self.warnings: list[str] = []
        self.segments: list[dict] = []
        self.search: dict | None = None  # what a search has found
        self.marks: dict[str, float] = {}
        self.topics: list[str] = []
        self.server: dict | None = None  # what an external scorer's server says of itself, and how often it failed
        self._stages: list[Stage] = []
        self._last_progress = 0.0

    # --- start and stop ------------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        self._lock = machine_lock()
        self._owner = os.pidfd_open(self.places.owner) if self.places.owner else None
        self.folder = Path(tempfile.mkdtemp(prefix="crayfish-"))
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        environment.pop(child.TAG, None)
        self._janitor = subprocess.Popen(
            [sys.executable, "-m", "crayfish.harness.janitor", self.tag, str(self.folder)],
            stdin=subprocess.PIPE,
            pass_fds=[self._lock],  # the machine stays locked until the janitor has done its work
            start_new_session=True,
            env=environment,
        )
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        self.sampler = machine.Sampler(self.tag)
        self.sampler.start()
        return self

    @staticmethod
    def _interrupt(number: int, frame: object) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}; the same command starts this run again")

    def __exit__(self, *error: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        deadline = STOP_DEADLINE_S if error[0] is None else 5.0
        for stage in reversed(self._stages):
            stage.stop(deadline)
        if "broker" in self.places.given and self.topics:
            self._remove_topics()
        self._janitor.stdin.close()
        self._janitor.wait()
        os.close(self._lock)

    def start(self, stage: Stage) -> Stage:
        self._stages.append(stage)
        return stage

    def python_stage(
        self, name: str, python: Path | str, module: str, *arguments: object, log_name: str | None = None
    ) -> Stage:
        """Start a module of this library as a stage; its log is named as itself if nothing else is told."""
        command = [str(python), "-m", module, *map(str, arguments)]
        threads = str(self.spec.scorer_threads)
        environment = {name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        return self.start(Stage(name, command, self.log_of(log_name or name), self.tag, environment))

    def log_of(self, name: str) -> Path:
        return self.places.out / "logs" / f"{name}.log"

    def watch(self) -> None:
        """Raise if a stage has died or who had started the run is gone."""
        if self._owner is not None and select.select([self._owner], [], [], 0)[0]:
            raise Interrupted("who had started this run is gone: it is stopped; the same command starts it again")
        for stage in self._stages:
            if stage.name == "server" and self.spec.on_server_failure == "retry" and self._revived(stage):
                return
            stage.check()

    def mark(self, name: str) -> None:
        """Note when a step was done, in seconds from the start: where a run's fixed cost goes."""
        self.marks[name] = round(time.monotonic() - self.started, 3)

    # --- the parts -----------------------------------------------------------------------------------------------

    def open_broker(self) -> None:
        """A broker of the run's own, or the one that is given; its topics."""
        servers = self.places.given.get("broker")
        if servers is None:
            stage, servers = broker.start(
                self.places.java.executable,
                [str(jar) for jar in self.places.broker_jars],
                self.folder / "broker",
                self.log_of("broker"),
                self.tag,
            )
            self.start(stage)
        self.admin: AdminClient = broker.admin_client(servers)
        deadline = broker.REQUEST_DEADLINE_S if "broker" in self.places.given else broker.READY_DEADLINE_S
        broker.wait_ready(self.admin, servers, deadline, self.watch)
        self.topics = [f"{self.name}-input", f"{self.name}-output"]
        broker.make_topics(self.admin, self.topics, self.spec.partitions)
        self.write_job(servers, *self.topics)
        self.mark("broker")

    def write_job(self, servers: str = "", input_topic: str = "", output_topic: str = "") -> None:
        """What the stages are told; no servers and topics where the run has no Kafka."""
        model = discovery.model(self.spec.model)
        self.job = Job(
            spec=self.spec,
            bootstrap_servers=servers,
            input_topic=input_topic,
            output_topic=output_topic,
            group=self.name,
            input_shape=model.input_shape,
            outputs=model.outputs,
            model_path=str(self.places.model.resolve()) if self.places.model else None,
            server_address=None,
            jars=tuple(str(jar.resolve()) for jar in self.places.jars),
            scorer_jars=tuple(str(jar.resolve()) for jar in self.places.scorer_jars),
            java_home=self.places.java.home,
            workdir=str(self.folder / "processor"),
            processor_address=self.places.given.get("processor"),
        )
        Path(self.job.workdir).mkdir()
        self.job_file = self.job.write(self.folder / "job.json")
        with np.load(self.places.reference) as reference:
            self.pool, answers = reference["inputs"], right_answers(self.job, reference["outputs"])
        self.checker = Checker(self.job, answers)

    def _remove_topics(self) -> None:
        """From a broker that lives on; one that no longer answers keeps them, and the log says which."""
        try:
            broker.remove_topics(self.admin, self.topics)
        except KafkaException as error:
            log.warning("the topics %s could not be removed: %s", ", ".join(self.topics), error)

    def start_server(self) -> None:
        """The server of an external scorer, until all its workers answer; nothing for an embedded one."""
        if not discovery.scorer(self.spec.scorer).external:
            return
        given = self.places.given.get("server")
        about = {"address": given} if given else self._serve()
        self.job = dataclasses.replace(self.job, server_address=about["address"])
        self.job.write(self.job_file)
        self.server = {**about, "failures": 0, "down_s": 0.0}
        self.mark("server")

    def _serve(self, log_name: str = "server") -> dict:
        """Start the server and wait until it is ready; what it says of itself."""
        workdir = Path(tempfile.mkdtemp(prefix="server-", dir=self.folder))
        job_file = dataclasses.replace(self.job, workdir=str(workdir)).write(workdir / "job.json")
        others = list(self._stages)
        arguments = ("crayfish.engine.worker", "servers", "--job", job_file)
        stage = self.python_stage("server", self.places.server_python, *arguments, log_name=log_name)
        about = stage.wait_for("ready", self.spec.ready_timeout_s, lambda: [other.check() for other in others])
        return {name: value for name, value in about.items() if name != "event"}

    def _revived(self, stage: Stage) -> bool:
        """Whether the server had died and has been started again at its address; what that cost is counted."""
        if stage.stopping or stage.process.poll() is None or self.server is None:
            return False
        began = time.monotonic()
        log.warning("%s  %s", self.places.title, stage.failure("died; it is started again").args[0].splitlines()[0])
        place = self._stages.index(stage)
        self._stages.remove(stage)
        stage.stop()
        stages.sweep(self.tag, "server")  # whatever it leaves would hold its address
        self.server["failures"] += 1
        self._serve(f"server-{self.server['failures'] + 1}")
        self._stages.insert(place, self._stages.pop())  # stages are stopped in reverse order
        self.server["down_s"] = round(self.server["down_s"] + time.monotonic() - began, 3)
        return True

    def start_processor(self) -> Stage:
        return self.python_stage(
            "processor", self.places.python, "crayfish.engine.worker", "processors", "--job", self.job_file
        )

    def start_client(self, name: str, *options: str) -> Stage:
        """The producer or the consumer."""
        arguments = ["--job", self.job_file, "--reference", self.places.reference.resolve(), "--anchor", self.anchor_ns]
        out = self.folder / f"{name}.parquet"
        return self.python_stage(name, sys.executable, f"crayfish.harness.{name}", *arguments, "--out", out, *options)

    def await_path(self, processor: Stage) -> None:
        """Until all parallel instances are up and a probe to every partition was answered."""
        processor.wait_for("ready", self.spec.ready_timeout_s, self.watch)
        self.mark("processor")
        probes.await_answers(self.job, self.checker.check, self.spec.ready_timeout_s, self.watch)
        self.mark("probes")

    def output_ends(self) -> list[int]:
        """The end offset of every partition of the output topic."""
        wanted = {
            TopicPartition(self.job.output_topic, number): OffsetSpec.latest() for number in range(self.spec.partitions)
        }
        futures = self.admin.list_offsets(wanted, request_timeout=broker.REQUEST_DEADLINE_S)
        ends = {partition.partition: future.result().offset for partition, future in futures.items()}
        return [ends[number] for number in range(self.spec.partitions)]

    def progress(self, text: str) -> None:
        """A line for the terminal every few seconds."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_S:
            self._last_progress = now
            log.info("%s  %s  %.0f s", self.places.title, text, now - self.started)

    # --- what the loads share (crayfish/loads) ------------------------------------------------------------------------

    def note_segment(self, load: Segment, start_ns: int, events: int, end_ns: int | None = None) -> None:
        """Note a segment: its load, its times by the wall clock, its events. Without end_ns its load tells the end."""
        self.sampler.measure_memory()
        self.segments.append(
            {
                "load": vars(load),
                "start_ns": start_ns,
                "load_start_ns": start_ns + int(load.warmup_s * 1e9),
                "end_ns": end_ns or start_ns + int((load.warmup_s + load.measure_s) * 1e9),
                "events": events,
                "points_per_event": load.batch_size,
            }
        )

    def end_producer(self, producer: Stage) -> None:
        """Let the producer write its table and end."""
        producer.process.stdin.close()
        producer.stopping = True
        producer.wait_for("written", START_DEADLINE_S, self.watch)

    def finish(self, processor: Stage, producer: Stage | None, consumer: Stage | None) -> None:
        """Stop the processor, read the output topic to its end, and let the clients write their tables."""
        self.stop_processor(processor)
        if producer is not None:
            self.end_producer(producer)
        consumer = consumer or self.start_client("consumer", "--offline")
        self.sampler.measure_memory()  # of a consumer that may end before the next sample, too
        consumer.send(until=self.output_ends())
        consumer.stopping = True
        self.received = consumer.wait_for("written", START_DEADLINE_S + self.spec.drain_timeout_s, self.watch)
        self.mark("consumer")

    def stop_processor(self, processor: Stage) -> None:
        """Stop it; a warning if it has to be killed."""
        if not processor.stop(STOP_DEADLINE_S):
            self.warnings.append(f"{self.spec.processor} did not stop within {STOP_DEADLINE_S:g} s and was killed")
        self.mark("processor_stopped")


def others(samples: dict, windows: dict[int, dict]) -> list[str]:
    """Warnings about cores that the run lost in its windows (segment, from 0 -> its times): to processes outside of it
    on this machine, and to the hypervisor's other guests.
    """
    times = np.array(samples["machine"]["time_ns"])

    def used(series: list[float], window: dict) -> float:
        edges = np.interp([window["load_start_ns"], window["end_ns"]], times, series)
        return float(edges[1] - edges[0]) / ((window["end_ns"] - window["load_start_ns"]) / 1e9)

    found = []
    for number, window in windows.items():
        if len(times) < 2 or window["end_ns"] <= window["load_start_ns"]:
            continue
        own = sum(used(stage["cpu_s"], window) for stage in samples["stages"].values())
        lost = {
            "other processes used": used(samples["machine"]["cpu_s"], window) - own,
            "the hypervisor withheld": used(samples["machine"]["stolen_s"], window),
        }
        found += [
            f"segment {number + 1}: {who} {cores:.2f} cores while it was measured"
            for who, cores in lost.items()
            if cores > OTHERS_CORES
        ]
    return found


def late(spec: RunSpec, producer: Path, windows: dict[int, dict]) -> tuple[int, list[str]]:
    """How many paced events were sent later than the bound, and a warning for each segment where they are too many."""
    if spec.saturated:
        return 0, []
    table = pq.read_table(producer, columns=["segment", "due_ns", "sent_ns"])
    segment, due, sent = (table[name].to_numpy() for name in table.column_names)
    late_ms, found = (sent - due) / 1e6, []
    for number, window in windows.items():
        inside = late_ms[(segment == number) & (due >= window["load_start_ns"])]
        share = float((inside > spec.lateness_bound_ms).mean())
        if share > LATE_SHARE:
            found.append(
                f"segment {number + 1}: {share:.1%} of the events were sent more than"
                f" {spec.lateness_bound_ms:g} ms late (at most {inside.max():.0f} ms)"
            )
    return int((late_ms > spec.lateness_bound_ms).sum()), found


def accounting(run: Run) -> dict[str, int]:
    """The run's accounting; refuses a run whose answers are wrong, or lost or duplicated against its guarantee."""
    sent = sum(segment["events"] for segment in run.segments)
    got, where = run.received, f"{run.spec.scorer} in {run.spec.processor}"
    if got["wrong"] or got["malformed"]:
        raise CrayfishError(f"{got['wrong']} predictions are wrong and {got['malformed']} are malformed: {where}")
    left = 0
    if run.spec.segments[0].at_most_s:
        sent, left = got["distinct"], sent - got["distinct"]
    if got["distinct"] != sent:
        raise CrayfishError(
            f"{sent - got['distinct']} of {sent} events were not answered, and {run.spec.delivery} excludes loss:"
            f" {where}; if it was only slow, raise run.drain_timeout_s ({run.spec.drain_timeout_s:g} s)"
        )
    if run.spec.delivery == "exactly_once" and got["received"] != sent:
        raise CrayfishError(f"{got['received'] - sent} predictions came twice under exactly_once: {where}")
    duplicated = got["received"] - got["distinct"]
    return {
        "sent": sent,
        "received_once": got["distinct"],
        "lost": 0,
        "left": left,
        "duplicated": duplicated,
        "wrong": 0,
    }


def check_memory(spec: RunSpec) -> None:
    """CrayfishError unless the machine has the memory that the run's model asks for."""
    memory.require(
        spec.memory_bytes,
        f"{spec.processor} with {spec.scorer} on {spec.model} at parallelism {spec.parallelism}",
        "stop other programs, lower run.parallelism, or use a machine with more",
    )


def check_given(given: dict[str, str]) -> None:
    """CrayfishError unless somebody listens at each address; the broker is asked more than that (open_broker)."""
    for stage, address in given.items():
        if stage != "broker":
            host, _, port = address.rpartition("/")[2].rpartition(":")
            try:
                socket.create_connection((host, int(port)), GIVEN_DEADLINE_S).close()
            except OSError as error:
                raise CrayfishError(
                    f"the {stage} that is given at {address} does not answer ({error}): start it, or correct `cluster`"
                ) from error


def execute(spec: RunSpec, places: Places) -> None:
    """Execute one run and write its outputs into places.out: all of them, or none.

    OUTPUTS: of them processor.json is what each stage used over time.
    Raises CrayfishError for whatever makes the run fail.
    """
    places.out.mkdir(parents=True, exist_ok=True)
    drive = in_engine.drive if spec.transport == "in_engine" else spec.segments[0].declared.drive
    about = {"machine": machine.describe(), "git": machine.git_state(SCRIPTS)}
    with Run(spec, places) as run:
        check_memory(spec)
        check_given(places.given)
        drive(run)
        counts = accounting(run)
        for stage in reversed(run._stages):
            stage.stop(STOP_DEADLINE_S)
        samples = run.sampler.finish()
        if left := stages.sweep(run.tag, grace_s=ENDING_S):
            run.warnings.append(f"processes that outlived their stage were killed: {'; '.join(left)}")
        run.mark("stopped")
        windows = dict(enumerate(run.segments))
        if run.search:  # of its probes only the last one is a result
            windows = {len(run.segments) - 1: run.segments[-1]}
        counts["late"], found = late(spec, run.folder / "producer.parquet", windows)
        run.warnings += [*found, *others(samples, windows)]
        if run.server and run.server["failures"]:
            run.warnings.append(
                f"the server of {spec.scorer} failed {run.server['failures']} times and was down for"
                f" {run.server['down_s']:.1f} s"
            )
        _write(run, about | {"accounting": counts}, samples)


def _write(run: Run, about: dict, samples: dict) -> None:
    spec, places, out = run.spec, run.places, run.places.out
    total = time.monotonic() - run.started
    manifest = {
        "spec": json.loads(spec.to_json()),
        "segments": run.segments,
        "substitutes": [
            *([run.server["substitute"]] if run.server and "substitute" in run.server else []),
            *(f"{stage} given at {address}" for stage, address in places.given.items()),
        ],
        "server": run.server,
        "search": run.search,
        "warnings": run.warnings,
        "stages": {
            name: {"cpu_s": round(stage["cpu_s"][-1], 2), "pss_bytes_peak": stage["pss_bytes_peak"]}
            for name, stage in samples["stages"].items()
        },
        "fixed_cost_s": round(total - run.excluded_s, 3),
        "marks_s": run.marks,
        **about,
        "java": dataclasses.asdict(places.java),
        "kafka": sorted(jar.name for jar in places.broker_jars if jar.name.startswith("kafka_"))
        or places.given.get("broker"),
        "environments": [json.loads(path.read_text()) for path in places.packages],
        "model": str(places.model) if places.model else None,
        "given": places.given,
    }
    (run.folder / "run.json").write_text(json.dumps(json.loads(spec.to_json()), indent=2, sort_keys=True) + "\n")
    (run.folder / "processor.json").write_text(json.dumps(samples))
    (run.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    parts = {out / name: out / f"{name}.part" for name in OUTPUTS}
    try:
        for whole, part in parts.items():
            shutil.copyfile(run.folder / whole.name, part)
    except OSError:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise
    for whole, part in parts.items():
        part.replace(whole)
