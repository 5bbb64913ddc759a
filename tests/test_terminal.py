"""What a user sees on a terminal, and what goes into a log."""

import io
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from crayfish.spec import terminal

DEADLINE_S = 120.0


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(stream, *records, bar=""):
    """What is written of these (text, whether it passes)."""
    handler = terminal.Lines(stream, bar)
    for text, passing in records:
        record = logging.LogRecord("crayfish", logging.INFO, "", 0, text, None, None)
        if passing:
            record.__dict__.update(terminal.PASSING)
        handler.emit(record)
    return stream.getvalue()


def test_a_terminal_keeps_what_does_not_pass():
    said = written(Terminal(), ("one", True), ("two", True), ("done", False), ("three", True))
    assert said == "\r\033[Kone\r\033[Ktwo\r\033[Kdone\n\r\033[Kthree"


def test_a_passing_line_never_takes_two(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert written(Terminal(), ("a" * 30 + "b" * 30, True)) == "\r\033[K" + "a" * 9 + ".." + "b" * 8
    assert written(Terminal(), ("x" * 50, False)) == "\r\033[K" + "x" * 50 + "\n"


def test_a_log_gets_every_line():
    assert written(io.StringIO(), ("one", True), ("two", False), bar="[#.] ") == "one\ntwo\n"
    assert written(Terminal(), ("one", False), bar="[#.] ") == "\r\033[K[#.] one\n"


@pytest.mark.parametrize("done", [0, 1, 34, 68, 69])
def test_a_bar_grows_and_only_a_terminal_has_one(done, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = terminal.bar(done, 69)
    assert shown.startswith("[" + "#" * (20 * done // 69)) and len(shown) == 23
    assert terminal.bar(0, 0) == f"[{'.' * 20}] "
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert terminal.bar(done, 69) == ""


WORKFLOW = """
import sys
sys.path.insert(0, "{scripts}")
from crayfish.spec import terminal
terminal.spare(silent="measured")
rule all:
    input: "a", "b"
rule measured:
    output: "a"
    shell: "echo line of the run >&2; touch {{output}}"
rule broken:
    output: "b"
    log: "broken.log"
    shell: "echo the reason > {{log}}; exit 3"
"""


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What Snakemake says to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", "--show-failed-logs", *arguments]
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # all that had the terminal have ended
                break
        process.wait(DEADLINE_S)
    os.close(ours)
    return said.decode()


def test_snakemake_is_brief_on_a_terminal_and_tells_errors_in_full(tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(scripts=ROOT / "workflow/scripts"))
    said = on_a_terminal(tmp_path)
    assert "line of the run" in said
    assert "Error in rule broken" in said and "the reason" in said and "exit 3" in said
    assert "of 3 steps  broken" in said and "steps  measured" not in said
    assert "jobid: 1\n    reason" not in said and "rule measured:" not in said and "Select jobs" not in said
    (log,) = (tmp_path / ".snakemake/log").glob("*.log")
    assert "rule measured:" in log.read_text() and "rule broken:" in log.read_text()


@pytest.mark.parametrize("asked", ["-n", "--verbose", "-p"])
def test_who_asks_for_more_gets_it(tmp_path, asked):
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(scripts=ROOT / "workflow/scripts"))
    assert "rule measured:" in on_a_terminal(tmp_path, asked)
