# SPDX-License-Identifier: Apache-2.0
"""What all cameras see now: their newest zones, carried to one moment and joined where fields of view overlap."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from vl_anomaly_ros.assembly import TransformSource, fixed_frame
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.merging import SeenZone, View, merge, seen_zones
from vl_anomaly_ros.geometry.transforms import inverse
from vl_anomaly_ros.msg import HazardZoneArray
from vl_anomaly_ros.types import DoubleArray, Frame, FrameResult


@dataclass(frozen=True)
class Sight:
    """The zones at the moment of one image.

    Attributes:
        camera: whose image it is.
        zones: of all cameras.
        status, reason: those of HazardZoneArray.
        frame: of the image; None where there is not even a frame.
        zone_frame: frame of the zones.
        R_zone_level: (3, 3) rotates level axes, which zones are held in, into `zone_frame`.
    """

    camera: str
    zones: tuple[SeenZone, ...]
    status: int
    reason: str
    frame: Frame | None
    zone_frame: str
    R_zone_level: DoubleArray


@dataclass(frozen=True)
class _Remembered:
    """The newest that one camera said; `unknown` says why it could not be judged or placed."""

    seen: tuple[SeenZone, ...]
    stamp_ns: int
    cloud_stamp_ns: int | None
    at_s: float
    unknown: str = ""


class Panorama:
    """Remembers the newest zones of each camera.

    Whoever publishes a sight holds `order` from asking for it on: else that of another thread, which knows of more, may
    be published before, and what it saw would be gone from the newest message.

    Args:
        cameras: names.
        config: settings.
        transforms: to carry zones from one image's stamp to another's.
    """

    def __init__(self, cameras: Sequence[str], config: Config, transforms: TransformSource) -> None:
        self._cameras = cameras
        self.config = config  # may be replaced at any time
        self._frames = config.frames
        self._transforms = transforms
        self.order = threading.Lock()
        self._lock = threading.Lock()
        self._newest: dict[str, _Remembered] = {}

    def clear(self) -> None:
        """Forget everything: time has jumped."""
        with self._lock:
            self._newest.clear()

    def with_result(self, result: FrameResult) -> Sight:
        """What is seen now that a camera has said this."""
        frame = result.frame
        seen = seen_zones(result) if result.ok else ()
        if len(self._cameras) == 1:
            status = HazardZoneArray.STATUS_OK if result.ok else HazardZoneArray.STATUS_UNKNOWN
            place = result.zone_frame or frame.frame_id
            return Sight(frame.camera, seen, status, result.reason, frame, place, result.R_zone_level)
        unknown = result.reason
        if result.ok and result.zone_frame != self._frames.output_frame:
            unknown = "; ".join(frame.missing) or f"no transform {frame.frame_id} -> {self._frames.output_frame}"
        cloud_ns = None if frame.points is None else frame.points.stamp_ns
        said = _Remembered(seen, frame.stamp_ns, cloud_ns, monotonic(), unknown)
        return self._joined(frame.camera, said, frame)

    def without_result(self, camera: str, stamp_ns: int, reason: str) -> Sight:
        """What is seen now that an image of a camera could not be judged."""
        said = _Remembered((), stamp_ns, None, monotonic(), reason or "unknown")
        return self._joined(camera, said, None)

    def _joined(self, camera: str, said: _Remembered, frame: Frame | None) -> Sight:
        with self._lock:
            self._newest[camera] = said
            newest = dict(self._newest)
        views, reasons = [], []
        stale_after_s = self.config.node.stale_after_s
        for name in self._cameras:
            one = newest.get(name)
            if one is None or said.at_s - one.at_s > stale_after_s:
                reasons.append(f"{name}: no image judged for {stale_after_s:g} s")
            elif one.unknown:
                reasons.append(f"{name}: {one.unknown}")
            else:
                try:
                    views.append(View(name, one.seen, one.cloud_stamp_ns, self._motion(one.stamp_ns, said.stamp_ns)))
                except GeometryError as error:
                    reasons.append(f"{name}: ego motion since its image is not known: {error}")
        zones: tuple[SeenZone, ...] = ()
        status = HazardZoneArray.STATUS_PARTIAL if reasons else HazardZoneArray.STATUS_OK
        if views:
            zones = merge(views, self._ego(said.stamp_ns), self.config.fusion)
        else:
            status = HazardZoneArray.STATUS_UNKNOWN
        alone = len(self._cameras) == 1
        reason = said.unknown if alone else "; ".join(reasons)
        return Sight(camera, zones, status, reason, frame, self._frames.output_frame, np.eye(3))

    def _motion(self, then_ns: int, now_ns: int) -> DoubleArray:
        """(4, 4) that maps the output frame then to the output frame now, the world being at rest between.

        Raises:
            GeometryError: TF names the fixed frame, but does not cover both moments.
        """
        output = self._frames.output_frame
        if then_ns == now_ns or not (fixed := fixed_frame(self._frames, self._transforms)):
            return np.eye(4)
        T_fixed_then = self._transforms.lookup(fixed, output, then_ns)
        T_fixed_now = self._transforms.lookup(fixed, output, now_ns)
        return np.asarray(inverse(T_fixed_now) @ T_fixed_then, np.float64)

    def _ego(self, stamp_ns: int) -> DoubleArray:
        """(2,) ego origin in the output frame; its own origin where TF does not know better."""
        if self._frames.ego_frame == self._frames.output_frame:
            return np.zeros(2)
        try:
            return self._transforms.lookup(self._frames.output_frame, self._frames.ego_frame, stamp_ns)[:2, 3]
        except GeometryError:
            return np.zeros(2)
