"""One run from start to stop: the harness around broker, processor, producer and consumer. See `execute`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
import pyarrow.parquet as pq

from crayfish.engine import batches, kafka
from crayfish.engine.child import LOOPBACK, SCRIPTS
from crayfish.engine.jvm import Java
from crayfish.harness import (
    broker,
    brokers,
    clocks,
    cores,
    given,
    gpus,
    health,
    in_engine,
    janitor,
    machine,
    probes,
    speed,
    stages,
)
from crayfish.harness.broker import Broker
from crayfish.harness.checker import Checker, right_answers
from crayfish.harness.clients import Consumer, Producer
from crayfish.harness.faults import Fault
from crayfish.harness.nodes import Node, free_ports
from crayfish.harness.parts import Parent, Processor, PythonStage, Server, Signals, machine_lock
from crayfish.spec import discovery, inheritance, memory, metrics, placement, surroundings, terminal
from crayfish.spec.errors import NotMade
from crayfish.spec.paths import MEASUREMENTS
from crayfish.spec.run_spec import BASE_MEMORY, Job, RunSpec, Segment
from crayfish.spec.samples import machine_during

EXISTING_DEADLINE_S = 10.0
PROGRESS_S = 5.0
ENDING_S = 5.0  # for a stage's own processes, such as Flink's Python worker with an event in hand, to follow it
log = logging.getLogger("crayfish")


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
    existing: dict[str, str] = field(default_factory=dict)  # broker, processor, server -> address of one that runs
    kafka_client: str | None = None  # a file, how clients prove who they are to the broker in `existing`
    nodes: tuple[Node, ...] = ()  # of a run that is spread over several
    owner: int | None = None  # the process whose exit ends the run
    title: str = ""


class Part(Protocol):
    """What runs during a run, or a part of it."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def check(self) -> None:
        """Raise if the run cannot go on."""
        ...


P = TypeVar("P", bound=Part)


