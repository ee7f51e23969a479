# SPDX-License-Identifier: Apache-2.0
"""What the node subscribes to, and how the inputs of one image are brought together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Generic, TypeVar

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from vl_anomaly_ros.assembly import assemble_frame
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.decoding import decode_calibration, decode_cloud, decode_compressed, decode_image, stamp_ns
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.matching import calibration_for, nearest_cloud, why_no_cloud
from vl_anomaly_ros.node.transforms import TransformBuffer
from vl_anomaly_ros.types import ByteArray, CameraCalibration, Frame, PointCloud

T = TypeVar("T")

_KEPT_INFOS = 32
_KEPT_CLOUDS = 16
_POLL_S = 0.005  # TF tells nobody when a transform arrives
_SENSOR_DEPTH = 5


@dataclass(frozen=True)
class Arrived:
    """An image message and when it came, by the monotonic clock."""

    message: Any
    at_s: float

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return stamp_ns(self.message.header.stamp)


class _Received(Generic[T]):
    """A message that is decoded when it is first needed, and only once."""

    def __init__(self, message: Any, decode: Callable[[Any], T]) -> None:
        self.stamp_ns = stamp_ns(message.header.stamp)
        self._message = message
        self._decode = decode
        self._value: T | None = None

    def value(self, missing: list[str]) -> T | None:
        """The decoded message; None, and a clause added to `missing`, where it cannot be used."""
        if self._value is None:
            try:
                self._value = self._decode(self._message)
            except DataError as error:
                missing.append(str(error))
        return self._value


class Inputs:
    """Subscriptions to image, CameraInfo and point cloud of one camera.

    The callbacks only store; `frame` runs in the worker's thread and waits there for what is still to come.
    """

    def __init__(
        self, node: LifecycleNode, config: Config, transforms: TransformBuffer, on_image: Callable[[Arrived], None]
    ) -> None:
        self.next_config = config  # in force from the next frame on, never in the middle of one
        self._config = config
        self._node = node
        self._transforms = transforms
        self._on_image = on_image
        self._changed = threading.Condition()
        self._infos: deque[_Received[CameraCalibration]] = deque(maxlen=_KEPT_INFOS)
        self._clouds: deque[_Received[PointCloud]] = deque(maxlen=_KEPT_CLOUDS)
        self._info_of_each_image = True
        self._fixed_frame_given_up = False
        self._stopping = False
        reliable = config.node.image_reliability == "reliable"
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_SENSOR_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        compressed = config.node.image_transport == "compressed"
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._decode = decode_compressed if compressed else decode_image
        self._image = node.create_subscription(kind, topic, self._image_callback, qos)
        self._info = node.create_subscription(CameraInfo, "camera_info", self._info_callback, qos)
        self._points = None
        if config.node.points:
            self._points = node.create_subscription(PointCloud2, "points", self._points_callback, qos)

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in (self._image, self._info, self._points):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def stop_waiting(self) -> None:
        """Let `frame` return at once with what there is."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget what was received: time has jumped back."""
        with self._changed:
            self._infos.clear()
            self._clouds.clear()
            self._info_of_each_image = True
            self._fixed_frame_given_up = False

    def frame(self, arrived: Arrived) -> Frame:
        """The frame of one image. Waits up to `sync.wait_s` from its arrival for what belongs to it.

        Raises:
            DataError: the image cannot be used.
        """
        self._config = self.next_config
        image = self._decode(arrived.message)
        until_s = arrived.at_s + self._config.sync.wait_s
        while True:
            left_s = until_s - monotonic()
            expired = left_s <= 0 or self._stopping
            if expired or not self._message_due(arrived.stamp_ns):
                frame = self._assembled(arrived, image)
                if expired or not (self._more_due(frame) or self._fixed_frame_due(frame)):
                    break
            with self._changed:
                self._changed.wait(min(max(left_s, 0.0), _POLL_S))
        self._learn(frame)
        return frame

    def _assembled(self, arrived: Arrived, image: ByteArray) -> Frame:
        """The frame by what is at hand."""
        with self._changed:
            infos, clouds = list(self._infos), list(self._clouds)
        missing: list[str] = []
        frame = assemble_frame(
            image=image,
            stamp_ns=arrived.stamp_ns,
            camera=self._config.node.camera,
            frame_id=arrived.message.header.frame_id,
            config=self._config,
            transforms=self._transforms,
            calibration=self._calibration(arrived.stamp_ns, infos, missing),
            points=self._cloud(arrived.stamp_ns, clouds, missing),
            missing=missing,
        )
        # Transforms are interpolated at the image's stamp, never older.
        return frame if frame.T_output_camera is None else replace(frame, tf_age_s=0.0)

    def _calibration(
        self, stamp: int, infos: list[_Received[CameraCalibration]], missing: list[str]
    ) -> CameraCalibration | None:
        index = calibration_for(stamp, [info.stamp_ns for info in infos])
        if index is None:
            missing.append("no CameraInfo was received")
            return None
        return infos[index].value(missing)

    def _cloud(self, stamp: int, clouds: list[_Received[PointCloud]], missing: list[str]) -> PointCloud | None:
        if self._points is None:
            missing.append("no LiDAR is configured (node.points is false)")
            return None
        stamps = [cloud.stamp_ns for cloud in clouds]
        limit_s = self._config.sync.max_points_offset_s
        index = nearest_cloud(stamp, stamps, limit_s)
        if index is None:
            missing.append(why_no_cloud(stamp, stamps, limit_s))
            return None
        return clouds[index].value(missing)

    def _message_due(self, stamp: int) -> bool:
        """Whether a message that belongs to the image may still come."""
        with self._changed:
            no_info = not any(info.stamp_ns == stamp for info in self._infos)
            info_due = no_info and (self._info_of_each_image or not self._infos)
            cloud_due = all(cloud.stamp_ns < stamp for cloud in self._clouds)
        return info_due or (cloud_due and self._points_expected())

    def _points_expected(self) -> bool:
        """Whether a cloud is wanted and may still come: somebody publishes clouds."""
        if self._points is None or not self._config.fusion.enabled:
            return False
        return bool(self._node.count_publishers(self._points.topic_name))

    def _more_due(self, frame: Frame) -> bool:
        """Whether the calibration of this image size or a transform that was asked for is absent."""
        frames = self._config.frames
        return (
            frame.calibration is None
            or frame.T_output_camera is None
            or (frame.T_output_ego is None and frames.ego_frame != frames.output_frame)
            or (frame.T_camera_points is None and frame.points is not None)
        )

    def _fixed_frame_due(self, frame: Frame) -> bool:
        """Whether the ego motion between cloud and image waits for a fixed frame that TF has not named so far."""
        fixed = self._config.frames.fixed_frame
        moving = frame.points is not None and frame.points.stamp_ns != frame.stamp_ns
        return bool(fixed) and moving and not self._fixed_frame_given_up and not self._transforms.has_frame(fixed)

    def _learn(self, frame: Frame) -> None:
        """Not to wait again, frame by frame, for what one whole wait has not brought: it costs latency each time."""
        if not self._stopping:
            with self._changed:
                self._info_of_each_image = any(i.stamp_ns == frame.stamp_ns for i in self._infos)
            self._fixed_frame_given_up = self._fixed_frame_given_up or self._fixed_frame_due(frame)

    def _image_callback(self, message: Any) -> None:
        self._on_image(Arrived(message, monotonic()))

    def _info_callback(self, message: CameraInfo) -> None:
        with self._changed:
            self._infos.append(_Received(message, decode_calibration))
            self._changed.notify_all()

    def _points_callback(self, message: PointCloud2) -> None:
        with self._changed:
            self._clouds.append(_Received(message, decode_cloud))
            self._changed.notify_all()
