# SPDX-License-Identifier: Apache-2.0
"""What the node publishes of a frame. A publisher without a subscriber costs nothing: its message is never made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray
from vl_anomaly_ros.node import conversions as convert
from vl_anomaly_ros.node.markers import marker_array
from vl_anomaly_ros.node.panorama import Panorama, Sight
from vl_anomaly_ros.overlay import draw_overlay
from vl_anomaly_ros.types import FrameResult

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

_DEPTH = 10
_OF_ALL_CAMERAS: dict[str, type[Any]] = {
    "hazard_zones": HazardZoneArray,
    "markers": MarkerArray,
    "obstacle_points": PointCloud2,
}
_OF_EACH_CAMERA: dict[str, type[Any]] = {
    "anomalies": AnomalyArray,
    "score": Image,
    "mask": Image,
    "instances": Image,
    "segmentation": Image,
    "overlay": Image,
}


def camera_prefix(camera: str, cameras: Sequence[str]) -> str:
    """What the topics of one camera begin with: its name, where there are several."""
    return f"{camera}/" if len(cameras) > 1 else ""


def topics(cameras: Sequence[str]) -> dict[str, type[Any]]:
    """Everything that is published for these cameras, below `~/`, with its type.

    >>> sorted(topics(["front", "left"]))[:3]
    ['front/anomalies', 'front/instances', 'front/mask']
    """
    each = {camera_prefix(c, cameras) + topic: kind for c in cameras for topic, kind in _OF_EACH_CAMERA.items()}
    return _OF_ALL_CAMERAS | each


class Publishers:
    """The publishers of the node, by topic without `~/`."""

    def __init__(self, node: LifecycleNode, cameras: Sequence[str]) -> None:
        self._node = node
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        # rclpy asks after each publisher's events with every message that the node takes, which would cost more than
        # all else there. They only warn of subscribers that ask for more than is offered, and those are warned too.
        silent = PublisherEventCallbacks(use_default_callbacks=False)
        self._publishers = {
            topic: node.create_publisher(kind, f"~/{topic}", qos, event_callbacks=silent)
            for topic, kind in topics(cameras).items()
        }

    def publish(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        """Make and publish messages in this order, as far as anybody listens."""
        for topic, make in makers.items():
            publisher = self._publishers[topic]
            if publisher.get_subscription_count() > 0:
                publisher.publish(make())

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()


class CameraOutputs:
    """What is published of the frames of one camera: what a planner acts on first, pictures last."""

    def __init__(self, publishers: Publishers, panorama: Panorama, camera: str, config: Config) -> None:
        self._publishers = publishers
        self._panorama = panorama
        self._camera = camera
        self._prefix = camera_prefix(camera, config.node.cameras)
        self._frames = config.frames

    def publish(self, result: FrameResult, header: Header) -> None:
        """Publish a frame. One that could not be judged gives STATUS_UNKNOWN and no images but the overlay.

        Args:
            result: of the pipeline.
            header: of the image: stamp and frame go into every output.
        """
        p = self._prefix
        anomalies = partial(convert.anomalies_message, result, header)
        with self._panorama.order:
            self._publishers.publish(self._of_sight(self._panorama.with_result(result), header, anomalies))
        makers: dict[str, Callable[[], Any]] = {}
        if result.ok:
            makers = {
                p + "mask": lambda: convert.image_message(result.mask, header, "mono8"),
                p + "instances": lambda: convert.image_message(result.instances, header),
                p + "segmentation": lambda: convert.image_message(result.segmentation, header),
                p + "score": lambda: convert.image_message(result.probability, header),
            }
        makers[p + "overlay"] = lambda: convert.image_message(draw_overlay(result), header, "rgb8")
        self._publishers.publish(makers)

    def publish_unknown(self, header: Header, reason: str) -> None:
        """Say that an image could not be judged, where there is not even a frame."""
        anomalies = partial(convert.unknown_anomalies, header, self._camera, reason)
        with self._panorama.order:
            sight = self._panorama.without_result(self._camera, stamp_ns(header.stamp), reason)
            self._publishers.publish(self._of_sight(sight, header, anomalies))

    def _of_sight(self, sight: Sight, header: Header, anomalies: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        placed = Header(stamp=header.stamp, frame_id=sight.zone_frame)
        makers: dict[str, Callable[[], Any]] = {
            "hazard_zones": lambda: convert.zones_message(sight, placed, self._frames.ego_frame),
            self._prefix + "anomalies": anomalies,
            "markers": lambda: marker_array(sight, placed),
        }
        # Where nothing is known an empty cloud would say that nothing is there.
        if sight.status != HazardZoneArray.STATUS_UNKNOWN:
            makers["obstacle_points"] = lambda: convert.obstacle_points_message(sight.zones, placed)
        return makers
