"""Compile one Java source into a jar: `--source FILE --jars FILE... --compiler ecj.jar --java EXE --out JAR`.

The compiler is ecj, one jar that runs on a bare JRE, for release 17. Equal classes give an equal jar, byte for byte.
Compile errors are reported in full and exit with 1; JAR appears whole or not at all.
"""

import argparse
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def compile_source(source: Path, jars: list[Path], compiler: Path, java: str, classes: Path) -> None:
    """Fill the folder `classes`; CrayfishError with the compiler's whole report if the source does not compile."""
    command = [
        java,
        "-XX:TieredStopAtLevel=1",
        "-jar",
        compiler,
        "-17",
        "-g",
        "-proc:none",
        "-nowarn",
        "-encoding",
        "UTF-8",
    ]
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
    """A jar of all class files of a folder: sorted, without their times."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w") as jar:
            for file in sorted(classes.rglob("*.class")):
                jar.writestr(zipfile.ZipInfo(file.relative_to(classes).as_posix(), EPOCH), file.read_bytes())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--jars", type=Path, nargs="*", default=[])
    parser.add_argument("--compiler", type=Path, required=True)
    parser.add_argument("--java", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as classes:
        compile_source(options.source, options.jars, options.compiler, options.java, Path(classes))
        pack(Path(classes), options.out)


if __name__ == "__main__":
    errors.main(main)