class Run:
    """The state of one run, and the steps that its loads share. A context manager: leaving it closes all its parts in
    reverse order, whatever happened."""

    broker: Broker
    job: Job  # what producer, processor and consumer are told
    job_file: Path
    pool: np.ndarray  # [n, *input_shape]: the inputs that events cycle through
    checker: Checker
    predictions: dict[str, int]  # how many were received, distinct, wrong and malformed

    def __init__(self, spec: RunSpec, places: Places):
        self.spec, self.places = spec, places
        self.tag = uuid.uuid4().hex
        self.name = given.name_of(self.tag, time.time())
        self.anchor_ns = clocks.anchor()
        # How far those of parts elsewhere were ahead, at the start and at the end.
        self.clocks: dict[str, list[dict]] = {part: [] for part in ("broker", *placement.CLIENTS)}
        self.started = time.monotonic()
        self.excluded_s = 0.0  # preload, warm-up and load: what is not fixed cost
        self.warnings: list[str] = []
        self.disturbances: list[str] = []  # those of the warnings for which the run is worth making again
        self.segments: list[dict] = []
        self.search: dict | None = None  # what a search has found
        self.topics: dict | None = None  # how those on a given broker are replicated
        self.broker_warmup: dict | None = None  # of a broker that lives from run to run: crayfish.harness.warming
        self.marks: dict[str, float] = {}
        self.server: Server | None = None
        self.fault: Fault | None = None
        self.gpus = gpus.Gpus(self)  # that it scores on, if any, once they are open
        self.proxy: PythonStage | None = None  # between the processor and the brokers, where that way is cut
        self.proxied = ""  # the bootstrap servers behind it
        self.elsewhere: list[stages.Stage] = []  # the stages that supervisors have started on the run's nodes
        self._last_progress = 0.0

    # --- its parts -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        with ExitStack() as opened:
            self._signals = opened.enter_context(Signals())
            lock = opened.enter_context(machine_lock())
            self.started = time.monotonic()  # the wait for another run is none of its cost
            self._parent = opened.enter_context(Parent(self.places.owner))
            cpus = os.sched_getaffinity(0)
            self.cores = cores.divide(self.spec.cores, cpus)
            opened.enter_context(cores.on(self.cores.measuring))
            seen = self.places.out if self.places.nodes else None  # by all nodes
            self.folder = opened.enter_context(janitor.scratch_folder(self.tag, held=[lock], inside=seen))
            self.counter = opened.enter_context(speed.Counter())
            self.sampler = opened.enter_context(machine.Sampler(self.tag, self.anchor_ns, cpus, self.counter))
            self._parts: list[Part] = []
            self._open_parts = opened.enter_context(ExitStack())
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.ignore()
        self._opened.__exit__(kind, error, trace)

    def open(self, part: P) -> P:
        """Open a part: it is watched from now on, and closed before those that were opened earlier."""
        self._open_parts.enter_context(part)
        self._parts.append(part)
        return part

    def close_parts(self) -> None:
        """Close what open() has opened: no process of the run is left that is one of its stages."""
        self._open_parts.close()

    def watch(self, without: Part | None = None) -> None:
        """Raise if a part has died or the parent process has exited."""
        self._parent.check()
        for part in self._parts:
            if part is not without:
                part.check()

    def nodes_of(self, part: str) -> list[Node | None]:
        """Where a part is started: on nodes of a run that is spread over several, or here (None)."""
        if not self.places.nodes:
            return [None]
        numbers = placement.parsed(self.spec.placement)[part]
        if part in placement.CLIENTS and numbers == placement.HERE:
            return [None]  # beside the harness, whose sampler sees them
        return [self.places.nodes[number] for number in numbers]

    def asks(self, part: str) -> list[dict]:
        """What the stages of a part are told beside their commands, each on its node: nothing where it is here.

        An address to listen on, the node's own where others must reach it; what memory it needs; and to hold the
        machine for the run, if it is not this one and no stage does yet.
        """
        nodes = self.nodes_of(part)
        reached = part != "processor" or len(nodes) > 1
        held = {0} | {stage.node.number for stage in self.elsewhere if stage.node}
        return [
            {
                "node": node,
                "address": node.address if reached else LOOPBACK,
                "memory_bytes": self.spec.memory_of(part, len(nodes)),
                "lock": node.number not in held,
            }
            if node
            else {}
            for node in nodes
        ]

    def measure_memory(self) -> None:
        """Note the memory of every stage. It stalls a large process for 100 ms: never call it in a measured window."""
        for stage in self.elsewhere:
            stage.measure_memory()
        self.sampler.measure_memory()

    def at_its_end(self, call: Callable[..., object], *arguments: object) -> None:
        """Have this called when the parts that are open now are still open, and those after them are closed."""
        self._open_parts.callback(call, *arguments)

    def log_of(self, name: str) -> Path:
        """Where a stage's log lies."""
        return self.places.out / "logs" / f"{name}.log"

    def mark(self, name: str) -> None:
        """Note when a step was done, in seconds from the start: where a run's fixed cost goes."""
        self.marks[name] = round(time.monotonic() - self.started, 3)

    def progress(self, text: str) -> None:
        """A line for the terminal every few seconds."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_S:
            self._last_progress = now
            log.info("%s  %s  %.0f s", self.places.title, text, now - self.started, extra=terminal.PASSING)

    # --- the steps that the loads share (crayfish.harness.loads), in their order ---------------------------------

    def open_broker(self) -> None:
        """The broker that the spec and the config ask for, with the run's topics."""
        found = brokers.find(self)
        self.broker, self.broker_warmup, servers = found.broker, found.warmup, found.broker.servers
        topics = [f"{self.name}-input", f"{self.name}-output"]
        self.broker.prepare(topics, self.spec.partitions, self.watch, self.name)
        if "broker" in self.places.existing:
            self.topics = given.copies(self.broker.admin, topics[1])
        self.ask_broker_clock()
        self.write_job(servers, *topics)
        if found.settings:
            kafka.record(self.job, "broker", found.settings)
        self.mark("broker")

    def open_fault(self) -> Fault:
        """The fault that the spec asks for; it does not strike yet."""
        self.fault = self.open(Fault(self))
        return self.fault

    def ask_broker_clock(self) -> None:
        """Note how far the clock of a broker elsewhere is ahead; one of ours on this machine has its clock."""
        if "broker" in self.places.existing or any(node and node.number for node in self.nodes_of("broker")):
            servers, topic = self.broker.servers, f"{self.name}-clock"
            client = self.places.kafka_client
            with Broker(servers, client_file=client) as clock:
                count = len(clock.admin.list_topics(timeout=EXISTING_DEADLINE_S).brokers)
                clock.prepare([topic], count, self.watch)  # each leads one of its partitions
                self.clocks["broker"] += [
                    clocks.probe(servers, topic, self.anchor_ns, self.watch, client, partition)
                    for partition in range(count)
                ]

    def write_job(self, servers: str = "", input_topic: str = "", output_topic: str = "") -> None:
        """What the stages are told; no servers and topics where the run has no Kafka."""
        with np.load(self.places.reference) as reference:
            self.pool, answers = reference["inputs"], reference["outputs"]
        self.job = Job(
            spec=self.spec,
            bootstrap_servers=servers,
            input_topic=input_topic,
            output_topic=output_topic,
            group=self.name,
            input_shape=self.pool.shape[1:],
            outputs=answers.shape[1],
            model_path=str(self.places.model.resolve()) if self.places.model else None,
            server_address=None,
            jars=tuple(str(jar.resolve()) for jar in self.places.jars),
            scorer_jars=tuple(str(jar.resolve()) for jar in self.places.scorer_jars),
            java_home=self.places.java.home,
            workdir=str(self.folder / "processor"),
            processor_address=self.places.existing.get("processor"),
            kafka_client=self.places.kafka_client,
        )
        Path(self.job.workdir).mkdir()
        self.job_file = self.job.write(self.folder / "job.json")
        self.checker = Checker(self.job, right_answers(self.job, answers))

    def start_server(self) -> None:
        """The server of an external scorer, until all its workers answer; nothing for an embedded one."""
        if not discovery.scorer(self.spec.scorer).external:
            return
        self.server = self.open(Server(self))
        key_file = self.server.about.pop("key_file", None)
        self.job = dataclasses.replace(self.job, server_address=self.server.about["address"], server_key_file=key_file)
        self.job.write(self.job_file)
        self.mark("server")

    def start_processor(self) -> Processor:
        nodes = self.nodes_of("processor")
        job_file = self.job_file
        if self.proxied:
            behind = dataclasses.replace(self.job, bootstrap_servers=self.proxied)
            job_file = behind.write(self.folder / "processor.json.job")
        if len(nodes) > 1 and nodes[0]:
            (port,) = free_ports(nodes[0], 1)
            head, secret = f"{nodes[0].address}:{port}", secrets.token_hex(32)
            self.job = dataclasses.replace(self.job, members=len(nodes), head=head, secret=secret)
            self.job.write(self.job_file)
        return self.open(Processor(self, job_file))

    def start_producer(self) -> Producer:
        return self.open(Producer(self))

    def start_consumer(self, offline: bool = False) -> Consumer:
        """offline: of a backlog that was drained: it stamps no time of receipt."""
        return self.open(Consumer(self, offline))

    def await_path(self, processor: Processor) -> None:
        """Until all parallel instances are up and a probe to every partition was answered."""
        processor.await_ready()
        probes.await_answers(self.job, self.checker, self.spec.ready_timeout_s, self.watch)
        self.mark("probes")

    def output_ends(self) -> list[int]:
        """The end offset of every partition of the output topic."""
        return self.broker.ends(self.job.output_topic, self.spec.partitions)

    def note_segment(
        self, load: Segment, start_ns: int, events: int, end_ns: int | None = None, extended_s: float = 0.0
    ) -> None:
        """Note a segment: its load, its times by the wall clock, its events, by how much its warm-up was extended.

        Without end_ns its load tells the end.
        """
        self.measure_memory()
        warmup_s, sizes = load.warmup_s + extended_s, load.declared.sizes(load)
        self.segments.append(
            {
                "load": vars(load),
                "start_ns": start_ns,
                "load_start_ns": start_ns + int(warmup_s * 1e9),
                "end_ns": end_ns or start_ns + int((warmup_s + load.measure_s) * 1e9),
                "events": events,
                "points_per_event": load.batch_size if sizes is None else float(np.mean(sizes[:events])),
                "warmup_extended_s": extended_s,
            }
        )

    def finish(self, processor: Processor, producer: Producer | None, consumer: Consumer | None) -> None:
        """Stop the processor, read the output topic to its end, and let the clients write their tables."""
        processor.end()
        if producer is not None:
            producer.end()
        consumer = consumer or self.start_consumer(offline=True)
        self.measure_memory()  # of a consumer that may end before the next sample, too
        self.predictions = consumer.end(self.output_ends())
        self.ask_broker_clock()
        self.mark("consumer")


