"""Write tiny ONNX models by their protobuf encoding, so that tests need no package that makes them.

The field numbers are those of onnx.proto3 of ONNX 1.7 (opset 12).
"""

from collections.abc import Sequence
from pathlib import Path

FLOAT, INT64 = 1, 7
Value = tuple[str, int, Sequence[int | str]]
"""Name, type and shape of an input or output."""


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def piece(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def node(operator: str, source: str, target: str, **attributes: int | Sequence[int]) -> bytes:
    """Encode a node with one input and one output, and attributes of whole numbers."""
    content = piece(1, source) + piece(2, target) + piece(4, operator)
    for name, value in attributes.items():
        if isinstance(value, int):
            content += piece(5, piece(1, name) + number(3, value) + number(20, 2))
        else:
            content += piece(5, piece(1, name) + b"".join(number(8, entry) for entry in value) + number(20, 7))
    return content


def write_model(path: Path, nodes: Sequence[bytes], inputs: Sequence[Value], outputs: Sequence[Value]) -> Path:
    graph = b"".join(piece(1, content) for content in nodes) + piece(2, "graph")
    graph += b"".join(piece(11, _value(value)) for value in inputs)
    graph += b"".join(piece(12, _value(value)) for value in outputs)
    path.write_bytes(number(1, 7) + piece(7, graph) + piece(8, piece(1, "") + number(2, 12)))
    return path


def _value(value: Value) -> bytes:
    name, kind, shape = value
    sides = b"".join(piece(1, number(1, s) if isinstance(s, int) else piece(2, s)) for s in shape)
    return piece(1, name) + piece(2, piece(1, number(1, kind) + piece(2, sides)))


def _varint(value: int) -> bytes:
    content = b""
    while value > 127:
        content += bytes([value & 127 | 128])
        value >>= 7
    return content + bytes([value])
