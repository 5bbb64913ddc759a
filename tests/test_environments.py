"""Environments: pins agree with each other and with what was installed; what cannot be made says why."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from crayfish.setup import environments, locking
from crayfish.spec.errors import CrayfishError

ENVS = Path(__file__).parents[1] / "envs"
LOCKED = sorted(path.stem for path in ENVS.glob("*.in"))
APART = {name for chain in locking.CHAINS[1:] for name in chain}  # they measure nothing


def pinned(name: str) -> dict[str, str]:
    return environments.versions(environments.pins(ENVS / f"{name}.yaml"))


@pytest.mark.parametrize("name", LOCKED)
def test_every_direct_package_is_pinned(name):
    wanted = {environments.normalised(locking.package(line)) for line in locking.requirements(ENVS / f"{name}.in")}
    assert wanted <= pinned(name).keys(), f"run `make lock`: {wanted - pinned(name).keys()}"


@pytest.mark.parametrize("name", LOCKED)
def test_environment_files_are_valid_for_conda(name):
    content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    assert content.keys() == {"channels", "dependencies"} and "nodefaults" in content["channels"]
    python, pip, packages = content["dependencies"]
    assert (python, pip, packages.keys()) == (f"python={environments.PYTHON}", "pip", {"pip"})
    assert packages["pip"] == environments.pins(ENVS / f"{name}.yaml")
    assert len(pinned(name)) == len(packages["pip"])


@pytest.mark.parametrize("name", LOCKED)
def test_every_pin_has_a_sum(name):
    for line in environments.pins(ENVS / f"{name}.yaml"):
        assert re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line), "run `make lock`"


def test_environments_and_their_pins_are_the_same_names():
    assert sorted(path.stem for path in ENVS.glob("*.yaml")) == LOCKED


def test_chosen_versions_hold_everywhere():
    for line in locking.requirements(ENVS / "constraints.txt"):
        package, version = line.split("==")
        for name in LOCKED:
            own = [each for each in locking.requirements(ENVS / f"{name}.in") if each.startswith(f"{package}==")]
            assert pinned(name).get(environments.normalised(package), version) == version or own, (name, line)


def test_environments_that_measure_share_versions():
    versions: dict[str, dict[str, str]] = {}
    for name in set(LOCKED) - APART:
        own = {line.split("==")[0] for line in locking.requirements(ENVS / f"{name}.in") if "==" in line}
        for package, version in pinned(name).items():
            if package in own:
                continue  # the exception stands, with its reason, where it is made
            versions.setdefault(package, {})[name] = version
    assert {package: found for package, found in versions.items() if len(set(found.values())) > 1} == {}


# --- deployment


def recorded(folder: Path, *pins: str) -> Path:
    """A conda environment file with these pins."""
    (folder / "own.yaml").write_text("dependencies:\n  - pip:\n" + "".join(f"      - {pin}\n" for pin in pins))
    return folder / "own.yaml"


def test_a_deployed_environment_starts_and_tells_its_packages(tmp_path):
    version = environments.installed_packages(Path(sys.executable))["packages"]["pytest"]
    environments.deploy(recorded(tmp_path, f"PyTest=={version}"), tmp_path / "own", "conda")
    told = json.loads((tmp_path / "own/packages.json").read_text())
    assert told["environment"] == "own" and told["packages"]["pytest"] == version
    done = subprocess.run(
        [tmp_path / "own/python", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == sys.prefix


def test_a_missing_package_is_an_error_and_the_environment_is_not_whole(tmp_path):
    with pytest.raises(CrayfishError, match=r"are missing: absent==1\.0"):
        environments.deploy(recorded(tmp_path, "absent==1.0"), tmp_path / "own", "conda")
    assert not (tmp_path / "own/python").exists()


def test_a_failed_installation_tells_its_last_lines(tmp_path, monkeypatch):
    (tmp_path / "uv").write_text("#!/bin/sh\necho no such package\nexit 2\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(CrayfishError, match=r"failed \(exit 2\):\nno such package"):
        environments.deploy(recorded(tmp_path, "absent==1.0"), tmp_path / "own", "uv")


def wheel(folder: Path, content: str) -> Path:
    """A wheel of one module."""
    file = folder / "tiny-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "tiny.py,,\n" + "".join(f"tiny-1.0.dist-info/{name},,\n" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("tiny.py", content)
        for name, text in about.items():
            written.writestr(f"tiny-1.0.dist-info/{name}", text)
    return file


@pytest.mark.parametrize("program", ["uv", pytest.param("pip", marks=pytest.mark.full)])
def test_a_wheel_that_was_tampered_with_is_refused(tmp_path, monkeypatch, program):
    right = hashlib.sha256(wheel(tmp_path, "answer = 42").read_bytes()).hexdigest()
    pinned = recorded(tmp_path, f"tiny==1.0 --hash=sha256:{right}")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "NO_CACHE": "1"}.items():
        monkeypatch.setenv(f"UV_{name}", value)
        monkeypatch.setenv(f"PIP_{name}", value)
    if program == "pip":
        monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    environments.deploy(pinned, tmp_path / "own", "uv")
    told = json.loads((tmp_path / "own/packages.json").read_text())
    assert told["deployment"] == program and told["packages"]["tiny"] == "1.0"
    (tmp_path / "own/python").unlink()
    wheel(tmp_path, "answer = 41")
    with pytest.raises(CrayfishError, match=r"(?i)hash") as error:
        environments.deploy(pinned, tmp_path / "own", "uv")
    assert right in str(error.value) and not (tmp_path / "own/python").exists()


def test_the_first_environment_is_made_without_any_package():
    """-S -I: no site-packages, as a bare python3 may have none; the script's folder is not on the path then."""
    code = f"import sys; sys.path.insert(0, {str(Path(environments.__file__).parents[2])!r}); import environment"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
