# SPDX-License-Identifier: Apache-2.0
"""Typed access to bundle.yaml: a value that cannot be used is refused by its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from reprlib import repr as brief
from typing import Any

from vl_anomaly_ros.errors import BundleError

MAX_LINE_CHARACTERS = 256
MAX_NOTE_CHARACTERS = 8192
MAX_TEXTS = 1024


class Description:
    """The values of bundle.yaml, or of a section in it.

    Args:
        values: as YAML gives them.
        prefix: section, for messages.
        file: its name, for messages.

    Raises:
        BundleError: `values` is no mapping; each method: its value is absent or cannot be used.
    """

    def __init__(self, values: Any, prefix: str = "", file: str = "bundle.yaml") -> None:
        if not isinstance(values, Mapping):
            raise BundleError(
                f"{file}: {prefix}expected a mapping, got {type(values).__name__}; export the bundle again"
            )
        self._values = values
        self._prefix = prefix
        self._file = file

    def get(self, key: str) -> Any:
        """The plain value, None where there is none."""
        return self._values.get(key)

    def refuse(self, key: str, expected: str) -> BundleError:
        """What to raise for a wrong value."""
        return BundleError(
            f"{self._file}: {self._prefix}{key}: expected {expected}, got {brief(self.get(key))}; "
            "export the bundle again"
        )

    def text(self, key: str) -> str:
        """One line of plain text. It goes into logs and diagnostics: nothing in it may steer a terminal."""
        value = self.get(key)
        if not _is_line(value):
            raise self.refuse(key, f"a text: one line of up to {MAX_LINE_CHARACTERS} printable characters")
        return str(value)

    def note(self, key: str) -> str:
        """Plain text for people, of any number of lines."""
        value = self.get(key)
        if (
            not isinstance(value, str)
            or len(value) > MAX_NOTE_CHARACTERS
            or not all(line.isprintable() for line in value.splitlines())
        ):
            raise self.refuse(key, f"a text of up to {MAX_NOTE_CHARACTERS} printable characters")
        return value

    def texts(self, key: str, most: int = MAX_TEXTS) -> tuple[str, ...]:
        """At least one line."""
        value = self.get(key)
        if not isinstance(value, list) or not 0 < len(value) <= most or not all(_is_line(v) for v in value):
            raise self.refuse(
                key, f"a list of texts: 1 to {most} lines of up to {MAX_LINE_CHARACTERS} printable characters"
            )
        return tuple(value)

    def template(self, key: str, text: str) -> str:
        """`text`, which must have one slot for a word."""
        if text.count("{}") != 1 or text.replace("{}", "").count("{") or text.replace("{}", "").count("}"):
            raise self.refuse(key, "exactly one {} for the word, and no other brace")
        return text

    def whole(self, key: str, most: int, multiple_of: int = 1) -> int:
        """A positive whole number."""
        value = self.get(key)
        if type(value) is not int or not 0 < value <= most or value % multiple_of:
            raise self.refuse(key, f"a multiple of {multiple_of} up to {most}")
        return value

    def positive(self, key: str) -> float:
        """A positive number."""
        value = self.get(key)
        if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
            raise self.refuse(key, "a positive number")
        return float(value)

    def rgb(self, key: str, *, positive: bool) -> tuple[float, float, float]:
        """Three numbers from 0 to 1."""
        value = self.get(key)
        if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
            raise self.refuse(key, "3 numbers")
        if not all(0 <= v <= 1 and not (positive and v == 0) for v in value):
            raise self.refuse(key, "numbers from 0 to 1" + (", none of them 0" if positive else ""))
        return (float(value[0]), float(value[1]), float(value[2]))

    def flag(self, key: str) -> bool:
        """Yes or no."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """So many numbers from 0 to 1; one number stands for all."""
        value = self.get(key)
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count or not all(type(v) in (int, float) and 0 <= v <= 1 for v in values):
            raise self.refuse(key, f"a number from 0 to 1, or {count} of them")
        return tuple(float(v) for v in values)

    def figures(self, key: str) -> Mapping[str, Any]:
        """A section for people; empty where there is none."""
        value = self.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(key, "a section")
        return value or {}


def _is_line(value: Any) -> bool:
    return (
        isinstance(value, str) and 0 < len(value) <= MAX_LINE_CHARACTERS and value.isprintable() and bool(value.strip())
    )
