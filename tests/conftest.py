"""What the tests on real parts share: resources made by the pipeline itself, and the harness as a user's process."""

import collections
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from crayfish.engine import child
from crayfish.harness import stages
from crayfish.spec import dependencies, discovery, paths
from crayfish.spec.run_spec import RunSpec

ROOT = paths.ROOT
DATASET = "fashion_mnist"
MODEL = ROOT / paths.model(DATASET, "ffnn")
STARTED = time.monotonic()
RESOURCES_DEADLINE_S = 1800
RUN_DEADLINE_S = 300
# What of the default the test of the pipeline overrides: short runs, few of them.
PIPELINE = """
results: results/test
repetitions: 2
draw: [latency_by_rate, scalability, burst, kafka_overhead]
pilot: {rate: 2000, seconds: 5}
search: {warmup_s: 1, measure_s: 2, search_s: 20}
run: {broker_warmup_s: 8}
experiments:
  input_rate:
    vary: {processor: [flink, kafka_streams]}
    load: {rate: [50, 100], warmup_s: 1, warmup_at_most_s: 1, measure_s: 3}
  scalability:
    vary: {processor: [kafka_streams]}
    beside: []
    load: {warmup_s: 1, measure_s: 3}
  bursty:
    vary: {processor: [kafka_streams]}
    repetitions: 1
    load: {warmup_s: 1, between_s: 4, burst_s: 2, measure_s: 12}
  kafka_overhead:
    vary: {transport: [in_engine]}
    repetitions: 1
    load: {batch_size: [32, 4], warmup_s: 1, warmup_at_most_s: 1, measure_s: 3}
"""


# A loaded machine makes a test slow, not wrong.
settings.register_profile("crayfish", deadline=None)
settings.load_profile("crayfish")


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="every pair and model, not a sample (make test-all)")
    parser.addoption("--minutes", type=float, help="start no more tests on real parts after so many, and say so")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: runs with --all alone; what it checks is sampled without")
    config.addinivalue_line(
        "markers", "engine: uses environments, jars or models that the pipeline makes, or a broker; all others are fast"
    )
    for name in discovery.names("processors"):
        config.addinivalue_line("markers", f"{name}: runs this processor, or is a test of it alone")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what uses the pipeline's resources, and each processor's tests; leave out what is sampled.

    Each test's first parameters come before the others of any, and the contract suite, which has most of one kind,
    after them: where time runs out, what is lost is more of what was tried already.
    """
    for item in items:
        if "resources" in item.fixturenames:
            item.add_marker("engine")
        for name in processors_of(item):
            item.add_marker(name)
    if not config.getoption("--all"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    seen = collections.Counter((item.path, item.originalname) for item in items)
    left = seen.copy()

    def is_more(item: pytest.Item) -> bool:
        left[item.path, item.originalname] -= 1
        return left[item.path, item.originalname] + 1 < seen[item.path, item.originalname]

    items.sort(key=lambda item: (is_more(item), item.path.stem == "test_contract"))


def pytest_runtest_setup(item):
    """On a machine that is slower than the time allows, what is left is skipped by its name, and the rest tells."""
    minutes = item.config.getoption("--minutes")
    if minutes and "engine" in item.keywords and time.monotonic() > STARTED + 60 * minutes:
        pytest.skip(f"out of time after {minutes:g} minutes: make test ARGS='-k {item.originalname}'")


def processors_of(item: pytest.Item) -> set[str]:
    """The processors that a test's parameters name, or its file does."""
    known = set(discovery.names("processors"))
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = {
        value.get("processor") if isinstance(value, dict) else value
        for value in values
        if isinstance(value, str | dict)
    }
    return (named & known) | {name for name in known if item.path.stem.startswith(f"test_{name}")}


def sampled(names: tuple[str, ...], first: int, step: int = 2) -> list:
    """Parameters of a test: every step-th name from the first runs always, the others with --all alone."""
    kept = names[first::step]
    return [name if name in kept else pytest.param(name, marks=pytest.mark.full) for name in names]


# A network of its own that has nothing but a loopback.
NO_NETWORK = """
import fcntl, os, socket, struct, sys
UP_AND_RUNNING, SET_FLAGS = 1 | 64, 0x8914
fcntl.ioctl(socket.socket(), SET_FLAGS, struct.pack("16sh14x", b"lo", UP_AND_RUNNING))
os.execv(sys.argv[1], sys.argv[1:])
"""


