"""The image for machines without a network: built from a bare Debian, and run in a working directory."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, called, copy_checkout

FOLDER = ROOT / "container"
PLACE = Path("/crayfish")
# The checkout as an image has it: read-only, in its place.
PLACED = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && cd "$3" && shift 3 && exec "$@"'
RUN_DEADLINE_S, BUILD_DEADLINE_S = 300.0, 3600.0
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ONE_FIGURE = ("results/debug/figures/burst.svg", "--configfile", "/crayfish/config/debug.yaml")
ONE_SYSTEM = ("--config", "processors=[kafka_streams]", "scorers=[onnx]")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")


@pytest.fixture
def place():
    """The folder where an image has the checkout."""
    if PLACE.exists():
        pytest.skip(f"{PLACE} is there already")
    PLACE.mkdir()
    yield PLACE
    PLACE.rmdir()


@as_root
def test_the_image_s_command_plans_in_the_working_directory(tmp_path, place):
    checkout = copy_checkout(tmp_path / "checkout")
    (checkout / "resources").mkdir()
    (work := tmp_path / "work").mkdir()
    words = ["sh", f"{place}/container/run.sh", "figures", "-n", "--config", "results=mine"]
    command = ["unshare", "--mount", "sh", "-c", PLACED, "sh", str(checkout), str(place), str(work), *words]
    done = called(*command, cwd=work, deadline_s=RUN_DEADLINE_S)
    assert done.returncode == 0, done.stdout
    assert "mine/figures/latency_by_rate.svg" in done.stdout
    assert (work / "resources").readlink() == place / "resources"


@pytest.mark.parametrize("recipe", ["Containerfile", "apptainer.def"])
def test_both_recipes_build_and_run_the_same(recipe):
    text = (FOLDER / recipe).read_text()
    assert set(re.findall(r"/crayfish/container/([\w.]+)", text)) == {"build.sh", "run.sh"}
    assert "debian:bookworm" in text


@pytest.mark.full
@as_root
def test_the_recipe_s_steps_on_a_bare_debian_and_a_run_without_a_network(tmp_path):
    """All but the storing of the image, which needs three times its 13 GB."""
    missing = [name for name in ("buildah", "debootstrap", "ip") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    checkout = copy_checkout(tmp_path / "checkout")
    (work := tmp_path / "work").mkdir()
    store = ("--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "state"))

    def said(*command: str) -> str:
        done = called(*command, cwd=checkout, deadline_s=BUILD_DEADLINE_S)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return (done.stdout.split() or [""])[-1]

    steps = [
        line.split(maxsplit=1) for line in (FOLDER / "Containerfile").read_text().splitlines() if line[:1].isalpha()
    ]
    try:
        said("debootstrap", "--variant=minbase", "bookworm", str(tmp_path / "bare"))
        image = said("buildah", *store, "from", "scratch")
        said("buildah", *store, "add", "--quiet", image, str(tmp_path / "bare"), "/")
        volumes = ("--volume", f"{CERTIFICATES}:/usr/local/share/ca-certificates/site.crt:ro")  # of a site with its own
        volumes += ("--volume", f"{work}:/work")
        for word, text in steps:
            if word == "COPY":
                said("buildah", *store, "copy", "--quiet", image, *text.split())
            elif word == "RUN":
                said("buildah", *store, "run", "--isolation", "chroot", *volumes, image, "--", "sh", "-c", text)
            elif word == "WORKDIR":
                said("buildah", *store, "config", "--workingdir", text, image)
        (entry,) = (json.loads(text) for word, text in steps if word == "ENTRYPOINT")
        command = (*entry, *ONE_FIGURE, *ONE_SYSTEM)
        alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        said(*alone, "buildah", *store, "run", "--isolation", "chroot", *volumes, image, "--", *command)
        assert list(work.glob("results/debug/runs/*/1/manifest.json"))
        assert (work / ONE_FIGURE[0]).stat().st_size > 0
    finally:
        called("buildah", *store, "rm", "--all", cwd=ROOT, deadline_s=RUN_DEADLINE_S)
