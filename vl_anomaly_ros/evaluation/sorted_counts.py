# SPDX-License-Identifier: Apache-2.0
"""How often each number occurs, in order, among any number of them: an external merge sort in bounded memory.

Numbers are gathered, sorted and counted run by run. A run that is full goes to a temporary file (in `TMPDIR`, already
unlinked); runs are merged block by block as they are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError

Values = npt.NDArray[np.floating[Any]]
Block = tuple[Values, npt.NDArray[np.int64]]
"""Increasing numbers (n,), and how often each occurs (n,)."""

DEFAULT_BUFFER = 1 << 22
_MERGED_SHARE = 4  # of the buffer, so much is in memory while runs are merged: each number is there several times
_FAN_IN = 16


class SortedCounts:
    """A bag of finite numbers that are read in increasing order; nothing is rounded.

    Args:
        buffer: how many numbers are kept in memory; what is more goes to the disk, at most 16 bytes for each that
            differs from the others.

    >>> bag = SortedCounts(buffer=2)
    >>> for values in ([3.0, 1.0], [1.0, 2.0], [1.0]):
    ...     bag.add(np.array(values))
    >>> [(float(v), int(n)) for values, counts in bag.blocks() for v, n in zip(values, counts)], bag.total
    ([(1.0, 3), (2.0, 1), (3.0, 1)], 5)
    """

    def __init__(self, buffer: int = DEFAULT_BUFFER) -> None:
        if buffer < 1:
            raise EvaluationError(f"sorted counts: expected a buffer of at least one number, got {buffer}")
        self._limit = buffer
        self.total = 0
        self._pending: list[Values] = []
        self._pending_size = 0
        self._levels: list[list[_Run]] = []

    def add(self, values: Values) -> None:
        """Add numbers (n,), float32 or float64, finite. The array is kept: do not change it afterwards.

        Raises:
            EvaluationError: the temporary file cannot be written.
        """
        self._pending.append(values)
        self._pending_size += values.size
        self.total += values.size
        if self._pending_size > self._limit:
            self._put(0, _Run([self._sorted()]))
            self._pending, self._pending_size = [], 0

    def blocks(self) -> Iterator[Block]:
        """All numbers, increasing from block to block, each once. Can be repeated, and numbers added afterwards.

        Raises:
            EvaluationError: the temporary file cannot be read.
        """
        runs = [run for level in self._levels for run in level]
        size = self._block(len(runs) + 1)
        streams = [run.blocks(size) for run in runs]
        if self._pending_size:
            values, counts = self._sorted()
            starts = range(0, len(values), size)
            streams.append((values[start : start + size], counts[start : start + size]) for start in starts)
        return merged(streams)

    def _block(self, runs: int) -> int:
        return self._limit // _MERGED_SHARE // runs + 1

    def _sorted(self) -> Block:
        ordered = np.concatenate(self._pending)
        ordered.sort()
        first = np.append(True, ordered[1:] != ordered[:-1])
        starts = np.flatnonzero(first)
        return ordered[starts], np.diff(starts, append=ordered.size)

    def _put(self, level: int, run: _Run) -> None:
        """Keep a run; as many as `_FAN_IN` of a level become one of the next, so that few are ever open."""
        if level == len(self._levels):
            self._levels.append([])
        runs = self._levels[level]
        runs.append(run)
        if len(runs) == _FAN_IN:
            self._levels[level] = []
            self._put(level + 1, _Run(merged([one.blocks(self._block(_FAN_IN)) for one in runs])))


class _Run:
    """Numbers and counts in a temporary file, which goes when the run does.

    Args:
        blocks: what is written into it.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._dtypes: list[tuple[np.dtype[Any], int]] = []
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="vl_anomaly_")  # noqa: SIM115  (kept open)
            for values, counts in blocks:
                record = np.dtype([("value", values.dtype), ("count", np.int64)])
                rows = np.empty(len(values), record)
                rows["value"], rows["count"] = values, counts
                self._file.write(rows.view(np.uint8).data)
                if self._dtypes and self._dtypes[-1][0] == record:
                    self._dtypes[-1] = record, self._dtypes[-1][1] + len(rows)
                else:
                    self._dtypes.append((record, len(rows)))
        except OSError as error:
            raise EvaluationError(
                f"temporary file in {tempfile.gettempdir()}: expected room for the sorted scores, got: {error}; "
                "free some, or set TMPDIR to a folder on a larger disk"
            ) from error

    def blocks(self, size: int) -> Iterator[Block]:
        """The blocks again, of at most `size` numbers."""
        at = 0
        for record, length in self._dtypes:
            done = 0
            while done < length:
                self._file.seek(at)
                wanted = min(size, length - done) * record.itemsize
                content = self._file.read(wanted)
                if len(content) != wanted:
                    raise EvaluationError("temporary file: expected the scores written before, it is cut short; repeat")
                at, done = at + wanted, done + wanted // record.itemsize
                rows = np.frombuffer(content, record)
                yield np.ascontiguousarray(rows["value"]), np.ascontiguousarray(rows["count"])


def merged(streams: Iterable[Iterator[Block]]) -> Iterator[Block]:
    """One stream of several: increasing, each number once, the counts of equal numbers added.

    Args:
        streams: each increasing from block to block, without a number twice, and without an empty block.
    """
    heads: list[tuple[Block, Iterator[Block]]] = []
    for stream in streams:
        heads += _head(stream)
    while heads:
        limit = min(values[-1] for (values, _), _ in heads)  # below and at it, nothing is still unread
        parts: list[Block] = []
        left: list[tuple[Block, Iterator[Block]]] = []
        for (values, counts), stream in heads:
            end = int(np.searchsorted(values, limit, side="right"))
            if end:
                parts.append((values[:end], counts[:end]))
            left += [((values[end:], counts[end:]), stream)] if end < len(values) else _head(stream)
        heads = left
        yield parts[0] if len(parts) == 1 else _joined(parts)


def _head(stream: Iterator[Block]) -> list[tuple[Block, Iterator[Block]]]:
    block = next(stream, None)
    return [] if block is None else [(block, stream)]


def _joined(parts: list[Block]) -> Block:
    values = np.concatenate([part[0] for part in parts])
    counts = np.concatenate([part[1] for part in parts])
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[starts], np.add.reduceat(counts[order], starts)