def execute(spec: RunSpec, places: Places, earlier: Sequence[list[str]] = ()) -> list[str]:
    """Execute one run and write MEASUREMENTS into places.out: all of them, or none; return what disturbed it.

    Of them processor.json is what each stage used over time. earlier: what disturbed each try before this one, for the
    manifest. Raises CrayfishError for whatever makes the run fail.
    """
    places.out.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine.describe(), "git": machine.git_state(SCRIPTS)}
    for left in places.out.glob("crayfish-*"):  # of a run over several nodes, all of which were lost
        shutil.rmtree(left)
    with Run(spec, places) as run:
        check_surroundings(spec)
        check_memory(spec)
        check_existing(places.existing)
        check_cores(spec, places.existing)
        run.open(run.gpus)
        drive = in_engine.drive if spec.transport == "in_engine" else spec.segments[0].declared.drive
        drive(run)
        counts = health.account(spec, sum(segment["events"] for segment in run.segments), run.predictions)
        run.close_parts()
        ended = [stage.ended | {"node": stage.node.number} for stage in run.elsewhere if stage.node and stage.ended]
        samples = machine.merged(run.sampler.finish(), ended)
        if run.gpus.samples:
            samples["gpus"] = run.gpus.samples
        outlived = [each for stage in run.elsewhere for each in stage.ended.get("outlived", ())]
        if outlived := [*outlived, *stages.sweep(run.tag, grace_s=ENDING_S)]:
            run.warnings.append(f"processes that outlived their stage were killed: {'; '.join(outlived)}")
        run.mark("stopped")
        counts["late"] = check_health(run, samples, machine.elsewhere(samples, ended))
        tries = {"tries": len(earlier) + 1, "earlier_tries": list(earlier)}
        _write(run, about | {"accounting": counts} | tries, samples)
    return run.disturbances


