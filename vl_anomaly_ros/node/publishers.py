# SPDX-License-Identifier: Apache-2.0
"""What the node publishes of a frame. A publisher without a subscriber costs nothing: its message is never made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray
from vl_anomaly_ros.node import conversions as convert
from vl_anomaly_ros.node.markers import marker_array, unknown_markers
from vl_anomaly_ros.overlay import draw_overlay
from vl_anomaly_ros.types import FrameResult

_DEPTH = 10
# `~/anomalies` comes last: who has it knows that everything else of the frame is published.
_TOPICS: dict[str, type[Any]] = {
    "~/score": Image,
    "~/mask": Image,
    "~/instances": Image,
    "~/segmentation": Image,
    "~/overlay": Image,
    "~/obstacle_points": PointCloud2,
    "~/markers": MarkerArray,
    "~/hazard_zones": HazardZoneArray,
    "~/anomalies": AnomalyArray,
}


class Outputs:
    """The publishers of one camera."""

    def __init__(self, node: LifecycleNode, config: Config) -> None:
        self._node = node
        self._ego_frame = config.frames.ego_frame
        self._camera = config.node.camera
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {topic: node.create_publisher(kind, topic, qos) for topic, kind in _TOPICS.items()}

    def publish(self, result: FrameResult, header: Header) -> None:
        """Publish a frame. One that could not be judged gives STATUS_UNKNOWN and no images but the overlay.

        Args:
            result: of the pipeline.
            header: of the image: stamp and frame go into every output.
        """
        makers: dict[str, Callable[[], Any]] = {
            "~/overlay": lambda: convert.image_message(draw_overlay(result), header, "rgb8"),
            "~/markers": lambda: marker_array(result, header),
            "~/hazard_zones": lambda: convert.zones_message(result, header, self._ego_frame),
            "~/anomalies": lambda: convert.anomalies_message(result, header),
        }
        if result.ok:
            makers |= {
                "~/score": lambda: convert.image_message(result.probability, header),
                "~/mask": lambda: convert.image_message(result.mask, header, "mono8"),
                "~/instances": lambda: convert.image_message(result.instances, header),
                "~/segmentation": lambda: convert.image_message(result.segmentation, header),
                "~/obstacle_points": lambda: convert.obstacle_points_message(result, header),
            }
        self._publish(makers)

    def publish_unknown(self, header: Header, reason: str) -> None:
        """Say that an image could not be judged, where there is not even a frame."""
        self._publish(
            {
                "~/markers": lambda: unknown_markers(header, reason),
                "~/hazard_zones": lambda: convert.unknown_zones(header, self._camera, reason, self._ego_frame),
                "~/anomalies": lambda: convert.unknown_anomalies(header, self._camera, reason),
            }
        )

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _publish(self, makers: dict[str, Callable[[], Any]]) -> None:
        for topic, publisher in self._publishers.items():
            if topic in makers and publisher.get_subscription_count() > 0:
                publisher.publish(makers[topic]())
