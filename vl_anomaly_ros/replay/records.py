# SPDX-License-Identifier: Apache-2.0
"""What is kept of one frame in `frames.jsonl`, the summary and the report.

A record is made from a pipeline result, or from the messages that a node published. Both ways give the same record, so
numbers that a message carries as float32 are rounded to float32 on either way before they are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vl_anomaly_ros.decoding.payload import stamp_ns as stamp_of
from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL
from vl_anomaly_ros.types import DepthStatus, DoubleArray, FrameResult, HazardZone, NameSource, Region

_NAME_SOURCES = tuple(source.value for source in NameSource)  # in the order of AnomalyLabel.SOURCE_*


@dataclass(frozen=True)
class RegionRecord:
    """A region as written; `score` is its calibrated anomaly probability, `bbox` x0, y0, x1, y1 in pixels."""

    id: int
    name: str
    name_source: str
    score: float
    bbox: tuple[int, int, int, int]
    area_px: int


@dataclass(frozen=True)
class ZoneRecord:
    """A hazard zone as written: `center_m` in `frame_id`, `yaw_rad` about the upward axis."""

    id: int
    region: int
    status: str
    reason: str
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float
    distance_m: float
    num_points: int
    frame_id: str
    name: str
    footprint_m: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FrameRecord:
    """One frame as written. `ok` False: it could not be judged and its view is unknown, because of `reason`."""

    stamp_ns: int
    camera: str
    ok: bool
    reason: str = ""
    regions: tuple[RegionRecord, ...] = ()
    zones: tuple[ZoneRecord, ...] = ()
    engine: str = ""
    engine_ms: float = math.nan
    total_ms: float = math.nan

    @property
    def key(self) -> tuple[int, str]:
        """Order of the records."""
        return self.stamp_ns, self.camera

    def as_json(self) -> dict[str, Any]:
        """The object of `frames.jsonl`: only what is the same whenever and however the frame is judged."""
        out: dict[str, Any] = {
            "stamp_ns": self.stamp_ns,
            "camera": self.camera,
            "regions": [
                {
                    "id": r.id,
                    "name": r.name,
                    "name_source": r.name_source,
                    "score": _rounded(r.score, 4),
                    "bbox": list(r.bbox),
                    "area_px": r.area_px,
                }
                for r in self.regions
            ],
            "zones": [
                {
                    "id": z.id,
                    "region": z.region,
                    "status": z.status,
                    "center_m": [_rounded(v, 3) for v in z.center_m],
                    "size_m": [_rounded(v, 3) for v in z.size_m],
                    "yaw_rad": _rounded(z.yaw_rad, 4),
                    "distance_m": _rounded(z.distance_m, 3),
                    "num_points": z.num_points,
                    "frame_id": z.frame_id,
                }
                for z in self.zones
            ],
        }
        if not self.ok:
            out |= {"ok": False, "reason": self.reason}
        return out


def _rounded(value: float, digits: int) -> float | None:
    """A JSON number; None where it is not finite, 0.0 for -0.0."""
    return round(float(value), digits) + 0.0 if math.isfinite(value) else None


def record_of_result(result: FrameResult) -> FrameRecord:
    """The record of a pipeline result."""
    frame = result.frame
    if not result.ok:
        return FrameRecord(frame.stamp_ns, frame.camera, ok=False, reason=result.reason, engine=result.engine)
    names = {region.id: region.label.name for region in result.regions}
    return FrameRecord(
        stamp_ns=frame.stamp_ns,
        camera=frame.camera,
        ok=True,
        regions=tuple(_region(r) for r in result.regions),
        zones=tuple(_zone(z, names.get(z.region_id, ""), result) for z in result.zones),
        engine=result.engine,
        engine_ms=result.timing.engine_ms,
        total_ms=result.timing.total_ms,
    )


def _region(region: Region) -> RegionRecord:
    x0, y0, x1, y1 = (int(v) for v in region.bbox)
    return RegionRecord(
        id=region.id,
        name=region.label.name,
        name_source=region.label.source.value,
        score=float(np.float32(region.probability)),
        bbox=(x0, y0, x1, y1),
        area_px=int(region.area_px),
    )


def _zone(zone: HazardZone, name: str, result: FrameResult) -> ZoneRecord:
    x, y, z = result.R_zone_level @ np.asarray(zone.center_m, np.float64)
    length, width, height = zone.size_m
    return ZoneRecord(
        id=zone.id,
        region=zone.region_id,
        status=zone.status.name,
        reason=zone.reason,
        center_m=(float(x), float(y), float(z)),
        size_m=(float(length), float(width), float(height)),
        yaw_rad=float(zone.yaw_rad),
        distance_m=float(np.float32(zone.distance_m)),
        num_points=zone.num_points,
        frame_id=result.zone_frame,
        name=name,
        footprint_m=tuple((float(px), float(py)) for px, py in zone.footprint_m),
    )


def record_of_messages(anomalies: Any, zones: Any | None, camera_frame: str, total_ms: float) -> FrameRecord:
    """The record of what a node published for one image.

    Args:
        anomalies: AnomalyArray.
        zones: HazardZoneArray of the same stamp; None: none came.
        camera_frame: optical frame of the image.
        total_ms: from publishing the image to the answer.
    """
    stamp = stamp_of(anomalies.header.stamp)
    if anomalies.status != 0 or zones is None or zones.status != 0:
        reason = str(anomalies.reason) if zones is None else str(anomalies.reason or zones.reason)
        reason = reason or "the node published no hazard zones for this image"
        return FrameRecord(stamp, str(anomalies.camera), ok=False, reason=reason, engine=str(anomalies.engine))
    frame_id = str(zones.header.frame_id)
    R_zone_level = R_OPTICAL_LEVEL if frame_id == camera_frame else np.eye(3)
    return FrameRecord(
        stamp_ns=stamp,
        camera=str(anomalies.camera),
        ok=True,
        regions=tuple(_region_of_label(label) for label in anomalies.labels),
        zones=tuple(_zone_of_message(zone, frame_id, R_zone_level) for zone in zones.zones),
        engine=str(anomalies.engine),
        engine_ms=float(anomalies.engine_time_ms),
        total_ms=total_ms,
    )


def _region_of_label(label: Any) -> RegionRecord:
    roi = label.roi
    return RegionRecord(
        id=int(label.instance_id),
        name=str(label.name),
        name_source=_NAME_SOURCES[int(label.name_source)],
        score=float(label.probability),
        bbox=(
            int(roi.x_offset),
            int(roi.y_offset),
            int(roi.x_offset + roi.width),
            int(roi.y_offset + roi.height),
        ),
        area_px=int(label.area_px),
    )


def _zone_of_message(zone: Any, frame_id: str, R_zone_level: DoubleArray) -> ZoneRecord:
    position, q = zone.pose.position, zone.pose.orientation
    R_zone_box = _rotation(q.x, q.y, q.z, q.w)
    heading = (R_zone_level.T @ R_zone_box)[:, 0]
    footprint = np.array([(p.x, p.y, p.z) for p in zone.footprint.points], np.float64).reshape(-1, 3) @ R_zone_level
    return ZoneRecord(
        id=int(zone.id),
        region=int(zone.label.instance_id),
        status=DepthStatus(int(zone.depth_status)).name,
        reason=str(zone.depth_reason),
        center_m=(float(position.x), float(position.y), float(position.z)),
        size_m=(float(zone.size.x), float(zone.size.y), float(zone.size.z)),
        yaw_rad=math.atan2(heading[1], heading[0]),
        distance_m=float(zone.distance_m),
        num_points=int(zone.num_points),
        frame_id=frame_id,
        name=str(zone.label.name),
        footprint_m=tuple((float(x), float(y)) for x, y, _ in footprint),
    )


def _rotation(x: float, y: float, z: float, w: float) -> DoubleArray:
    """(3, 3) rotation of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
