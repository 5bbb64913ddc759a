"""Java sources to jars, by ecj: a compiler that is one jar and runs on a bare JRE, for release 17."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from crayfish.spec.errors import CrayfishError

OPTIONS = ("-17", "-g", "-proc:none", "-nowarn", "-encoding", "UTF-8")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def compile_source(source: Path, jars: Sequence[Path], compiler: Path, java: str, classes: Path) -> None:
    """Fill the folder `classes`; CrayfishError with the compiler's whole report if the source does not compile."""
    command: list[str | Path] = [java, "-XX:TieredStopAtLevel=1", "-jar", compiler, *OPTIONS]
    command += ["-classpath", os.pathsep.join(map(str, jars)), "-d", classes, source]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise CrayfishError(
            f"compile_java: {java} cannot be started: {error}; --java is a Java of 17 or newer"
        ) from error
    if done.returncode:
        raise CrayfishError(f"compile_java: {source} does not compile (exit {done.returncode}):\n{done.stdout.strip()}")


def pack(classes: Path, out: Path) -> None:
    """A jar of all class files of a folder, sorted and without their times: equal classes give an equal jar.

    It appears whole or not at all.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w") as jar:
            for file in sorted(classes.rglob("*.class")):
                jar.writestr(zipfile.ZipInfo(file.relative_to(classes).as_posix(), EPOCH), file.read_bytes())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def compile_jar(source: Path, jars: Sequence[Path], compiler: Path, java: str, out: Path) -> None:
    """Compile a source against some jars into the jar `out`; CrayfishError if it does not compile."""
    with tempfile.TemporaryDirectory() as classes:
        compile_source(source, jars, compiler, java, Path(classes))
        pack(Path(classes), out)
