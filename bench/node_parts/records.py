# SPDX-License-Identifier: Apache-2.0
"""What the processes of the bench write down: one line an event, on disk at least once a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType

_FLUSH_S = 1.0


class Log:
    """Lines of fields separated by tabs. A process that is killed loses a second of them."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._flushed_s = monotonic()

    def __enter__(self) -> Log:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, *fields: object) -> None:
        """One line."""
        self._file.write("\t".join(map(str, fields)) + "\n")
        if monotonic() - self._flushed_s > _FLUSH_S:
            self._file.flush()
            self._flushed_s = monotonic()


def read(path: Path) -> list[list[str]]:
    """The whole lines of a log; none where it does not exist."""
    text = path.read_text() if path.is_file() else ""
    return [line.split("\t") for line in text.split("\n")[:-1]]


@dataclass(frozen=True)
class Sent:
    """An image: stamp of the system clock, and moments of the monotonic clock around `publish`, all in ns."""

    camera: str
    stamp_ns: int
    before_ns: int
    after_ns: int
    exposed_ns: int


@dataclass(frozen=True)
class Received:
    """A message of a topic: stamp, arrival by the monotonic clock, serialised size in bytes."""

    topic: str
    stamp_ns: int
    at_ns: int
    size: int


def sent(path: Path) -> list[Sent]:
    """The log of a sender."""
    return [Sent(fields[0], *map(int, fields[1:])) for fields in read(path)]


def received(path: Path) -> list[Received]:
    """The log of a receiver."""
    return [Received(fields[0], *map(int, fields[1:])) for fields in read(path)]
