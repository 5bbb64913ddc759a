"""Every run's manifest on one page: first the runs with warnings, then all with their accounting, then each manifest.

What many runs share, the packages of an environment, stands once at the end; the manifests name it.
"""

import argparse
import html
import json
from pathlib import Path

from crayfish.results import page
from crayfish.spec import errors


def name_of(path: Path) -> str:
    """RUN/REPETITION, as the folders are named."""
    return "/".join(path.parent.parts[-2:])


def row_of(name: str, manifest: dict) -> dict:
    """What a reader looks for first."""
    counts, machine, git = manifest["accounting"], manifest["machine"], manifest["git"]
    return {
        "run": name,
        **{key: counts.get(key) for key in ("sent", "lost", "duplicated", "wrong", "late")},
        "warnings": len(manifest["warnings"]),
        "substitutes": "; ".join(manifest["substitutes"]),
        "fixed cost (s)": manifest["fixed_cost_s"],
        "load before": round(machine["load_average"][0], 2),
        "machine": f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB",
        "commit": git["commit"] and git["commit"][:10] + ("" if git["clean"] else ", changed"),
    }


def without_packages(manifest: dict, environments: dict[str, dict]) -> dict:
    """The manifest with the names of its environments, which are collected: name -> what is in it."""
    named = []
    for environment in manifest["environments"]:
        name, number = environment["environment"], 1
        while environments.setdefault(label := f"{name} ({number})", environment) != environment:
            number += 1
        named.append(label)
    return {**manifest, "environments": named}


def folded(title: str, text: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(text)}</pre></details>"


def body_of(manifests: dict[str, dict]) -> str:
    """The page, from name -> manifest."""
    environments: dict[str, dict] = {}
    short = {name: without_packages(manifest, environments) for name, manifest in manifests.items()}
    warned = [
        {"run": name, "warnings": "; ".join(each["warnings"])} for name, each in manifests.items() if each["warnings"]
    ]
    parts = [
        f"<h1>Runs</h1><p>{len(manifests)} runs (repetitions counted), {len(warned)} of them"
        " with warnings. A run's name is its folder under runs/ and tells every field that is not the default. A run"
        " that lost, duplicated or changed events against its guarantee fails and is not here.</p>",
        "<h2>Warnings</h2>" + (page.table(warned) if warned else "<p>None.</p>"),
        "<h2>Accounting</h2>" + page.table([row_of(name, manifest) for name, manifest in manifests.items()]),
        "<h2>Manifests</h2>" + "\n".join(folded(name, json.dumps(each, indent=1)) for name, each in short.items()),
        "<h2>Packages</h2>"
        + "\n".join(
            folded(
                f"{label}: Python {each['python']}, {len(each['packages'])} packages, deployed by {each['deployment']}",
                "\n".join(f"{package}=={version}" for package, version in each["packages"].items()),
            )
            for label, each in sorted(environments.items())
        ),
    ]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifest.json of every run")
    parser.add_argument("--out", type=Path, required=True, help=".html")
    arguments = parser.parse_args()
    manifests = {name_of(path): json.loads(path.read_text()) for path in sorted(arguments.manifests)}
    arguments.out.write_text(page.page("Runs", body_of(manifests)))


if __name__ == "__main__":
    errors.main(main)
