# SPDX-License-Identifier: Apache-2.0
"""Sends transforms that never change to /tf_static."""

# The method name is that of the standard package.
# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class StaticTransformBroadcaster:
    """Publishes static transforms; who joins later gets the last message, so each one holds all sent so far."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self._by_child: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Publish one transform or several, beside all sent before; the last of a child frame holds."""
        transforms = [transform] if isinstance(transform, TransformStamped) else list(transform)
        self._by_child.update((one.child_frame_id, one) for one in transforms)
        self.pub_tf.publish(TFMessage(transforms=list(self._by_child.values())))
