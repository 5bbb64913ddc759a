"""RunSpec: one frozen, validated description of one run, all that it is told. Job: a RunSpec and where things are."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from crayfish import discovery
from crayfish.errors import CrayfishError

CODECS = ("binary", "json")
CHOICES = {
    "processor": discovery.names("processors"),
    "scorer": discovery.names("scorers"),
    "model": discovery.names("models"),
    "dataset": ("fashion_mnist", "synthetic"),
    "codec": CODECS,
    "scoring": ("per_event", "vectorised"),
    "execution": ("auto", "thread", "process", "micro_batch", "real_time", "fused", "pipeline"),
    "parallelism_model": ("data", "task"),
    "transport": ("kafka", "in_engine"),
    "delivery": ("at_least_once", "exactly_once"),
    "protocol": ("grpc", "http"),
    "on_server_failure": ("fail", "retry"),
}
BASE_MEMORY = 3 * 2**30  # broker, engine, clients
MAX_EVENT_BYTES = 64 * 2**20 - 4096  # the messages of brokers, engines and servers, without their own headers
VALUE_BYTES = {"binary": 4, "json": 14}  # of one float32, at most
LOADS = ("constant", "poisson", "bursty", "backlog", "search")
RELATIVE_TO = ("sustainable",)


def _check_type(where: str, value: object, annotation: str) -> None:
    allowed = {"int": int, "float": (int, float), "str": str}[annotation]
    if isinstance(value, bool) or not isinstance(value, allowed):
        name = {"int": "a whole number", "float": "a number", "str": "a text"}[annotation]
        raise CrayfishError(f"{where}: {value!r} is not {name}")


def _build(cls: type, where: str, values: dict) -> dict:
    """Keyword arguments for a dataclass, checked: no unknown key, none missing, every plain type right."""
    known = {field.name: field for field in fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise CrayfishError(f"{where}.{key}: unknown key; allowed: {', '.join(known)}")
        if known[key].type in ("int", "float", "str"):
            _check_type(f"{where}.{key}", value, known[key].type)
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise CrayfishError(f"{where}.{name}: missing")
    return values


@dataclass(frozen=True)
class Load:
    """One segment of a run: how events arrive, after a warm-up of its own.

    kind: constant, poisson (mean `rate`), bursty (`rate`, and `peak_rate` for `burst_s` every `between_s`), backlog
    (all events written before the processor starts: saturation), or search (the sustainable rate is looked for: probes
    of warmup_s + measure_s, the first at `rate`, judged by `objective_ms`, the result confirmed for `confirm_s`).
    rate, peak_rate: events/s, or where `of` is "sustainable" fractions of what a search has found; times: seconds;
    batch_size: data points an event. Of a backlog, rate is a pilot's: with the times, it says how many events; it is
    drained for `at_most_s` if that is not 0, and what is left then counts nowhere.
    """

    kind: str
    rate: float = 0.0
    batch_size: int = 1
    warmup_s: float = 5.0
    measure_s: float = 20.0
    peak_rate: float = 0.0
    burst_s: float = 0.0
    between_s: float = 0.0
    objective_ms: float = 0.0
    confirm_s: float = 0.0
    at_most_s: float = 0.0
    of: str = ""

    def __post_init__(self) -> None:
        if self.kind not in LOADS:
            raise CrayfishError(f"load.kind: {self.kind!r} is not a load; allowed: {', '.join(LOADS)}")
        if self.of and (self.of not in RELATIVE_TO or self.kind in ("backlog", "search")):
            raise CrayfishError(
                f"load.rate: a {self.kind} load has no rate of {self.of!r}; a constant, poisson or bursty one may be a"
                f" fraction of: {', '.join(RELATIVE_TO)}"
            )
        positive = ["batch_size", "measure_s"] + ([] if self.kind == "backlog" else ["rate"])
        if self.kind == "bursty":
            positive += ["peak_rate", "burst_s", "between_s"]
        if self.kind == "search":
            positive += ["objective_ms", "confirm_s"]
        for name in positive:
            if not getattr(self, name) > 0:
                raise CrayfishError(f"load.{name}: {getattr(self, name)!r} must be more than 0 for a {self.kind} load")
        for name in ("rate", "warmup_s", "peak_rate", "burst_s", "between_s", "at_most_s"):
            if getattr(self, name) < 0:
                raise CrayfishError(f"load.{name}: {getattr(self, name)!r} must not be negative")

    @property
    def saturated(self) -> bool:
        """Whether all events are there before the processor starts."""
        return self.kind == "backlog"

    def label(self) -> str:
        """A readable name of it: every field that is not the default."""
        parts = [self.kind + (f"{self.rate:g}" if self.rate else "")]
        short = {
            "batch_size": "b",
            "warmup_s": "w",
            "measure_s": "m",
            "peak_rate": "peak",
            "burst_s": "burst",
            "between_s": "every",
            "objective_ms": "p99-",
            "confirm_s": "confirm",
            "at_most_s": "atmost",
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in short and value != field.default:
                parts.append(f"{short[field.name]}{value:g}")
        return "-".join(parts + ([f"of-{self.of}"] if self.of else []))


@dataclass(frozen=True)
class RunSpec:
    """One run. Every field is part of its identity; `identifier` names all that are not the default."""

    processor: str
    scorer: str
    segments: tuple[Load, ...]
    model: str = "ffnn"
    dataset: str = "fashion_mnist"
    codec: str = "binary"
    scoring: str = "per_event"
    parallelism: int = 1
    execution: str = "auto"
    parallelism_model: str = "data"
    transport: str = "kafka"
    delivery: str = "at_least_once"
    protocol: str = "grpc"
    async_calls: int = 0
    linger_ms: int = 0
    on_server_failure: str = "fail"
    partitions: int = 8
    scorer_threads: int = 1
    seed: int = 1
    lateness_bound_ms: float = 10.0
    ready_timeout_s: float = 180.0
    drain_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise CrayfishError(f"run.{name}: {getattr(self, name)!r} is not known; allowed: {', '.join(allowed)}")
        for name in (
            "parallelism",
            "partitions",
            "scorer_threads",
            "lateness_bound_ms",
            "ready_timeout_s",
            "drain_timeout_s",
        ):
            if not getattr(self, name) > 0:
                raise CrayfishError(f"run.{name}: {getattr(self, name)!r} must be more than 0")
        if not self.segments:
            raise CrayfishError("run.segments: a run needs a load")
        if self.parallelism > self.partitions:
            raise CrayfishError(
                f"run.parallelism: {self.parallelism} instances cannot share {self.partitions} partitions:"
                " raise run.partitions or lower the parallelism"
            )
        if (self.saturated or self.searches) and len(self.segments) > 1:
            raise CrayfishError(f"run.segments: a {self.segments[0].kind} is a run of its own")
        for name in ("async_calls", "linger_ms"):
            if getattr(self, name) < 0:
                raise CrayfishError(f"run.{name}: {getattr(self, name)!r} must not be negative")
        self._check_parts()

    def _check_parts(self) -> None:
        """Refuse what the chosen processor, scorer or model does not offer."""
        adapter, scorer = discovery.load("processors", self.processor), discovery.load("scorers", self.scorer)
        model = discovery.load("models", self.model)
        offered = {
            "delivery": (self.processor, adapter.DELIVERIES),
            "execution": (self.processor, ("auto", *adapter.EXECUTIONS)),
            "parallelism_model": (self.processor, getattr(adapter, "PARALLELISM_MODELS", ("data",))),
            "transport": (self.processor, getattr(adapter, "TRANSPORTS", ("kafka",))),
            "protocol": (self.scorer, getattr(scorer, "PROTOCOLS", ("grpc",))),
        }
        for name, (part, allowed) in offered.items():
            if getattr(self, name) not in allowed:
                raise CrayfishError(
                    f"run.{name}: {part} does not offer {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        if self.searches and self.transport != "kafka":
            raise CrayfishError("load.kind: a search needs the load generator: run.transport must be kafka")
        if self.on_server_failure != "fail" and not scorer.EXTERNAL:
            raise CrayfishError(
                f"run.on_server_failure: {self.scorer} calls no server, so there is no failure to survive:"
                " leave it at fail"
            )
        if self.async_calls and not (scorer.EXTERNAL and getattr(adapter, "ASYNCHRONOUS", False)):
            raise CrayfishError(
                f"run.async_calls: {self.processor} with {self.scorer} has no asynchronous calls: they need a processor"
                " that offers them and a scorer that calls a server; leave it at 0"
            )
        if self.async_calls and self.scoring == "vectorised":
            raise CrayfishError(
                "run.async_calls: vectorised scoring is one call for all the events at hand, so that no other waits"
                " beside it: use scoring 'per_event', or leave it at 0"
            )
        if scorer.FORMAT is not None and scorer.FORMAT not in model.FORMATS:
            raise CrayfishError(
                f"run.scorer: {self.scorer} reads {scorer.FORMAT}, and {self.model} is made in:"
                f" {', '.join(model.FORMATS)}"
            )
        if self.event_bytes > MAX_EVENT_BYTES:
            points = max(load.batch_size for load in self.segments)
            raise CrayfishError(
                f"load.batch_size: {points} data points of {self.model} are too large for one message of 64 MiB;"
                f" at most {MAX_EVENT_BYTES // (self.event_bytes // points)} with the {self.codec} codec"
            )
        if reason := adapter.refuse(self):
            raise CrayfishError(f"run: {self.processor} with {self.scorer} is refused: {reason}")

    @property
    def saturated(self) -> bool:
        """Whether the run drains a backlog, whole or not."""
        return any(load.saturated for load in self.segments)

    @property
    def searches(self) -> bool:
        """Whether the run looks for its system's sustainable rate."""
        return any(load.kind == "search" for load in self.segments)

    @property
    def driver(self) -> str:
        """The module of crayfish.loads that drives the run."""
        if self.transport == "in_engine":
            return "in_engine"
        return "backlog" if self.saturated else "search" if self.searches else "paced"

    @property
    def relative(self) -> bool:
        """Whether rates are fractions of what a search has found."""
        return any(load.of for load in self.segments)

    @property
    def event_bytes(self) -> int:
        """The size of its largest event, at most."""
        points = max(load.batch_size for load in self.segments)
        return points * math.prod(discovery.load("models", self.model).INPUT_SHAPE) * VALUE_BYTES[self.codec]

    @property
    def memory_bytes(self) -> int:
        """About what the whole run needs: the engine and broker, and the model in each instance (or server worker)."""
        return BASE_MEMORY + self.parallelism * discovery.load("models", self.model).MEMORY

    @property
    def identifier(self) -> str:
        """The readable name of the run's folder."""
        parts = [f"{self.processor}-{self.scorer}-{self.model}"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("processor", "scorer", "model", "segments") and value != field.default:
                text = f"{value:g}" if isinstance(value, float) else str(value)
                parts.append(text if field.name in CHOICES else f"{field.name}-{text}")
        return "_".join([*parts, "+".join(load.label() for load in self.segments)])

    def to_json(self) -> str:
        """One line with sorted keys: equal specs give equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_dict(cls, values: dict) -> RunSpec:
        """A spec from parsed JSON or YAML; CrayfishError names the key, the value and what is allowed."""
        values = _build(cls, "run", dict(values))
        return cls(**{**values, "segments": cls.loads(values["segments"])})

    @staticmethod
    def loads(segments: list[dict]) -> tuple[Load, ...]:
        """The segments of a spec from parsed JSON or YAML."""
        return tuple(Load(**_build(Load, "load", dict(load))) for load in segments)


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
    workdir: str  # scratch folder of this stage, removed after the run
    processor_address: str | None = None  # of an engine that is there already (ADDRESS of its module); None: none is

    @classmethod
    def without_kafka(cls, spec: RunSpec, workdir: str, **places: object) -> Job:
        """A job for a scorer or its server alone; `places` are the fields that it needs beside the model's shape."""
        model = discovery.load("models", spec.model)
        nowhere = dict.fromkeys(("bootstrap_servers", "input_topic", "output_topic", "group"), "")
        absent = {**dict.fromkeys(("model_path", "server_address", "java_home")), "jars": (), "scorer_jars": ()}
        shape = {"input_shape": model.INPUT_SHAPE, "outputs": model.OUTPUTS}
        return cls(spec=spec, workdir=workdir, **{**nowhere, **absent, **shape, **places})

    @property
    def exchange(self) -> Path:
        """The folder by which harness and engine of a run without Kafka hand over events and predictions."""
        return Path(self.workdir) / "exchange"

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self), sort_keys=True, indent=1))
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        values = json.loads(path.read_text())
        lists = {name: tuple(values[name]) for name in ("input_shape", "jars", "scorer_jars")}
        return cls(**{**values, **lists, "spec": RunSpec.from_dict(values["spec"])})
