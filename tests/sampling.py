"""Which runs the contract suite makes: all, or a sample with every processor at least twice and every scorer once.

Nothing is listed by hand: the parts are discovered, and what they offer is asked of them.
"""

import dataclasses

from crayfish.spec import contracts, discovery
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

SCORERS = discovery.names("scorers")
FLOORS = tuple(name for name in discovery.names("processors") if discovery.processor(name).floor)
PROCESSORS = tuple(name for name in discovery.names("processors") if name not in FLOORS)
EXTERNAL = tuple(name for name in SCORERS if discovery.scorer(name).external)
ASYNCHRONOUS = tuple(name for name in PROCESSORS if discovery.processor(name).asynchronous)
READS = {name: discovery.scorer(name).format for name in SCORERS}
NEEDED = {"real_time": {"partitions": 2}}  # a way to execute -> what it needs
STYLES = (
    {},
    {"parallelism": 2, "scoring": "vectorised"},
    {"parallelism": 2, "codec": "json"},
    {"scoring": "vectorised", "codec": "json"},
)


def pairs(everything: bool) -> list[dict]:
    """The fields of one run each: every scorer in one processor, in changing styles, or in each twice."""
    runs: list[dict] = []
    for row in range(len(SCORERS) if everything else max(len(SCORERS), 2 * len(PROCESSORS))):
        for column in range(len(PROCESSORS) if everything else 1):
            run = {"processor": PROCESSORS[(row + column) % len(PROCESSORS)], "scorer": SCORERS[row % len(SCORERS)]}
            style = row + column + row // len(PROCESSORS)
            runs += [run, {**run, **STYLES[1 + style % 3]}] if everything else [{**run, **STYLES[style % 4]}]
    return runs


def variants(everything: bool) -> list[dict]:
    """What processors and scorers offer beside their defaults, each once."""
    runs: list[dict] = []
    for name in PROCESSORS:
        adapter = discovery.processor(name)
        executions = adapter.executions if everything else adapter.executions[1:]
        runs += [{"processor": name, "delivery": delivery} for delivery in adapter.deliveries[1:]]
        two = {"processor": name, "parallelism": 2}
        runs += [{**two, "execution": each, **NEEDED.get(each, {})} for each in executions]
        models = adapter.parallelism_models[1:]
        runs += [{"processor": name, "parallelism_model": model, "parallelism": 2} for model in models]
        for transport in adapter.transports[1:]:
            styles = ({"parallelism": 2}, {}, *STYLES[1:]) if everything else ({"parallelism": 2},)
            runs += [{"processor": name, "transport": transport, **style} for style in styles]
        runs += [
            {**run, "parallelism": 2, "codec": "json", "engine_batch_wait_ms": 5} for run in batches(everything, name)
        ]
    for number, name in enumerate(ASYNCHRONOUS if everything else ASYNCHRONOUS[:2]):
        called = EXTERNAL if everything else EXTERNAL[-1 - number :][:1]
        together = {"server_batch_max": 8, "server_batch_delay_ms": 1.0} if number % 2 else {}
        runs += [{"processor": name, "scorer": scorer, "async_calls": 16, **together} for scorer in called]
    for name in EXTERNAL:
        protocols = discovery.scorer(name).protocols[1:]
        other = [{"processor": ASYNCHRONOUS[1], "scorer": name, "protocol": protocol} for protocol in protocols]
        at_once = {"async_calls": 4, "server_batch_max": 4}
        runs += [{**run, **calls} for run in other for calls in (({}, at_once) if everything else (at_once,))]
    floors = [{"processor": name, "scorer": "noop", **style} for name in FLOORS for style in STYLES[:3]]
    return [{"scorer": "onnx", **run} for run in runs] + floors


def batches(everything: bool, *names: str) -> list[dict]:
    """A run with batches of the engine in each of these processors, and where all is run in whatever else they offer
    with them."""
    runs: list[dict] = []
    for name in names or PROCESSORS:
        adapter, run = discovery.processor(name), {"processor": name, "scoring": "vectorised", "engine_batch_max": 16}
        offered = {
            "execution": adapter.executions,
            "parallelism_model": adapter.parallelism_models[1:],
            "transport": adapter.transports[1:],
            "delivery": adapter.deliveries[1:],
        }
        more = [{field: value, "parallelism": 2} for field, values in offered.items() for value in values]
        runs += [{**run, **each} for each in ([{}, *more] if everything else [{}]) if is_allowed({**run, **each})]
    return runs


def is_allowed(run: dict) -> bool:
    """Whether there can be a run of these fields."""
    try:
        RunSpec.from_dict({"scorer": "noop", "segments": [{"kind": "constant", "rate": 1.0}], **run})
    except CrayfishError:
        return False
    return True


def backlogs(everything: bool) -> list[dict]:
    """A backlog in every processor, at parallelism 2 and, where all is run, at 1."""
    return [
        {"processor": name, "scorer": "noop" if name in FLOORS else "onnx", "parallelism": number}
        for name in PROCESSORS + FLOORS
        for number in ((2, 1) if everything else (2,))
    ]


def models() -> list[dict]:
    """Every model but the default in one processor, with the first scorer that reads each of its formats."""
    first = {form: name for name, form in reversed(READS.items())}
    return [
        {"processor": "kafka_streams", "scorer": first[form], "model": name}
        for name in discovery.names("models")
        if name != "ffnn"
        for form in discovery.model(name).formats
        if form in first
    ]


def is_large(model: str) -> bool:
    """Whether it is sampled out: an instance of it fills a good part of a machine's memory."""
    return discovery.model(model).memory > 0


def by_numbers() -> dict[str, contracts.Load]:
    """Every kind of load that numbers tell: of others, which find something out when a run is planned, no test knows
    what they need."""
    (usual,) = [each.default for each in dataclasses.fields(contracts.Load) if each.name == "completed"]
    declared = {name: discovery.load(name) for name in discovery.names("harness/loads")}
    return {name: load for name, load in declared.items() if load.completed is usual}


def loads() -> list[dict]:
    """Each of them that goes beside others in a run, with each field that it asks for."""
    values = {"rate": 100.0, "peak_rate": 200.0, "burst_s": 0.5, "between_s": 0.5, "warmup_s": 0.5, "measure_s": 2.5}
    values["shape"] = 0.5
    return [
        {"kind": name, **{field: values[field] for field in {"warmup_s", "measure_s", *load.positive}}}
        for name, load in by_numbers().items()
        if not load.alone
    ]


def label(run: dict) -> str:
    return "-".join(map(str, run.values()))
