"""Models of the user's own, which the config declares (`own_models`) and no module does.

What a run is told of one is an OwnModel in its RunSpec. `declared` reads what the files say of themselves when a run is
planned, so that what cannot be served is refused before anything is made: it uses the standard library alone, as the
interpreter that plans has none of the libraries that load these files. What only these can tell is found out by the
rules that make the right answers and verify each scorer, before anything is measured.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import mmap
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crayfish.spec import discovery, paths
from crayfish.spec.errors import CrayfishError
from crayfish.spec.limits import HALF_TOLERANCE, TOLERANCE
from crayfish.spec.values import ITEM_BYTES

DATASET = "own"  # what a run of such a model has for its data set: the model's own samples
FORMATS = ("onnx", "torchscript", "savedmodel")
SOURCES = {"mar": ("torchscript", "onnx")}  # format that is made of another one -> those, the first that is there
SIGNATURE, TAG = "serving_default", "serve"
SMALL = 32 * 2**20  # bytes: a model file up to this needs no more memory than the libraries' own
MAKING_MEMORY = 2**30  # of the libraries, bytes
COPIES = 4  # of its weights that a loaded instance may hold for a while, as it is optimised
MAPS = "a sequence of maps"  # what skl2onnx makes of probabilities, unless it is told not to
NAMED = 8  # outputs that an error lists
# Element types of ONNX and of TensorFlow, as their numbers, by numpy's names.
ONNX_TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "str", 9: "bool"}
ONNX_TYPES |= {10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"}
TENSORFLOW_TYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "str", 9: "int64"}
TENSORFLOW_TYPES |= {10: "bool", 14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64"}
# What an output may be: it is compared as float32.
ANSWERS = (*ITEM_BYTES, "float64", "int8", "uint16", "int16", "uint32", "uint64", "bool")


@dataclass(frozen=True)
class OwnModel:
    """What a run must know of such a model, in the format that its scorer reads."""

    key: str  # the model's name and a part of the sum of all that its right answers come from: its folder's name
    sha256: str  # of all of that, and of the file that is scored
    format: str | None  # that the run's scorer reads; None: it reads no model
    input_shape: tuple[int, ...]  # of one data point
    dtype: str  # of its values: one of ITEM_BYTES
    input: str = "input"  # the name of the file's input
    output: str = ""  # the name of the output that is taken; "": the only one
    memory: int = 0  # bytes that one loaded instance needs, beside the libraries' own
    tolerance: float = TOLERANCE  # by what share of their range answers may differ
    told: tuple[str, ...] = ()  # what a reader of the results must know

    @property
    def formats(self) -> tuple[str, ...]:
        return (self.format,) if self.format else ()

    @property
    def name(self) -> str:
        """The model's name in the config."""
        return self.key.rpartition("-")[0]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OwnModel:
        lists = {name: tuple(values[name]) for name in ("input_shape", "told")}
        return cls(**{**values, **lists})

    @classmethod
    def from_json(cls, text: str) -> OwnModel:
        return cls.from_dict(json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Tensor:
    """An input or an output as its file describes it."""

    name: str
    kind: str  # a type by numpy's name; or what it is instead of a tensor, in words
    shape: tuple[int | None, ...] | None  # None: an axis that is open; or, in place of all, a number of axes that is

    @property
    def is_tensor(self) -> bool:
        return " " not in self.kind

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({self.kind}{f' [{axes}]' if self.is_tensor else ''})"


@dataclass(frozen=True)
class Contents:
    """What a file says of itself; a TorchScript file says nothing."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    about: str = ""  # its operator sets


@dataclass(frozen=True)
class Declared:
    """A model of `own_models`, checked."""

    name: str
    files: Mapping[str, str]  # format -> path, the first is the one that answers
    sums: Mapping[str, str]  # format -> sha256
    samples: str  # path; "": they are drawn
    samples_sum: str
    range: tuple[float, float] | None
    input_shape: tuple[int, ...]
    dtype: str
    inputs: Mapping[str, str]  # format -> the input's name
    outputs: Mapping[str, str]  # format -> the name of the output that is taken
    kinds: Mapping[str, str]  # format -> the output's type, where the file tells it
    sizes: Mapping[str, int]  # format -> bytes

    @property
    def first(self) -> str:
        """The format whose answers are the right ones."""
        return next(iter(self.files))

    @property
    def key(self) -> str:
        told = [self.first, self.sums[self.first], self.outputs.get(self.first, ""), self.samples_sum, self.range]
        return f"{self.name}-{_digest([*told, self.input_shape, self.dtype])[:12]}"

    @property
    def making_memory(self) -> int:
        """Bytes that a conversion or a verification needs."""
        return MAKING_MEMORY + max(self.of(form).memory for form in self.files)

    def of(self, form: str | None) -> OwnModel:
        """What a run is told whose scorer reads this format. CrayfishError where no file is in it, nor can be."""
        source = None if form is None else self.source(form)
        told = [f"the inputs of {self.name} are drawn within {_range(self.range)}"] if self.range else []
        kind = self.kinds.get(source or self.first, "float32")
        told += [f"the answers of {self.name} are {kind}, and compared as float32"] * (kind != "float32")
        half = "float16" in (self.dtype, *self.kinds.values())
        size = self.sizes[source] if source else 0
        named = self.outputs.get(source or "", "")
        return OwnModel(
            self.key,
            _digest([self.key, form, self.sums.get(source or ""), named]),
            form,
            self.input_shape,
            self.dtype,
            self.inputs.get(source or "", "input"),
            named,
            COPIES * size if size > SMALL else 0,
            HALF_TOLERANCE if half else TOLERANCE,
            tuple(told),
        )

    def source(self, form: str) -> str:
        """The format of the file that a file in this one is, or is made of. CrayfishError where there is none."""
        if form in self.files:
            return form
        possible = SOURCES.get(form, ())
        for each in possible:
            if each in self.files:
                return each
        made = f", which is made of {' or '.join(possible)}" if possible else ""
        able = [
            name
            for name in discovery.names("scorers")
            if {(reads := discovery.scorer(name).format), *SOURCES.get(str(reads), ())} & self.files.keys()
        ]
        raise CrayfishError(
            f"reads {form}{made}, and {self.name} has: {', '.join(self.files)}, which {', '.join(able)} serve"
        )


def declared(config: Mapping[str, Mapping] | None, path: Callable[[Any], Any]) -> dict[str, Declared]:
    """The models of the config's `own_models`, by their names. path: what a path of the config is to the shell.

    Raises CrayfishError, which names the key, the value and what is allowed, for a name that is taken, and for a file
    that is missing, damaged, another one than its sum says, or cannot be served.
    """
    return {name: _declared(name, values, path) for name, values in (config or {}).items()}


def _declared(name: str, values: Mapping, path: Callable[[Any], Any]) -> Declared:
    where = f"own_models.{name}"
    _check_name(where, name)
    files = {form: path(file) for form, file in values["files"].items()}
    sums = _checked_sums(where, files, values.get("sha256", {}))
    contents = {form: READERS[form](Path(file), f"{where}.files.{form}: {file}") for form, file in files.items()}
    samples, drawn = path(values.get("samples", "")), values.get("range")
    if bool(samples) == (drawn is not None):
        raise CrayfishError(
            f"{where}: {'both samples and range are' if samples else 'neither samples nor range is'} given: events"
            " carry either `samples: FILE.npy`, or draws within `range: [LOW, HIGH]`"
        )
    found = _samples(Path(samples), f"{where}.samples: {samples}") if samples else None
    inputs = {
        form: _input(held.inputs, f"{where}.files.{form}: {files[form]}", held.about) for form, held in contents.items()
    }
    dtype = _one(
        where,
        "type",
        {form: tensor.kind for form, tensor in inputs.items() if tensor},
        values.get("type"),
        found[0] if found else None,
    )
    if dtype not in ITEM_BYTES:
        raise CrayfishError(f"{where}.samples: {samples} holds {dtype}; allowed: {', '.join(ITEM_BYTES)}")
    shapes = {form: tensor.shape[1:] for form, tensor in inputs.items() if tensor and tensor.shape}
    shape = _shape(where, shapes, values.get("shape"), found[1][1:] if found else None)
    wanted = values.get("output")
    chosen = {}
    for form, held in contents.items():
        named = wanted.get(form) if isinstance(wanted, Mapping) else wanted
        named = None if named is None else str(named)
        chosen[form] = _output(held.outputs, f"{where}.files.{form}: {files[form]}", named)
    return Declared(
        name,
        files,
        sums,
        samples,
        _sum(Path(samples)) if samples else "",
        _checked_range(f"{where}.range", drawn, dtype) if drawn is not None else None,
        shape,
        dtype,
        {form: tensor.name for form, tensor in inputs.items() if tensor},
        {form: tensor.name for form, tensor in chosen.items()},
        {form: tensor.kind for form, tensor in chosen.items() if tensor.kind},
        {form: sum(each.stat().st_size for each in _all_files(Path(file))) for form, file in files.items()},
    )


def _check_name(where: str, name: str) -> None:
    taken = {each: room for room in discovery.ROOMS for each in discovery.names(room)} | {"all": "words"}
    if name in taken:
        what = "a model" if taken[name] == "models" else f"the name of something else ({taken[name]})"
        raise CrayfishError(f"{where}: {name!r} is {what} of Crayfish's own: call yours otherwise, such as my_{name}")


def _checked_sums(where: str, files: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Format -> the sum of its file, which must be the wanted one, if there is one."""
    for form in wanted:
        if form not in files:
            raise CrayfishError(f"{where}.sha256.{form}: there is no file of that format (given: {', '.join(files)})")
    sums = {}
    for form, file in files.items():
        path = Path(file)
        if path.is_dir() != (form == "savedmodel") or not path.exists():
            what = "no folder" if form == "savedmodel" else "a folder" if path.is_dir() else "no file"
            raise CrayfishError(
                f"{where}.files.{form}: {file!r} is {what}: allowed is"
                f" {'the folder of a SavedModel' if form == 'savedmodel' else 'a file'}"
                f"{'; `snakemake --cores all examples` makes it (`make examples`)' * _is_example(path)}"
            )
        try:
            sums[form] = _sum(path)
        except OSError as error:
            raise CrayfishError(f"{where}.files.{form}: {file!r} cannot be read: {error.strerror}") from error
        if form in wanted and wanted[form].lower() != sums[form]:
            raise CrayfishError(
                f"{where}.sha256.{form}: {file!r} has the sum {sums[form]}, and the config asks for {wanted[form]}: it"
                " is another file, or damaged; get it again, or correct the sum"
            )
    return sums


def _is_example(path: Path) -> bool:
    """Whether a rule makes this file."""
    return path.parent.resolve() == Path(paths.example(path.stem, "onnx")).parent.resolve()


def _all_files(path: Path) -> list[Path]:
    """The file, or all the files of the folder, in the order of their names' bytes."""
    if not path.is_dir():
        return [path]
    return sorted((each for each in path.rglob("*") if each.is_file()), key=lambda each: bytes(each.relative_to(path)))


def _sum(path: Path) -> str:
    """The sha256 of a file; of a folder, that of what sha256sum prints of its files, sorted by their names."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = [f"{_sum(each)}  {each.relative_to(path).as_posix()}\n" for each in _all_files(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(values: list) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def copy(source: Path, sha256: str, out: Path) -> None:
    """Copy a model's file or folder; CrayfishError, and nothing is left, if it isn't the one of this sum any more."""
    try:
        if source.is_dir():
            shutil.copytree(source, out, dirs_exist_ok=True, symlinks=False)
        else:
            shutil.copyfile(source, out)
        found = _sum(out)
    except OSError as error:
        raise CrayfishError(f"own_models: {source} cannot be copied: {error.strerror or error}") from error
    if found != sha256:
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        raise CrayfishError(f"own_models: {source} has changed since the run was planned: repeat the command")


# --- what is chosen ---------------------------------------------------------------------------------------------------


def _input(inputs: tuple[Tensor, ...], where: str, about: str) -> Tensor | None:
    """The only input of a file, None where its format does not tell it. CrayfishError where no event can be one."""
    if not inputs:
        return None
    told = ", ".join(map(str, inputs))
    if len(inputs) > 1:
        raise CrayfishError(
            f"{where} has {len(inputs)} inputs, {told}; allowed: one tensor. Export it with the others as constants, or"
            " with one input that holds them all"
        )
    (only,) = inputs
    if only.kind not in ITEM_BYTES:
        raise CrayfishError(f"{where}: its input is {told}; allowed: a tensor of {', '.join(ITEM_BYTES)}")
    if only.shape == () or (only.shape and only.shape[0] is not None):
        axis = f"is {only.shape[0]}" if only.shape else "is missing"
        raise CrayfishError(
            f"{where}: its input is {told}, whose first axis {axis}; allowed: one that is open (dynamic), as events"
            " have any number of data points. Export it so, such as with dynamic_axes={'input': {0: 'batch'}} of"
            f" torch.onnx.export{about and f' (the file has {about})'}"
        )
    return only


def _output(outputs: tuple[Tensor, ...], where: str, named: str | None) -> Tensor:
    """The output that is taken: the one that is named, else the only one, else the only one of floats."""
    if not outputs:
        return Tensor(named or "", "", None)
    told = ", ".join(map(str, outputs[:NAMED])) + ", ..." * (len(outputs) > NAMED)
    if named is not None and named not in [each.name for each in outputs]:
        raise CrayfishError(f"{where} has no output {named!r} (`output`); allowed: {told}")
    if named is not None:
        found = [each for each in outputs if each.name == named]
    elif strange := [each for each in outputs if not each.is_tensor]:
        found = strange[:1]
    else:
        found = list(outputs)
        if len(found) > 1:
            found = [each for each in found if each.kind.startswith("float")] or found
    if len(found) > 1:
        raise CrayfishError(
            f"{where} has several outputs, {told}: say which one is the answer, such as `output: {found[0].name}`"
        )
    (only,) = found
    if not only.is_tensor:
        remedy = (
            "Export it without, by options={'zipmap': False} of skl2onnx" if only.kind == MAPS else "Export another"
        )
        other = ", or name another `output`" if len(outputs) > 1 and named is None else ""
        raise CrayfishError(f"{where}: its output {only} is no tensor; allowed: a tensor of numbers. {remedy}{other}")
    if only.kind not in ANSWERS:
        raise CrayfishError(f"{where}: its output is {only}; allowed: a tensor of {', '.join(ANSWERS)}")
    return only


def _one(where: str, key: str, of_files: Mapping[str, str], given: str | None, of_samples: str | None) -> str:
    """The type that all who tell one agree on."""
    known = dict(of_files)
    for form, kind in known.items():
        first = next(iter(known))
        if kind != known[first]:
            raise CrayfishError(f"{where}.files: the input of {first} is {known[first]}, and that of {form} is {kind}")
    found = next(iter(known.values()), None)
    if found and given and given != found:
        raise CrayfishError(f"{where}.{key}: {given!r}, and the file's input is {found}: leave it out")
    wanted = found or given
    if wanted and of_samples and of_samples != wanted:
        raise CrayfishError(
            f"{where}.samples: they are {of_samples}, and the model takes {wanted}: save them so, by"
            f" numpy.save(FILE, samples.astype({wanted!r}))"
        )
    if not (wanted or of_samples):
        raise CrayfishError(
            f"{where}.{key}: missing: a TorchScript file does not tell the type of its input; allowed:"
            f" {', '.join(ITEM_BYTES)} (or give `samples`)"
        )
    return str(wanted or of_samples)


def _axes(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in ('n', *shape))}]"


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(size in (None, own) for own, size in zip(shape, wanted, strict=True))


def _shape(
    where: str,
    of_files: Mapping[str, tuple[int | None, ...]],
    given: list[int] | None,
    of_samples: tuple[int, ...] | None,
) -> tuple[int, ...]:
    """The shape of a data point that all who tell one agree on; open axes are filled by the samples, or by `shape`."""
    shape = of_samples if of_samples is not None else tuple(given) if given is not None else None
    if given is not None and of_samples is not None and tuple(given) != of_samples:
        raise CrayfishError(f"{where}.shape: {given}, and the samples are {_axes(of_samples)}: leave it out")
    key = "samples" if of_samples is not None else "shape"
    for form, wanted in of_files.items():
        if shape is None and None not in wanted:
            shape, key = tuple(size for size in wanted if size is not None), f"files.{form}"
        if shape is not None and not _fits(shape, wanted):
            raise CrayfishError(
                f"{where}.{key}: data points are {_axes(shape)}, and the file of {form} takes {_axes(wanted)}"
            )
    if shape is None:
        told = ", ".join(f"{form} {_axes(wanted)}" for form, wanted in of_files.items()) or "TorchScript tells none"
        raise CrayfishError(
            f"{where}.shape: missing: the files leave it open ({told}); say what a data point is, such as"
            " `shape: [128]`, or give `samples`"
        )
    if 0 in shape:
        raise CrayfishError(f"{where}.{key}: data points are {_axes(shape)}; allowed: axes of at least 1")
    return shape


def _range(drawn: tuple[float, float] | None) -> str:
    return "{:g} to {:g}".format(*drawn) if drawn else ""


def _checked_range(where: str, drawn: list, dtype: str) -> tuple[float, float]:
    low, high = drawn
    if not (low < high and math.isfinite(high - low)):
        raise CrayfishError(f"{where}: {drawn!r}: the first must be less than the second, and both finite")
    if not dtype.startswith("float"):
        bits = 8 * ITEM_BYTES[dtype]
        least, most = (0, 2**bits - 1) if dtype == "uint8" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if not (least <= low and high <= most and int(low) == low and int(high) == high):
            raise CrayfishError(f"{where}: {drawn!r}: allowed for {dtype}: whole numbers from {least} to {most}")
        return int(low), int(high)
    if dtype == "float16" and max(abs(low), abs(high)) > 65504:
        raise CrayfishError(f"{where}: {drawn!r}: allowed for float16: -65504 to 65504")
    return float(low), float(high)


# --- what files say of themselves -------------------------------------------------------------------------------------


class _Damaged(Exception):
    """The bytes are none of the format."""


Message = dict[int, list[Any]]


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of the protocol buffers' wire format, and where it ends."""
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise _Damaged
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _message(data: memoryview) -> Message:
    """The fields of a message of protocol buffers: number -> values, ints or the bytes of what has a length."""
    found: Message = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        value: int | memoryview
        if wire == 0:
            value, place = _varint(data, place)
        elif wire == 2:
            length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, place = data[place : place + length], place + length
        else:
            raise _Damaged
        if number == 0 or place > len(data):
            raise _Damaged
        found.setdefault(number, []).append(value)
    return found


def _part(data: Any) -> Message:
    """A field that must be a message."""
    if isinstance(data, int):
        raise _Damaged
    return _message(data)


def _text(found: Message, number: int) -> str:
    try:
        return bytes(found[number][0]).decode() if number in found else ""
    except (UnicodeDecodeError, TypeError) as error:
        raise _Damaged from error


def _number(found: Message, number: int) -> int:
    """A number; a negative one is stored as its complement to 2^64."""
    value = found.get(number, [0])[0]
    if not isinstance(value, int):
        raise _Damaged
    return value - 2**64 if value >= 2**63 else value


def _bytes(path: Path, where: str) -> memoryview:
    """The bytes of a file, which are read as they are looked at; CrayfishError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise CrayfishError(f"{where} cannot be read: {error.strerror}") from error
    except ValueError:  # an empty file cannot be mapped
        return memoryview(b"")


def _told(read: Callable[[memoryview, str], Contents], data: memoryview, where: str, what: str) -> Contents:
    """What the bytes say of themselves; CrayfishError if they are none of this format."""
    try:
        return read(data, where)
    except (_Damaged, IndexError, KeyError, TypeError) as error:
        raise CrayfishError(f"{where} is no {what}, or damaged: get it again, or export it again") from error


def read_onnx(path: Path, where: str) -> Contents:
    """The inputs and outputs of an ONNX file. CrayfishError where it is none, or where its weights lie outside it."""
    return _told(_onnx, _bytes(path, where), where, "ONNX file")


def _onnx(data: memoryview, where: str) -> Contents:
    model = _message(data)
    if 7 not in model or 1 not in model:
        raise _Damaged
    graph = _part(model[7][0])
    constants = set()
    for initializer in map(_part, graph.get(5, ())):
        constants.add(_text(initializer, 8))
        if _number(initializer, 14) == 1:
            raise CrayfishError(
                f"{where}: weights lie outside the file ({_text(initializer, 8)}); allowed: all in one file, such as by"
                " onnx.save(onnx.load(FILE), ONE_FILE)"
            )
    sets = [f"{_text(each, 1) or 'ai.onnx'} {_number(each, 2)}" for each in map(_part, model.get(8, ()))]
    inputs = [_onnx_tensor(_part(each)) for each in graph.get(11, ())]
    outputs = [_onnx_tensor(_part(each)) for each in graph.get(12, ())]
    if not outputs:
        raise _Damaged
    inputs = [each for each in inputs if each.name not in constants]
    if not inputs:
        raise CrayfishError(f"{where} has no input; allowed: one tensor")
    return Contents(tuple(inputs), tuple(outputs), f"the operator sets {', '.join(sets)}")


def _onnx_tensor(value: Message) -> Tensor:
    name = _text(value, 1)
    kind = _part(value[2][0]) if 2 in value else {}
    if 1 not in kind:
        words = {4: "a sequence", 5: "a map", 8: "a sparse tensor", 9: "an optional value"}
        told = next((told for number, told in words.items() if number in kind), "of no type")
        if 4 in kind and 1 in (sequence := _part(kind[4][0])) and 5 in _part(sequence[1][0]):
            told = MAPS
        return Tensor(name, told, None)
    tensor = _part(kind[1][0])
    shape = None
    if 2 in tensor:
        sizes = [_part(each) for each in _part(tensor[2][0]).get(1, ())]
        shape = tuple(_number(each, 1) if 1 in each and _number(each, 1) > 0 else None for each in sizes)
    return Tensor(name, ONNX_TYPES.get(_number(tensor, 1), f"type_{_number(tensor, 1)}"), shape)


def read_savedmodel(path: Path, where: str) -> Contents:
    """The inputs and outputs of a SavedModel's signature. CrayfishError where it is none, or has not that signature."""
    where = f"{where}: saved_model.pb"
    return _told(_savedmodel, _bytes(path / "saved_model.pb", where), where, "SavedModel")


def _savedmodel(data: memoryview, where: str) -> Contents:
    graphs = [_part(each) for each in _message(data).get(2, ())]
    serving = [each for each in graphs if any(bytes(tag) == TAG.encode() for tag in _part(each[1][0]).get(4, ()))]
    if not serving:
        raise CrayfishError(f"{where} has no graph with the tag {TAG!r}; allowed: one, as tf.saved_model.save makes it")
    signatures = {_text(entry, 1): _part(entry[2][0]) for entry in map(_part, serving[0].get(5, ()))}
    if SIGNATURE not in signatures:
        named = ", ".join(sorted(signatures)) or "none"
        raise CrayfishError(f"{where} has the signatures {named}; allowed: one that is called {SIGNATURE}")
    signature = signatures[SIGNATURE]
    inputs, outputs = ([_savedmodel_tensor(each) for each in signature.get(number, ())] for number in (1, 2))
    if not (inputs and outputs):
        raise CrayfishError(f"{where}: {SIGNATURE} has no {'output' if inputs else 'input'}; allowed: tensors")
    return Contents(tuple(inputs), tuple(sorted(outputs, key=lambda each: each.name)))


def _savedmodel_tensor(entry: Any) -> Tensor:
    held = _part(entry)
    about = _part(held[2][0]) if 2 in held else {}
    name, kind = _text(held, 1), TENSORFLOW_TYPES.get(_number(about, 2), f"type_{_number(about, 2)}")
    if 4 in about or 5 in about:
        return Tensor(name, "a sparse or composite tensor", None)
    described = _part(about[3][0]) if 3 in about else {}
    if _number(described, 3):
        return Tensor(name, kind, None)
    sizes = [_number(_part(each), 1) for each in described.get(2, ())]
    return Tensor(name, kind, tuple(None if size < 0 else size for size in sizes))


def read_torchscript(path: Path, where: str) -> Contents:
    """Nothing: a TorchScript file tells no shapes. CrayfishError where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise CrayfishError(f"{where} is no TorchScript file, or damaged ({error}): export it again") from error
    if "data.pkl" not in names or not any(name.startswith("code/") for name in names):
        raise CrayfishError(
            f"{where} is no TorchScript file; allowed: what torch.jit.script(module).save(FILE) or torch.jit.trace"
            " makes, and not a state_dict or a pickled module"
        )
    return Contents()


READERS: dict[str, Callable[[Path, str], Contents]] = {
    "onnx": read_onnx,
    "torchscript": read_torchscript,
    "savedmodel": read_savedmodel,
}


def _samples(path: Path, where: str) -> tuple[str, tuple[int, ...]]:
    """The type and the shape of an npy file, or of the one array of an npz."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if len(names) != 1:
                    arrays = ", ".join(Path(name).stem for name in names[:NAMED]) or "nothing"
                    raise CrayfishError(f"{where} holds {arrays}; allowed: one array")
                with archive.open(names[0]) as file:
                    dtype, shape = _header(file)
        else:
            with path.open("rb") as file:
                dtype, shape = _header(file)
    except OSError as error:
        raise CrayfishError(f"{where} cannot be read: {error.strerror}") from error
    except (_Damaged, zipfile.BadZipFile) as error:
        raise CrayfishError(f"{where} is no npy or npz file, or damaged: make it by numpy.save(FILE, array)") from error
    if len(shape) < 1 or shape[0] < 2:
        raise CrayfishError(f"{where} is {dtype}{list(shape)}; allowed: an array of at least two data points, [n, ...]")
    return dtype, shape


def _header(file: Any) -> tuple[str, tuple[int, ...]]:
    """What an npy file holds, by numpy's names."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8:
        raise _Damaged
    length = file.read(2 if start[6] == 1 else 4)
    (size,) = struct.unpack("<H" if start[6] == 1 else "<I", length) if len(length) in (2, 4) else (0,)
    try:
        about = ast.literal_eval(file.read(size).decode("latin1"))
        described, shape = about["descr"], tuple(map(int, about["shape"]))
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise _Damaged from error
    told = re.fullmatch(r"[<|=]?([fiub])(\d+)", described) if isinstance(described, str) else None
    kinds = {"f": "float", "i": "int", "u": "uint"}
    if told and told[1] in kinds:
        return f"{kinds[told[1]]}{8 * int(told[2])}", shape
    return f"of the type {described!r}", shape
