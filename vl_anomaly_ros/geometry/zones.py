# SPDX-License-Identifier: Apache-2.0
"""From regions of the image and points of the LiDAR to hazard zones. Every region yields exactly one zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.association import Scene, object_points, see
from vl_anomaly_ros.geometry.boxes import MIN_SIZE_M, distance_to_polygon, footprint, oriented_box
from vl_anomaly_ros.geometry.ground import Ground, prior_ground
from vl_anomaly_ros.geometry.wedge import Sight, sight_of, wedge_zone
from vl_anomaly_ros.types import DepthStatus, DoubleArray, Frame, HazardZone, Region

R_OPTICAL_LEVEL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Rotates level axes (x forward, y left, z up) into optical axes (x right, y down, z forward)."""
RANGE_NOISE_M = 0.03
OBJECT_SPEED_MPS = 5.0
"""Standard deviation of how fast an object may have moved since an old cloud."""
BEHIND = "all LiDAR points on the region lie far behind where it meets the ground"


class FusedZones(NamedTuple):
    """The zones of one frame, the frame they are in, and the rotation of their level axes into it."""

    zones: tuple[HazardZone, ...]
    zone_frame: str
    R_zone_level: DoubleArray


def fuse(
    frame: Frame, regions: Sequence[Region], instances: npt.NDArray[np.uint16], config: FusionConfig
) -> FusedZones:
    """Hazard zones of all regions of one frame, in the order of the regions.

    Args:
        frame: image, cloud and transforms, as far as they are known.
        regions: of the image; `Region.id` is the value in `instances`.
        instances: (H, W) uint16 region ids, 0 none.
        config: limits.

    Returns:
        One zone a region in `Frame.output_frame`; without a transform to it, UNKNOWN zones in the optical frame.

    Raises:
        GeometryError: `instances` is not of the image's size.
    """
    if instances.shape != frame.image.shape[:2]:
        raise GeometryError(
            f"instances: expected {frame.image.shape[:2]} like the image, got {instances.shape}; "
            "regions and image belong to different frames"
        )
    T_output_camera = frame.T_output_camera
    placed = T_output_camera is not None and bool(np.all(np.isfinite(T_output_camera)))
    zone_frame = frame.output_frame if placed else frame.frame_id
    R_zone_level = np.eye(3) if placed else R_OPTICAL_LEVEL
    if not regions:
        return FusedZones((), zone_frame, R_zone_level)
    ego, prior, T_level_camera = _ego_level(frame) if placed else _camera_level()
    why_not = _why_no_depth(frame, config, placed)
    scene = None
    if not why_not and prior is not None:
        scene, why_not = see(frame, T_level_camera, prior, config)
    sights = [_sight(region, frame, T_level_camera) for region in regions]
    nothing = np.zeros(0, np.int64)
    objects = [(nothing, nothing)] * len(regions)
    if scene is not None:
        objects = object_points(regions, instances, scene, [sight for sight, _ in sights], config)
    zones = []
    for region, (sight, no_sight), (chosen, seen) in zip(regions, sights, objects):
        if scene is not None and len(chosen):
            zone = _measured_zone(region, scene, chosen, sight, frame.points_age_s, config)
        else:
            reason = no_sight or why_not or (BEHIND if len(seen) else "no LiDAR point on the region within range")
            ground = prior if scene is None else scene.ground
            zone = wedge_zone(sight, ground, config.max_range_m, (region.id, region.id), reason, np.zeros(2))
        zones.append(_moved(zone, ego))
    return FusedZones(tuple(zones), zone_frame, R_zone_level)


def _ego_level(frame: Frame) -> tuple[DoubleArray, Ground, DoubleArray]:
    """Ego origin in the output frame, the ground z = 0 of the ego frame, and camera to level axes at that origin."""
    T_output_ego = np.eye(4) if frame.T_output_ego is None else frame.T_output_ego
    if not np.all(np.isfinite(T_output_ego)):
        T_output_ego = np.eye(4)
    ego = T_output_ego[:3, 3]
    T_level_camera = np.array(frame.T_output_camera, np.float64)
    T_level_camera[:3, 3] -= ego
    return ego, prior_ground(T_output_ego[:3, 2]), T_level_camera


def _camera_level() -> tuple[DoubleArray, None, DoubleArray]:
    """Level axes at the camera, for want of a transform; the ground below it is not known."""
    T_level_camera = np.eye(4)
    T_level_camera[:3, :3] = R_OPTICAL_LEVEL.T
    return np.zeros(3), None, T_level_camera


