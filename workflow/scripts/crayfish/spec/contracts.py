"""What each kind of part declares. A module of a room declares one instance of its room's dataclass, as its last
statement.

crayfish.spec.discovery finds it, and refuses a module that declares none, or one with an unknown, a missing or a
mistyped field, naming the file. A declaration is read in every environment, also by the Snakefile: the module itself
imports nothing beyond the standard library and crayfish.spec and crayfish.engine at its top; numpy, engines and
serving libraries are imported inside the functions that need them (a figure kind, which only the analysis environment
loads, may import them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import threading
    from types import ModuleType

    import numpy as np

    from crayfish.spec.run_spec import Job, RunSpec, Segment

LineStyle = str | tuple[float, tuple[float, ...]]
GIB = 2**30


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tuple_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(isinstance(each, kind) for each in value)


# What an annotation, or one side of its "|", accepts at run time, and how an error tells it. Others are not checked.
CHECKED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "a text"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "float": (_number, "a number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "None": (lambda value: value is None, "None"),
    "tuple[str, ...]": (_tuple_of(str), "a tuple of texts: write ('name',) with its comma"),
    "tuple[int, ...]": (_tuple_of(int), "a tuple of whole numbers"),
    "Mapping": (lambda value: isinstance(value, Mapping), "a mapping"),
    "Callable": (callable, "a function"),
}


class Part:
    """The base of all declarations: what is mistyped is an error."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value, sides = getattr(self, each.name), re.split(r" \| (?![^\[]*\])", str(each.type))
            kinds = [side if side in CHECKED else side.partition("[")[0] for side in sides]
            if all(kind in CHECKED for kind in kinds) and not any(CHECKED[kind][0](value) for kind in kinds):
                told = " or ".join(CHECKED[kind][1] for kind in kinds)
                raise CrayfishError(f"{type(self).__name__}.{each.name}: {value!r} is not {told}")


class LoadedScorer(Protocol):
    """What Scorer.open makes of a job: a context manager that belongs to one thread, or to one event loop."""

    def __enter__(self) -> LoadedScorer:
        """Load the model, or connect to the server. Heavy libraries are imported here.

        Raises CrayfishError where the model file, the library or (at the first call) the server cannot be used.
        """
        ...

    def __exit__(self, *error: object) -> None:
        """Release what __enter__ took."""
        ...

    def score(self, batch: np.ndarray) -> np.ndarray:
        """[n, *input_shape] in the model's type (spec.dtype of the job) -> float32[n, outputs], C order.

        Raises CrayfishError where the server no longer answers or the model answers another shape; what the scoring
        library raises for an input that it cannot take passes as it is.
        """
        ...


class LoadedRemoteScorer(LoadedScorer, Protocol):
    """The client of an external scorer can also be called on an event loop (crayfish.engine.remote has both)."""

    async def score_async(self, batch: np.ndarray) -> np.ndarray:
        """The same as score(), while other calls wait for their answers too."""
        ...


