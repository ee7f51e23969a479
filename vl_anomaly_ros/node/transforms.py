# SPDX-License-Identifier: Apache-2.0
"""TF as the assembly of frames asks for it: matrices at a stamp, and a word when something new has come."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic

import numpy as np
from geometry_msgs.msg import Transform, TransformStamped
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from tf2_ros import Buffer, ConnectivityException, ExtrapolationException, TransformException, TransformListener

from vl_anomaly_ros.assembly import bare, is_unit
from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.transforms import LARGEST, LONGEST_NAME, matrix_from
from vl_anomaly_ros.node.stamps import AHEAD_NS, StampWatch, Verdict
from vl_anomaly_ros.types import DoubleArray

_MAX_FRAMES = 2000
_CLEAR_EVERY_S = 1.0  # cameras notice the same restart one after the other


def matrix(transform: Transform) -> DoubleArray:
    """(4, 4) float64 of a geometry_msgs/Transform, whose quaternion need not be of exact unit length.

    Raises:
        GeometryError: a number is not finite, or the quaternion is zero.
    """
    t, q = transform.translation, transform.rotation
    return matrix_from(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))


class _GuardedBuffer(Buffer):  # type: ignore[misc]  # tf2_ros carries no types everywhere
    """Refuses what would spoil the tree, whatever the standard buffer does with it, and tells that something came.

    A transform that is not finite, has no rotation, or would close a loop is left out, as the offline buffer does it:
    tf2 takes a loop, and answers no question about the frames in it from then on. So is a single one whose stamp lies
    far ahead: tf2 would forget all that is older, and take nothing of what follows.
    """

    def __init__(self, cache_s: float, on_restart: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.listeners: list[Callable[[], None]] = []
        self._on_restart = on_restart
        self._ahead_ns = min(AHEAD_NS, int(cache_s * 1e9))
        self._parents: dict[str, str] = {}
        self._fixed: set[str] = set()
        self._watches: dict[str, StampWatch] = {}
        super().__init__(cache_time=Duration(seconds=cache_s))

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform of /tf."""
        if not self._accepts(transform):
            return
        child = bare(transform.child_frame_id)
        self._fixed.discard(child)
        verdict = self._watches.setdefault(child, StampWatch(self._ahead_ns)).see(stamp_ns(transform.header.stamp))
        if verdict is Verdict.DOUBTFUL:
            self.counts["transform refused: its stamp jumped"] += 1
            return
        if verdict is Verdict.RESTARTED:
            self._on_restart()
        super().set_transform(transform, authority)
        self._tell()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform of /tf_static."""
        if self._accepts(transform):
            self._fixed.add(bare(transform.child_frame_id))
            super().set_transform_static(transform, authority)
            self._tell()

    def clear(self) -> None:
        """Forget all but the static transforms."""
        super().clear()
        self._parents = {child: parent for child, parent in self._parents.items() if child in self._fixed}
        self._watches.clear()

    def _accepts(self, transform: TransformStamped) -> bool:
        parent, child = bare(transform.header.frame_id), bare(transform.child_frame_id)
        move, turn = transform.transform.translation, transform.transform.rotation
        quaternion = (turn.x, turn.y, turn.z, turn.w)
        fault = ""
        if not parent or not child or parent == child or max(len(parent), len(child)) > LONGEST_NAME:
            fault = f"it needs two different frame names of at most {LONGEST_NAME} characters"
        elif not max(abs(move.x), abs(move.y), abs(move.z)) < LARGEST or not math.isfinite(move.x + move.y + move.z):
            fault = f"its numbers are not finite, or beyond {LARGEST:g} m"
        elif not is_unit(quaternion):
            fault = "the quaternion has not the length 1"
        elif transform.header.stamp.sec < 0:
            fault = "the stamp is negative"
        elif self._parents.get(child, parent) != parent or child not in self._parents:
            if self._hangs_below(parent, child):
                fault = "it would close a loop"
            elif len(self._parents) >= _MAX_FRAMES:
                fault = f"there are {_MAX_FRAMES} frames already"
            elif child in self._parents:
                self.counts["transform: another parent of the same frame"] += 1
        if fault:
            self.counts[f"transform refused: {fault}"] += 1
            return False
        self._parents[child] = parent
        return True

    def _hangs_below(self, frame: str, ancestor: str) -> bool:
        while frame != ancestor and frame in self._parents:
            frame = self._parents[frame]
        return frame == ancestor

    def _tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()


class TransformBuffer:
    """The node's TF buffer behind the two questions of `vl_anomaly_ros.assembly.TransformSource`."""

    def __init__(self, node: LifecycleNode, cache_s: float) -> None:
        self._log = node.get_logger()
        self._buffer = _GuardedBuffer(cache_s, lambda: self.restart("the stamps of a transform", own=True))
        self._listener: TransformListener | None = TransformListener(self._buffer, node)
        self._restart_lock = threading.Lock()
        self._cleared_s = -math.inf

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        """See `TransformSource`. Nothing is waited for; a stamp of 0, which means 'latest' to TF, is refused."""
        target, source = bare(target), bare(source)
        if stamp_ns <= 0:
            raise GeometryError(f"no transform {source} -> {target}: expected a stamp above 0, got {stamp_ns} ns")
        if target == source:
            return np.eye(4)
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
        except TransformException as error:
            raise GeometryError(f"no transform {source} -> {target} at {stamp_ns * 1e-9:.3f} s: {error}") from error
        return matrix(found.transform)

    def has_frame(self, frame: str) -> bool:
        """See `TransformSource`."""
        try:
            self._buffer.get_latest_common_time(bare(frame), bare(frame))
        except (ConnectivityException, ExtrapolationException):
            return True
        except TransformException:
            return False
        return True

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a transform was taken, in the thread that took it."""
        self._buffer.listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more."""
        self._buffer.listeners.remove(listener)

    def counts(self) -> dict[str, int]:
        """How often something was wrong with TF since the beginning, in words."""
        return dict(self._buffer.counts)

    def restart(self, whose: str, *, own: bool = False) -> None:
        """Forget what moves, because time has started again; once a second at most: everyone notices the same restart.

        Args:
            whose: what went back, for the log.
            own: transforms themselves did, in any case: tf2 would take nothing older than what it has.
        """
        with self._restart_lock:
            if not own and monotonic() - self._cleared_s < _CLEAR_EVERY_S:
                return
            self._cleared_s = monotonic()
        self._log.warning(f"{whose} went back by more than a second: the transforms received so far are forgotten")
        self._buffer.counts["transforms forgotten: time started again"] += 1
        self._buffer.clear()

    def clear(self) -> None:
        """Forget all but the static transforms: the clock has jumped."""
        self._cleared_s = monotonic()
        self._buffer.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None
