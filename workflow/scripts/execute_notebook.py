"""Execute a notebook with papermill and write it, outputs within, and as one HTML page that opens offline.

The notebook's parameter `results` is the folder of the tables and figures; it runs in its own folder, in a kernel of
the environment that this script runs in: the user's kernels, startup files and settings have no part in it.
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

DEADLINE_S = 600  # of one cell
# Where Jupyter and IPython look for what belongs to the user; read when they are imported.
PRIVATE = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")


def execute(notebook: Path, results: Path, out: Path) -> None:
    """Write the executed notebook; a cell that fails is a CrayfishError that names it."""
    import papermill
    from traitlets.config import Config

    from crayfish.spec.errors import CrayfishError

    folder = notebook.resolve().parent
    try:
        papermill.execute_notebook(
            str(notebook),
            str(out),
            parameters={"results": os.path.relpath(results.resolve(), folder)},
            kernel_name="python3",
            cwd=str(folder),
            progress_bar=False,
            execution_timeout=DEADLINE_S,
            config=Config(KernelManager={"transport": "ipc"}),  # no port that others on the machine could reach
        )
    except papermill.exceptions.PapermillExecutionError as error:
        raise CrayfishError(
            f"cell {error.cell_index + 1} of {notebook} failed: {error.ename}: {error.evalue}; {out} shows where"
        ) from error


def to_page(executed: Path) -> str:
    """What the notebook says, without its code, as HTML."""
    from nbconvert import HTMLExporter

    from crayfish.results import page

    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_input_prompt=True)
    exporter.exclude_output_prompt = True
    body, _ = exporter.from_filename(str(executed))
    title = re.search(r"<h1[^>]*>(.*?)<", body)
    return page.page(title[1] if title else executed.stem, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebook", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="the folder that holds tables/ and figures/")
    parser.add_argument("--out", type=Path, required=True, help="the executed notebook, .ipynb")
    parser.add_argument("--html", type=Path, required=True, help="the same as a page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crayfish-notebook-") as private:
        os.environ |= {name: private for name in PRIVATE} | {"JUPYTER_PREFER_ENV_PATH": "1"}
        os.environ.pop("JUPYTER_PATH", None)
        execute(arguments.notebook, arguments.results, arguments.out)
        arguments.html.write_text(to_page(arguments.out))


if __name__ == "__main__":
    from crayfish.spec import errors

    errors.main(main)
