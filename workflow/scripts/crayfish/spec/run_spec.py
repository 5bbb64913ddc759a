"""RunSpec: one frozen, validated description of one run, all that it is told. Job: a RunSpec and where things are.

The fields of a run and of its segments carry what is known of them as metadata (`Known`): the checks here, the config's
schema and the tables of docs/configuration.md are made from it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from crayfish.spec import contracts, discovery, paths, placement
from crayfish.spec.errors import CrayfishError
from crayfish.spec.own_models import DATASET, OwnModel
from crayfish.spec.values import ITEM_BYTES, JSON_CHARACTERS

BASE_MEMORY = 2**30  # broker and clients
# Part of a placement -> the field that says how many there are of it, which can be on no more nodes.
INSTANCES = {"processor": "parallelism", "generator": "generators", "sink": "sinks"}
MAX_MESSAGE_BYTES = 64 * 2**20  # of an event or a prediction: what broker, clients and servers allow
MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 4096  # without the headers that brokers, engines and servers add
VALUE_BYTES = {"binary": ITEM_BYTES, "json": JSON_CHARACTERS}  # of one value of a type, at most
FAULTS = (
    "none",
    *(f"{what}_{part}" for part in ("processor", "server", "broker") for what in ("kill", "pause")),
    "cut_processor",
)
RELATIVE_TO = ("sustainable",)
GROUPS = {"engine_batch", "server_batch"}  # whose fields a config may write as one mapping
LONGEST_EXTENSION_S = 20.0  # of a warm-up, unless the load says otherwise
LONGEST_NAME = 200  # bytes of a run's identifier: a file system allows 255, and names with suffixes are made of it
TYPES: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a text"),
}


@dataclass(frozen=True)
class Known:
    """What is known of a field beside its type and default."""

    doc: str
    unit: str = ""
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()  # a function where the parts themselves are asked
    above: float | None = None  # the value must be more than this
    least: float | None = None  # the value must be at least this
    most: float | None = None  # the value must be at most this
    label: str = ""  # how a segment's name begins its value

    @property
    def allowed(self) -> tuple[str, ...]:
        """The choices; empty if any value of the field's type is allowed."""
        return self.choices() if callable(self.choices) else self.choices


def _field(doc: str, default: Any = MISSING, **known: Any) -> Any:
    return field(default=default, metadata={"known": Known(doc, **known)})


@functools.cache
def _executions() -> tuple[str, ...]:
    """`auto`, and every way to execute that a processor offers."""
    offered = (each for name in discovery.names("processors") for each in discovery.processor(name).executions)
    return ("auto", *dict.fromkeys(offered))


@functools.cache
def known_fields(cls: type) -> dict[str, tuple[str, Any, Known]]:
    """The described fields of RunSpec or Segment: name -> type as a text, default (MISSING if it has none), Known."""
    return {each.name: (str(each.type), each.default, each.metadata["known"]) for each in fields(cls) if each.metadata}


def exact(number: float) -> str:
    """A number as names write it: as :g does where that is exact, else in as many digits as no other number has."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number)).removesuffix(".0")


def _build(cls: type, where: str, values: dict) -> dict:
    """Keyword arguments for a dataclass, checked: no unknown key, none missing, every plain type right; a whole number
    may be written as 3.0."""
    known = {each.name: each for each in fields(cls)}
    for name, value in values.items():
        if name in known and str(known[name].type) == "int" and isinstance(value, float) and value.is_integer():
            values[name] = int(value)
    for key, value in values.items():
        if key not in known:
            raise CrayfishError(f"{where}.{key}: unknown key; allowed: {', '.join(known)}")
        if (type_name := str(known[key].type)) in TYPES:
            allowed, name = TYPES[type_name]
            if isinstance(value, bool) or not isinstance(value, allowed):
                raise CrayfishError(f"{where}.{key}: {value!r} is not {name}")
    for name, each in known.items():
        if each.default is MISSING and name not in values:
            raise CrayfishError(f"{where}.{name}: missing")
    return values


def _is_own(made: RunSpec | Segment, name: str) -> bool:
    """Whether this field names a model of the user's own, or its data set."""
    return isinstance(made, RunSpec) and made.own is not None and name in ("model", "dataset")


