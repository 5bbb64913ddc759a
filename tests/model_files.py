"""Model files as far as a plan reads them: what they say of themselves, and nothing that computes."""

from pathlib import Path

import numpy as np

FLOAT, STRING, INT64, HALF = 1, 8, 7, 10


def number(value: int) -> bytes:
    """A varint of protocol buffers."""
    found = b""
    while value >= 0x80:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def part(field: int, value: int | str | bytes) -> bytes:
    """A field of a message."""
    if isinstance(value, int):
        return number(field << 3) + number(value % 2**64)
    content = value.encode() if isinstance(value, str) else value
    return number(field << 3 | 2) + number(len(content)) + content


def tensor(name: str, kind: int, *axes: int | str) -> bytes:
    """A ValueInfoProto of ONNX."""
    sizes = b"".join(part(1, part(1 if isinstance(axis, int) else 2, axis)) for axis in axes)
    return part(1, name) + part(2, part(1, part(1, kind) + part(2, sizes)))


def zipmap(name: str) -> bytes:
    of_map = part(5, part(1, INT64) + part(2, part(1, part(1, FLOAT))))
    return part(1, name) + part(2, part(4, part(1, of_map)))


def onnx(inputs: list[bytes], outputs: list[bytes], constants: tuple[bytes, ...] = ()) -> bytes:
    """An ONNX file without nodes."""
    graph = part(2, "g") + b"".join(part(5, each) for each in constants)
    graph += b"".join(part(11, each) for each in inputs) + b"".join(part(12, each) for each in outputs)
    return part(1, 8) + part(8, part(1, "") + part(2, 17)) + part(7, graph)


def stand_ins(config: dict, folder: Path) -> None:
    """Let the `own_models` of a config name files of this kind, in a folder, with the inputs of those that it names."""
    for name, model in (config.get("own_models") or {}).items():
        kind, dtype, size = (INT64, np.int64, 32) if name == "minilm" else (FLOAT, np.float32, 30)
        files = folder / f"{name}.onnx", folder / f"{name}.npy"
        files[0].write_bytes(onnx([tensor("input", kind, "n", size)], [tensor("output", FLOAT, "n", 2)]))
        np.save(files[1], np.zeros((5, size), dtype))
        model["files"], model["samples"] = {"onnx": str(files[0])}, str(files[1])
