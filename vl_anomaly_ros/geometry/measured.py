# SPDX-License-Identifier: Apache-2.0
"""Zones of regions that have LiDAR points: where these are, and how far that is to be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.geometry.association import ObjectPoints
from vl_anomaly_ros.geometry.boxes import (
    MIN_SIZE_M,
    convex_hull,
    half_turn,
    oriented_boxes,
    turned_covariances,
    vertical_extents,
)
from vl_anomaly_ros.geometry.polygons import distances, footprints
from vl_anomaly_ros.geometry.scene import Scene
from vl_anomaly_ros.geometry.sights import Sights
from vl_anomaly_ros.types import BoolArray, DepthStatus, DoubleArray, Frame, HazardZone, Region

RANGE_NOISE_M = 0.03
EGO_SPEED_MPS = 15.0
"""How fast the vehicle is taken to be where TF does not say how it moved while a cloud was swept."""
OBJECT_SPEED_MPS = 5.0
"""Standard deviation of how fast an object may have moved since an old cloud."""


class Doubt(NamedTuple):
    """Why the points of a frame do not lie where they were at the image's stamp, and how far off they may be."""

    reasons: list[str]
    sigma_m: float


def doubt_of(frame: Frame, config: FusionConfig) -> Doubt:
    """What speaks against the cloud of a frame."""
    reasons, sigma_m, age_s = [], 0.0, frame.points_age_s
    if abs(age_s) > config.max_point_age_s:
        reasons.append(f"the point cloud is {abs(age_s):.2f} s {'old' if age_s > 0 else 'too new'}")
        sigma_m += OBJECT_SPEED_MPS * abs(age_s)
    if frame.points is not None and frame.points.offsets_ns is not None and len(frame.points.offsets_ns):
        reasons.append("the ego motion within the sweep is not taken out")
        sigma_m += EGO_SPEED_MPS * float(np.ptp(frame.points.offsets_ns)) * 1e-9
    return Doubt(reasons, sigma_m)


def middle_variance(size_m: DoubleArray, count: npt.NDArray[np.int64]) -> DoubleArray:
    """(N, 3) variance, m^2, along the sides of N boxes of the middle of so many points spread evenly over each.

    Each point has range noise, and all of one box share some.
    """
    return np.asarray((size_m**2 / 12 + RANGE_NOISE_M**2) / count[:, None] + RANGE_NOISE_M**2, np.float64)


def measured_zones(
    known: Sequence[int],
    regions: Sequence[Region],
    sights: Sights,
    objects: ObjectPoints,
    scene: Scene,
    doubt: Doubt,
    config: FusionConfig,
) -> list[HazardZone]:
    """Zones of the known regions, those that have points, in their order."""
    if not known:
        return []
    index, ends = scene.index.take(objects.point), objects.ends.tolist()
    corner_ends = objects.corner_ends.tolist()
    hulls = [objects.corners[corner_ends[number] : corner_ends[number + 1]] for number in known]
    towards = objects.corners.take(objects.corner_ends.take(known), axis=0) - sights.origin[:2]
    xyz, xyz_ends, seen = _shapes(
        objects.xyz, objects.ends, np.array(known), sights.directions, sights.origin, config.min_points
    )
    rows = np.flatnonzero(seen)
    if len(rows) and scene.ground is not None:
        xyz[rows, 2] = np.maximum(xyz[rows, 2], scene.ground.z(xyz[rows]))
        for k, number in enumerate(known):
            if ends[number + 1] - ends[number] < config.min_points:
                hulls[k] = convex_hull(xyz[xyz_ends[k] : xyz_ends[k + 1], :2])
    corners, hull_ends = np.concatenate(hulls), np.cumsum([0, *(len(hull) for hull in hulls)])
    boxes = oriented_boxes(xyz, xyz_ends, corners, hull_ends, np.arctan2(towards[:, 1], towards[:, 0]) + math.pi / 2)
    z_range = vertical_extents(xyz, xyz_ends)
    size = np.column_stack([boxes[:, 2:4], z_range[:, 1] - z_range[:, 0]])
    covariances = turned_covariances(middle_variance(size, np.diff(objects.ends).take(known)), boxes[:, 4].copy())
    covariances[:, :2, :2] += np.eye(2) * doubt.sigma_m**2  # and the motion since
    polygons, polygon_ends = footprints(corners, hull_ends, boxes, MIN_SIZE_M)
    numbers = np.column_stack([boxes, z_range, distances(polygons, polygon_ends)]).tolist()
    return [
        _measured_zone(
            regions[number],
            np.sort(index[ends[number] : ends[number + 1]]),
            of_this,
            covariances[k],
            polygons[polygon_ends[k] : polygon_ends[k + 1]],
            doubt,
            config.min_points,
        )
        for k, (number, of_this) in enumerate(zip(known, numbers))
    ]