@dataclass(frozen=True, kw_only=True)
class Processor(Part):
    """A stream processor: it moves bytes from the input topic through a ScoringOperator to the output topic.

    The module's docstring states its delivery guarantee, what its parallelism N means, and what it buffers.
    """

    display_name: str
    color: str  # in figures, as #rrggbb
    line: LineStyle  # in figures, as matplotlib takes it: what tells processors apart without colour
    # run(job, stop, ready): moves events until the threading.Event `stop` is set, then ends cleanly; calls ready()
    # once, when all N parallel instances are up. Raises CrayfishError for what a user could have caused: a broker
    # that does not answer, a model that cannot be loaded, an engine that does not start.
    run: Callable[[Job, threading.Event, Callable[[], None]], None]
    deliveries: tuple[str, ...]  # "at_least_once", "exactly_once"
    # refuse(spec): why it cannot run this RunSpec, or None.
    refuse: Callable[[RunSpec], str | None] = lambda spec: None
    # resolved_execution(spec): what `execution: auto` stands for.
    resolved_execution: Callable[[RunSpec], str] = lambda spec: spec.execution
    executions: tuple[str, ...] = ()  # its ways to execute beside "auto"; empty if there is only one
    parallelism_models: tuple[str, ...] = ("data",)
    # "in_engine": it makes the events itself and keeps the predictions, as the files in job.exchange say
    # (crayfish.harness.in_engine); ready() then comes before any event.
    transports: tuple[str, ...] = ("kafka",)
    # Whether it offers run.async_calls: it hands the operator several events at once, or has asynchronous operators.
    asynchronous: bool = False
    # What the address of an engine that is there already is (job.processor_address); None: a library, which always runs
    # where the harness does.
    address: str | None = None
    jars: tuple[str, ...] = ()  # jar sets (envs/java/NAME.yaml) that it needs
    # transport -> the Java sources in its room, each of which is compiled into one more jar of its jobs
    java: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    java_jars: tuple[str, ...] | None = None  # jar sets that the sources are compiled against, if not `jars`
    # Of the JVM inside its Python process, beside those of all (crayfish.engine.jvm): what no other part sets.
    jvm_options: tuple[str, ...] = ()
    memory: int = 2 * GIB  # bytes of the engine itself, beside its instances
    instance_memory: int = GIB // 2  # bytes of each parallel instance (its JVM or Python, libraries), beside the model
    # True: it scores nothing, and answers what the scorer noop does. What is measured with it is the cost of the
    # measuring system itself. The word `all` leaves it out.
    floor: bool = False
    # withdraw(job): ends what a process that was killed has left running at job.processor_address; None: its end does.
    withdraw: Callable[[Job], None] | None = None
    # True: it may be on several nodes (run.placement). Each of them runs this process: `run`, which finds its node in
    # job.member, its share in job.instances, and where the first one listens in job.head; on all but the first `join`
    # in its place, if there is one.
    spreads: bool = False
    join: Callable[[Job, threading.Event, Callable[[], None]], None] | None = None  # as `run`
    asks_user: bool = False  # True: it does not start where the user has no name, as in some containers
    original: str | None = None  # the letter that run.sh -sp of the original takes for it


@dataclass(frozen=True, kw_only=True)
class Scorer(Part):
    """A serving tool: an embedded library, or the client of an external server."""

    display_name: str
    marker: str  # in figures, as matplotlib takes it
    fill: str | None  # of the marker, as #rrggbb; None: the processor's colour
    open: Callable[[Job], LoadedScorer]  # makes the scorer of a job; nothing is loaded before its __enter__
    format: str | None  # the model format that it, or its server, reads ("onnx", ...); None: it reads no model
    external: bool = False  # True: it calls a server, which crayfish.servers has a module of the same name for
    protocols: tuple[str, ...] = ("grpc",)  # of an external one: "grpc", "http"
    devices: tuple[str, ...] = ("cpu",)  # what it, or its server, computes on (run.device)
    # True: on a GPU its library is another package, so that the processor, or its server, has one more environment:
    # envs/PROCESSOR_SCORER_cuda.yaml, or envs/SERVER_cuda.yaml.
    cuda_environment: bool = False
    unpacks_code: bool = False  # True: it, or its server, loads libraries that it unpacks into the temporary folder
    own_process: bool = False  # True: it cannot live in a Python that an engine's JVM embeds (Flink's thread execution)
    jars: tuple[str, ...] = ()  # jar sets (envs/java/NAME.yaml) that it needs
    # Of the JVM inside its process, beside the engine's (crayfish.engine.jvm): it adds, and overrides none.
    jvm_options: tuple[str, ...] = ()
    answer: float | None = None  # only where every output is this constant, whatever the event
    original: str | None = None  # the option and letter of the original's run.sh for it: "-msm o"


