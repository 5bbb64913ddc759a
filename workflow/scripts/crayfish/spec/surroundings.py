"""What a machine, a container or a user's settings lack that a run needs, found before it starts.

It uses no package: it serves everywhere.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Iterable, Iterator

from crayfish.spec import discovery
from crayfish.spec.run_spec import RunSpec

PLAIN = re.compile(r"[\w./+=@%-]*")  # what engines, class paths and options take in the name of a folder


def faults(specs: Iterable[RunSpec]) -> list[str]:
    """Why some runs cannot be started here, each with what to do about it; empty where they can."""
    return list(dict.fromkeys(fault for spec in specs for fault in _faults_of(spec)))


def _faults_of(spec: RunSpec) -> Iterator[str]:
    yield from folder_faults()
    if discovery.scorer(spec.scorer).unpacks_code and not executes(folder := tempfile.gettempdir()):
        yield (
            f"TMPDIR: {spec.scorer} unpacks libraries into the temporary folder {folder} and loads them from there, and"
            " its file system is mounted with noexec: set TMPDIR to a folder on another one"
        )
    if discovery.processor(spec.processor).asks_user and not has_name():
        yield (
            f"user: {spec.processor} asks for the user's name, and the user number {os.getuid()} has none (containers):"
            " run as a user of /etc/passwd, or add this one to it, as in: echo"
            f" me:x:{os.getuid()}:{os.getgid()}::/tmp:/bin/sh >> /etc/passwd"
        )


def folder_faults() -> list[str]:
    """What is wrong with the name of the temporary folder."""
    folder = tempfile.gettempdir()
    if PLAIN.fullmatch(folder):
        return []
    return [
        f"TMPDIR: the temporary folder {folder!r} has a blank, a comma or another sign in its name that Java's class"
        " paths and the engines' options do not take: set TMPDIR to a folder whose name has none"
    ]


def executes(folder: str) -> bool:
    """Whether programs and libraries of this folder may be executed."""
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


def has_name() -> bool:
    """Whether the machine knows this user's name."""
    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False
