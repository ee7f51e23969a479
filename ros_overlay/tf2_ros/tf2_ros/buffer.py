# SPDX-License-Identifier: Apache-2.0
"""The transform buffer: messages in, looked-up transforms out."""

from __future__ import annotations

import math
import threading
import time as wall
from collections.abc import Callable
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros.exceptions import TransformException
from tf2_ros.frame_graph import FrameGraph
from tf2_ros.rigid import Rigid, normalised

if TYPE_CHECKING:
    from rclpy.clock import TimeJump
    from rclpy.node import Node

DEFAULT_CACHE_S = 10.0
_POLL_S = 0.02
_UNIT_TOLERANCE = 0.01  # of the square of the length, as in the standard package


class Buffer:
    """Holds the transforms of the last seconds; safe to fill and ask from several threads."""

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        cache = cache_time if cache_time is not None else Duration(seconds=DEFAULT_CACHE_S)
        self._graph = FrameGraph(cache.nanoseconds)
        self._lock = threading.RLock()
        self._log = get_logger("tf2_buffer")
        if node is not None:
            # Simulated time that jumps back is a bag that starts again: what was held lies in the future then.
            threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1.0), on_clock_change=True)
            self._jump = node.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds around its stamp; a malformed one is left out and logged."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times; a malformed one is left out and logged."""
        self._insert(transform, authority, static=True)

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """Return the transform that maps points of `source_frame` into `target_frame`.

        Args:
            target_frame: frame to transform into.
            source_frame: frame to transform from.
            time: the moment; zero is the newest at which the whole chain is known.
            timeout: how long to wait for the data.

        Raises:
            TransformException: `LookupException`, `ConnectivityException` or `ExtrapolationException` say why not.
        """
        if timeout is not None and timeout.nanoseconds > 0:
            self.can_transform(target_frame, source_frame, time, timeout)
        with self._lock:
            found_ns, rigid = self._graph.lookup(target_frame, source_frame, time.nanoseconds)
        return _message(target_frame, source_frame, found_ns, rigid)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration | None = None,
    ) -> TransformStamped:
        """Return the transform from `source_frame` at one time into `target_frame` at another.

        `fixed_frame` is the frame that is taken to stand still between the two times.
        """
        self._wait(lambda: self._full(target_frame, target_time, source_frame, source_time, fixed_frame), timeout)
        return self._full(target_frame, target_time, source_frame, source_time, fixed_frame)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration | None = None,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return whether `lookup_transform` would succeed, after waiting for at most `timeout`.

        With `return_debug_tuple` also why not.
        """

        def attempt() -> None:
            with self._lock:
                self._graph.lookup(target_frame, source_frame, time.nanoseconds)

        reason = self._wait(attempt, timeout)
        return (reason is None, reason or "") if return_debug_tuple else reason is None

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration | None = None,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return whether `lookup_transform_full` would succeed, after waiting for at most `timeout`."""
        reason = self._wait(
            lambda: self._full(target_frame, target_time, source_frame, source_time, fixed_frame), timeout
        )
        return (reason is None, reason or "") if return_debug_tuple else reason is None

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Return the newest time at which both frames are known in each other."""
        with self._lock:
            self._graph.check_frame(target_frame, "target_frame")
            self._graph.check_frame(source_frame, "source_frame")
            return Time(nanoseconds=self._graph.latest_common_time(target_frame, source_frame))

    def all_frames_as_string(self) -> str:
        """Return one line for each frame that has a parent."""
        with self._lock:
            parents = self._graph.parents()
        return "\n".join(f"Frame {child} exists with parent {parent}." for child, parent in sorted(parents.items()))

    def clear(self) -> None:
        """Forget all transforms but the static ones."""
        with self._lock:
            self._graph.clear()

    def _full(self, target: str, target_time: Time, source: str, source_time: Time, fixed: str) -> TransformStamped:
        with self._lock:
            _, fixed_source = self._graph.lookup(fixed, source, source_time.nanoseconds)
            found_ns, target_fixed = self._graph.lookup(target, fixed, target_time.nanoseconds)
        return _message(target, source, found_ns, target_fixed @ fixed_source)

    def _wait(self, attempt: Callable[[], object], timeout: Duration | None) -> str | None:
        """Try until it works or `timeout` has passed; return None, or why it does not work."""
        end_s = wall.monotonic() + (0.0 if timeout is None else timeout.nanoseconds * 1e-9)
        while True:
            try:
                attempt()
            except TransformException as error:
                if wall.monotonic() >= end_s:
                    return str(error)
            else:
                return None
            wall.sleep(_POLL_S)

    def _insert(self, transform: TransformStamped, authority: str, *, static: bool) -> None:
        parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
        move, turn = transform.transform.translation, transform.transform.rotation
        numbers = (move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w)
        square = turn.x**2 + turn.y**2 + turn.z**2 + turn.w**2
        problem = ""
        if not parent or not child or parent == child:
            problem = "it needs two different frame names"
        elif not all(map(math.isfinite, numbers)):
            problem = "it holds a number that is not finite"
        elif abs(square - 1.0) > _UNIT_TOLERANCE:
            problem = f"its quaternion has length {math.sqrt(square):.4f}, not 1"
        elif transform.header.stamp.sec < 0:
            problem = "its stamp is negative"
        if problem:
            self._log.error(f"transform from {child!r} to {parent!r} by {authority} is left out: {problem}")
            return
        rigid = Rigid((move.x, move.y, move.z), normalised((turn.x, turn.y, turn.z, turn.w)))
        stamp_ns = Time.from_msg(transform.header.stamp).nanoseconds
        with self._lock:
            taken = self._graph.insert(parent, child, stamp_ns, rigid, static=static)
        if not taken:
            self._log.debug(f"transform from {child!r} to {parent!r} at {stamp_ns} ns is too old or known already")

    def _on_jump(self, jump: TimeJump) -> None:
        del jump
        self._log.warning("time jumped back: the transform buffer is cleared")
        self.clear()


def _message(target: str, source: str, time_ns: int, rigid: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = TimeMessage(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)
    message.header.frame_id = target
    message.child_frame_id = source
    move, turn = message.transform.translation, message.transform.rotation
    move.x, move.y, move.z = rigid.translation
    turn.x, turn.y, turn.z, turn.w = rigid.rotation
    return message