def _check(where: str, made: RunSpec | Segment) -> None:
    """Refuse a value outside a field's choices or bounds."""
    for name, (_, _, known) in known_fields(type(made)).items():  # type: ignore[arg-type]
        value = getattr(made, name)
        if known.choices and value not in (allowed := known.allowed) and not _is_own(made, name):
            raise CrayfishError(f"{where}.{name}: {value!r} is not known; allowed: {', '.join(allowed)}")
        if known.above is not None and not value > known.above:
            raise CrayfishError(f"{where}.{name}: {value!r} must be more than {known.above:g}")
        if known.least is not None and not value >= known.least:
            told = "must not be negative" if known.least == 0 else f"must be at least {known.least:g}"
            raise CrayfishError(f"{where}.{name}: {value!r} {told}")
        if known.most is not None and not value <= known.most:
            raise CrayfishError(f"{where}.{name}: {value!r} must be at most {known.most:.15g}")


@dataclass(frozen=True)
class Segment:
    """One load of a run, after a warm-up of its own: how its events arrive."""

    kind: str = _field("how events arrive: a module of harness/loads", choices=discovery.names("harness/loads"))
    rate: float = _field(
        "events/s, in the mean. Of a backlog: rate x (warmup_s + measure_s) events are written; without it a pilot run"
        " finds the rate. A search has none: it finds it. `{fraction: 0.7, of: sustainable}`: a fraction of the rate"
        " that a search of the same system has found, which is made first",
        0.0,
        unit="events/s",
        least=0,
    )
    batch_size: int = _field("data points an event", 1, least=1, label="b")
    warmup_s: float = _field(
        "the warm-up, which is left out; at least the first quarter of the events is", 5.0, unit="s", least=0, label="w"
    )
    measure_s: float = _field("how long is measured after the warm-up", 20.0, unit="s", above=0, label="m")
    peak_rate: float = _field(
        "of `bursty`: events/s in a burst, or a fraction as `rate`", 0.0, unit="events/s", least=0, label="peak"
    )
    burst_s: float = _field("of `bursty`: the length of a burst", 0.0, unit="s", least=0, label="burst")
    between_s: float = _field(
        "of `bursty`: from the end of one burst to the start of the next", 0.0, unit="s", least=0, label="every"
    )
    shape: float = _field(
        "of `gamma`: the shape of the distribution of the distances between events. `1`: as `poisson`; less: clusters;"
        " more: more even",
        0.0,
        least=0,
        label="shape",
    )
    trace: str = _field(
        "of `trace`: a CSV file whose column `due_s` says when each event is due, s from the start, and perhaps"
        " `batch_size` how many data points it has; all nodes must see it",
        "",
    )
    trace_sha256: str = _field("of `trace`: the file's sum, which is filled in, or checked", "", label="trace")
    speed: float = _field("of `trace`: how many times as fast as the file says", 1.0, least=0, label="speed")
    objective_ms: float = _field(
        "of `search`: the bound of the 99th percentile of latency; the rates for 100, 300 and 1000 ms are told beside",
        0.0,
        unit="ms",
        least=0,
        label="p99-",
    )
    search_s: float = _field(
        "of `search`: how long it probes in all, after its own warm-up by bursts; `warmup_s` and `measure_s` are a"
        " probe's",
        0.0,
        unit="s",
        least=0,
        label="for",
    )
    at_most_s: float = _field(
        "of `backlog`: after that long the rest is discarded; `0`: it is drained whole",
        0.0,
        unit="s",
        least=0,
        label="atmost",
    )
    warmup_at_most_s: float = _field(
        "of `constant`, `poisson`, `gamma` by Kafka: while latency still falls by 5 % or more from one block of the"
        " warm-up to the next, the warm-up goes on, up to this; `0`: five times `warmup_s`, at most 20 s more than it;"
        " the same as `warmup_s`: it is not extended",
        0.0,
        unit="s",
        least=0,
        label="wmost",
    )
    of: str = ""  # what rate and peak_rate are fractions of; "": they are events/s

    def __post_init__(self) -> None:
        _check("load", self)
        declared = self.declared
        if self.of and (self.of not in RELATIVE_TO or not declared.fractions):
            able = [name for name in discovery.names("harness/loads") if discovery.load(name).fractions]
            raise CrayfishError(
                f"load.rate: a {self.kind} load has no rate of {self.of!r}; the rates of {', '.join(able)} loads may be"
                f" fractions of: {', '.join(RELATIVE_TO)}"
            )
        if declared.searches and self.rate:
            raise CrayfishError(f"load.rate: {self.rate!r}: a {self.kind} finds the rate itself: leave it out")
        for name in declared.positive:
            if not getattr(self, name) > 0:
                raise CrayfishError(f"load.{name}: {getattr(self, name)!r} must be more than 0 for a {self.kind} load")
        if 0 < self.warmup_at_most_s < self.warmup_s:
            raise CrayfishError(
                f"load.warmup_at_most_s: {self.warmup_at_most_s!r} is less than load.warmup_s ({self.warmup_s!r});"
                " allowed: that and more, or 0"
            )

    @classmethod
    def checked(cls, values: dict) -> Segment:
        """A load from parsed JSON or YAML."""
        return cls(**_build(cls, "load", dict(values)))

    @classmethod
    def noted(cls, values: dict) -> Segment:
        """A load as a manifest holds it, without what only an older version knew."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def declared(self) -> contracts.Load:
        """The declaration of its kind."""
        return discovery.load(self.kind)

    @property
    def longest_warmup_s(self) -> float:
        """How long its warm-up may be extended to, s; warmup_s where its kind has none that is."""
        by_itself = min(5 * self.warmup_s, self.warmup_s + LONGEST_EXTENSION_S)
        return (self.warmup_at_most_s or by_itself) if self.declared.stationary else self.warmup_s

    @property
    def saturated(self) -> bool:
        """Whether all events are there before the processor starts."""
        return self.declared.saturated

    @property
    def bursts(self) -> list[tuple[float, float]]:
        """Start and end of every burst, s from the segment's start."""
        return self.declared.bursts(self)

    def label(self) -> str:
        """A readable name of it: every field that is not the default."""
        parts = [self.kind + (exact(self.rate) if self.rate else "")]
        for name, (_, default, known) in known_fields(Segment).items():
            value = getattr(self, name)
            if known.label and value != default:
                parts.append(known.label + (value[:12] if isinstance(value, str) else exact(value)))
        return "-".join(parts + ([f"of-{self.of}"] if self.of else []))


