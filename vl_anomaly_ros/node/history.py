# SPDX-License-Identifier: Apache-2.0
"""The last messages of one topic, each decoded when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from message_filters import Cache, SimpleFilter, Subscriber
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.time import Time

from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.node.stamps import StampWatch, Verdict

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BEGINNING = Time(nanoseconds=0, clock_type=ClockType.ROS_TIME)
_END = Time(nanoseconds=2**63 - 1, clock_type=ClockType.ROS_TIME)


class Received(Generic[T]):
    """A message that is decoded at most once, by whichever thread needs it first."""

    def __init__(self, message: Any, decode: Callable[[Any], T]) -> None:
        self.header = message.header  # which is all that a Cache looks at
        self.stamp_ns = stamp_ns(message.header.stamp)
        self._message = message
        self._decode = decode
        self._lock = threading.Lock()
        self._value: T | None = None
        self._fault = ""

    def value(self) -> tuple[T | None, str]:
        """The decoded message and "", or None and why it cannot be used."""
        with self._lock:
            if self._message is not None:
                try:
                    self._value = self._decode(self._message)
                except VlAnomalyError as error:
                    self._fault = str(error)
                except Exception as error:  # of a kind that nobody foresaw: it must not cost more than this message
                    self._fault = f"a message cannot be decoded: {type(error).__name__}: {error}"
                    logger.exception("a message of frame %s cannot be decoded", self.header.frame_id)
                self._message = None  # what was decoded is all that is kept
            return self._value, self._fault

    def replace(self, value: T) -> None:
        """Keep another value in place of the decoded one."""
        with self._lock:
            self._value = value


class History(Generic[T]):
    """A topic through `message_filters`: Subscriber, a check, Cache.

    The Cache of the standard package is not safe to fill in one thread and read in another; it raises on a negative
    stamp, in the thread that spins the node; its answers to 'the last before' go by arrival in some releases and by
    stamp in others; and one that sorts by stamp keeps nothing of a recording that starts again. So it is only touched
    under a lock, is given no negative stamp, is asked for all it has, and is replaced when time starts again.

    Args:
        node: that subscribes.
        kind: message type, with a header.
        topic: its name.
        qos: of the subscription.
        size: how many messages are kept.
        decode: from the message to what is used.
        name: of the input in counts, such as "cloud".
        keep_last: `clear` keeps the last message: it tells nothing of time, and may have been sent but once.
        on_message: called after a message was stored, in the thread that spins the node.
    """

    def __init__(
        self,
        node: LifecycleNode,
        kind: type[Any],
        topic: str,
        qos: QoSProfile,
        size: int,
        decode: Callable[[Any], T],
        name: str,
        on_message: Callable[[Received[T]], None],
        *,
        keep_last: bool = False,
    ) -> None:
        self._node, self._decode, self._name, self._on_message = node, decode, name, on_message
        self._size = max(size, 2)  # the kept one may be the youngest by its stamp, and must not push out what is new
        self._keep_last = keep_last
        self._last: Received[T] | None = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.clear()
        self._subscriber = Subscriber(node, kind, topic, qos_profile=qos)
        self._subscriber.registerCallback(self.take)
        self.topic = str(self._subscriber.sub.topic_name)

    def take(self, message: Any) -> None:
        """Store one message."""
        received = Received(message, self._decode)
        if min(message.header.stamp.sec, received.stamp_ns) < 0:  # -1 s and 4e9 ns are 3 s, and Time refuses them
            self.count("negative stamp")
            return
        if received.stamp_ns > 0:
            verdict = self._watch.see(received.stamp_ns)
            if verdict is not Verdict.ON:
                self.count(verdict.value)
            if verdict is Verdict.RESTARTED:
                self._node.get_logger().warning(
                    f"the stamps of {self.topic} went back by more than a second: what came before is forgotten"
                )
                self.clear()
        with self._lock:
            self._last = received if self._keep_last else None
            self._source.signalMessage(received)
        self._on_message(received)

    def all(self) -> list[Received[T]]:
        """What is kept, in no certain order."""
        with self._lock:
            return list(self._cache.getInterval(_BEGINNING, _END))

    def clear(self) -> None:
        """Forget all messages but a last one that is to be kept, and what stamps to expect."""
        with self._lock:
            self._watch = StampWatch()
            self._source = SimpleFilter()
            self._cache = Cache(self._source, self._size)
            if self._last is not None:
                self._source.signalMessage(self._last)

    def count(self, reason: str) -> None:
        """Count what was wrong with a message of this topic."""
        with self._lock:
            self._counts[f"{self._name}: {reason}"] += 1

    def counts(self) -> dict[str, int]:
        """How often something was wrong, in words."""
        with self._lock:
            return dict(self._counts)

    @property
    def has_publisher(self) -> bool:
        """Whether anybody publishes the topic."""
        return bool(self._node.count_publishers(self.topic))

    def close(self) -> None:
        """Destroy the subscription."""
        self._node.destroy_subscription(self._subscriber.sub)
