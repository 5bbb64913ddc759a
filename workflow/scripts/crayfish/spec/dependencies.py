"""What a run is made of: the files of the library, jars and Java sources that it uses. Only these can make it run
again."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

from crayfish.spec import discovery
from crayfish.spec.discovery import LIBRARY
from crayfish.spec.run_spec import RunSpec

# The programs of every run, beside what it chooses.
PROCESSES = ("harness/run", "harness/producer", "harness/consumer", "harness/janitor", "engine/worker")


@functools.cache
def imported(module: str) -> frozenset[str]:
    """What of the library a module of it imports, itself included, all the way down: "scoring", "scorers/onnx", ..."""
    found, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        name = f"{name}/__init__" if (LIBRARY / name).is_dir() else name
        if name in found or not (LIBRARY / f"{name}.py").exists():
            continue
        found.add(name)
        for node in ast.walk(ast.parse((LIBRARY / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crayfish"):
                inside = node.module.removeprefix("crayfish").lstrip(".").replace(".", "/")
                ahead += [inside] if inside and (LIBRARY / f"{inside}.py").exists() else []
                ahead += ["/".join(filter(None, (inside, alias.name))) for alias in node.names]
    return frozenset(found)


def files_of(modules: Iterable[str]) -> list[str]:
    """The files of some modules and of what they import, as paths from the project's root."""
    return sorted(f"workflow/scripts/crayfish/{name}.py" for name in set().union(*map(imported, modules)))


def library_files(spec: RunSpec) -> list[str]:
    """What of the library a run uses: only these can make it run again. Paths from the project's root."""
    chosen = [
        *(f"harness/loads/{segment.kind}" for segment in spec.segments),
        *(["harness/in_engine"] if spec.transport == "in_engine" else []),
        f"processors/{spec.processor}",
        *scorer_modules(spec.scorer),
        f"models/{spec.model}",
    ]
    return files_of([*PROCESSES, *chosen])


def scorer_modules(scorer: str) -> list[str]:
    """The module of a scorer, and that of its server if it calls one with what that starts."""
    if not discovery.scorer(scorer).external:
        return [f"scorers/{scorer}"]
    return [f"scorers/{scorer}", f"servers/{scorer}", *discovery.server(scorer).starts]


def jar_sets(spec: RunSpec) -> tuple[list[str], list[str]]:
    """The jar sets of a run's processor, and those of its scorer."""
    return sorted(discovery.processor(spec.processor).jars), sorted(discovery.scorer(spec.scorer).jars)


def java_source(spec: RunSpec) -> str | None:
    """The Java source that is compiled for a run's processor, or None."""
    return discovery.processor(spec.processor).java.get(spec.transport)