@dataclass(frozen=True)
class RunSpec:
    """One run. Every field is part of its identity; `identifier` names all that are not the default."""

    processor: str = _field("the stream processor", choices=discovery.names("processors"))
    scorer: str = _field(
        "the serving tool: an embedded library or an external server", choices=discovery.names("scorers")
    )
    segments: tuple[Segment, ...]  # type: ignore[misc] # mypy takes _field for a default
    model: str = _field("the model that is scored", "ffnn", choices=discovery.names("models"))
    dataset: str = _field(
        "what the model is trained on and events are made of", "fashion_mnist", choices=("fashion_mnist", "synthetic")
    )
    codec: str = _field(
        "the wire format of events and predictions. `binary`: 48 bytes and then the values; `json`: the original's"
        " object, its input still in the prediction",
        "binary",
        choices=tuple(VALUE_BYTES),
    )
    scoring: str = _field(
        "`per_event`: one model call an event; `vectorised`: one for the events at hand",
        "per_event",
        choices=("per_event", "vectorised"),
    )
    engine_batch_max: int = _field(
        "of `vectorised`: the events of one model call, at most; `0`: what the engine has at hand. In `run` and `fix`"
        " `engine_batch: {max: 64, wait_ms: 1}` sets this, the next, and `vectorised`; its `max: null` is `0`",
        0,
        least=0,
    )
    engine_batch_wait_ms: float = _field(
        "how long a batch of the engine waits for more events, from its first on; `0`: it takes what is there",
        0.0,
        unit="ms",
        least=0,
        most=10_000,
    )
    server_batch_max: int = _field(
        "requests that an external scorer's server puts into one model call, at most. In `run` and `fix`"
        " `server_batch: {max: 32, delay_ms: 2}` sets this and the next",
        1,
        least=1,
    )
    server_batch_delay_ms: float = _field(
        "how long a server's batch waits for more requests, from its first on",
        0.0,
        unit="ms",
        least=0,
        most=10_000,
    )
    parallelism: int = _field("parallel instances; each processor's docstring says what one is", 1, above=0)
    execution: str = _field(
        "of Flink: `thread` (Python in the TaskManager's JVM), `process` (Python workers); of Spark: `micro_batch`,"
        " `real_time`; of Ray: `fused` (each actor consumes, scores and produces), `pipeline` (actors for source,"
        " scoring"
        " and sink). `auto`: the faster one that can run",
        "auto",
        choices=_executions,
    )
    parallelism_model: str = _field(
        "`data`: source, scoring and sink at N (N-N-N); `task`, Flink only: source and sink at the number of"
        " partitions,"
        " scoring at N (P-N-P)",
        "data",
        choices=("data", "task"),
    )
    transport: str = _field(
        "`kafka`; `in_engine`, Flink only: no Kafka, the job itself makes each event when it is due and notes when its"
        " prediction is done. Not with `exactly_once`; what sets Kafka's clients has no effect",
        "kafka",
        choices=("kafka", "in_engine"),
    )
    delivery: str = _field(
        "the delivery guarantee of the processor", "at_least_once", choices=("at_least_once", "exactly_once")
    )
    protocol: str = _field(
        "to an external scorer's server; `http` for Ray Serve only", "grpc", choices=("grpc", "http")
    )
    async_calls: int = _field(
        "with an external scorer, `per_event`: how many requests each instance keeps in flight at most, one per event,"
        " answers in order (Flink: in any order). `0`: one after the other",
        0,
        least=0,
    )
    linger_ms: int = _field(
        "how long the processor's Kafka producer waits for more records before it sends", 0, unit="ms", least=0
    )
    batch_bytes: int = _field(
        "what the processor's Kafka producer sends to one partition at once, at most; a larger record goes alone",
        131072,
        unit="bytes",
        least=1,
        most=MAX_MESSAGE_BYTES,
    )
    acks: str = _field(
        "when the broker acknowledges a prediction: `all` replicas have it, and the producer is idempotent; or its"
        " `leader` has it. `leader` not with `exactly_once`",
        "all",
        choices=("all", "leader"),
    )
    compression: str = _field(
        "how the processor's Kafka producer compresses its batches",
        "none",
        choices=("none", "gzip", "snappy", "lz4", "zstd"),
    )
    in_flight: int = _field(
        "requests that the processor's Kafka producer has under way at most; up to 5 keep their order",
        5,
        least=1,
        most=5,
    )
    fetch_partition_bytes: int = _field(
        "what the processor's Kafka consumer fetches of one partition at once, at most; a larger record comes alone",
        1048576,
        unit="bytes",
        least=1,
        most=MAX_MESSAGE_BYTES,
    )
    fetch_wait_ms: int = _field(
        "how long the broker waits for `fetch_min_bytes` before it answers the processor's consumer (Spark: 1)",
        500,
        unit="ms",
        least=0,
        most=5000,
    )
    fetch_min_bytes: int = _field(
        "what the broker gathers before it answers the processor's consumer",
        1,
        unit="bytes",
        least=1,
        most=MAX_MESSAGE_BYTES,
    )
    commit_interval_ms: int = _field(
        "how often the processor commits what it has done: offsets, a checkpoint (Flink), a transaction"
        " (`exactly_once`, whose predictions become visible with it), its progress (Spark)",
        1000,
        unit="ms",
        least=10,
        most=60_000,
    )
    on_server_failure: str = _field(
        "when a server dies: `fail` ends the run; `retry` starts it again, and the manifest says what that cost",
        "fail",
        choices=("fail", "retry"),
    )
    broker: str = _field(
        "`shared`: one that the runs of a pipeline have in common, warmed up before the first; `own`: one of this run"
        " alone, which is cold",
        "shared",
        choices=("shared", "own"),
    )
    brokers: int = _field(
        "so many brokers of this run's own, where more than one; topics then have up to three copies, of which two must"
        " be in step",
        1,
        least=1,
        most=9,
    )
    fault: str = _field(
        "what fails while a `faulty` load is measured: every process of the processor, of the server or of one of the"
        " brokers is killed (SIGKILL) or paused for 5 s; or the way from the processor to the brokers is cut for 5 s",
        "none",
        choices=FAULTS,
    )
    broker_warmup_s: float = _field(
        "the broker that runs share is warmed up until its cost no longer falls, for so long at most, as the first of"
        " them says",
        120.0,
        least=0,
        unit="s",
    )
    placement: str = _field(
        "the nodes that broker, processor, server, generators and sinks are on: `broker1+processor2.3`, which the"
        " config's `placement` writes; what is not named is on node 0",
        "",
    )
    cores: int = _field(
        "so many physical cores are the processor's and the server's alone; broker, generator, sink and harness have"
        " the others, of which at least one must be left. `0`: all share all",
        0,
        least=0,
    )
    partitions: int = _field("partitions of the input and of the output topic", 8, above=0)
    scorer_threads: int = _field("threads of the scoring library in each instance", 1, above=0)
    device: str = _field(
        "what the scorer, or its server, computes on: `cpu`; or `cuda`, one GPU of each node that scores, which all"
        " instances there share (docs/cluster.md). Not every scorer offers it",
        "cpu",
        choices=("cpu", "cuda"),
    )
    added_us: float = _field(
        "CPU time that scoring a data point takes in addition: a slow-down that is known, to test what is told apart",
        0.0,
        unit="us",
        least=0,
    )
    generators: int = _field(
        "processes that generate the load: each sends the events of its share of the partitions", 1, least=1
    )
    sinks: int = _field("processes that receive the predictions, each of its share of the partitions", 1, least=1)
    seed: int = _field("of arrivals and the pool of images", 1)
    twin: int = _field(
        "another run of the same system under another name: what differs between twins is noise. Only other values than"
        " `0` are named; a twin is ranked with its own system alone",
        0,
        least=0,
    )
    lateness_bound_ms: float = _field(
        "an event that is sent later than this after its intended send time is late", 10.0, unit="ms", above=0
    )
    ready_timeout_s: float = _field("deadline until every partition has answered a probe", 180.0, unit="s", above=0)
    drain_timeout_s: float = _field(
        "deadline, after the load, for predictions that are still on their way", 60.0, unit="s", above=0
    )
    own: OwnModel | None = None  # what a model is that the config declares; None: one of crayfish.models

    def __post_init__(self) -> None:
        _check("run", self)
        if not self.segments:
            raise CrayfishError("run.segments: a run needs a load")
        if self.parallelism > self.partitions:
            raise CrayfishError(
                f"run.parallelism: {self.parallelism} instances cannot share {self.partitions} partitions:"
                " raise run.partitions or lower the parallelism"
            )
        for name in ("generators", "sinks"):
            if getattr(self, name) > self.partitions:
                raise CrayfishError(
                    f"run.{name}: {getattr(self, name)} processes cannot share {self.partitions} partitions: lower it,"
                    " or raise run.partitions"
                )
        if self.searches and self.generators > 1:
            raise CrayfishError("run.generators: a search cuts off loads, which needs one generator: leave it at 1")
        if len(self.segments) > 1 and any(segment.declared.alone for segment in self.segments):
            raise CrayfishError(f"run.segments: a {self.segments[0].kind} is a run of its own")
        self._check_parts()
        self._check_placement()
        self._check_fault()
        self._check_batches()

    def _check_batches(self) -> None:
        """Refuse batches that nobody would fill."""
        if (self.engine_batch_max or self.engine_batch_wait_ms) and self.scoring != "vectorised":
            raise CrayfishError(
                f"run.engine_batch_max: {self.engine_batch_max}, with {self.engine_batch_wait_ms:g} ms to wait: events"
                " go together into a model call with scoring 'vectorised' alone: set it, or leave these out"
            )
        if self.engine_batch_wait_ms and self.engine_batch_max < 2:
            raise CrayfishError(
                f"run.engine_batch_wait_ms: {self.engine_batch_wait_ms:g}: there is nothing to wait for with an"
                f" engine_batch_max of {self.engine_batch_max}: raise it, or set the wait to 0"
            )
        if self.engine_batch_max * self.event_bytes > MAX_MESSAGE_BYTES:
            raise CrayfishError(
                f"run.engine_batch_max: {self.engine_batch_max} events of {self.event_bytes} bytes are too large for"
                f" one model call of 64 MiB; at most {MAX_MESSAGE_BYTES // self.event_bytes}"
            )
        if self.server_batch_max > 1:
            if not discovery.scorer(self.scorer).external:
                raise CrayfishError(f"run.server_batch_max: {self.server_batch_max}: {self.scorer} calls no server")
            if self.server_batch_max > (most := self.parallelism * max(1, self.async_calls)):
                raise CrayfishError(
                    f"run.server_batch_max: {self.server_batch_max} requests are never in flight at once: at most"
                    f" {most}, run.parallelism times run.async_calls (or times 1, without): raise them, or lower it"
                )
        elif self.server_batch_delay_ms:
            raise CrayfishError(
                f"run.server_batch_delay_ms: {self.server_batch_delay_ms:g}: there is nothing to wait for with a"
                " server_batch_max of 1: raise it, or set the delay to 0"
            )

    def _check_fault(self) -> None:
        """Refuse a fault that cannot be, and one without its load."""
        if (self.fault != "none") != (self.segments[0].kind == "faulty"):
            raise CrayfishError(
                f"run.fault: {self.fault!r} with a {self.segments[0].kind} load: a fault needs a load of the kind"
                " faulty, and that needs a fault"
            )
        if self.brokers > 1 and self.transport != "kafka":
            raise CrayfishError(f"run.brokers: {self.brokers}: transport {self.transport!r} has none: leave it out")
        if self.placement and (self.brokers > 1 or self.fault != "none"):
            raise CrayfishError(
                f"run.placement: {self.placement!r} goes neither with run.brokers (name several nodes of the broker)"
                " nor with run.fault"
            )
        if self.fault.endswith("_server") and not discovery.scorer(self.scorer).external:
            raise CrayfishError(f"run.fault: {self.fault!r}: {self.scorer} calls no server")
        if self.fault == "kill_server" and self.on_server_failure != "retry":
            raise CrayfishError(
                f"run.fault: {self.fault!r}: a server that dies ends the run: set run.on_server_failure to 'retry'"
            )
        if self.fault == "kill_broker" and self.brokers < 3:
            raise CrayfishError(f"run.fault: {self.fault!r}: the topics must survive it: set run.brokers to 3 or more")

    def _check_placement(self) -> None:
        """Refuse a placement that is none, or that does not go together with the rest."""
        nodes = placement.parsed(self.placement)
        if self.placement and self.transport != "kafka":
            raise CrayfishError(
                f"run.placement: {self.placement!r}: with transport {self.transport!r} events go through files of one"
                " machine: leave it out, or use transport 'kafka'"
            )
        if self.placement and self.cores:
            raise CrayfishError(
                f"run.cores: {self.cores}: parts on other nodes have cores of their own: leave it at 0, or leave out"
                " run.placement"
            )
        if nodes["server"] != placement.HERE and not discovery.scorer(self.scorer).external:
            raise CrayfishError(f"run.placement: {self.placement!r}: {self.scorer} calls no server: leave it out")
        if len(nodes["processor"]) > 1 and not discovery.processor(self.processor).spreads:
            able = [name for name in discovery.names("processors") if discovery.processor(name).spreads]
            raise CrayfishError(
                f"run.placement: {self.placement!r}: {self.processor} is on one node (on several: {', '.join(able)})"
            )
        if len(nodes["server"]) > 1:
            raise CrayfishError(f"run.placement: {self.placement!r}: a server is on one node")
        for part, name in INSTANCES.items():
            if len(nodes[part]) > (count := getattr(self, name)):
                raise CrayfishError(
                    f"run.placement: {self.placement!r}: {part}: {count} instances cannot be on {len(nodes[part])}"
                    f" nodes: name fewer, or raise run.{name}"
                )

    def _check_parts(self) -> None:
        """Refuse what the chosen processor, scorer or model does not offer."""
        processor, scorer = discovery.processor(self.processor), discovery.scorer(self.scorer)
        model = self.declared_model
        if self.own and (self.own.name, DATASET, scorer.format) != (self.model, self.dataset, self.own.format):
            raise CrayfishError(
                f"run.own: {self.own.key} of {self.own.format} is not what {self.scorer} needs of {self.model}"
            )
        offered = {
            "delivery": (self.processor, processor.deliveries),
            "execution": (self.processor, ("auto", *processor.executions)),
            "parallelism_model": (self.processor, processor.parallelism_models),
            "transport": (self.processor, processor.transports),
            "protocol": (self.scorer, scorer.protocols),
            "device": (self.scorer, scorer.devices),
        }
        for name, (part, allowed) in offered.items():
            if getattr(self, name) not in allowed:
                raise CrayfishError(
                    f"run.{name}: {part} does not offer {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        for name in self.environments.values() if self.device != "cpu" else ():
            if not (paths.ROOT / "envs" / f"{name}.yaml").exists():
                raise CrayfishError(
                    f"run.device: {self.device!r}: {self.processor} with {self.scorer} needs the environment"
                    f" envs/{name}.yaml, which is not there: write envs/{name}.in and call `make lock`, or use 'cpu'"
                )
        if self.searches and self.transport != "kafka":
            raise CrayfishError("load.kind: a search needs the load generator: run.transport must be kafka")
        if self.transport != "kafka" and any(segment.declared.sizes(segment) is not None for segment in self.segments):
            raise CrayfishError(f"load.trace: batches of several sizes need transport 'kafka', not {self.transport!r}")
        if self.on_server_failure != "fail" and not scorer.external:
            raise CrayfishError(
                f"run.on_server_failure: {self.scorer} calls no server, so there is no failure to survive:"
                " leave it at fail"
            )
        if self.acks != "all" and self.delivery == "exactly_once":
            raise CrayfishError(
                f"run.acks: {self.acks!r} acknowledges what a broker may still lose, and exactly_once promises not to:"
                " use acks 'all', or delivery 'at_least_once'"
            )
        if self.async_calls and not (scorer.external and processor.asynchronous):
            raise CrayfishError(
                f"run.async_calls: {self.processor} with {self.scorer} has no asynchronous calls: they need a processor"
                " that offers them and a scorer that calls a server; leave it at 0"
            )
        if self.async_calls and self.added_us:
            raise CrayfishError("run.added_us: it slows down one call at a time: leave it, or async_calls, at 0")
        if self.async_calls and self.scoring == "vectorised":
            raise CrayfishError(
                "run.async_calls: vectorised scoring is one call for all the events at hand, so that no other waits"
                " beside it: use scoring 'per_event', or leave it at 0"
            )
        if scorer.format is not None and scorer.format not in model.formats:
            raise CrayfishError(
                f"run.scorer: {self.scorer} reads {scorer.format}, and {self.model} is made in:"
                f" {', '.join(model.formats)}"
            )
        if self.event_bytes > MAX_EVENT_BYTES:
            points = max(segment.batch_size for segment in self.segments)
            raise CrayfishError(
                f"load.batch_size: {points} data points of {self.model} are too large for one message of 64 MiB;"
                f" at most {MAX_EVENT_BYTES // (self.event_bytes // points)} with the {self.codec} codec"
            )
        if reason := processor.refuse(self):
            raise CrayfishError(f"run: {self.processor} with {self.scorer} is refused: {reason}")

    @property
    def scoring_part(self) -> str:
        """What of the run computes the model's answers: the processor, or the server."""
        return "server" if discovery.scorer(self.scorer).external else "processor"

    @property
    def environments(self) -> dict[str, str]:
        """The environments of the processor and, with an external scorer, of the server."""
        found = {"processor": self.processor}
        scorer = discovery.scorer(self.scorer)
        if scorer.external:
            found["server"] = self.scorer
        if scorer.cuda_environment and self.device != "cpu":
            own = self.scorer if scorer.external else f"{self.processor}_{self.scorer}"
            found[self.scoring_part] = f"{own}_{self.device}"
        return found

    @property
    def saturated(self) -> bool:
        """Whether the run drains a backlog, whole or not."""
        return any(segment.saturated for segment in self.segments)

    @property
    def searches(self) -> bool:
        """Whether the run looks for its system's sustainable rate."""
        return any(segment.declared.searches for segment in self.segments)

    @property
    def relative(self) -> bool:
        """Whether rates are fractions of what a search has found."""
        return any(segment.of for segment in self.segments)

    @property
    def declared_model(self) -> contracts.Model | OwnModel:
        """What its model declares, or the config of it."""
        return self.own or discovery.model(self.model)

    @property
    def model_folder(self) -> str:
        """The name of the folder of all that is made of its model."""
        return self.own.key if self.own else self.model

    @property
    def dtype(self) -> str:
        """The type of the values of its data points, by numpy's name."""
        return self.own.dtype if self.own else "float32"

    @property
    def event_bytes(self) -> int:
        """The size of its largest event, at most."""
        points = max(segment.batch_size for segment in self.segments)
        return points * math.prod(self.declared_model.input_shape) * VALUE_BYTES[self.codec][self.dtype]

    @property
    def memory_bytes(self) -> int:
        """About what the whole run needs: broker, engine, and in each instance what the engine needs there and the
        model (which a server's worker may hold instead)."""
        return self.memory_of("broker") + self.memory_of("processor")

    def memory_of(self, part: str, members: int = 1) -> int:
        """The same of a part alone, bytes, or of one of the nodes that it is spread over."""
        model, engine = self.declared_model, discovery.processor(self.processor)
        instances = math.ceil(self.parallelism / members)
        return {
            "broker": BASE_MEMORY * self.brokers,
            "processor": engine.memory + instances * (engine.instance_memory + model.memory),
            "server": self.parallelism * model.memory,
        }.get(part, BASE_MEMORY)

    @property
    def identifier(self) -> str:
        """The readable name of the run's folder: its non-default parameters. No two specs have the same.

        One of more than LONGEST_NAME bytes is cut, and ends in a hash of all of it; run.json has the whole spec.
        """
        parts = ["-".join([self.processor, self.scorer, self.model, *([self.own.sha256[:12]] if self.own else [])])]
        for name, (_, default, known) in known_fields(RunSpec).items():
            value = getattr(self, name)
            if name not in ("processor", "scorer", "model") and value != default:
                text = exact(value) if isinstance(value, float) else str(value)
                parts.append(text if known.choices else f"{name}-{text}")
        whole = "_".join([*parts, "+".join(segment.label() for segment in self.segments)])
        if len(whole) <= LONGEST_NAME:  # part names, fields and numbers are ASCII
            return whole
        ending = f"_{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
        return whole[: LONGEST_NAME - len(ending)].rstrip("-_+.") + ending

    def to_json(self) -> str:
        """One line with sorted keys: equal specs give equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_dict(cls, values: dict) -> RunSpec:
        """A spec from parsed JSON or YAML; CrayfishError names the key, the value and what is allowed."""
        values = _build(cls, "run", dict(values))
        own = values.get("own")
        own = OwnModel.from_dict(own) if isinstance(own, dict) else own
        return cls(**{**values, "segments": cls.loads(values["segments"]), "own": own})

    @staticmethod
    def loads(segments: Iterable[dict | Segment]) -> tuple[Segment, ...]:
        """The segments of a spec, those from parsed JSON or YAML checked."""
        return tuple(each if isinstance(each, Segment) else Segment.checked(each) for each in segments)


def flat(values: dict) -> dict:
    """Fields of a run, with those of a group (`engine_batch: {max: 64, wait_ms: 1}`) by their whole names."""
    found = {name: value for name, value in values.items() if name not in GROUPS}
    for group in GROUPS & values.keys():
        found |= {f"{group}_{name}": value or 0 for name, value in values[group].items()}
        if group == "engine_batch":
            found.setdefault("scoring", "vectorised")
    return found


def default(name: str) -> Any:
    """The default of a field of RunSpec."""
    return known_fields(RunSpec)[name][1]


@functools.cache
def choices() -> dict[str, tuple[str, ...]]:
    """Field of RunSpec -> its allowed values, of those that have a list of them."""
    return {name: known.allowed for name, (_, _, known) in known_fields(RunSpec).items() if known.choices}


@dataclass(frozen=True)
class Job:
    """A RunSpec and where things are: all that a stage of a run is told. Paths are absolute."""

    spec: RunSpec
    bootstrap_servers: str
    input_topic: str
    output_topic: str
    group: str  # consumer group or application id: the same one continues where it was
    input_shape: tuple[int, ...]  # of one data point
    outputs: int  # of one data point
    model_path: str | None  # in the format of the scorer, or of its server
    server_address: str | None  # host:port of an external scorer's server; None: it has not been started
    jars: tuple[str, ...]  # the processor's
    scorer_jars: tuple[str, ...]  # those that the scorer adds
    java_home: str | None
    workdir: str  # scratch folder of this stage on its node, removed after the run
    processor_address: str | None = None  # of an engine that is there already (Processor.address); None: none is
    server_key_file: str | None = None  # where a server of the run's own keeps the secret that its scorer sends
    kafka_client: str | None = None  # the file that says how clients prove who they are (crayfish.engine.secure)
    # Of a processor that is on several nodes: how many, which of them this process is on, and where the first one
    # (member 0) listens for the others, if it does, "host:port".
    members: int = 1
    member: int = 0
    head: str | None = None
    secret: str | None = None  # that they share
    shared: str = ""  # the folder that all nodes see, of a run that is spread over several; "": workdir is one

    @classmethod
    def without_kafka(cls, spec: RunSpec, workdir: str, **places: Any) -> Job:
        """A job for a scorer or its server alone; `places` are the fields that it needs beside the model's shape."""
        nowhere = dict.fromkeys(("bootstrap_servers", "input_topic", "output_topic", "group"), "")
        absent: dict[str, Any] = {
            **dict.fromkeys(("model_path", "server_address", "java_home")),
            "jars": (),
            "scorer_jars": (),
        }
        model = spec.declared_model
        outputs = 0 if isinstance(model, OwnModel) else model.outputs  # of one's own, its answers tell
        shape: dict[str, Any] = {"input_shape": model.input_shape, "outputs": outputs}
        return cls(spec=spec, workdir=workdir, **{**nowhere, **absent, **shape, **places})

    @property
    def exchange(self) -> Path:
        """The folder by which harness and engine of a run without Kafka hand over events and predictions."""
        return Path(self.workdir) / "exchange"

    @property
    def instances(self) -> range:
        """The numbers of the parallel instances that this process has: all, or every `members`-th of them."""
        return range(self.member, self.spec.parallelism, self.members)

    @property
    def seen(self) -> Path:
        """The folder of this stage that the harness and all the nodes of the run see."""
        return Path(self.shared or self.workdir)

    @property
    def batches(self) -> Path:
        """The file in which a server tells at its end what its batches were (crayfish.servers._batching)."""
        return self.seen / "batches.json"

    @property
    def records(self) -> Path:
        """The folder where this stage's processes note what their clients and JVMs were given, for the manifest."""
        return self.seen / "records"

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self), sort_keys=True, indent=1))
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        values = json.loads(path.read_text())
        lists = {name: tuple(values[name]) for name in ("input_shape", "jars", "scorer_jars")}
        return cls(**{**values, **lists, "spec": RunSpec.from_dict(values["spec"])})
