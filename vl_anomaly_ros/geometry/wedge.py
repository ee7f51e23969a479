# SPDX-License-Identifier: Apache-2.0
"""Zones of regions without depth: all the ground that the region may stand on, never nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry.boxes import MIN_SIZE_M, half_turn, turned_covariances
from vl_anomaly_ros.geometry.ground import Ground
from vl_anomaly_ros.geometry.polygons import distances, hulls
from vl_anomaly_ros.geometry.sights import Sights, ground_ranges
from vl_anomaly_ros.types import DepthStatus, DoubleArray, HazardZone

FAN_RAD = 0.1
"""How finely the arcs of a wedge are followed."""
PITCH_MARGIN_RAD = 0.02
"""A vehicle that brakes, or a road that rises, brings the foot of an object closer than level ground predicts."""


def wedge_zones(
    sights: Sights, ground: Ground | None, max_range_m: float, ids: Sequence[int], reasons: Sequence[str]
) -> list[HazardZone]:
    """Zones of regions whose depth is unknown: from where each may first stand to the end of the range.

    Args:
        sights: lines of sight of the regions, in axes whose origin is the ego.
        ground: where things stand; None where the height of the camera is not known.
        max_range_m: end of the wedges.
        ids: of the regions and their zones.
        reasons: why there is no depth.
    """
    if not ids:
        return []
    near_m = np.zeros(len(ids))
    if ground is not None:
        near_m, meets = ground_ranges(sights, ground, max_range_m, PITCH_MARGIN_RAD)
        # A foot hidden below the image, or no ground under the region (it hangs, or the road falls): it may be at hand.
        hidden = ~meets | sights.cut_off
        near_m = np.where(hidden, 0.0, np.minimum(near_m, max_range_m - 1.0))
    origin, calibrated = sights.origin, sights.directions.size > 0
    directions = sights.directions if calibrated else np.tile(sights.axis, (len(ids), 1, 1))
    rim, rim_ends, aims = _sectors(directions, calibrated, near_m, max_range_m, origin, MIN_SIZE_M)
    corners, ends = hulls(rim, rim_ends)
    which = np.repeat(np.arange(len(ids)), np.diff(ends))
    middle, lowest_rise, highest_rise = np.ascontiguousarray(aims.T)
    x, y, cos, sin = corners[:, 0], corners[:, 1], np.cos(middle).take(which), np.sin(middle).take(which)
    along, across = x * cos + y * sin, y * cos - x * sin
    extents = [each.reduceat(side, ends[:-1]) for side in (along, across) for each in (np.minimum, np.maximum)]
    lowest = np.clip(origin[2] + lowest_rise * max_range_m, -max_range_m, origin[2])
    floor = lowest if ground is None else np.minimum.reduceat(ground.z(corners), ends[:-1])
    top = origin[2] + np.maximum(highest_rise * max_range_m, highest_rise * near_m)
    top = np.clip(top, floor + MIN_SIZE_M, floor + max_range_m)
    nearest, farthest, right, left = extents
    sides = np.stack([farthest - nearest, left - right, top - floor], 1)
    covariances = turned_covariances(sides**2 / 12, middle)  # anywhere in the box alike
    numbers = np.stack([middle, *extents, floor, top, distances(corners, ends)], 1).tolist()
    return [
        _wedge_zone(corners[a:b], of_this, covariance, number, reason)
        for (a, b), of_this, covariance, number, reason in zip(
            itertools.pairwise(ends.tolist()), numbers, covariances, ids, reasons
        )
    ]


@kernel(
    Tuple((array(float64, 2), array(int64, 1), array(float64, 2)))(
        view(float64, 3), boolean, view(float64, 1), float64, view(float64, 1), float64
    )
)
def _sectors(
    directions: DoubleArray,
    calibrated: bool,
    near_m: DoubleArray,
    max_range_m: float,
    origin: DoubleArray,
    width_m: float,
) -> tuple[DoubleArray, npt.NDArray[np.int64], DoubleArray]:
    """Places all around the sectors of the ground that regions may stand on.

    Args:
        directions: (N, rays, 3) lines of sight; of a camera that is not calibrated (N, 1, 3), its axis.
        calibrated: whether it is; else all that is ahead is meant.
        near_m: (N,) where each sector begins.
        max_range_m: where all end.
        origin: (3,) the camera.
        width_m: what is thinner still gets an area.

    Returns:
        Places, sector after sector, and (N + 1,) where each sector's end; and (N, 3) the bearing of its middle, and the
        lowest and the highest slope of its lines of sight.
    """
    most = int(2 * math.pi / FAN_RAD) + 3
    places, ends, aims = (
        np.empty((len(near_m) * most * 6, 2)),
        np.zeros(len(near_m) + 1, np.int64),
        np.empty((len(near_m), 3)),
    )
    count = 0
    for r in range(len(near_m)):
        rays = directions[r]
        middle = math.atan2(rays[:, 1].mean(), rays[:, 0].mean())
        low, high = (math.inf, -math.inf) if calibrated else (-math.pi / 2, math.pi / 2)
        aims[r, 0], aims[r, 1], aims[r, 2] = middle, math.inf, -math.inf
        for n in range(len(rays)):
            rise = rays[n, 2] / max(math.sqrt(rays[n, 0] ** 2 + rays[n, 1] ** 2), 1e-3)
            aims[r, 1], aims[r, 2] = min(aims[r, 1], rise), max(aims[r, 2], rise)
            if calibrated:
                bearing = (math.atan2(rays[n, 1], rays[n, 0]) - middle + math.pi) % (2 * math.pi) - math.pi
                low, high = min(low, bearing), max(high, bearing)
        across_x, across_y = -math.sin(middle) * width_m / 2, math.cos(middle) * width_m / 2
        steps = min(max(3, int((high - low) / FAN_RAD) + 2), most)
        for n in range(steps):
            bearing = middle + low + (high - low) * (n / (steps - 1))
            for range_m in (near_m[r], max_range_m):
                x, y = origin[0] + range_m * math.cos(bearing), origin[1] + range_m * math.sin(bearing)
                for side in (-1, 1):
                    places[count, 0], places[count, 1] = x + side * across_x, y + side * across_y
                    count += 1
        ends[r + 1] = count
    return places[:count], ends, aims


def _wedge_zone(
    polygon: DoubleArray, reach: Sequence[float], covariance: DoubleArray, number: int, reason: str
) -> HazardZone:
    """One of them: its polygon, the bearing of its middle, its reach along that, across it and up, its distance."""
    middle, nearest, farthest, right, left, low, high, distance_m = reach
    along, across = (nearest + farthest) / 2, (left + right) / 2
    c, s = math.cos(middle), math.sin(middle)
    length, width, yaw = farthest - nearest, left - right, half_turn(middle)
    if width > length:
        length, width, yaw = width, length, half_turn(middle + math.pi / 2)
    return HazardZone(
        id=number,
        region_id=number,
        status=DepthStatus.UNKNOWN,
        reason=reason,
        center_m=(c * along - s * across, s * along + c * across, (low + high) / 2),
        size_m=(length, width, high - low),
        yaw_rad=yaw,
        position_covariance=covariance,
        footprint_m=polygon,
        z_range_m=(low, high),
        distance_m=distance_m,
        point_indices=np.zeros(0, np.int64),
    )
