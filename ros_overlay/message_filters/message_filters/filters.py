# SPDX-License-Identifier: Apache-2.0
"""The base of all filters, the subscription, and the history of one input."""

# The method names are those of the standard package.
# ruff: noqa: N802

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.clock import ROSClock
from rclpy.logging import get_logger
from rclpy.time import Time


def stamp_of(message: Any, allow_headerless: bool) -> Time | None:
    """Return the stamp of the header; without a header the current time where allowed, else None and a warning."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is not None:
        return stamp if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp)
    if allow_headerless:
        return ROSClock().now()
    get_logger("message_filters").warning(
        f"{type(message).__name__} has no header and is left out; allow_headerless=True stamps it on arrival"
    )
    return None


class SimpleFilter:
    """A source of messages that others register with."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call `cb(*messages, *args)` at every output; return the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *messages: Any) -> None:
        """Hand one output to all who registered."""
        for callback, args in list(self.callbacks.values()):
            callback(*messages, *args)


class Subscriber(SimpleFilter):
    """A subscription as a filter: `Subscriber(node, Image, "image", qos_profile=...)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node, message_type, self.topic, *others = args
        if not others:
            kwargs.setdefault("qos_profile", 10)
        self.sub = self.node.create_subscription(message_type, self.topic, self.callback, *others, **kwargs)

    def callback(self, message: Any) -> None:
        """Pass one message on."""
        self.signalMessage(message)

    def getTopic(self) -> str:
        """Return the topic as it was asked for."""
        return str(self.topic)

    def __getattr__(self, name: str) -> Any:
        if name == "sub":  # not there yet: the subscription failed
            raise AttributeError(name)
        return getattr(self.sub, name)


class Cache(SimpleFilter):
    """The last messages of one input, to be asked for by time."""

    def __init__(self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self._entries: deque[tuple[Time, Any]] = deque(maxlen=cache_size)
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Take messages from `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, message: Any) -> None:
        """Store one message and pass it on."""
        stamp = stamp_of(message, self.allow_headerless)
        if stamp is None:
            return
        self._entries.append((stamp, message))
        self.signalMessage(message)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages from `from_stamp` to `to_stamp`, both included."""
        return [message for stamp, message in self._entries if from_stamp <= stamp <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any:
        """Return the first message at or after `stamp`, or None."""
        return next((message for time, message in self._entries if time >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:
        """Return the last message at or before `stamp`, or None."""
        return next((message for time, message in reversed(self._entries) if time <= stamp), None)

    def getLatestTime(self) -> Time | None:
        """Return the stamp of the last message, or None."""
        return self._entries[-1][0] if self._entries else None

    getLastestTime = getLatestTime  # the standard package spells it so  # noqa: N815

    def getOldestTime(self) -> Time | None:
        """Return the stamp of the first message held, or None."""
        return self._entries[0][0] if self._entries else None

    def getLast(self) -> Any:
        """Return the last message, or None."""
        return self._entries[-1][1] if self._entries else None
