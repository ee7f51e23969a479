# SPDX-License-Identifier: Apache-2.0
"""The point clouds, shared by all cameras, decoded as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2

from vl_anomaly_ros.assembly import TransformSource, at_rest
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.matching import FUSION_OFF, cloud_due, cloud_for, why_no_cloud
from vl_anomaly_ros.node.history import History, Received
from vl_anomaly_ros.node.topics import sensor_qos
from vl_anomaly_ros.types import PointCloud


@dataclass(frozen=True)
class CloudChoice:
    """The cloud of an image.

    Attributes:
        cloud: None where there is none.
        why_none: why.
        due: the policy waits for one that is still to come, and somebody publishes clouds.
    """

    cloud: Received[PointCloud] | None
    why_none: str
    due: bool


class PointsInput:
    """The subscription to `points`. Its callback stores; a thread of its own decodes the newest cloud meanwhile.

    The motion within its sweep is taken out there too, where TF is that far. Without `node.points` nothing is
    subscribed to, and every image is told so.
    """

    def __init__(self, node: LifecycleNode, config: Config, transforms: TransformSource) -> None:
        self._config, self._transforms = config, transforms
        self.listeners: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._at_rest = threading.Lock()
        self._newest: Received[PointCloud] | None = None
        self._closed = False
        self._clouds: History[PointCloud] | None = None
        self._thread: threading.Thread | None = None
        if config.node.points:
            qos, size = sensor_qos(config), config.sync.queue_size
            self._clouds = History(node, PointCloud2, "points", qos, size, decode_cloud, "cloud", self._on_cloud)
            self._thread = threading.Thread(target=self._decode_ahead, name="vl_anomaly_clouds", daemon=True)
            self._thread.start()

    def choose(self, image_ns: int, config: Config) -> CloudChoice:
        """The cloud that belongs to an image by what is at hand."""
        if self._clouds is None:
            return CloudChoice(None, "no LiDAR is configured (node.points is false)", due=False)
        self._config = config
        if not config.fusion.enabled:
            return CloudChoice(None, FUSION_OFF, due=False)
        clouds = self._clouds.all()
        stamps = [cloud.stamp_ns for cloud in clouds]
        policy, slop_s = config.sync.policy, config.sync.slop_s
        due = cloud_due(image_ns, stamps, policy) and self._clouds.has_publisher
        index = cloud_for(image_ns, stamps, policy, slop_s)
        if index is None:
            return CloudChoice(None, why_no_cloud(image_ns, stamps, policy, slop_s), due)
        return CloudChoice(clouds[index], "", due)

    def at_rest(
        self, cloud: Received[PointCloud], config: Config, transforms: TransformSource
    ) -> tuple[PointCloud | None, list[str]]:
        """The points of a cloud with the motion within the sweep taken out, once for all cameras; and what is amiss."""
        with self._at_rest:
            points, fault = cloud.value()
            if points is None:
                return None, [fault]
            still, clauses = at_rest(points, config, transforms)
            if still is not points:
                cloud.replace(still)
            return still, clauses

    def count(self, reason: str) -> None:
        """Count why an image got no cloud."""
        if self._clouds is not None:
            self._clouds.count(reason)

    def counts(self) -> dict[str, int]:
        """How often something was wrong with a cloud, in words."""
        return {} if self._clouds is None else self._clouds.counts()

    def clear(self) -> None:
        """Forget all clouds: the clock has jumped."""
        if self._clouds is not None:
            self._clouds.clear()

    def close(self) -> None:
        """End the subscription and the thread."""
        if self._clouds is None or self._thread is None:
            return
        self._clouds.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _on_cloud(self, cloud: Received[PointCloud]) -> None:
        with self._changed:
            self._newest = cloud
            self._changed.notify_all()
        if cloud.stamp_ns == 0:
            self.count("not stamped")
        for listener in tuple(self.listeners):
            listener()

    def _decode_ahead(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._newest is not None)
                cloud, self._newest = self._newest, None
                if self._closed or cloud is None:
                    return
            config = self._config
            if config.fusion.enabled and self.at_rest(cloud, config, self._transforms)[0] is None:
                self.count("cannot be decoded")
