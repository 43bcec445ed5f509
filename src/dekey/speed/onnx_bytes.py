"""An ONNX file of a few nodes, written without the onnx package, which the small install does not have.

The numbers are those of the fields in ``onnx.proto`` (github.com/onnx/onnx); the encoding is that of Protocol Buffers
(protobuf.dev/programming-guides/encoding): each field a tag, then a varint, or a length and that many bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3}
"""ONNX's numbers of the element types that are needed here."""

IR_VERSION, OPSET = 8, 17
_INTS = 7  # AttributeProto.AttributeType

Field = tuple[int, "int | bytes | str"]


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    """Write a NodeProto with one output and attributes that are lists of whole numbers."""
    fields: list[Field] = [*((1, name) for name in inputs), (2, output), (4, kind)]
    for name, values in attributes.items():
        fields.append((5, message([(1, name), *((8, value) for value in values), (20, _INTS)])))
    return message(fields)


def tensor(name: str, values: NDArray[Any]) -> bytes:
    """Write a TensorProto: an array with a name."""
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    dims: list[Field] = [(1, length) for length in values.shape]
    return message([*dims, (2, ELEMENTS[values.dtype.name]), (8, name), (9, little.tobytes())])


def value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    """Write a ValueInfoProto: an input or output with its type."""
    dimensions = message([(1, message([(1, length)])) for length in shape])
    return message([(1, name), (2, message([(1, message([(1, ELEMENTS[dtype]), (2, dimensions)]))]))])


def model(
    nodes: Sequence[bytes], tensors: Mapping[str, NDArray[Any]], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """Write a ModelProto of nodes in the order in which they run."""
    graph: list[Field] = [*((1, one) for one in nodes), (2, "graph")]
    graph += [(5, tensor(name, values)) for name, values in tensors.items()]
    graph += [*((11, one) for one in inputs), *((12, one) for one in outputs)]
    return message([(1, IR_VERSION), (2, "dekey"), (7, message(graph)), (8, message([(2, OPSET)]))])


def message(fields: Sequence[Field]) -> bytes:
    """Write numbered fields: whole numbers, texts, and messages within the message.

    >>> message([(1, 150), (2, "testing")]).hex()
    '089601120774657374696e67'
    """
    parts = []
    for number, content in fields:
        if isinstance(content, int):
            parts += [_varint(number << 3), _varint(content)]
        else:
            raw = content.encode() if isinstance(content, str) else content
            parts += [_varint(number << 3 | 2), _varint(len(raw)), raw]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