@dataclass(frozen=True, kw_only=True)
class Server(Part):
    """The server of an external scorer, named as it; run by its own environment, envs/NAME.yaml."""

    # run(job, stop, ready): serves job.model_path on the loopback with job.spec.parallelism workers until `stop` is
    # set, then ends cleanly. It calls ready(address="host:port", or "unix:/path"; version=...) once all workers
    # answer; what stands in for the official product adds substitute="tf_serving (in-repo server)", and one that asks
    # for a secret key_file=PATH, which the scorer reads. Where job.server_address is given it listens there, and keeps
    # its secret in job.server_key_file: a server that is started again keeps both places. It puts up to
    # spec.server_batch_max requests into one model call (1: none), and then tells what its batches were
    # (servers._batching.tell). Scratch files go to job.workdir. Raises CrayfishError for what a user could have caused.
    run: Callable[[Job, threading.Event, Callable[..., None]], None]
    starts: tuple[str, ...] = ()  # files of the library that it starts without importing them: "servers/_triton_model"


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """A model: one set of weights, made once, in several formats."""

    display_name: str
    input_shape: tuple[int, ...]  # of one data point, without the batch axis
    outputs: int  # logits a data point
    formats: tuple[str, ...]  # what it is made in: "npz", "torchscript", "onnx", ...
    pool: int  # how many inputs reference.npz holds
    memory: int  # bytes that one loaded instance needs in a run, beside the libraries' own
    making_memory: int  # bytes that its training or one conversion needs
    inputs: Callable[[np.ndarray], np.ndarray]  # uint8[n, 28, 28] of the data set -> float32[n, *input_shape]
    build: Callable[[], Any]  # the torch module, float32[n, *input_shape] -> float32[n, outputs]
    # build_keras(weights): the same as a tf_keras model, functional and NHWC, with these weights (arrays by the names
    # of the torch module's state); its layers' names begin with a letter, as DL4J asks.
    build_keras: Callable[[Mapping[str, np.ndarray]], Any]
    # train(module, data, seed): makes its weights, in place; returns what the report tells: `accuracy` (None if it has
    # none), `weights` (where they come from), ...
    train: Callable[[Any, Mapping[str, np.ndarray], int], dict]
    load: Callable[[Any, Any], dict] | None = None  # load(module, path): the same from the user's own file of weights
    accuracy: Mapping[str, float] = field(default_factory=dict)  # data set -> the test accuracy that it must reach
    original: str | None = None  # the letter that run.sh -m of the original takes for it


@dataclass(frozen=True, kw_only=True)
class Load(Part):
    """A kind of load: when its events are due, and how a run of it is driven."""

    # due(segment, seed): int64[n], ns from the segment's start, never decreasing; equal arguments give equal times.
    due: Callable[[Segment, int], np.ndarray]
    # drive(run): starts what the run needs, proves the path, sends the load, waits for the predictions and stops the
    # processor (crayfish.harness.loads). Raises CrayfishError for whatever makes the run fail.
    drive: Callable[[Any], None]
    positive: tuple[str, ...] = ("rate",)  # fields of a segment that must be more than 0, beside batch_size, measure_s
    fractions: bool = True  # whether rates may be fractions of a sustainable rate
    alone: bool = False  # True: it is a run of its own, of one segment
    saturated: bool = False  # True: all events are there before the processor starts, so there is no latency
    searches: bool = False  # True: it looks for its system's sustainable rate
    # True: its events come alike all the time, so that a warm-up may be extended (crayfish.harness.steadiness).
    stationary: bool = False
    # bursts(segment): start and end of every burst, s from the segment's start.
    bursts: Callable[[Segment], list[tuple[float, float]]] = lambda segment: []
    # sizes(segment): the data points of each event, int[n]; None: all have batch_size, which is the largest of any.
    sizes: Callable[[Segment], np.ndarray | None] = lambda segment: None
    # completed(load): a config's load of this kind with what it finds out when a run is planned. Raises CrayfishError.
    completed: Callable[[dict], dict] = lambda load: load


@dataclass(frozen=True, kw_only=True)
class FigureKind(Part):
    """A kind of figure: how one part of an experiment's table is drawn."""

    title: str
    text: str  # of the caption: what is drawn and how to read it
    part: str  # of the experiment's table: "means", "series" or "curves"
    axes: tuple[str, ...]  # columns that are axes or panels: they tell no system from another
    metrics: tuple[str, ...]  # columns whose intervals rank the systems; the first that every row has is taken
    # draw(rows of the table), or draw(rows, ranks) if it is ranked: a matplotlib Figure. Raises CrayfishError where the
    # rows lack its columns.
    draw: Callable[..., Any]
    select: Callable[[Any], Any] = lambda table: table  # the rows that are drawn, of all that are there
    ranked: bool = False  # `draw` shows a ranking: its second argument gives that (results/ranking.py) of a metric


def declared(module: ModuleType, kind: type[Part]) -> Part:
    """The one declaration of a module; CrayfishError, naming the file, if there is none, or several."""
    found = list({id(value): value for value in vars(module).values() if type(value) is kind}.values())
    if len(found) != 1:
        name = kind.__name__
        raise CrayfishError(
            f"{module.__file__}: declares {len(found)} {name}s, and a module of its room declares one: end it with"
            f" {name.upper()} = {name}(...)"
        )
    return found[0]
