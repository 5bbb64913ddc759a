"""The process beside a stage of a run that is spread over nodes, on the stage's node.

`python -m crayfish.harness.supervisor` reads JSON lines from its standard input. The first says what to start
(`command`, `environment`, `name`, `address`, `memory_bytes`, `lock`, `silence_s`). Of the others it takes those with a
key `supervisor` for itself, and hands the rest to the stage; the stage's own JSON lines go the other way, and whatever
else it says to the log. The stage finds a folder of its node's own under the variable SCRATCH. It is stopped, and its
node swept, on the line `stop`, at the end of the input, after silence_s without a line, and by a signal: what starts
programs on other nodes may die without telling. The last line, `ended`, holds what the stage used.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import IO

from crayfish.engine import child
from crayfish.engine.child import ADDRESS, SCRATCH, SCRIPTS, TAG
from crayfish.harness import broker, clocks, janitor, machine, parts, stages, warming
from crayfish.spec import errors, inheritance, memory

LOST_GRACE_S = 5.0  # for a stage whose harness is gone
ENDING_S = 5.0  # for a stage's own processes to follow it


def lines_of(stream: Iterable[str], told: queue.SimpleQueue[dict]) -> None:
    """Put every JSON object among the lines into the queue, and at their end a line that stops."""
    for line in stream:
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            told.put(message)
    told.put({"supervisor": "stop", "grace_s": LOST_GRACE_S})


def pass_on(output: IO[str], report: Callable[..., None]) -> None:
    """What a stage says: JSON objects to the harness, all else to the log."""
    for line in output:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            report(**message)
        else:
            sys.stderr.write(line)


def watch(
    process: subprocess.Popen,
    told: queue.SimpleQueue[dict],
    sampler: machine.Sampler,
    report: Callable[..., None],
    silence_s: float,
) -> float | None:
    """Until the stage has ended, or is to be: then how long it may take, s."""
    assert process.stdin is not None  # it is a pipe
    heard = time.monotonic()
    while process.poll() is None:
        try:
            message = told.get(timeout=0.1)
        except queue.Empty:
            if time.monotonic() > heard + silence_s:
                print(f"supervisor: the harness has said nothing for {silence_s:g} s", file=sys.stderr)
                return LOST_GRACE_S
            continue
        heard = time.monotonic()
        match message.get("supervisor"):
            case None:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
            case "stop":
                return float(message["grace_s"])
            case "close":
                process.stdin.close()
            case "memory":
                sampler.measure_memory()
            case "warm":
                threading.Thread(target=warm_up, args=(process, message, report), daemon=True).start()
    return None


def warm_up(process: subprocess.Popen, message: dict, report: Callable[..., None]) -> None:
    """Warm up the broker that the process is, from its own node, and report how that went."""
    servers = message["servers"]

    def alive() -> None:
        if process.poll() is not None:
            raise errors.CrayfishError("the broker has died")

    warmup = warming.warm(broker.admin_client(servers), servers, process.pid, alive, message["at_most_s"])
    report(event="warmed", warmup=warmup)


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    report, told = child.reporter(), queue.SimpleQueue[dict]()
    for number in parts.SIGNALS:
        signal.signal(number, lambda *_: told.put({"supervisor": "stop", "grace_s": LOST_GRACE_S}))
    threading.Thread(target=lines_of, args=(sys.stdin, told), daemon=True).start()
    tag, cpus = uuid.uuid4().hex, os.sched_getaffinity(0)
    with ExitStack() as stack:
        memory.require(asked["memory_bytes"], f"{asked['name']} on this node")
        held = [stack.enter_context(parts.machine_lock())] if asked["lock"] else []
        folder = stack.enter_context(janitor.scratch_folder(tag, held=held))
        sampler = stack.enter_context(machine.Sampler(tag, clocks.anchor(), cpus))
        report(supervisor="ready", machine=machine.describe())
        own = {TAG: tag, stages.STAGE: asked["name"], SCRATCH: str(folder), ADDRESS: asked["address"]}
        environment = {**inheritance.inherited(os.environ), "PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": "1"}
        process = child.start(
            asked["command"],
            env={**environment, **asked["environment"], **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        output = threading.Thread(target=pass_on, args=(process.stdout, report), daemon=True)
        output.start()
        try:
            grace_s = watch(process, told, sampler, report, asked["silence_s"])
        except BrokenPipeError:  # it no longer listens, and so has ended or is about to
            grace_s = LOST_GRACE_S
        in_time = grace_s is None or child.stop([process], grace_s)
        output.join(ENDING_S)
        samples = sampler.finish()
        outlived = stages.sweep(tag, grace_s=ENDING_S if in_time else 0.0)
        now_ns = time.monotonic_ns() + clocks.anchor()
        report(
            supervisor="ended",
            status=process.returncode,
            in_time=in_time,
            outlived=outlived,
            now_ns=now_ns,
            samples=samples,
        )


if __name__ == "__main__":
    errors.main(main)