def check_surroundings(spec: RunSpec) -> None:
    """NotMade where the machine or the user's settings lack what the run needs."""
    if faults := surroundings.faults([spec]):
        raise NotMade("\n".join(faults))


def check_memory(spec: RunSpec) -> None:
    """CrayfishError unless the machine has the memory that the run's model asks for; of a run that is spread over nodes
    the rest than what is here is asked there."""
    memory.require(
        BASE_MEMORY if spec.placement else spec.memory_bytes,
        f"{spec.processor} with {spec.scorer} on {spec.model} at parallelism {spec.parallelism}",
        "stop other programs, lower run.parallelism, or use a machine with more",
    )


def check_cores(spec: RunSpec, addresses: dict[str, str]) -> None:
    """NotMade where cores are to be a processor's or server's alone that the run does not start."""
    for part in ("processor", "server"):
        if spec.cores and part in addresses:
            raise NotMade(
                f"run.cores: {spec.cores} cores cannot be kept for the {part} at {addresses[part]}, which this run does"
                " not start: leave run.cores at 0, or leave it to the run"
            )


def check_existing(addresses: dict[str, str]) -> None:
    """NotMade unless somebody listens at each address; the broker is asked more than that (open_broker)."""
    for part, address in addresses.items():
        if part != "broker":
            host, _, port = address.rpartition("/")[2].rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), EXISTING_DEADLINE_S).close()
            except OSError as error:
                raise NotMade(
                    f"the {part} at {address} does not answer ({error}): start it, or correct `cluster`"
                ) from error


