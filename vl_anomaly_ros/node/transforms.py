# SPDX-License-Identifier: Apache-2.0
"""TF as the assembly of frames asks for it: matrices at a stamp."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Transform
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from tf2_ros import Buffer, ConnectivityException, ExtrapolationException, TransformException, TransformListener

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import DoubleArray


def matrix(transform: Transform) -> DoubleArray:
    """(4, 4) float64 of a geometry_msgs/Transform, whose quaternion need not be of exact unit length."""
    q = np.array([transform.rotation.x, transform.rotation.y, transform.rotation.z, transform.rotation.w])
    x, y, z, w = q / np.linalg.norm(q)
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = transform.translation.x, transform.translation.y, transform.translation.z
    return T


class TransformBuffer:
    """The node's TF buffer behind the two questions of `vl_anomaly_ros.assembly.TransformSource`."""

    def __init__(self, node: LifecycleNode, cache_s: float) -> None:
        self._buffer = Buffer(cache_time=Duration(seconds=cache_s))
        self._listener: TransformListener | None = TransformListener(self._buffer, node)

    def lookup(self, target_frame: str, source_frame: str, stamp_ns: int) -> DoubleArray:
        """See `TransformSource`; stamp 0 is a moment like any other there, but means 'latest' to TF."""
        if target_frame == source_frame:
            return np.eye(4)
        if stamp_ns <= 0:
            raise GeometryError(f"no transform {source_frame} -> {target_frame}: the stamp is 0; stamp the messages")
        try:
            found = self._buffer.lookup_transform(target_frame, source_frame, Time(nanoseconds=stamp_ns))
        except TransformException as error:
            raise GeometryError(
                f"no transform {source_frame} -> {target_frame} at {stamp_ns * 1e-9:.3f} s: {error}"
            ) from error
        return matrix(found.transform)

    def has_frame(self, frame: str) -> bool:
        """See `TransformSource`."""
        try:
            self._buffer.get_latest_common_time(frame, frame)
        except (ConnectivityException, ExtrapolationException):
            return True
        except TransformException:
            return False
        return True

    def clear(self) -> None:
        """Forget all but the static transforms."""
        self._buffer.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None
