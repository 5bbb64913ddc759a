"""The report's pages of the runs and of the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from crayfish.results import page

HEAD = "# The whole configuration of these results, defaults and command line included: snakemake --configfile FILE\n"
RUNS = """<h1>Runs</h1>
<p>{{ manifests | length }} runs (repetitions counted), {{ warned | length }} of them with warnings. A run's folder
under runs/ is named after its non-default parameters. A run that lost, duplicated or changed events against its
guarantee fails.</p>
{% if failed %}<h2>Failed</h2>
<p>These have no metrics. The same command makes them again.</p>
{{ table(failed) }}{% endif %}
<h2>Warnings</h2>
{% if warned %}{{ table(warned) }}{% else %}<p>None.</p>{% endif %}

{% if accounting %}<h2>Accounting</h2>
{{ table(accounting) }}{% endif %}

<h2>Manifests</h2>
{% for name, text in manifests.items() %}
<details><summary>{{ name }}</summary><pre>{{ text }}</pre></details>
{% endfor %}
<h2>Packages</h2>
{% for name, packages in environments.items() %}
<details><summary>{{ name }}</summary><pre>{{ packages }}</pre></details>
{% endfor %}
"""


def read_manifests(paths: Iterable[Path]) -> dict[str, dict]:
    """RUN/REPETITION, as the folders are named -> the manifest."""
    return {"/".join(path.parent.parts[-2:]): json.loads(path.read_text()) for path in sorted(paths)}


def accounting_row(name: str, manifest: dict) -> dict[str, Any]:
    """What a reader looks for first."""
    counts, machine, git = manifest["accounting"], manifest["machine"], manifest["git"]
    return {
        "run": name,
        **{key: counts.get(key) for key in ("sent", "lost", "duplicated", "wrong", "late")},
        "warnings": len(manifest["warnings"]),
        "substitutes": "; ".join(manifest["substitutes"]),
        "tries": manifest.get("tries", 1),
        "fixed cost (s)": manifest["fixed_cost_s"],
        "load average before": round(machine["load_average"][0], 2),
        "machine": f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB",
        "commit": git["commit"] and git["commit"][:10] + ("" if git["clean"] else ", changed"),
    }


def without_packages(manifest: dict, environments: dict[str, dict]) -> dict:
    """The manifest with names in the place of its environments, which are added to `environments` by these names."""
    names = []
    for environment in manifest["environments"]:
        number = 1
        while environments.setdefault(name := f"{environment['environment']} ({number})", environment) != environment:
            number += 1
        names.append(name)
    return {**manifest, "environments": names}


def runs_page(manifests: dict[str, dict]) -> str:
    """Every run on one page: the runs with warnings, the accounting of all, each manifest.

    manifests: RUN/REPETITION -> manifest, at least one. The packages of an environment, which many runs share, stand
    once at the end; the manifests name them.
    """
    environments: dict[str, dict] = {}
    texts = {name: json.dumps(without_packages(each, environments), indent=1) for name, each in manifests.items()}
    warned = [(name, manifest["warnings"]) for name, manifest in manifests.items() if manifest["warnings"]]
    packages = {}
    for name, each in sorted(environments.items()):
        title = f"{name}: Python {each['python']}, {len(each['packages'])} packages, deployed by {each['deployment']}"
        packages[title] = "\n".join(f"{package}=={version}" for package, version in each["packages"].items())
    body = page.render(
        RUNS,
        table=page.table,
        warned=[{"run": name, "warnings": "; ".join(warnings)} for name, warnings in warned],
        failed=[{"run": name, "reason": each["failed"]} for name, each in manifests.items() if "failed" in each],
        accounting=[accounting_row(name, each) for name, each in manifests.items() if "failed" not in each],
        manifests=texts,
        environments=packages,
    )
    return page.page("Runs", body)


def configuration_yaml(config: dict) -> str:
    """The configuration as YAML, which snakemake --configfile takes."""
    return HEAD + yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=110)


def configuration_page(text: str) -> str:
    """The configuration's text as a page."""
    return page.page("Configuration", Markup("<h1>Configuration</h1>\n<pre>{}</pre>").format(text))