@functools.cache
def offline() -> tuple[str, ...]:
    """What a command is preceded by to run without a network; nothing where this user may not do that."""
    alone = ("unshare", "--net")
    if not shutil.which(alone[0]) or subprocess.run([*alone, "true"], capture_output=True).returncode:
        return ()
    return (*alone, sys.executable, "-c", NO_NETWORK)


def snakemake(
    *arguments: str, cwd: Path = ROOT, deadline_s: float = RESOURCES_DEADLINE_S, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """Snakemake's own command line, with what it printed. before: see `offline`."""
    return called(
        *before,
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "all",
        "--show-failed-logs",
        *arguments,
        cwd=cwd,
        deadline_s=deadline_s,
    )


def called(*command: str, cwd: Path, deadline_s: float) -> subprocess.CompletedProcess:
    """A command, with what it printed; the programs of this Python's environment come first."""
    told_by_make = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"}  # of `make test ARGS=...`, for its own tests
    inherited = {name: value for name, value in os.environ.items() if name not in told_by_make}
    environment = {**inherited, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=deadline_s,
    )


@pytest.fixture(scope="session")
def resources() -> Path:
    """Every environment, jar, compiled class and model that a run can need, made by the pipeline's own rules."""
    adapters = [discovery.processor(name) for name in discovery.names("processors")]
    scorers = {name: discovery.scorer(name) for name in discovery.names("scorers")}
    jars = {name for user in (*adapters, *scorers.values()) for name in user.jars}
    targets = ["environments", *(paths.jar_set(name) for name in sorted({"kafka", *jars}))]
    targets += [paths.compiled_jar(source) for adapter in adapters for each in adapter.java.values() for source in each]
    targets += [paths.proof(DATASET, "ffnn", name) for name, scorer in scorers.items() if scorer.format]
    done = snakemake(*targets)
    assert done.returncode == 0, done.stdout
    return ROOT / paths.RESOURCES


def tracked() -> list[str]:
    """The files that a copy of the checkout consists of, as paths from its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).exists()]


def copy_checkout(copy: Path) -> Path:
    """A copy of the checkout without anything that was made."""
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


def equip(copy: Path, resources: Path) -> Path:
    """Give a copy of the checkout what has been made already, as old as it is; what is new is made in the copy."""
    if not (copy / ".venv").exists():
        (copy / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("data", "java", f"models/{DATASET}/ffnn"):
        shutil.copytree(resources / name, copy / paths.RESOURCES / name)
    for kind in ("environments", "jars"):
        (copy / paths.RESOURCES / kind).mkdir()
        for made in (resources / kind).iterdir():
            link, stat = copy / paths.RESOURCES / kind / made.name, made.stat()
            link.symlink_to(made)
            os.utime(link, ns=(stat.st_atime_ns, stat.st_mtime_ns), follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def _checkout(resources, tmp_path_factory) -> Path:
    copy = copy_checkout(tmp_path_factory.mktemp("checkout") / "crayfish")
    (copy / paths.RESOURCES).symlink_to(resources)
    (copy / "test.yaml").write_text(PIPELINE)
    return copy


@pytest.fixture(scope="session")
def _made(_checkout) -> Path:
    done = snakemake("figures", "report", "--configfile", "test.yaml", "--verbose", cwd=_checkout, before=offline())
    (_checkout / "made.log").write_text(done.stdout)
    assert done.returncode == 0, done.stdout
    assert "[1/" in done.stdout  # which run of how many
    return _checkout / "results/test"


def _state(checkout: Path) -> dict[Path, tuple[int, int]]:
    """Time of change and size of every file that tests of a shared checkout could see the change of."""
    files = [checkout / name for name in tracked()] + [*(checkout / "results").rglob("*"), checkout / "test.yaml"]
    return {file: (stat.st_mtime_ns, stat.st_size) for file in files if file.is_file() and (stat := file.stat())}


@pytest.fixture
def checkout(_checkout) -> Iterator[Path]:
    """A copy of the checkout, with the resources that are there already, which all tests share: each leaves it as it
    was, so that they pass in any order (`edited` changes a file for a while)."""
    before = _state(_checkout)
    yield _checkout
    assert _state(_checkout) == before, "the test has changed the checkout that it shares with others"


@pytest.fixture
def made(_made, checkout) -> Path:
    """The results of the shared checkout: the figures of PIPELINE and the report, made once."""
    return _made


@contextlib.contextmanager
def edited(file: Path, more: str) -> Iterator[None]:
    """The file with more at its end, for a while; then it is as it was, its times too."""
    content, stat = file.read_bytes(), file.stat()
    file.write_bytes(content + more.encode())
    try:
        yield
    finally:
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Harness:
    """execute_run.py as a process of its own, and what is left of it."""

    def __init__(self, spec: RunSpec, out: Path, **options: object):
        self.spec, self.out = spec, out
        adapter, scorer = discovery.processor(spec.processor), discovery.scorer(spec.scorer)
        jars = [paths.jar_set(name) for name in adapter.jars]
        jars += map(paths.compiled_jar, dependencies.java_sources(spec))
        settings: dict[str, object] = {
            "spec": spec.to_json(),
            "out": out,
            "python": ROOT / paths.interpreter(spec.environments["processor"]),
            "reference": ROOT / paths.reference(DATASET, spec.model),
            "packages": ROOT / paths.packages(spec.environments["processor"]),
            "log": out / "execute_run.log",
            "tries": 1,
        }
        if spec.transport == "kafka":
            settings["broker-jars"] = ROOT / paths.jar_set("kafka")
        if scorer.format:
            settings["model"] = ROOT / paths.model_file(DATASET, spec.model, scorer.format)
        if scorer.external:
            settings["server-python"] = ROOT / paths.interpreter(spec.environments["server"])
        command = [str(ROOT / paths.interpreter("harness")), str(ROOT / paths.SCRIPTS / "execute_run.py")]
        for name, value in {**settings, **options}.items():
            command += [f"--{name}", str(value)]
        command += ["--jars", *(str(ROOT / each) for each in jars)]
        command += ["--scorer-jars", *(str(ROOT / paths.jar_set(name)) for name in scorer.jars)]
        out.mkdir(parents=True, exist_ok=True)
        self.before = set(crayfish_folders())
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self, deadline_s: float = RUN_DEADLINE_S) -> str:
        """Wait for its end; what it printed."""
        return self.process.communicate(timeout=deadline_s)[0]

    def stage(self, name: str, deadline_s: float = 120) -> psutil.Process:
        """The process of one of its stages, once it is there."""
        return awaited(
            lambda: next(iter(self._stages(name)), None), deadline_s, f"the stage {name} of {self.spec.identifier}"
        )

    def _stages(self, name: str) -> Iterator[psutil.Process]:
        for process in psutil.Process(self.process.pid).children():
            try:
                if process.environ().get(stages.STAGE) == name:
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def await_log(self, text: str, deadline_s: float = 120) -> None:
        """Until its log says this."""
        log = self.out / "execute_run.log"
        awaited(lambda: (log.exists() and text in log.read_text()) or None, deadline_s, f"{text!r} in {log}")

    def assert_failed_cleanly(self, output: str) -> None:
        """A non-zero exit, an explanation instead of a traceback, no output that looks whole, nothing left running."""
        assert self.process.returncode != 0
        assert "Traceback" not in output
        assert_nothing_written(self.out)
        assert_nothing_left(self.before)


def assert_nothing_written(out: Path) -> None:
    assert [name for name in paths.MEASUREMENTS if (out / name).exists()] == []


def crayfish_folders() -> list[Path]:
    return sorted(found for folder in {tempfile.gettempdir(), "/tmp"} for found in Path(folder).glob("crayfish-*"))


def tagged_processes() -> list[str]:
    """Every process on this machine that a run has started, whichever run."""
    found = []
    for process in psutil.process_iter():
        try:
            if child.TAG in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_nothing_left(folders_before: set[Path], deadline_s: float = 30) -> None:
    """No process and no temporary folder of a run is left, asked of the system; the janitor needs a moment."""
    awaited(lambda: not tagged_processes() or None, deadline_s, lambda: f"the end of {tagged_processes()}")
    awaited(
        lambda: set(crayfish_folders()) <= folders_before or None,
        deadline_s,
        lambda: f"the removal of {set(crayfish_folders()) - folders_before}",
    )


def awaited(probe: Callable, deadline_s: float, what: str | Callable[[], str]):
    """Poll until the probe returns something; fail after the deadline."""
    end = time.monotonic() + deadline_s
    while (found := probe()) is None:
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:g} s in vain for {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


@pytest.fixture
def harness(resources: Path) -> Iterator[Callable[..., Harness]]:
    """Starts harnesses; whatever a test leaves is killed after it."""
    started: list[Harness] = []

    def start(spec: RunSpec | dict, out: Path, **options: object) -> Harness:
        spec = spec if isinstance(spec, RunSpec) else RunSpec.from_dict(spec)
        started.append(Harness(spec, out, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGKILL)
            one.process.wait()


def manifest_of(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def outgoing_ports() -> range:
    """Those that the kernel gives to outgoing connections: before a server has taken one, another process may."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return range(first, last + 1)
