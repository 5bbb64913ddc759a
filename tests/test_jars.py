"""Jar sets: every artifact is pinned and checked, a wrong one leaves nothing. No network is used but the loopback."""

import functools
import hashlib
import http.server
import re
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT

from crayfish.setup import jars
from crayfish.spec import paths
from crayfish.spec.errors import CrayfishError

JAR_SETS = sorted((Path(__file__).parents[1] / "envs" / "java").glob("*.yaml"))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def jar_set(folder: Path, coordinates: Iterable[str], wrong: Mapping[str, str] | None = None) -> Path:
    """A set's file whose pins are what `served` serves, but for the wrong ones."""
    pins = {each: digest(each.encode()) for each in coordinates} | dict(wrong or {})
    (folder / "set.yaml").write_text(yaml.safe_dump({"direct": list(coordinates), "artifacts": pins}))
    return folder / "set.yaml"


def served(coordinate: str, cache: Path) -> Path:
    cache.mkdir(exist_ok=True)
    file = cache / f"{coordinate.split(':')[1]}.jar"
    file.write_bytes(coordinate.encode())
    return file


def test_jars_lie_flat_in_their_folder_and_replace_older_ones(tmp_path):
    out = tmp_path / "jars" / "set"
    for coordinates in (["g:old:1"], ["g:one:1", "g:two:2"]):
        jars.assemble(jar_set(tmp_path, coordinates), out, served)
    assert sorted(path.name for path in out.iterdir()) == ["one.jar", "two.jar"]
    assert list(out.parent.iterdir()) == [out]


def test_a_jar_with_a_wrong_sum_is_refused_and_leaves_nothing(tmp_path):
    out = tmp_path / "jars" / "set"
    wrong = digest(b"what was pinned")
    with pytest.raises(CrayfishError) as error:
        jars.assemble(jar_set(tmp_path, ["g:one:1", "g:two:2"], {"g:two:2": wrong}), out, served)
    assert all(text in str(error.value) for text in ("g:two:2", digest(b"g:two:2"), wrong, "make lock"))
    assert list(out.parent.iterdir()) == []


def test_a_jar_is_asked_for_again_when_the_network_is_away_for_a_moment(tmp_path, monkeypatch):
    tries = []

    def artifact(coordinate: str, cache: Path, mirror: str | None) -> SimpleNamespace:
        def resolve() -> Path:
            tries.append(coordinate)
            if "missing" in coordinate:
                raise RuntimeError("not found in remote repositories")
            if len(tries) < 3:
                raise OSError("Temporary failure in name resolution")
            return served(coordinate, cache)

        return SimpleNamespace(resolve=resolve)

    monkeypatch.setattr(jars, "artifact", artifact)
    monkeypatch.setattr(jars, "PAUSES_S", (0, 0))
    assert jars.download("g:one:1", tmp_path / "cache").read_bytes() == b"g:one:1"
    assert len(tries) == 3
    with pytest.raises(CrayfishError, match="g:missing:1 cannot be downloaded: not found"):
        jars.download("g:missing:1", tmp_path / "cache")
    assert len(tries) == 4
    tries.clear()
    monkeypatch.setattr(jars, "PAUSES_S", (0,))
    with pytest.raises(CrayfishError, match="Temporary failure"):
        jars.download("g:one:1", tmp_path / "cache")


def test_jars_come_from_the_mirror_that_the_config_names(resources, tmp_path):
    """From a Maven repository on the loopback that has nothing but this jar."""
    folder = tmp_path / "mirror/org/example/tiny/1.0"
    folder.mkdir(parents=True)
    (folder / "tiny-1.0.jar").write_bytes(b"the jar of a mirror")
    (folder / "tiny-1.0.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>tiny</artifactId>"
        "<version>1.0</version></project>"
    )
    pins = jar_set(tmp_path, ["org.example:tiny:1.0"], {"org.example:tiny:1.0": digest(b"the jar of a mirror")})
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [ROOT / paths.interpreter("jars"), ROOT / paths.script("jars"), "--set", pins]
        command += ["--mirror", f"http://127.0.0.1:{server.server_port}", "--out", tmp_path / "jars"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "jars/tiny-1.0.jar").read_bytes() == b"the jar of a mirror"


@pytest.mark.parametrize("path", JAR_SETS, ids=lambda path: path.stem)
def test_jar_sets_pin_everything(path):
    content = jars.read_set(path)
    assert set(content["direct"]) <= content["artifacts"].keys(), "run `make lock`"
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in content["artifacts"].values())
    assert not {":".join(each.split(":")[:2]) for each in content["artifacts"]} & set(content["excluded"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"direct": [], "artefacts": {}}, "not direct, excluded, artifacts, artefacts"),
        ({"direct": ["org.example:library"]}, "'org.example:library' is not group:artifact:version"),
    ],
)
def test_a_set_that_is_written_wrongly_is_refused_with_its_file(content, message, tmp_path):
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CrayfishError, match=message) as error:
        jars.read_set(tmp_path / "set.yaml")
    assert str(tmp_path / "set.yaml") in str(error.value)
