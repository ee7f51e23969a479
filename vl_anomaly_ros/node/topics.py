# SPDX-License-Identifier: Apache-2.0
"""The topics that the node hears, and how."""

from __future__ import annotations

from typing import Any

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from vl_anomaly_ros.config import Config

_DEPTH = 5


def sensor_qos(config: Config) -> QoSProfile:
    """Keep-last of a few messages, best effort unless `node.image_reliability` says otherwise."""
    reliable = config.node.image_reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def camera_topics(config: Config, camera: str) -> tuple[tuple[str, type[Any]], tuple[str, type[Any]]]:
    """(name, type) of the image topic and of the CameraInfo topic of a camera."""
    prefix = f"{camera}/" if len(config.node.cameras) > 1 else ""
    compressed = config.node.image_transport == "compressed"
    image = (f"{prefix}image/compressed", CompressedImage) if compressed else (f"{prefix}image", Image)
    return image, (f"{prefix}camera_info", CameraInfo)


def subscriptions(config: Config) -> dict[str, type[Any]]:
    """Every topic that the node subscribes to for its work, before remapping, with its type."""
    topics = dict(topic for camera in config.node.cameras for topic in camera_topics(config, camera))
    if config.node.points:
        topics["points"] = PointCloud2
    return {**topics, "/tf": TFMessage, "/tf_static": TFMessage}