@kernel(
    Tuple((array(float64, 2), array(int64, 1), array(boolean, 1)))(
        view(float64, 2), view(int64, 1), view(int64, 1), view(float64, 3), view(float64, 1), int64
    )
)
def _shapes(
    points: DoubleArray,
    ends: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    directions: DoubleArray,
    origin: DoubleArray,
    min_points: int,
) -> tuple[DoubleArray, npt.NDArray[np.int64], BoolArray]:
    """What zones are drawn around: a region's points, and where these are few, the rim of it at their range as well.

    Args:
        points: (N, 3) of all regions.
        ends: (regions + 1,) where each region's points end.
        known: (K,) numbers of the regions that are asked for; each has points.
        directions: (regions, rays, 3) through the rim of each.
        origin: (3,) of these.
        min_points: fewer are few.

    Returns:
        (M, 3) points, (K + 1,) where each region's end, and (M,) which of them are of a rim.
    """
    rays = directions.shape[1]
    xyz, seen = np.empty((len(points) + rays * len(known), 3)), np.zeros(len(points) + rays * len(known), np.bool_)
    xyz_ends, count = np.zeros(len(known) + 1, np.int64), 0
    for k in range(len(known)):
        r, range_m = known[k], math.inf
        for n in range(ends[r], ends[r + 1]):
            for axis in range(3):
                xyz[count, axis] = points[n, axis]
            count += 1
            range_m = min(range_m, math.hypot(points[n, 0] - origin[0], points[n, 1] - origin[1]))
        if ends[r + 1] - ends[r] < min_points:
            for n in range(rays):
                flat = max(math.hypot(directions[r, n, 0], directions[r, n, 1]), 1e-3)
                for axis in range(3):
                    xyz[count, axis] = origin[axis] + directions[r, n, axis] / flat * range_m
                seen[count] = True
                count += 1
        xyz_ends[k + 1] = count
    return xyz[:count], xyz_ends, seen[:count]


def _measured_zone(
    region: Region,
    index: npt.NDArray[np.int64],
    numbers: Sequence[float],
    covariance: DoubleArray,
    polygon: DoubleArray,
    doubt: Doubt,
    min_points: int,
) -> HazardZone:
    """The zone of an object of these points; numbers: its box (centre, size, yaw), lowest and highest z, distance."""
    status, reasons = DepthStatus.MEASURED, []
    if len(index) < min_points:
        status = DepthStatus.SPARSE
        reasons.append(f"{len(index)} LiDAR points, {min_points} make a measurement")
    if doubt.reasons:
        status = DepthStatus.STALE
        reasons += doubt.reasons
    x, y, length, width, yaw, low, high, distance_m = numbers
    return HazardZone(
        id=region.id,
        region_id=region.id,
        status=status,
        reason="; ".join(reasons),
        center_m=(x, y, (low + high) / 2),
        size_m=(length, width, high - low),
        yaw_rad=half_turn(yaw),
        position_covariance=covariance,
        footprint_m=polygon,
        z_range_m=(low, high),
        distance_m=distance_m,
        point_indices=index,
    )
