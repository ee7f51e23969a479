# SPDX-License-Identifier: Apache-2.0
"""What a graph file may hold: one ONNX graph, whole in itself or with its weights in the one file beside it.

Protobuf ends at 2 GiB, so the weights of a larger network lie in a second file of the bundle ("external data"), hashed
like the others. A runtime that is given such a graph must open nothing else: external data could name any path of the
machine, and nodes with a compiled engine would run code that came with the bundle. Both are looked for here in the
bytes themselves, before any runtime sees them; onnx.proto of the ONNX project gives the field numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from vl_anomaly_ros.errors import BundleError

MAX_SUBGRAPH_DEPTH = 16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH_OF_MODEL = 7
# The messages on the way to tensors and nodes: field number -> message.
_CHILDREN = {
    "Model": {_GRAPH_OF_MODEL: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_MOST_DIGITS = 19  # of a length or an offset
_OP_TYPE = 4
_MAGIC = (
    (0, b"\x7fELF", "a shared library"),
    (0, b"MZ", "a Windows program"),
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"),
    *((0, bytes((0x80, protocol)), "a Python pickle") for protocol in range(2, 6)),
    (0, b"ptrt", "a TensorRT engine"),
    (0, b"ftrt", "a TensorRT engine"),
    (4, b"ORTM", "a model in ONNX Runtime's own format"),
    (0, b"version https://git-lfs", "a pointer of git-lfs; fetch the file itself"),
)


def data_file(file: str) -> str:
    """Name of the file beside a graph that may hold its weights.

    >>> data_file("visual.onnx")
    'visual.onnx.data'
    """
    return file + ".data"


def check_graph_file(file: str, content: bytes, data_bytes: int = 0) -> None:
    """Raise `BundleError` unless `content` is an ONNX graph that needs no file but its own `data_file`.

    Args:
        file: its name.
        content: all bytes.
        data_bytes: size of its verified data file, 0: there is none.
    """
    for start, magic, kind in _MAGIC:
        if content[start : start + len(magic)] == magic:
            raise BundleError(f"{file}: expected an ONNX graph, got {kind}; export the bundle again")
    try:
        with memoryview(content) as view:
            graphs = sum(1 for number, _ in _fields(view) if number == _GRAPH_OF_MODEL)
            _check(file, "Model", view, 0, data_bytes)
    except (ValueError, IndexError) as error:
        raise BundleError(
            f"{file}: expected an ONNX graph, got other bytes ({error}); export the bundle again"
        ) from error
    if graphs != 1:
        raise BundleError(f"{file}: expected one ONNX graph, got {graphs}; export the bundle again")


def _check(file: str, kind: str, view: memoryview, depth: int, data_bytes: int) -> None:
    if depth > 3 * MAX_SUBGRAPH_DEPTH + 5:  # graph, node and attribute for each, and what a graph itself is made of
        raise BundleError(f"{file}: expected at most {MAX_SUBGRAPH_DEPTH} graphs within graphs, got more; simplify it")
    children = _CHILDREN[kind]
    if kind == "Tensor":
        _check_place(file, view, data_bytes)
    for number, value in _fields(view):
        if kind == "Node" and number == _OP_TYPE and isinstance(value, memoryview) and value.tobytes() == b"EPContext":
            raise BundleError(f"{file}: expected operators, got a compiled engine (EPContext); export the plain graph")
        if number in children:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {number} of {kind} is no message")
            _check(file, children[number], value, depth + 1, data_bytes)


def _check_place(file: str, tensor: memoryview, data_bytes: int) -> None:
    """Whether a tensor's weights are inside, or a part of the data file that exists."""
    entries: dict[bytes, bytes] = {}
    outside = False
    for number, value in _fields(tensor):
        outside = outside or number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        if number == _EXTERNAL_DATA and isinstance(value, memoryview):
            entry = {n: v.tobytes() for n, v in _fields(value) if isinstance(v, memoryview)}
            key = entry.get(_ENTRY_KEY, b"")
            if key in entries:  # protobuf keeps both; which of them a runtime takes is its own affair
                raise BundleError(f"{file}: expected one place for each tensor, got two; export the bundle again")
            entries[key] = entry.get(_ENTRY_VALUE, b"")
    if not outside:
        return
    if not data_bytes or entries.get(b"location") != data_file(file).encode():
        raise BundleError(
            f"{file}: expected all weights inside or in {data_file(file)} as bundle.yaml lists it, got weights in "
            "another file (external data); export the bundle again"
        )
    numbers = [entries.get(key, b"") for key in (b"offset", b"length")]
    if not all(n.isdigit() and len(n) <= _MOST_DIGITS for n in numbers) or sum(map(int, numbers)) > data_bytes:
        raise BundleError(
            f"{file}: expected offset and length within the {data_bytes} bytes of {data_file(file)}, got weights "
            "beyond its end; export the bundle again"
        )


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message; ValueError or IndexError where it is none."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        value: int | memoryview = 0
        if wire == _VARINT:
            value, at = _varint(view, at)
        elif wire in (_BYTES, _FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
            if wire == _BYTES:
                length, at = _varint(view, at)
            if length > len(view) - at:
                raise ValueError("it ends in the middle of a field")
            value, at = view[at : at + length], at + length
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0:
            raise ValueError("field 0")
        yield number, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
