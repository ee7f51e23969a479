# SPDX-License-Identifier: Apache-2.0
"""What the node subscribes to for one camera, and how what belongs to an image is brought together."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from message_filters import Subscriber
from rclpy.lifecycle import LifecycleNode

from vl_anomaly_ros.assembly import assemble_frame, bare, fixed_frame
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.decoding.calibration import CalibrationDecoder
from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.matching import calibration_for
from vl_anomaly_ros.node.history import History, Received
from vl_anomaly_ros.node.misses import RecordingSource
from vl_anomaly_ros.node.points_input import PointsInput
from vl_anomaly_ros.node.stamps import StampWatch, Verdict
from vl_anomaly_ros.node.topics import camera_topics, sensor_qos
from vl_anomaly_ros.node.transforms import TransformBuffer
from vl_anomaly_ros.node.waiting import CLOUD, INFO, INFO_OF_IMAGE, Waiting
from vl_anomaly_ros.types import CameraCalibration, Frame


@dataclass(frozen=True)
class Arrived:
    """An image message and when it came, by the monotonic clock."""

    message: Any
    at_s: float

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return stamp_ns(self.message.header.stamp)


class CameraInputs:
    """Subscriptions to image and CameraInfo of one camera. Callbacks only store.

    `frame` and `complete` run in threads of the worker; `complete` waits there for what is still to come, from the
    arrival of the image on for at most `sync.wait_s`, and not for what has not come for others (see `Waiting`). Where
    something is absent for long, it so costs a frame no time.

    Args:
        node: that subscribes.
        camera: one of `config.node.cameras`.
        config: settings.
        transforms: TF.
        points: the clouds.
        on_image: called with each image, in the thread that spins the node.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        config: Config,
        transforms: TransformBuffer,
        points: PointsInput,
        on_image: Callable[[Arrived], None],
    ) -> None:
        self.next_config = config  # in force from the next frame on, never in the middle of one
        self._config = config
        self._node, self._camera, self._transforms, self._points = node, camera, transforms, points
        self._on_image = on_image
        self._waiting = Waiting(transforms)
        self._last_image_ns = 0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._watch = StampWatch()
        self._decode = decode_compressed if config.node.image_transport == "compressed" else decode_image
        (image_topic, image_type), (info_topic, info_type) = camera_topics(config, camera)
        qos, size = sensor_qos(config), config.sync.queue_size
        decode = CalibrationDecoder(config.node.rectified)
        self._infos = History(
            node, info_type, info_topic, qos, size, decode, "CameraInfo", self._on_info, keep_last=True
        )
        points.listeners.append(self._on_cloud)
        transforms.listen(self._waiting.wake)
        self._image = Subscriber(node, image_type, image_topic, qos_profile=qos)
        self._image.registerCallback(self._take_image)

    def close(self) -> None:
        """Destroy the subscriptions."""
        self._node.destroy_subscription(self._image.sub)
        self._infos.close()
        self._points.listeners.remove(self._on_cloud)
        self._transforms.unlisten(self._waiting.wake)

    def stop_waiting(self) -> None:
        """Let `complete` return at once with what there is, from now on."""
        self._waiting.stop()

    def clear(self) -> None:
        """Forget what was received and learned, but for the last CameraInfo: the clock has jumped."""
        self._infos.clear()
        self._waiting.clear()
        self._watch = StampWatch()

    def counts(self) -> dict[str, int]:
        """How often something was wrong with what belongs to the images of this camera, in words."""
        with self._lock:
            own = dict(self._counts)
        return {**own, **self._infos.counts(), **self._points.counts(), **self._transforms.counts()}

    def frame(self, arrived: Arrived) -> Frame:
        """The image alone; nothing is waited for.

        Raises:
            DataError: the image cannot be used.
        """
        self._config = self.next_config
        return Frame(
            stamp_ns=arrived.stamp_ns,
            camera=self._camera,
            frame_id=bare(arrived.message.header.frame_id),
            image=self._decode(arrived.message),
            output_frame=self._config.frames.output_frame,
        )

    def complete(self, arrived: Arrived, frame: Frame) -> Frame:
        """The frame with CameraInfo, cloud and transforms; what is absent is named in `Frame.missing`."""
        config = self._config

        def attempt(source: RecordingSource) -> tuple[Frame, set[str]]:
            return self._assembled(frame, config, source)

        whole = self._waiting.whole(attempt, arrived.at_s, config.sync.wait_s)
        self._last_image_ns = frame.stamp_ns
        self._count_absent(whole)
        return whole

    def _assembled(self, frame: Frame, config: Config, source: RecordingSource) -> tuple[Frame, set[str]]:
        """The frame by what is at hand, and the names of what may still come for it."""
        missing: list[str] = []
        infos = self._infos.all()
        calibration = self._calibration(frame.stamp_ns, infos, missing)
        choice = self._points.choose(frame.stamp_ns, config)
        points = None
        if choice.cloud is None:
            missing.append(choice.why_none)
        else:
            points, faults = self._points.at_rest(choice.cloud, config, source)
            missing += faults
        whole = assemble_frame(
            image=frame.image,
            stamp_ns=frame.stamp_ns,
            camera=frame.camera,
            frame_id=frame.frame_id,
            config=config,
            transforms=source,
            calibration=calibration,
            points=points,
            missing=missing,
        )
        if whole.T_output_camera is not None:  # interpolated at the image's stamp, never older
            whole = replace(whole, tf_age_s=0.0)
        self._look_up_ego_motion(frame.stamp_ns, config, source)
        due: set[str] = set()
        if whole.calibration is None:
            due.add(INFO)
        elif frame.stamp_ns > 0 and all(info.stamp_ns != frame.stamp_ns for info in infos):
            due.add(INFO_OF_IMAGE)
        if choice.due:
            due.add(CLOUD)
        return whole, due

    def _look_up_ego_motion(self, image_ns: int, config: Config, source: RecordingSource) -> None:
        """By this transform the zones of several cameras are carried to one stamp later; only here it is waited for."""
        if len(config.node.cameras) > 1 and image_ns > 0 and (fixed := fixed_frame(config.frames, self._transforms)):
            with contextlib.suppress(GeometryError):
                source.lookup(fixed, config.frames.output_frame, image_ns)

    def _calibration(
        self, image_ns: int, infos: list[Received[CameraCalibration]], missing: list[str]
    ) -> CameraCalibration | None:
        index = calibration_for(image_ns, [info.stamp_ns for info in infos])
        if index is None:
            missing.append("no CameraInfo was received")
            return None
        calibration, fault = infos[index].value()
        if calibration is None:
            missing.append(fault)
        return calibration

    def _count_absent(self, frame: Frame) -> None:
        unplaced = frame.T_output_camera is None or (frame.points is not None and frame.T_camera_points is None)
        absent = {
            "point cloud": frame.points is None,
            "CameraInfo": frame.calibration is None,
            "transform": unplaced,
        }
        self._count(*(f"images without a {name}" for name, is_absent in absent.items() if is_absent))

    def _take_image(self, message: Any) -> None:
        arrived = Arrived(message, monotonic())
        if arrived.stamp_ns <= 0:
            self._count("image: not stamped")
        elif (verdict := self._watch.see(arrived.stamp_ns)) is not Verdict.ON:
            self._count(f"image: {verdict.value}")
            if verdict is Verdict.RESTARTED:
                self._infos.clear()
                self._waiting.clear()
                self._transforms.restart(f"the stamps of camera {self._camera}")
        if not message.header.frame_id:
            self._count("image: names no frame")
        self._on_image(arrived)

    def _count(self, *reasons: str) -> None:
        with self._lock:
            self._counts.update(reasons)

    def _on_info(self, info: Received[CameraCalibration]) -> None:
        self._waiting.alive(INFO)
        if info.stamp_ns == self._last_image_ns:
            self._waiting.alive(INFO_OF_IMAGE)
        self._waiting.wake()

    def _on_cloud(self) -> None:
        self._waiting.alive(CLOUD)
        self._waiting.wake()
