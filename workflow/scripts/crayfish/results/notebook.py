"""Executing a notebook, and the executed notebook as one HTML page that opens offline.

The notebook's parameter `results` is the folder of the tables and figures; it runs in its own folder, in a kernel of
this process's environment: the user's kernels, startup files and settings have no part in it.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from crayfish.results import page
from crayfish.spec.errors import CrayfishError

CELL_TIMEOUT_S = 600
# Where Jupyter and IPython look for what belongs to the user; they read it when they are imported.
USER_FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")


def execute(notebook: Path, results: Path, out: Path, html: Path) -> None:
    """Write the executed notebook and its page; a cell that fails is a CrayfishError that names it."""
    with tempfile.TemporaryDirectory(prefix="crayfish-notebook-") as private:
        os.environ |= {name: private for name in USER_FOLDERS} | {"JUPYTER_PREFER_ENV_PATH": "1"}
        os.environ.pop("JUPYTER_PATH", None)
        run_cells(notebook, results, out)
        html.write_text(executed_page(out))


def run_cells(notebook: Path, results: Path, out: Path) -> None:
    """Write the executed notebook, also where a cell fails, which is a CrayfishError."""
    import papermill
    from traitlets.config import Config

    folder = notebook.resolve().parent
    try:
        papermill.execute_notebook(
            str(notebook),
            str(out),
            parameters={"results": os.path.relpath(results.resolve(), folder)},
            kernel_name="python3",
            cwd=str(folder),
            progress_bar=False,
            execution_timeout=CELL_TIMEOUT_S,
            config=Config(KernelManager={"transport": "ipc"}),  # no port that others on the machine could reach
        )
    except papermill.exceptions.PapermillExecutionError as error:
        raise CrayfishError(
            f"cell {error.cell_index + 1} of {notebook} failed: {error.ename}: {error.evalue}; {out} shows where"
        ) from error


def executed_page(executed: Path) -> str:
    """An executed notebook without its code, as HTML."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_input_prompt=True)
    exporter.exclude_output_prompt = True
    body, _ = exporter.from_filename(str(executed))
    title = re.search(r"<h1[^>]*>(.*?)<", body)
    return page.page(title[1] if title else executed.stem, body)
