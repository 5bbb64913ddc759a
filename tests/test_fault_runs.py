"""Runs in which a part fails under a steady load: the guarantee holds, and what came of it is told."""

import asyncio
import contextlib
import itertools

import numpy as np
import pytest
from conftest import assert_nothing_left, manifest_of, sampled
from test_contract import spec_of as made_spec
from test_plan import laid_over

from crayfish.engine import child
from crayfish.harness import faults, proxy
from crayfish.results import summaries
from crayfish.spec import discovery, metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.plan import make_plan

LOAD = {"kind": "faulty", "rate": 50.0, "warmup_s": 3.0, "between_s": 4.0, "measure_s": 20.0}
PROCESSORS = tuple(discovery.names("processors"))
FAULTS = ("kill_processor", "pause_processor", "cut_processor", "pause_broker", "kill_broker")
PAIRS = tuple(map("-".join, itertools.product(PROCESSORS, FAULTS)))
EXACT = tuple(name for name in PROCESSORS if len(discovery.processor(name).deliveries) > 1)
SERVER_FAULTS = ("kill_server", "pause_server")


def faulty(processor: str, fault: str, **more: object):
    scorer = "noop" if discovery.processor(processor).floor else "onnx"
    brokers = 3 if fault == "kill_broker" else 1
    fields = {"processor": processor, "scorer": scorer, "fault": fault, "brokers": brokers, "segments": [LOAD]}
    return made_spec({**fields, "broker_warmup_s": 2.0, **more})


def summary_of(run, output: str) -> dict:
    """The summary of a run that did not fail."""
    assert run.process.returncode == 0, output
    (segment,) = summaries.summarise(run.out)["segments"]
    return segment


def assert_survived(harness, spec, out) -> dict:
    run = harness(spec, out)
    segment = summary_of(run, run.finish())
    counts = segment["accounting"]
    assert counts["lost"] == counts["wrong"] == 0
    if spec.delivery == "exactly_once":
        assert counts["duplicated"] == 0
    assert segment["outage_s"][0] is not None
    assert_nothing_left(run.before)
    return segment


@pytest.mark.parametrize("pair", sampled(PAIRS, 0, step=11))
def test_a_processor_s_guarantee_holds(harness, tmp_path, pair):
    processor, fault = pair.split("-")
    segment = assert_survived(harness, faulty(processor, fault), tmp_path / "run")
    about = manifest_of(tmp_path / "run")["fault"]
    assert about["what"] == fault and about["at_ns"]
    if fault == "kill_processor":
        assert 0 <= segment["detected_s"] < segment["restarted_s"]
    if fault.startswith(("pause_proc", "cut_")):
        assert segment["outage_s"][0] > faults.LENGTH_S - 1


@pytest.mark.parametrize("fault", sampled(SERVER_FAULTS, 0))
def test_a_server_s_failure_is_survived(harness, tmp_path, fault):
    spec = faulty("kafka_streams", fault, scorer="tf_serving", on_server_failure="retry")
    segment = assert_survived(harness, spec, tmp_path / "run")
    assert (segment["restarted_s"] is not None) == (fault == "kill_server")


@pytest.mark.parametrize("processor", sampled(EXACT, 0))
def test_exactly_once_stays_so_when_the_processor_is_killed(harness, tmp_path, processor):
    spec = faulty(processor, "kill_processor", delivery="exactly_once")
    assert_survived(harness, spec, tmp_path / "run")


@pytest.mark.full
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("processor", EXACT)
def test_a_guarantee_holds_for_events_that_wait_in_a_batch_when_the_processor_is_killed(
    harness, tmp_path, processor, delivery
):
    batched = {"scoring": "vectorised", "engine_batch_max": 64, "engine_batch_wait_ms": 300}
    spec = faulty(processor, "kill_processor", delivery=delivery, **batched)
    assert_survived(harness, spec, tmp_path / "run")
    assert manifest_of(tmp_path / "run")["batches"]["engine"]["size_mean"] > 1


# --- its parts -------------------------------------------------------------------------------------------------------


def test_a_way_that_is_cut_is_taken_again():
    """Through the proxy, to a server that answers what it is told."""

    async def talk() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(100):
                    writer.write(piece)
            writer.close()

        server = await asyncio.start_server(answer, child.HOST, 0)
        (port,) = child.free_ports(1)
        way = proxy.Proxy({port: (child.HOST, server.sockets[0].getsockname()[1])})
        await way.listen()
        reader, writer = await asyncio.open_connection(child.HOST, port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        cut = asyncio.create_task(way.cut(0.3))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(child.HOST, port)
        await cut
        reader, writer = await asyncio.open_connection(child.HOST, port)
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_an_outage_is_the_longest_time_without_a_prediction_from_the_fault_on():
    appended = np.array([0.0, 3.0, 4.0, 4.5, 7.0, 7.5, 20.0])
    assert metrics.outage(appended, 4.2, 7.2) == 2.5
    assert metrics.outage(appended, 4.2, 30.0) == 12.5
    assert metrics.outage(appended, 3.5, 4.0) == 1.0
    # It goes on after the load: what is still to be answered is answered then.
    assert metrics.outage(appended, 8.0, 10.0) == 12.5
    assert metrics.outage(appended, 21.0, 30.0) is None and metrics.outage(appended[:1], -1.0, 30.0) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"fault": "none"}, "needs a load of the kind faulty, and that needs a fault"),
        ({"segments": [{"kind": "constant", "rate": 5}]}, "needs a load of the kind faulty"),
        ({"fault": "kill_broker"}, "set run.brokers to 3 or more"),
        ({"fault": "kill_server", "scorer": "triton"}, "set run.on_server_failure to 'retry'"),
        ({"fault": "pause_server"}, "onnx calls no server"),
        ({"placement": "broker1"}, "goes neither with run.brokers"),
        ({"fault": "burn"}, "allowed: none, kill_processor, pause_processor"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fields, told):
    given = {"processor": "flink", "scorer": "onnx", "fault": "kill_processor", "segments": [LOAD], **fields}
    with pytest.raises(CrayfishError, match=told):
        made_spec(given)


def test_the_control_has_every_processor_and_every_fault():
    plan = make_plan(laid_over("faults"))
    runs = [plan.runs[name] for name in plan.experiments["faults"].runs]
    assert {spec.processor for spec in runs} == {name for name in PROCESSORS if not discovery.processor(name).floor}
    assert {spec.fault for spec in runs} == {*FAULTS, *SERVER_FAULTS}
    assert {spec.delivery for spec in runs} == {"at_least_once", "exactly_once"}
