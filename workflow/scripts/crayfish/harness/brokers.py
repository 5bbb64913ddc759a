"""Which brokers a run uses: given ones, the one that the pipeline's runs share, or its own, here or on its nodes."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crayfish.engine.child import HOST, at
from crayfish.harness import broker, cores, given, keeper, warming
from crayfish.harness.broker import Broker
from crayfish.harness.parts import PythonStage

if TYPE_CHECKING:
    from crayfish.harness.run import Run

log = logging.getLogger("crayfish")


@dataclass(frozen=True)
class Found:
    """Brokers that answer, or soon will; the properties and JVM options of ours, and how their warm-up went."""

    broker: Broker
    settings: dict | None = None
    warmup: dict | None = None


def find(run: Run) -> Found:
    """The brokers that the run's spec and the config ask for, opened as a part of the run."""
    spec, places = run.spec, run.places
    if servers := places.existing.get("broker"):
        return _given(run, servers)
    if places.nodes:
        return _on_nodes(run)
    alone = spec.broker == "own" or spec.brokers > 1 or spec.fault != "none"
    if places.owner and not alone:
        return _shared(run, places.owner)
    return _own(run)


def _given(run: Run, servers: str) -> Found:
    """One that is there already, once this run may measure on it; what killed runs have left there is removed."""
    client = run.places.kafka_client
    found = Broker(servers, client_file=client)
    found.wait_ready(run.watch)
    run.open(given.Turn(servers, client, run.watch))
    if left := given.sweep(found.admin, time.time()):
        log.info("%s  removed from %s what killed runs had left: %s", run.places.title, servers, ", ".join(left))
    run.at_its_end(given.remove_groups, found.admin, given.groups_of(run.name))
    return Found(run.open(found))


def _shared(run: Run, owner: int) -> Found:
    """The one that lives as long as the pipeline."""
    java, jars, keeper_log = run.places.java.executable, _jars(run), run.log_of("keeper")
    kept = keeper.kept(owner, java, jars, keeper_log, run.watch, run.spec.broker_warmup_s)
    run.sampler.adopt(kept.pid, "broker")
    cores.pin(kept.pid, run.cores.measuring)
    found = run.open(Broker(kept.servers, kept))
    run.at_its_end(kept.copy_log, run.log_of("broker"), kept.log_size())
    return Found(found, kept.settings, kept.warmup)


def _own(run: Run) -> Found:
    """Of this run alone, on this machine. Several, and one that is to fail, are warmed up."""
    spec, warmup = run.spec, None
    cut = spec.fault == "cut_processor"
    java, folder = run.places.java.executable, run.folder / "broker"
    own = broker.start(java, _jars(run), folder, run.log_of("broker"), run.tag, [{}] * spec.brokers, proxied=cut)
    found = run.open(Broker(own.servers, own))
    if spec.brokers > 1 or spec.fault != "none":
        found.wait_ready(run.watch)
        warmup = warming.warm(found.admin, own.servers, own.pid, run.watch, spec.broker_warmup_s)
    if cut:
        ways = [f"{port}={listener}" for port, listener in own.ways.items()]
        run.proxy = run.open(PythonStage(run, "proxy", sys.executable, "crayfish.harness.proxy", *ways))
        run.proxy.await_event("listening")
        run.proxied = ",".join(at(HOST, port) for port in own.ways)
    return Found(found, own.settings, warmup)


def _on_nodes(run: Run) -> Found:
    """Of this run alone, on its nodes, warmed up from one of them: all have a part in what goes through it."""
    java, folder = run.places.java.executable, run.folder / "broker"
    own = broker.start(java, _jars(run), folder, run.log_of("broker"), run.tag, run.asks("broker"))
    run.elsewhere += own.stages
    found = run.open(Broker(own.servers, own))
    found.wait_ready(run.watch)
    at_most_s, warmup = run.spec.broker_warmup_s, None
    if at_most_s:
        own.stages[0].send(supervisor="warm", servers=own.servers, at_most_s=at_most_s)
        told = own.stages[0].wait_for("warmed", at_most_s + broker.READY_DEADLINE_S, run.watch)
        warmup = told["warmup"]
    return Found(found, own.settings, warmup)


def _jars(run: Run) -> list[str]:
    return [str(jar) for jar in run.places.broker_jars]
