"""What a folder already says: the adapters are the modules that lie in its rooms."""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def names(room: str) -> tuple[str, ...]:
    """The modules of a room (processors, scorers, servers, models), sorted."""
    files = (Path(__file__).parent / room).glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def load(room: str, name: str) -> ModuleType:
    """One module of a room. It imports its heavy libraries only when it is used."""
    return import_module(f"crayfish.{room}.{name}")
