# SPDX-License-Identifier: Apache-2.0
"""Messages of several inputs that belong together by their stamps."""

# The method names are those of the standard package.
# ruff: noqa: N802

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from rclpy.duration import Duration

from message_filters.filters import SimpleFilter, stamp_of

Queue = dict[int, Any]  # stamp in nanoseconds -> message


class TimeSynchronizer(SimpleFilter):
    """Signals one message of each input whenever all inputs hold the same stamp."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.allow_headerless = False
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Take messages from the filters `fs`; their order is the order of the callback's arguments."""
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            source.registerCallback(self.add, queue, index)
            for index, (source, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, message: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Store `message` of one input and signal what is now complete; the oldest of a full queue goes."""
        stamp = stamp_of(message, self.allow_headerless)
        if stamp is None:
            return
        with self.lock:
            my_queue[stamp.nanoseconds] = message
            while len(my_queue) > self.queue_size:
                del my_queue[min(my_queue)]
            for stamps in self._matches(stamp.nanoseconds, my_queue_index):
                found = [queue.pop(key) for queue, key in zip(self.queues, stamps, strict=True)]
                self.signalMessage(*found)

    def _matches(self, stamp_ns: int, my_queue_index: int | None) -> Iterable[tuple[int, ...]]:
        """Yield the stamps, one of each queue, that form a set now."""
        del stamp_ns, my_queue_index
        common = set(self.queues[0]).intersection(*self.queues[1:])
        return [(key,) * len(self.queues) for key in sorted(common)]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Signals one message of each input where their stamps differ by less than `slop` seconds."""

    def __init__(
        self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def _matches(self, stamp_ns: int, my_queue_index: int | None) -> Iterable[tuple[int, ...]]:
        """Yield at most one set, that with the stamps nearest to the new message's."""
        slop_ns = self.slop.nanoseconds
        candidates = [
            [stamp_ns]
            if index == my_queue_index
            else sorted((key for key in queue if abs(key - stamp_ns) <= slop_ns), key=lambda key: abs(key - stamp_ns))
            for index, queue in enumerate(self.queues)
        ]
        if my_queue_index is not None and stamp_ns not in self.queues[my_queue_index]:
            return []  # older than all that its full queue holds
        for stamps in product(*candidates):
            if max(stamps) - min(stamps) < slop_ns:
                return [stamps]
        return []
