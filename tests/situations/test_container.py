"""The image for machines without a network: built from a bare Debian, and run in a working directory."""

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
ONE_RUN = ("--config", "processors=[kafka_streams]", "scorers=[onnx]", "repetitions=1", "broker_warmup_s=0")
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
def test_the_image_is_built_from_a_bare_debian_and_runs_without_a_network(tmp_path):
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (work := tmp_path / "work").mkdir()
    store = ("--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "state"))

    def said(*command: str) -> str:
        done = called(*command, cwd=ROOT, deadline_s=BUILD_DEADLINE_S)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return (done.stdout.split() or [""])[-1]

    def buildah(*words: str) -> str:
        return said("buildah", *store, *words)

    try:
        said("debootstrap", "--variant=minbase", "bookworm", str(tmp_path / "bare"))
        bare = buildah("from", "scratch")
        buildah("add", "--quiet", bare, str(tmp_path / "bare"), "/")
        buildah("commit", "--quiet", "--rm", bare, "bare")
        recipe = ("--file", str(FOLDER / "Containerfile"), "--build-arg", "BASE=localhost/bare")
        recipe += ("--volume", f"{CERTIFICATES}:/usr/local/share/ca-certificates/site.crt:ro")  # of a site with its own
        buildah("build", "--isolation", "chroot", *recipe, "--tag", "crayfish", ".")
        image = buildah("from", "localhost/crayfish")
        command = ("figures", "--configfile", "/crayfish/config/debug.yaml", *ONE_RUN)
        alone = ("run", "--isolation", "chroot", "--network", "none", "--volume", f"{work}:/work", image, "--")
        buildah(*alone, "sh", "/crayfish/container/run.sh", *command)
        assert list(work.glob("results/debug/runs/*/1/manifest.json"))
    finally:
        called("buildah", *store, "rm", "--all", cwd=ROOT, deadline_s=RUN_DEADLINE_S)
        called("buildah", *store, "rmi", "--all", "--force", cwd=ROOT, deadline_s=RUN_DEADLINE_S)
