# SPDX-License-Identifier: Apache-2.0
"""Messages of many small parts as serialised bytes, without an object for each part.

A publisher takes `bytes` as well as a message. A frame with 20 zones has some 2000 small messages in it; to make them
as Python objects costs several milliseconds, more on Humble, whose setters check every element of every list. Here any
value with the attributes of the message will do, and arrays stand for lists of points. The layout is read from the
message classes themselves, so that it follows their definition on every distribution.

Format: plain CDR (OMG DDSI-RTPS 2.5, section 10; XCDR version 1), in the byte order of this machine.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from importlib import import_module
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from vl_anomaly_ros.errors import DataError

# Types as message classes name them, as `struct` does. Its native alignment is that of CDR.
_CODES = {
    "boolean": "?",
    "octet": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float": "f",
    "double": "d",
}
_LIST = re.compile(r"sequence<([^,]+)(?:, \d+)?>|(.+)\[(\d+)\]")
_ENCAPSULATION = bytes((0, int(sys.byteorder == "little"), 0, 0))
_List = Callable[[Any, list[str], list[Any]], None]
"""Appends the format and the values of a list."""


class _Layout(NamedTuple):
    """How to write a message class.

    Attributes:
        leaves: takes all fields at once that are not messages themselves, those of nested messages too.
        parts: what these are, in order: numbers that follow each other by their codes, from leaf to leaf; a list by
            what writes it; and neither, a text.
    """

    leaves: Callable[[Any], tuple[Any, ...]]
    parts: tuple[tuple[str, int, int, _List | None], ...]


def serialized(kind: Any, value: Any) -> bytes:
    """What `rclpy` would send of a message.

    Args:
        kind: message class.
        value: anything with the attributes of that class, nested alike. A list of primitives, or of messages that
            consist of one primitive type such as points, may be an array of one row each; of other messages each may
            be a tuple of its fields.

    Raises:
        DataError: the class has fields of a type that is not supported, such as wide strings; a list of a fixed length
            has another, or the rows of an array are not as long as the message has numbers.
    """
    formats: list[str] = ["@"]
    values: list[Any] = []
    _write(_layout(kind), value, formats, values)
    return _ENCAPSULATION + struct.Struct("".join(formats)).pack(*values)


def plain(message: Any) -> SimpleNamespace:
    """The attributes of a message, nested ones too; several times faster to make another from, and to write."""
    fields = message.get_fields_and_field_types()
    values = {name: getattr(message, name) for name in fields}
    nested = {name: plain(value) for name, value in values.items() if hasattr(value, "get_fields_and_field_types")}
    return SimpleNamespace(**{**values, **nested})


def _write(layout: _Layout, value: Any, formats: list[str], values: list[Any]) -> None:
    leaves = value if isinstance(value, tuple) else layout.leaves(value)
    if len(leaves) != layout.parts[-1][2]:
        raise DataError(f"serialising: expected {layout.parts[-1][2]} fields, got {len(leaves)}")
    for codes, first, last, write_list in layout.parts:
        if codes:
            formats.append(codes)
            values += leaves[first:last]
        elif write_list is None:
            _text(leaves[first], formats, values)
        else:
            write_list(leaves[first], formats, values)


def _text(text: str, formats: list[str], values: list[Any]) -> None:
    code, size, data = _encoded(text)
    formats.append(code)
    values += (size, data)


@lru_cache(maxsize=1024)  # names and reasons come again and again
def _encoded(text: str) -> tuple[str, int, bytes]:
    data = text.encode(errors="replace")
    return f"I{len(data) + 1}s", len(data) + 1, data


@lru_cache(maxsize=64)
def _layout(kind: Any) -> _Layout:
    leaves = list(_leaves(kind))
    parts: list[tuple[str, int, int, _List | None]] = []
    for index, (_, name) in enumerate(leaves):
        if name not in _CODES:
            parts.append(("", index, index + 1, None if name == "string" else _list(name)))
        elif parts and parts[-1][0]:
            codes, first, _, _ = parts[-1]
            parts[-1] = (codes + _CODES[name], first, index + 1, None)
        else:
            parts.append((_CODES[name], index, index + 1, None))
    get = attrgetter(*(path for path, _ in leaves))
    return _Layout(get if len(leaves) > 1 else lambda value: (get(value),), tuple(parts))


def _leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and type of every field that is not itself a message, in order."""
    for field, name in kind.get_fields_and_field_types().items():
        if name in _CODES or name == "string" or _LIST.fullmatch(name):
            yield prefix + field, name
        else:
            yield from _leaves(_message_class(name), f"{prefix}{field}.")


def _message_class(name: str) -> Any:
    package, _, kind = name.partition("/")
    if not kind:
        raise DataError(f"serialising: expected numbers, strings, messages or lists of them, got {name}")
    return getattr(import_module(f"{package}.msg"), kind)


def _list(name: str) -> _List:
    """What writes a list of this type."""
    found = _LIST.fullmatch(name)
    if found is None:
        raise DataError(f"serialising: expected a list, got {name}")
    element, fixed = found[1] or found[2], int(found[3] or 0)
    if element == "string":
        return _each(_text, fixed)
    if element in _CODES:
        return _packed(_CODES[element], (), fixed)
    kind = _message_class(element)
    leaves = list(_leaves(kind))
    codes = {_CODES.get(leaf, "") for _, leaf in leaves}
    if len(leaves) > 1 and len(codes) == 1 and codes != {""}:
        return _packed(codes.pop(), [path for path, _ in leaves], fixed)
    return _each(partial(_write, _layout(kind)), fixed)


def _each(write_element: _List, fixed: int) -> _List:
    def write(elements: Any, formats: list[str], values: list[Any]) -> None:
        if fixed and len(elements) != fixed:
            raise DataError(f"serialising: expected {fixed} elements, got {len(elements)}")
        if not fixed:
            formats.append("I")
            values.append(len(elements))
        for element in elements:
            write_element(element, formats, values)

    return write


def _packed(code: str, fields: Sequence[str], fixed: int) -> _List:
    """A list of numbers, or of messages of `fields` of one type of number; of a `fixed` length, if not 0."""
    dtype = np.dtype(code)
    of_element = attrgetter(*fields) if fields else None
    row = (len(fields),) if fields else ()

    def write(elements: Any, formats: list[str], values: list[Any]) -> None:
        if not len(elements) and not fixed:  # not even aligned
            formats.append("I")
            values.append(0)
            return
        if of_element is not None and not isinstance(elements, np.ndarray):
            elements = [of_element(element) for element in elements]
        array = np.ascontiguousarray(elements, dtype)
        if array.shape != (fixed or len(array), *row):
            raise DataError(f"serialising: expected {fixed or 'any number'} x {row or 1} numbers, got {array.shape}")
        if not fixed:
            formats.append("I")
            values.append(len(array))
        formats.append(f"0{code}{array.nbytes}s")
        values.append(array.tobytes())

    return write
