"""What this machine has and lacks: one line each, and what to do. Exit status 1 where something would stop a run."""

import argparse
import os
import resource
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from crayfish.engine import jvm
from crayfish.engine.child import TAG, free_ports
from crayfish.spec import cgroups, errors, locks, memory, surroundings
from crayfish.spec.errors import CrayfishError

PYTHON = (3, 11)
MEMORY, DISK = 4 * 2**30, 10 * 2**30  # bytes: of a small run, and of environments, jars and models
FILES = 4096  # open at a time
ASK_S = 5.0
INDEX = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
SITES = {"the package index": f"{INDEX.rstrip('/')}/pip/", "Maven Central": "https://repo1.maven.org/maven2/"}
Told = Iterator[tuple[str, str]]  # "ok", "note" or "fault", and a sentence


def python() -> Told:
    have = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        yield "ok", f"Python {have}"
    else:
        yield "fault", f"Python {have}, and 3.11 is needed: make PYTHON=/path/to/python3.11 figures"


def java() -> Told:
    try:
        found = jvm.find()
    except CrayfishError as error:
        yield "note", f"{str(error).splitlines()[0]}: an environment with a JDK is made in its place"
    else:
        yield "ok", f"Java {found.version} at {found.home}"


def sizes() -> Told:
    cores, free = len(os.sched_getaffinity(0)), memory.available()
    limit = cgroups.cpu_limit()
    yield "ok", f"{cores} cores" + (f", of which a control group leaves {limit:g}" if limit else "")
    verdict = "ok" if free >= MEMORY else "fault"
    yield verdict, f"{free / 1e9:.1f} GB of memory free" + ("" if verdict == "ok" else ": the smallest run needs 4 GB")
    for what, folder in (("the working directory", Path.cwd()), ("the temporary folder", Path(tempfile.gettempdir()))):
        left = shutil.disk_usage(folder).free
        hint = "" if left >= DISK else ": environments and models need about 10 GB, a run 1 to 5"
        yield "note" if hint else "ok", f"{left / 1e9:.0f} GB free in {what} {folder}{hint}"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files < FILES:
        yield "note", f"at most {files} open files: engines with many instances need more (ulimit -Hn {FILES})"


def settings() -> Told:
    yield from (("fault", fault) for fault in surroundings.folder_faults())
    if not surroundings.executes(tempfile.gettempdir()):
        yield "note", "the temporary folder is mounted with noexec: Triton, ND4J and DL4J need another TMPDIR"
    if not surroundings.has_name():
        yield "note", f"the user number {os.getuid()} has no name: Spark needs an entry in /etc/passwd"
    try:
        free_ports(8)
    except CrayfishError as error:
        yield "fault", str(error)
    else:
        yield "ok", "free ports on the loopback"


def leftovers() -> Told:
    try:
        os.close(locks.lock(locks.MEASURES, 0.0, str))
    except CrayfishError as held:
        yield "note", f"a run measures now: {held}; others wait for it or are refused"
    else:
        yield "ok", "no run measures now"
    tagged = [each for each in psutil.process_iter() if tag_of(each)]
    for process in tagged:
        yield "note", f"process {process.pid} belongs to a run: {' '.join(process.cmdline())[:80]}"
    if not tagged:
        for folder in Path(tempfile.gettempdir()).glob("crayfish-*"):
            yield "note", f"{folder} is left of an earlier run: remove it"
    if any(Path(".snakemake/locks").glob("*.lock")):
        yield "note", "Snakemake has locked this folder: make removes the lock of one that ended, or snakemake --unlock"


def tag_of(process: psutil.Process) -> str | None:
    """The run that a process belongs to."""
    try:
        return process.environ().get(TAG)
    except psutil.Error:  # another user's, or it has ended
        return None


def network() -> Told:
    with ThreadPoolExecutor() as pool:
        answers = pool.map(reached, SITES.values())
    for (what, url), problem in zip(SITES.items(), answers, strict=True):
        if problem:
            hint = "environments and jars that are not made yet need it; see docs/troubleshooting.md"
            yield "note", f"{what} {url} does not answer ({problem}): {hint}"
        else:
            yield "ok", f"{what} answers"


def reached(url: str) -> str:
    """Why a site does not answer; empty where it does."""
    try:
        urllib.request.urlopen(url, timeout=ASK_S).close()
    except urllib.error.HTTPError:
        return ""  # it answers
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


CHECKS: tuple[Callable[[], Told], ...] = (python, java, sizes, settings, leftovers, network)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    socket.setdefaulttimeout(ASK_S)
    faults = 0
    for check in CHECKS:
        for verdict, told in check():
            faults += verdict == "fault"
            print(f"{verdict:6}{told}", flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    errors.main(main)
