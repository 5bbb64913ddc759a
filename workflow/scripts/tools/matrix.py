"""What goes with what, as Markdown tables, from the code that refuses what does not go (`make matrix`).

It rewrites the text between the two marker comments of a file; with --check it fails if that text is not current.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from crayfish.spec import discovery, errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

BEGIN, END = "<!-- matrix -->", "<!-- end of matrix -->"
LOADS = (Segment("constant", rate=1.0),)


def cell(reasons: list[str], **fields: Any) -> str:
    """How a combination runs, or a note's number; a new reason is appended."""
    try:
        spec = RunSpec(segments=LOADS, **fields)
    except CrayfishError as error:
        reason = str(error)
        if reason not in reasons:
            reasons.append(reason)
        return f"no ({reasons.index(reason) + 1})"
    resolved = discovery.processor(spec.processor).resolved_execution(spec)
    return "yes" if resolved == "auto" else resolved


def table(corner: str, rows: dict[str, list[str]], columns: tuple[str, ...]) -> list[str]:
    """A Markdown table of rows of cells."""
    lines = [f"| {corner} | " + " | ".join(f"`{name}`" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + [f"| `{name}` | " + " | ".join(cells) + " |" for name, cells in rows.items()]


def markdown() -> str:
    """The matrices of processors (no floors), scorers and models, and why what is refused is refused."""
    rooms = {room: discovery.names(room) for room in ("processors", "scorers", "models")}
    processors = tuple(name for name in rooms["processors"] if not discovery.processor(name).floor)
    reasons: list[str] = []
    pairs = {
        scorer: [cell(reasons, processor=processor, scorer=scorer) for processor in processors]
        for scorer in rooms["scorers"]
    }
    models = {
        scorer: [cell(reasons, processor="kafka_streams", scorer=scorer, model=model) for model in rooms["models"]]
        for scorer in rooms["scorers"]
    }
    lines = [*table("scorer", pairs, processors), "", *table("scorer", models, rooms["models"])]
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, required=True, help="the Markdown file that holds the markers")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the tables are not current")
    arguments = parser.parse_args()
    text = arguments.file.read_text()
    pattern = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
    if not pattern.search(text):
        raise CrayfishError(f"{arguments.file}: the marker comments {BEGIN} and {END} are missing")
    current = pattern.sub(lambda _: f"{BEGIN}\n{markdown()}\n{END}", text)
    if arguments.check and current != text:
        raise CrayfishError(f"{arguments.file}: its tables of what goes with what are not current: run `make matrix`")
    if not arguments.check:
        arguments.file.write_text(current)


if __name__ == "__main__":
    errors.main(main)
