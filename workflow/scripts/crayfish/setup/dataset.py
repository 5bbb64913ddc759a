"""Data sets as one npz (uint8 train_images[n, 28, 28], train_labels[n], test_images, test_labels) and a JSON about it.

Fashion-MNIST is taken from the first of four sources that has it: a folder that the config names, the Debian package's
folder, that package fetched without root, the data set's own site. Every file is checked against its pinned sha256
(unpacked: sources pack differently); a wrong one is refused. The synthetic set is seeded, has the same shapes and can
be learned by a network; its JSON says so. The npz is written last: where it is, it is whole.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import numpy as np
import yaml

from crayfish.spec.errors import CrayfishError

ARRAYS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("usr/share/datasets/fashion-mnist")
SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TIMEOUT_S = 300
SIDE, CLASSES, TRAIN, TEST = 28, 10, 60_000, 10_000


class Unavailable(Exception):
    """A source does not have the data set; the text says why."""


def parse_idx(content: bytes) -> np.ndarray:
    """An idx file of unsigned bytes as uint8[dimensions of its header]; ValueError if it is none.

    Source: the format's description at the MNIST data set: 0, 0, 8 (unsigned byte), number of dimensions, each as u32.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"not an idx file of unsigned bytes: it starts with {content[:4]!r}")
    data = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:data], ">u4").astype(int)
    if len(shape) != content[3] or len(content) - data != shape.prod():
        raise ValueError(f"an idx file of shape {shape.tolist()} with {len(content) - data} bytes of data")
    return np.frombuffer(content, np.uint8, offset=data).reshape(shape)


def read_checked(folder: Path, pins: dict[str, str]) -> dict[str, bytes]:
    """A folder's files, each plain or as .gz, unpacked; CrayfishError if a sha256 is not the pinned one.

    Raises Unavailable if a file is missing or cannot be unpacked.
    """
    contents = {}
    for name, pinned in pins.items():
        plain, packed = folder / name, folder / f"{name}.gz"
        if not plain.exists() and not packed.exists():
            raise Unavailable(f"neither {plain} nor {packed.name} exists")
        try:
            content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise Unavailable(f"{packed} cannot be read: {error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != pinned:
            raise CrayfishError(
                f"dataset: {name} in {folder} is refused: its sha256 (unpacked) is\n  {found}, and the pinned one is\n"
                f"  {pinned}\nReplace the file, or remove it, so that the next source is used; or name a folder with"
                " the right files as dataset_folder in the config."
            )
        contents[name] = content
    return contents


def config_folder(folder: Path | None) -> Path:
    """The folder that the config names."""
    if folder is None:
        raise Unavailable("dataset_folder is not set in the config")
    return folder


def call(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess:
    """Run a program in a folder and wait for it; Unavailable if it does not exist or takes too long."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not on this system") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} did not end within {TIMEOUT_S} s") from error


def fetch_package(scratch: Path) -> Path:
    """The Debian package's folder, fetched and unpacked in a private place: no root, no package lists of the system."""
    (scratch / "lists").mkdir()
    (scratch / "cache").mkdir()
    places = {"Dir::State": scratch, "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": scratch / "cache"}
    settings = {**places, "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Acquire::Retries": 1}
    apt = ["apt-get", *(f"-o{key}={value}" for key, value in settings.items())]
    # update may complain of a repository that has nothing to do with this package: the download decides
    updated = call([*apt, "update"], scratch)
    downloaded = call([*apt, "download", PACKAGE], scratch)
    if downloaded.returncode:
        raise Unavailable(f"apt-get: {' '.join((updated.stderr[-400:] + downloaded.stderr[-200:]).split())}")
    unpacked = call(["dpkg", "-x", next(scratch.glob("*.deb")), scratch / "unpacked"], scratch)
    if unpacked.returncode:
        raise Unavailable(f"dpkg: {unpacked.stderr.strip()}")
    return scratch / "unpacked" / PACKAGE_FOLDER


def fetch_site(scratch: Path) -> Path:
    """The files from the data set's own site."""
    for name in ARRAYS.values():
        try:
            with (
                urllib.request.urlopen(f"{SITE}/{name}.gz", timeout=60) as answer,
                (scratch / f"{name}.gz").open("wb") as to,
            ):
                shutil.copyfileobj(answer, to)
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{SITE}/{name}.gz: {error}") from error
    return scratch


def sources(folder: Path | None) -> dict[str, Callable[[Path], Path]]:
    """Source -> a function from a scratch folder to the folder that has the files, which may raise Unavailable."""
    return {
        "the folder that the config names": lambda _: config_folder(folder),
        "the folder of the Debian package": lambda _: Path("/") / PACKAGE_FOLDER,
        f"the Debian package {PACKAGE}": fetch_package,
        "the data set's own site": fetch_site,
    }


def find(pins: dict[str, str], locators: dict[str, Callable[[Path], Path]]) -> tuple[str, dict[str, bytes]]:
    """The name of the first source that has the files, and their contents; CrayfishError says why none has them.

    `locators` are sources() or like them.
    """
    reasons = []
    for name, locate in locators.items():
        with tempfile.TemporaryDirectory(prefix="crayfish-dataset-") as scratch:
            try:
                return name, read_checked(locate(Path(scratch)), pins)
            except Unavailable as reason:
                reasons.append(f"  {name}: {reason}")
                print(reasons[-1], file=sys.stderr)
    raise CrayfishError(
        "dataset: no source has Fashion-MNIST:\n" + "\n".join(reasons) + "\n"
        f"Put its four files ({', '.join(pins)}, plain or .gz) into a folder and name it as dataset_folder in the"
        " config, or choose `dataset: synthetic`, which needs no network and is stated in every output."
    )


def synthetic(seed: int, train: int = TRAIN, test: int = TEST) -> dict[str, np.ndarray]:
    """A seeded set in the shapes of Fashion-MNIST: a class is a coarse random picture, an image is that plus noise."""
    generator = np.random.default_rng(seed)
    prototypes = np.kron(generator.uniform(64, 192, (CLASSES, 7, 7)), np.ones((4, 4))).astype(np.float32)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", train), ("test", test)):
        labels = generator.integers(0, CLASSES, count, dtype=np.uint8)
        images = prototypes[labels] + 128 * generator.standard_normal((count, SIDE, SIDE), dtype=np.float32)
        arrays |= {f"{part}_images": np.clip(images, 0, 255).astype(np.uint8), f"{part}_labels": labels}
    return arrays


def write(out: Path, arrays: dict[str, np.ndarray], about: dict) -> None:
    """Write OUT.json and then, by one rename, OUT.npz."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    part = out.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's own keyword is among the names that it sees
    part.replace(out)


def make_fashion_mnist(out: Path, pinned: Path, folder: Path | None = None) -> None:
    """Write OUT.npz and OUT.json; `pinned` is YAML of file: sha256, `folder` the one that the config names.

    CrayfishError if no source has the files, or if one of them is not as pinned.
    """
    pins = yaml.safe_load(pinned.read_text())
    source, contents = find(pins, sources(folder))
    arrays = {array: parse_idx(contents[name]) for array, name in ARRAYS.items()}
    write(out, arrays, {"dataset": "fashion_mnist", "source": source, "sha256": pins})


def make_synthetic(out: Path, seed: int, train: int = TRAIN, test: int = TEST) -> None:
    """The same of the synthetic set, whose parts have `train` and `test` images."""
    about = {"dataset": "synthetic", "source": "made by this program: class prototypes and noise", "seed": seed}
    write(out, synthetic(seed, train, test), about)