def check_health(run: Run, samples: dict, elsewhere: dict[int, dict]) -> int:
    """Warn in the manifest of what makes the measurement doubtful; how many events were late in the input topic.

    elsewhere: node -> the same samples of a machine that is not this one.
    """
    measured, late_events = dict(enumerate(run.segments)), 0
    if run.search:  # of its probes only one is shown
        measured = {run.search["segment"]: measured[run.search["segment"]]}
    if not run.spec.saturated:
        table = pq.read_table(run.folder / "producer.parquet", columns=["segment", "due_ns", "input_append_ms"])
        segment, due, appended = (table[name].to_numpy() for name in table.column_names)
        if (late_ms := metrics.lateness_ms(due, appended)) is not None:
            paced = segment >= len(run.search["bursts"]) if run.search else segment >= 0  # bursts are due at once
            late_events = int((late_ms[paced] > run.spec.lateness_bound_ms).sum())
        run.warnings += health.lateness_warnings(segment, due, appended, run.spec.lateness_bound_ms, measured)
    run.warnings += health.sharing_warnings(run.spec)
    run.disturbances = health.lost_cores_warnings(samples, measured)
    for node, there in elsewhere.items():
        run.disturbances += health.lost_cores_warnings(there, measured, node)
    run.warnings += run.disturbances
    run.warnings += health.clock_warnings(samples, measured)
    for segment in run.segments:
        segment["machine"] = machine_during(samples, segment["load_start_ns"], segment["end_ns"])
    if run.server and run.server.about["failures"]:
        run.warnings.append(
            f"the server of {run.spec.scorer} failed {run.server.about['failures']} times and was down for"
            f" {run.server.about['down_s']:.1f} s"
        )
    return late_events


def _write(run: Run, about: dict, samples: dict) -> None:
    spec, places, out = run.spec, run.places, run.places.out
    server = run.server.about if run.server else None
    total = time.monotonic() - run.started
    manifest = {
        "spec": json.loads(spec.to_json()),
        "segments": run.segments,
        "substitutes": [
            *([server["substitute"]] if server and "substitute" in server else []),
            *(f"{part} given at {address}" for part, address in places.existing.items()),
            *(spec.own.told if spec.own else ()),
        ],
        "server": server,
        "search": run.search,
        "warnings": run.warnings,
        "stages": {
            name: {
                "cpu_s": round(stage["cpu_s"][-1], 2),
                "pss_bytes": stage["pss_bytes"],
                "rss_bytes_peak": stage["rss_bytes_peak"],
            }
            for name, stage in samples["stages"].items()
        },
        "fixed_cost_s": round(total - run.excluded_s, 3),
        "marks_s": run.marks,
        "cpus": dataclasses.asdict(run.cores),
        "clock": {
            "anchor_ns": run.anchor_ns,
            **{part: clocks.merged(found) for part, found in run.clocks.items()},
        },
        "instructions": run.counter.reason or "counted",
        "gpus": run.gpus.about,
        **about,
        "java": dataclasses.asdict(places.java),
        "kafka": sorted(jar.name for jar in places.broker_jars if jar.name.startswith("kafka_"))
        or places.existing.get("broker"),
        "broker": None
        if places.existing.get("broker")
        else {**broker.about(max(spec.brokers, len(run.nodes_of("broker")))), "warmup": run.broker_warmup},
        "nodes": [
            {"number": stage.node.number, "address": stage.node.address, "stage": stage.name, **stage.about["machine"]}
            for stage in run.elsewhere
            if stage.node and stage.about
        ],
        "environments": [json.loads(path.read_text()) for path in places.packages],
        "clients": kafka.recorded(run.folder.glob("*/records")),
        "batches": {
            "engine": batches.reached(run.folder.glob("*/records")),
            "server": run.server.batches if run.server else None,
        },
        "model": str(places.model) if places.model else None,
        "given": places.existing,
        "topics": run.topics,
        "fault": run.fault.about if run.fault else None,
        "variables": inheritance.told(os.environ),
    }
    (run.folder / "run.json").write_text(json.dumps(json.loads(spec.to_json()), indent=2, sort_keys=True) + "\n")
    (run.folder / "processor.json").write_text(json.dumps(samples))
    (run.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    replace_outputs(run.folder, out)


def replace_outputs(made: Path, out: Path) -> None:
    """Copy MEASUREMENTS from one folder to another, where all of them change at once, or none does."""
    parts = {out / name: out / f"{name}.part" for name in MEASUREMENTS}
    try:
        for whole, part in parts.items():
            shutil.copyfile(made / whole.name, part)
    except OSError:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise
    for whole, part in parts.items():
        part.replace(whole)
