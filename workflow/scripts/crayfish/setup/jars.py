"""Sets of Maven artifacts as flat folders of jars; jgo fetches them, no Maven is needed.

A set is a YAML file: `direct`, a list of group:artifact:version[:classifier]; `artifacts`, {coordinate: sha256}, which
`make lock` writes; and, optional, `excluded`, a list of group:artifact that the direct ones ask for and the set does
without ("*": all of them).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from crayfish.spec.errors import CrayfishError

HEADER = "# `direct` is chosen by hand; `make lock` writes `artifacts`, everything that it needs with its sha256.\n"
COORDINATE = re.compile(r"[\w.-]+(:[\w.-]+){2,3}")
TIMEOUT_S = 60
PAUSES_S = (2, 5, 15)  # between tries: a name server or the repository may be away for a moment


def read_set(path: Path) -> dict:
    """A set's `direct`, `excluded` and `artifacts`; CrayfishError if a key or a coordinate is not one of a set's."""
    content = {"direct": [], "excluded": [], "artifacts": {}, **(yaml.safe_load(path.read_text()) or {})}
    if set(content) != {"direct", "excluded", "artifacts"}:
        raise CrayfishError(
            f"{path}: a set of jars has the keys direct, artifacts and, optional, excluded, not {', '.join(content)}"
        )
    for coordinate in [*content["direct"], *content["artifacts"]]:
        if not COORDINATE.fullmatch(coordinate):
            raise CrayfishError(f"{path}: {coordinate!r} is not group:artifact:version[:classifier]")
    return content


def artifact(coordinate: str, cache: Path, mirror: str | None):
    """jgo's handle of one artifact: its file name, and resolve(), which downloads it into the cache folder."""
    from jgo.maven import MavenContext

    repositories = {"mirror": mirror} if mirror else None  # else Maven Central
    context = MavenContext(repo_cache=cache, timeout=TIMEOUT_S, remote_repos=repositories)
    return context.create_dependency(coordinate).artifact


def download(coordinate: str, cache: Path, mirror: str | None = None) -> Path:
    """One artifact's file, fetched by jgo from the mirror's URL, or else Maven Central, into the cache folder, which a
    failed try empties."""
    for pause in (*PAUSES_S, None):
        try:
            return artifact(coordinate, cache, mirror).resolve()
        # OSError: no network, a full disk; RuntimeError: no such artifact.
        except (OSError, RuntimeError) as error:
            if pause is None or not isinstance(error, OSError):
                raise CrayfishError(
                    f"jars: {coordinate} cannot be downloaded: {error}\n"
                    "Check that the Maven repository can be reached (a mirror is named by jar_mirror in the config)"
                    " and the disk has room, then run the same command again."
                ) from error
        shutil.rmtree(cache, ignore_errors=True)  # jgo would take half a file for a whole one
        time.sleep(pause)
    raise AssertionError("unreachable: the last try returns or raises")


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(pinned: Path, out: Path, fetch: Callable[[str, Path], Path] = download) -> None:
    """Make the folder `out` of a set's jars. It appears when all of them are checked: where it is, it is whole.

    CrayfishError if an artifact cannot be fetched or its checksum is not the pinned one.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        cache, jars = Path(scratch) / "cache", Path(scratch) / "jars"
        jars.mkdir()
        for coordinate, wanted in read_set(pinned)["artifacts"].items():
            file = fetch(coordinate, cache)
            if (found := sha256(file)) != wanted:
                raise CrayfishError(
                    f"jars: {coordinate} is refused: its sha256 is\n  {found}, and the pinned one is\n  {wanted}\n"
                    "It was damaged or changed on its way: run the same command again. If it stays, compare both sums"
                    " with those that its project publishes; `make lock` pins what the repository serves now."
                )
            file.rename(jars / file.name)
        shutil.rmtree(out, ignore_errors=True)
        jars.rename(out)


def lock(path: Path) -> None:
    """Resolve a set's direct artifacts and rewrite its file with everything that they need at run time."""
    from jgo.maven import MavenContext

    chosen = read_set(path)
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=TIMEOUT_S)
        try:
            excluded = [context.project(*line.split(":")) for line in chosen["excluded"] if line != "*"]
            direct = [context.create_dependency(line, excluded) for line in chosen["direct"]]
            inputs, transitive = context.resolver.resolve(direct)
        except (OSError, RuntimeError) as error:
            raise CrayfishError(f"jars: {path} cannot be resolved: {error}") from error
        wanted = () if "*" in chosen["excluded"] else ("compile", "runtime")
        needed = inputs + [one for one in transitive if one.scope in wanted]
        parts = [(one.groupId, one.artifactId, one.version, one.classifier) for one in needed]
        # What Maven fills in for the platform that it runs on (${...}) is chosen by hand: `direct` names it.
        coordinates = sorted(":".join(filter(None, part)) for part in parts if "$" not in "".join(filter(None, part)))
        artifacts = {coordinate: sha256(download(coordinate, Path(scratch))) for coordinate in coordinates}
    content = {key: value for key, value in {**chosen, "artifacts": artifacts}.items() if value}
    path.write_text(HEADER + yaml.safe_dump(content, sort_keys=False, width=200))
    print(f"{path.stem}: {len(artifacts)} jars")