def _why_no_depth(frame: Frame, config: FusionConfig, placed: bool) -> str:
    """Why no zone of this frame can be measured; empty where points can be used."""
    known = "; ".join(frame.missing)
    if not config.enabled:
        return "LiDAR fusion is switched off"
    if not placed:
        return known or f"no transform {frame.frame_id} -> {frame.output_frame}"
    if frame.calibration is None:
        return known or "no camera calibration"
    if frame.points is None:
        return known or "no point cloud"
    if not len(frame.points.xyz):
        return "the point cloud is empty"
    if frame.T_camera_points is None or not np.all(np.isfinite(frame.T_camera_points)):
        return known or f"no transform {frame.points.frame_id} -> {frame.frame_id}"
    return ""


def _sight(region: Region, frame: Frame, T_level_camera: DoubleArray) -> tuple[Sight, str]:
    """Lines of sight of a region, or all that is ahead and the reason where the calibration cannot be used."""
    try:
        return sight_of(region, frame.calibration, T_level_camera[:3, 3], T_level_camera[:3, :3]), ""
    except GeometryError as error:
        return sight_of(region, None, T_level_camera[:3, 3], T_level_camera[:3, :3]), str(error)


def _measured_zone(
    region: Region, scene: Scene, chosen: npt.NDArray[np.int64], sight: Sight, age_s: float, config: FusionConfig
) -> HazardZone:
    """Box, footprint and distance of an object's points."""
    xyz = scene.xyz[chosen]
    status, reasons = DepthStatus.MEASURED, []
    shape = xyz
    if len(xyz) < config.min_points:
        status = DepthStatus.SPARSE
        reasons.append(f"{len(xyz)} LiDAR points, {config.min_points} make a measurement")
        shape = np.concatenate([xyz, _seen_extent(xyz, sight, scene.ground)])
    if abs(age_s) > config.max_point_age_s:
        status = DepthStatus.STALE
        reasons.append(f"the point cloud is {abs(age_s):.2f} s {'old' if age_s > 0 else 'too new'}")
    bearing = math.atan2(*(xyz[:, :2].mean(axis=0) - sight.origin[:2])[::-1])
    centre, size, yaw = oriented_box(shape[:, :2], bearing + math.pi / 2)
    polygon = footprint(shape[:, :2], centre, size, yaw)
    low, high = float(shape[:, 2].min()), float(shape[:, 2].max())
    if high - low < MIN_SIZE_M:
        low, high = (low + high - MIN_SIZE_M) / 2, (low + high + MIN_SIZE_M) / 2
    axes = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    extent = np.array([size[0], size[1], high - low])
    # Middle of n points spread evenly over the box, each with range noise; an old cloud adds the object's own motion.
    variance = (extent**2 / 12 + RANGE_NOISE_M**2) / len(xyz) + RANGE_NOISE_M**2
    covariance = axes @ np.diag(variance) @ axes.T
    if status is DepthStatus.STALE:
        covariance += np.diag([1.0, 1.0, 0.0]) * (OBJECT_SPEED_MPS * age_s) ** 2
    return HazardZone(
        region.id,
        region.id,
        status,
        "; ".join(reasons),
        (float(centre[0]), float(centre[1]), (low + high) / 2),
        (size[0], size[1], high - low),
        yaw,
        covariance,
        polygon,
        (low, high),
        distance_to_polygon(polygon, np.zeros(2)),
        scene.index[chosen],
    )


def _seen_extent(xyz: DoubleArray, sight: Sight, ground: Ground) -> DoubleArray:
    """Where the rim of the region lies at the range of a few points: (N, 3), not below the ground."""
    range_m = float(np.hypot(*(xyz[:, :2] - sight.origin[:2]).T).min())
    flat = np.maximum(np.hypot(sight.directions[:, 0], sight.directions[:, 1]), 1e-3)
    rim = sight.origin + sight.directions / flat[:, None] * range_m
    rim[:, 2] = np.maximum(rim[:, 2], ground.z(rim[:, :2]))
    return np.asarray(rim, np.float64)


def _moved(zone: HazardZone, origin: DoubleArray) -> HazardZone:
    """The zone with its coordinates moved from the ego origin to the output frame's."""
    if not np.any(origin):
        return zone
    x, y, z = (float(v) for v in origin)
    return HazardZone(
        zone.id,
        zone.region_id,
        zone.status,
        zone.reason,
        (zone.center_m[0] + x, zone.center_m[1] + y, zone.center_m[2] + z),
        zone.size_m,
        zone.yaw_rad,
        zone.position_covariance,
        zone.footprint_m + origin[:2],
        (zone.z_range_m[0] + z, zone.z_range_m[1] + z),
        zone.distance_m,
        zone.point_indices,
    )
