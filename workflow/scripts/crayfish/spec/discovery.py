"""What a folder already says: the parts are the modules that lie in its rooms. Only what is asked for is imported."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from crayfish.spec import contracts
from crayfish.spec.errors import CrayfishError

LIBRARY = Path(__file__).resolve().parent.parent
ROOMS: dict[str, type[contracts.Part]] = {
    "processors": contracts.Processor,
    "scorers": contracts.Scorer,
    "servers": contracts.Server,
    "models": contracts.Model,
    "harness/loads": contracts.Load,
    "results/figures": contracts.FigureKind,
}


def names(room: str) -> tuple[str, ...]:
    """The parts of a room, sorted: its modules and packages, without those whose names begin with "_"."""
    found = [*(LIBRARY / room).glob("*.py"), *(file.parent for file in (LIBRARY / room).glob("*/__init__.py"))]
    return tuple(sorted(each.stem for each in found if not each.name.startswith("_")))


def file_of(room: str, name: str) -> Path:
    """The file that declares a part."""
    package = LIBRARY / room / name / "__init__.py"
    return package if package.exists() else LIBRARY / room / f"{name}.py"


@functools.cache
def _load(room: str, name: str) -> contracts.Part:
    kind, file = ROOMS[room], file_of(room, name)
    try:
        module = import_module(f"crayfish.{room.replace('/', '.')}.{name}")
        return contracts.declared(module, kind)
    except TypeError as error:  # of the dataclass's own __init__, that is of the declaration
        if not (told := re.match(rf"{kind.__name__}\.__init__\(\) (.*)", str(error))):
            raise
        unknown = re.search(r"unexpected keyword argument '(\w+)'", told[1])
        allowed = [each.name for each in fields(kind)]  # type: ignore[arg-type]
        near = difflib.get_close_matches(unknown[1], allowed, n=1) if unknown else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise CrayfishError(f"{file}: {kind.__name__}: {told[1]}{hint} (fields: {', '.join(allowed)})") from error
    except (ImportError, SyntaxError) as error:
        raise CrayfishError(
            f"{file}: cannot be imported: {error}. At its top a part imports nothing but the standard library and"
            " crayfish.spec and crayfish.engine; it imports all else inside the functions that need it"
        ) from error
    except CrayfishError as error:
        if str(file) in str(error):
            raise
        raise CrayfishError(f"{file}: {error}") from error


def processor(name: str) -> contracts.Processor:
    """The declaration of a processor."""
    return _load("processors", name)  # type: ignore[return-value]


def scorer(name: str) -> contracts.Scorer:
    """The declaration of a scorer."""
    return _load("scorers", name)  # type: ignore[return-value]


def server(name: str) -> contracts.Server:
    """The declaration of an external scorer's server."""
    return _load("servers", name)  # type: ignore[return-value]


def model(name: str) -> contracts.Model:
    """The declaration of a model."""
    return _load("models", name)  # type: ignore[return-value]


def load(name: str) -> contracts.Load:
    """The declaration of a kind of load."""
    return _load("harness/loads", name)  # type: ignore[return-value]


def figure_kind(name: str) -> contracts.FigureKind:
    """The declaration of a kind of figure."""
    return _load("results/figures", name)  # type: ignore[return-value]
