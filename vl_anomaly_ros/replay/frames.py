# SPDX-License-Identifier: Apache-2.0
"""From a recording to frames, in the order of their stamps: nothing waits, nothing is dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vl_anomaly_ros.assembly import assemble_frame, at_rest, is_unit
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.decoding.calibration import decode_calibration
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.errors import DataError, GeometryError, ReplayError
from vl_anomaly_ros.geometry.transforms import TransformBuffer
from vl_anomaly_ros.matching import FUSION_OFF, calibration_for, cloud_for, why_no_cloud
from vl_anomaly_ros.replay.bag import Bag, Entry
from vl_anomaly_ros.replay.topics import CameraTopics
from vl_anomaly_ros.types import DoubleArray, Frame, PointCloud

logger = logging.getLogger(__name__)

REPLAY_CONFIG = with_values(Config(), {"sync.policy": "nearest"})
"""The settings of a replay where nobody asks for others: a recording can wait for the cloud that fits best."""

_CLOUDS_KEPT = 4  # cameras that fire together share a cloud


@dataclass(frozen=True)
class UnreadableFrame:
    """An image that could not be read; it is reported as unknown, never left out."""

    stamp_ns: int
    camera: str
    reason: str


class BagTransforms:
    """All transforms of a recording, as an `assembly.TransformSource`."""

    def __init__(self, bag: Bag) -> None:
        self._buffer = TransformBuffer()
        refused: set[str] = set()
        for static, _, _, message in bag.transforms():
            for item in message.transforms:
                t, q = item.transform.translation, item.transform.rotation
                if not is_unit((q.x, q.y, q.z, q.w)):  # a NaN neither
                    refused.add(f"{item.child_frame_id}: the quaternion has not the length 1")
                    continue
                try:
                    self._buffer.set(
                        item.header.frame_id,
                        item.child_frame_id,
                        stamp_ns(item.header.stamp),
                        np.array([t.x, t.y, t.z]),
                        np.array([q.x, q.y, q.z, q.w]),
                        static=static,
                    )
                except GeometryError as error:
                    refused.add(str(error))
        for reason in sorted(refused):
            logger.warning("a transform of the recording is left out: %s", reason)

    def has_frame(self, frame: str) -> bool:
        """Whether any transform names this frame."""
        return frame in self._buffer.frames

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        """The matrix that maps `source` into `target`, both at `stamp_ns`; `GeometryError` when unknown."""
        return self._buffer.lookup(target, source, stamp_ns)


class FrameSource:
    """The frames of some cameras of a recording.

    Args:
        bag: an open recording.
        cameras: which cameras.
        points_topic: topic of the point cloud; None: there is none.
        config: settings.
        limit: at most so many frames a camera; None: all.

    Raises:
        ReplayError: the transforms of the recording cannot be read.
    """

    def __init__(
        self,
        bag: Bag,
        cameras: Sequence[CameraTopics],
        points_topic: str | None,
        config: Config,
        limit: int | None = None,
    ) -> None:
        self._bag = bag
        self._config = config
        self.transforms = BagTransforms(bag)
        self._clouds = [e for e in bag.entries.get(points_topic or "", []) if e.readable]
        self._cloud_stamps = [e.stamp_ns for e in self._clouds]
        self._has_points_topic = points_topic is not None
        self._infos = {c.name: [e for e in bag.entries.get(c.info or "", []) if e.readable] for c in cameras}
        self.images: list[tuple[CameraTopics, Entry]] = []
        for camera in cameras:
            entries = sorted(bag.entries.get(camera.image, []), key=lambda e: (e.stamp_ns, e.log_ns))
            self.images += [(camera, entry) for entry in entries[:limit]]
        self.images.sort(key=lambda item: (item[1].stamp_ns, item[0].name))
        self._cloud = lru_cache(_CLOUDS_KEPT)(self._read_cloud)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Entry, Frame | UnreadableFrame]]:
        for camera, entry in self.images:
            yield entry, self.read(camera, entry)

    def read(self, camera: CameraTopics, entry: Entry) -> Frame | UnreadableFrame:
        """The frame of one image."""
        try:
            return self._frame(camera, entry)
        except (DataError, ReplayError) as error:
            return UnreadableFrame(entry.stamp_ns, camera.name, str(error))

    def _frame(self, camera: CameraTopics, entry: Entry) -> Frame:
        message = self._bag.message(entry)
        image = decode_compressed(message) if camera.compressed else decode_image(message)
        missing: list[str] = []
        calibration = None
        infos = self._infos[camera.name]
        chosen = calibration_for(entry.stamp_ns, [e.stamp_ns for e in infos])
        if chosen is None:
            missing.append("no CameraInfo was received")
        else:
            try:
                message = self._bag.message(infos[chosen])
                calibration = decode_calibration(message, rectified=self._config.node.rectified)
            except (DataError, ReplayError) as error:
                missing.append(str(error))
        return assemble_frame(
            image=image,
            stamp_ns=entry.stamp_ns,
            camera=camera.name,
            frame_id=entry.frame_id,
            config=self._config,
            transforms=self.transforms,
            calibration=calibration,
            points=self._points(entry.stamp_ns, missing),
            missing=missing,
        )

    def _points(self, image_ns: int, missing: list[str]) -> PointCloud | None:
        """The cloud of an image; where there is none, why is added to `missing`."""
        if not self._has_points_topic:
            missing.append("no point cloud topic")
            return None
        if not self._config.fusion.enabled:
            missing.append(FUSION_OFF)
            return None
        sync = self._config.sync
        index = cloud_for(image_ns, self._cloud_stamps, sync.policy, sync.slop_s)
        if index is None:
            missing.append(why_no_cloud(image_ns, self._cloud_stamps, sync.policy, sync.slop_s))
            return None
        try:
            points, clauses = self._cloud(index)
        except (DataError, ReplayError) as error:
            missing.append(str(error))
            return None
        missing += clauses
        return points

    def _read_cloud(self, index: int) -> tuple[PointCloud, list[str]]:
        return at_rest(decode_cloud(self._bag.message(self._clouds[index])), self._config, self.transforms)
