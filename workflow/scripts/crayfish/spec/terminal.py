"""How progress looks on a terminal: a line a run, with a bar, that is written over until the run has ended. What
Snakemake tells of its jobs goes into its log alone. What is no terminal gets every line.

Nothing moves by itself: to redraw a bar several times a second would cost CPU beside what is measured.
"""

from __future__ import annotations

import logging
import shutil
import sys
from typing import TextIO

WIDTH = 20  # of a bar
GAP = ".."  # where a line was cut
OVER = "\r\033[K"  # go back to the start of the line, and clear it
PASSING = {"passing": True}  # of a record: what the next one may write over
SNAKEMAKE = ("snakemake.logging", "DefaultStreamHandler")  # its logger, and the name of what writes to the terminal
SPARED = ("job_info", "job_started", "job_finished", "progress", "resources_info", "shellcmd")
SPARED_TEXTS = (
    "Select jobs to execute",
    "Execute ",
    "Assuming unrestricted",
    "Using shell",
    "Provided cores",
    "Rules claim",
)


def bar(done: int, total: int) -> str:
    """How far it is, to begin a line with; nothing where no terminal shows it."""
    full = WIDTH * done // max(total, 1)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] " if sys.stderr.isatty() else ""


def fitting(text: str) -> str:
    """As much of it as one line of the terminal holds: a run's name is long, and what it does stands at the end."""
    width = shutil.get_terminal_size().columns - 1
    if len(text) <= width:
        return text
    end = (width - len(GAP)) // 2
    return f"{text[: width - len(GAP) - end]}{GAP}{text[-end:]}"


class Lines(logging.StreamHandler):
    """Writes records to its stream; on a terminal each begins with a bar, and a passing one is written over."""

    def __init__(self, stream: TextIO, bar: str = ""):
        super().__init__(stream)
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        self.terminator = "" if self.stream.isatty() and "passing" in record.__dict__ else "\n"
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self.stream.isatty():
            return text
        return OVER + (self._bar + text if self.terminator else fitting(self._bar + text))


class Brief(logging.Filter):
    """Lets through what a terminal is to keep of Snakemake's records, and tells of the rest how far it is."""

    def __init__(self, handler: logging.StreamHandler, silent: str):
        """silent: the rule that tells of itself."""
        super().__init__()
        self._stream, self._silent, self._done, self._total = handler.stream, silent, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        about = record.__dict__
        event = about["event"].value if about.get("event") else ""
        if event == "progress":
            self._done, self._total = about["done"], about["total"]
        if event == "run_info":
            self._total = about["stats"]["total"]
        if event == "job_info" and about["rule_name"] != self._silent:
            words = " ".join([about["rule_name"], *map(str, (about["wildcards"] or {}).values())])
            line = f"{bar(self._done, self._total)}{self._done} of {self._total} steps  {words}"
            self._stream.write(OVER + fitting(line))
            self._stream.flush()
        if event in SPARED or record.getMessage().startswith(SPARED_TEXTS):
            return False
        self._stream.write(OVER)
        return True


def spare(silent: str) -> None:
    """Make Snakemake brief where it writes to a terminal; not in a dry run, nor where it was asked for more."""
    logger, name = SNAKEMAKE
    for handler in logging.getLogger(logger).handlers:
        if handler.name == name and isinstance(handler, logging.StreamHandler) and handler.stream.isatty():
            (asked,) = (vars(each) for each in handler.filters)
            if not (asked["dryrun"] or asked["verbose"] or asked["printshellcmds"]):
                handler.addFilter(Brief(handler, silent))
