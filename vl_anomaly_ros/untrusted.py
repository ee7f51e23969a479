# SPDX-License-Identifier: Apache-2.0
"""Files that others wrote: read within limits, so that none can fill the memory, hang the process or run code."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import yaml

from vl_anomaly_ros.errors import VlAnomalyError

MAX_YAML_BYTES = 1 << 20
MAX_YAML_DEPTH = 16
MAX_YAML_NODES = 50_000
MAX_YAML_CHARACTERS = 8192  # of one key or value

# Not every operating system has each of them.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C is ten times faster
_INT = "tag:yaml.org,2002:int"
_TOO_DEEP = f"expected at most {MAX_YAML_DEPTH} levels, got more; flatten it"


def read_file(path: Path, most_bytes: int, error: type[VlAnomalyError]) -> bytes:
    """Content of a regular file. Its size is looked at before a byte is read; a pipe or device is never waited for.

    Raises:
        error: the file is absent, not a regular one, or larger than `most_bytes`.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as cause:  # ValueError: a path with a zero byte
        said = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        raise error(f"{plain(str(path))}: expected a readable file, got: {said}; check the path") from cause
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise error(f"{plain(str(path))}: expected a regular file, got a folder, pipe or device; name a file")
    with os.fdopen(descriptor, "rb") as file:
        # One byte more than allowed shows a file that grew after its size was looked at.
        content = b"" if status.st_size > most_bytes else file.read(most_bytes + 1)
    if status.st_size > most_bytes or len(content) > most_bytes:
        got = max(status.st_size, len(content))
        raise error(f"{plain(str(path))}: expected at most {most_bytes} bytes, got {got}; make the file smaller")
    return content


def parse_yaml(content: str | bytes, what: str, error: type[VlAnomalyError]) -> Any:
    """Plain values of one YAML document. Tags that make objects, anchors and doubled keys are refused.

    Args:
        content: at most `MAX_YAML_BYTES`.
        what: begins each message, such as the file's name.
        error: what is raised.

    Raises:
        error: no YAML, a limit is broken, a key stands twice, or a whole number needs more than 64 bits.
    """
    if len(content) > MAX_YAML_BYTES:
        raise error(f"{what}: expected at most {MAX_YAML_BYTES} bytes, got {len(content)}; make the file smaller")
    try:
        if broken := _broken_limit(content):
            raise error(f"{what}: {broken}")
        return yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        if _exhausts_the_parser(cause):
            raise error(f"{what}: {_TOO_DEEP}") from cause
        words = plain(" ".join(str(cause).split()))
        raise error(f"{what}: expected YAML, got a syntax error: {words}; correct the file") from cause


def plain(text: str) -> str:
    r"""`text` with control and formatting characters escaped: they could forge lines in a log or steer a terminal.

    >>> plain("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _broken_limit(content: str | bytes) -> str:
    """Which limit the document breaks, or nothing. Reads event by event: no value is built before all are within."""
    depth = nodes = 0
    for event in yaml.parse(content, Loader=_BASE):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                return f"line {line}: expected plain values, got an anchor or alias; write the value out"
            if nodes > MAX_YAML_NODES:
                return f"line {line}: expected at most {MAX_YAML_NODES} keys and values, got more; leave some out"
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_YAML_CHARACTERS:
            return f"line {line}: expected at most {MAX_YAML_CHARACTERS} characters a value, got {len(event.value)}"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_YAML_DEPTH:
                return f"line {line}: {_TOO_DEEP}"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return ""


def _exhausts_the_parser(cause: Exception) -> bool:
    """Whether levels were too many for the parser itself, which reads ahead of the events that are counted here."""
    return isinstance(cause, RecursionError) or "nesting depth" in str(cause)  # as libyaml 0.2.6 says it


class _Loader(_BASE):  # type: ignore[misc]  # one of two classes, by what is installed
    """PyYAML's safe loader, which in addition takes no key twice and no endless number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value[:64]!r} stands twice", key.start_mark
                )
            seen.add((key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)))
        return super().construct_mapping(node, deep)

    def construct_small_int(self, node: Any) -> int:
        value = int(self.construct_yaml_int(node))
        if not -(2**63) <= value < 2**63:
            raise yaml.constructor.ConstructorError(None, None, "a number of more than 64 bits", node.start_mark)
        return value


_Loader.add_constructor(_INT, _Loader.construct_small_int)
