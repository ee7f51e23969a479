# SPDX-License-Identifier: Apache-2.0
"""Zones of regions without depth: all the ground that the region may stand on, never nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.geometry.boxes import MIN_SIZE_M, convex_hull, distance_to_polygon, half_turn
from vl_anomaly_ros.geometry.camera import rays
from vl_anomaly_ros.geometry.ground import Ground
from vl_anomaly_ros.types import CameraCalibration, DepthStatus, DoubleArray, HazardZone, Region

PITCH_MARGIN_RAD = 0.02
"""A vehicle that brakes, or a road that rises, brings the foot of an object closer than level ground predicts."""


@dataclass(frozen=True)
class Sight:
    """Where a region is seen: lines of sight through the rim of its bounding box.

    Attributes:
        origin: (3,) camera, level axes.
        directions: (N, 3) unit vectors, level axes; empty where the camera is not calibrated.
        axis: (3,) optical axis, level axes.
        cut_off: whether the lowest line of sight lies at the border of the image, so the foot may be below it.
    """

    origin: DoubleArray
    directions: DoubleArray
    axis: DoubleArray
    cut_off: bool


def sight_of(
    region: Region, calibration: CameraCalibration | None, origin: DoubleArray, R_level_camera: DoubleArray
) -> Sight:
    """Lines of sight of a region's bounding box, sampled along its rim."""
    axis = R_level_camera[:, 2]
    if calibration is None:
        return Sight(origin, np.zeros((0, 3)), axis, cut_off=True)
    x0, y0, x1, y1 = region.bbox
    u, v = np.linspace(x0 - 0.5, max(x1, x0 + 1) - 0.5, 9), np.linspace(y0 - 0.5, max(y1, y0 + 1) - 0.5, 9)
    rim = np.concatenate([[[a, b] for a in u for b in (v[0], v[-1])], [[a, b] for a in (u[0], u[-1]) for b in v]])
    directions = rays(calibration, rim) @ R_level_camera.T
    lowest = rim[int(np.argmin(directions[:, 2]))]
    cut_off = bool(
        lowest[0] <= 0 or lowest[1] <= 0 or lowest[0] >= calibration.width - 1 or lowest[1] >= calibration.height - 1
    )
    return Sight(origin, directions, axis, cut_off)


def ground_range(sight: Sight, ground: Ground, max_range_m: float, pitch_margin: float = 0.0) -> tuple[float, bool]:
    """Where the lowest line of sight meets the ground, as distance along the ground from the camera.

    Returns:
        The distance (`max_range_m` at most), and whether it meets the ground within it.
    """
    if not len(sight.directions):
        return max_range_m, False
    flat = np.hypot(sight.directions[:, 0], sight.directions[:, 1])
    lowest = sight.directions[int(np.argmin(sight.directions[:, 2] / np.maximum(flat, 1e-9)))]
    run = max(float(np.hypot(lowest[0], lowest[1])), 1e-9)
    slope = math.tan(max(math.atan2(lowest[2], run) - pitch_margin, -math.pi / 2 + 1e-6))
    steps = np.concatenate([[0.0], np.geomspace(0.2, max_range_m, 400)])
    along = sight.origin[:2] + steps[:, None] * lowest[:2] / run
    below = sight.origin[2] + steps * slope <= ground.z(along)
    if not below.any():
        return max_range_m, False
    # The last step above the ground: rather too near than too far.
    return float(steps[max(int(np.argmax(below)) - 1, 0)]), True


def wedge_zone(
    sight: Sight, ground: Ground | None, max_range_m: float, ids: tuple[int, int], reason: str, ego: DoubleArray
) -> HazardZone:
    """The zone of a region whose depth is unknown: from where it may first stand to the end of the range.

    Args:
        sight: lines of sight of the region.
        ground: where things stand; None where the height of the camera is not known.
        max_range_m: end of the wedge.
        ids: of the zone and of the region.
        reason: why there is no depth.
        ego: (2,) ego origin.
    """
    near, meets = (0.0, False) if ground is None else ground_range(sight, ground, max_range_m, PITCH_MARGIN_RAD)
    # A foot hidden below the image, or no ground under the region (it hangs, or the road falls): it may be at hand.
    near = 0.0 if sight.cut_off or not meets else min(near, max_range_m - 1.0)
    heading = sight.directions if len(sight.directions) else sight.axis[None]
    middle = math.atan2(float(heading[:, 1].mean()), float(heading[:, 0].mean()))
    if len(sight.directions):
        bearing = np.arctan2(heading[:, 1], heading[:, 0]) - middle
        bearing = np.remainder(bearing + math.pi, 2 * math.pi) - math.pi
        low, high = float(bearing.min()), float(bearing.max())
    else:
        low, high = -math.pi / 2, math.pi / 2
    fan = middle + np.linspace(low, high, max(3, int((high - low) / 0.1) + 2))
    circle = np.stack([np.cos(fan), np.sin(fan)], 1)
    rim = np.concatenate([near * circle, max_range_m * circle]) + sight.origin[:2]
    # A pixel-thin wedge still gets an area.
    across = np.array([-math.sin(middle), math.cos(middle)]) * MIN_SIZE_M / 2
    polygon = convex_hull(np.concatenate([rim, rim + across, rim - across]))
    along_axis, across_axis = np.array([math.cos(middle), math.sin(middle)]), across / (MIN_SIZE_M / 2)
    a, c = polygon @ along_axis, polygon @ across_axis
    centre = along_axis * (a.min() + a.max()) / 2 + across_axis * (c.min() + c.max()) / 2
    length, width = float(np.ptp(a)), float(np.ptp(c))
    rise = heading[:, 2] / np.maximum(np.hypot(heading[:, 0], heading[:, 1]), 1e-3)
    lowest = float(np.clip(sight.origin[2] + rise.min() * max_range_m, -max_range_m, sight.origin[2]))
    floor = lowest if ground is None else float(ground.z(polygon).min())
    top = float(max(sight.origin[2] + rise.max() * max_range_m, sight.origin[2] + rise.max() * near))
    z_range = (floor, float(np.clip(top, floor + MIN_SIZE_M, floor + max_range_m)))
    size_z = z_range[1] - z_range[0]
    yaw = half_turn(middle)
    if width > length:
        length, width, yaw = width, length, half_turn(middle + math.pi / 2)
    axes = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    # Anywhere in the box alike.
    spread = np.diag([length**2, width**2, size_z**2]) / 12
    return HazardZone(
        ids[0],
        ids[1],
        DepthStatus.UNKNOWN,
        reason,
        (float(centre[0]), float(centre[1]), (z_range[0] + z_range[1]) / 2),
        (length, width, size_z),
        yaw,
        axes @ spread @ axes.T,
        polygon,
        z_range,
        distance_to_polygon(polygon, ego),
        np.zeros(0, np.int64),
    )
