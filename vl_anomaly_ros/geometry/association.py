# SPDX-License-Identifier: Apache-2.0
"""Which LiDAR points belong to which region of the image."""

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
from vl_anomaly_ros.geometry.choice import Candidates, choose_objects
from vl_anomaly_ros.geometry.clustering import IndexArray, cluster
from vl_anomaly_ros.geometry.ground import Ground
from vl_anomaly_ros.geometry.polygons import hulls, within
from vl_anomaly_ros.geometry.scene import Scene
from vl_anomaly_ros.geometry.sights import Sights, ground_ranges
from vl_anomaly_ros.geometry.surroundings import Near, points_near
from vl_anomaly_ros.types import BoolArray, DoubleArray, Region

BLEED = 1.5
"""A mask that reaches below its object shortens the line of sight to the ground by up to this factor."""


class ObjectPoints(NamedTuple):
    """The points of all regions, region after region; those of region r are from ends[r] to ends[r + 1].

    Attributes:
        point: (N,) rows of the scene.
        xyz: (N, 3) metres, level axes.
        ends: (regions + 1,) where each region's points end.
        corners: (M, 2) hulls on the ground of the regions' objects, without their feet.
        corner_ends: (regions + 1,) where each hull ends.
        hit: (regions,) whether any point fell into the region.
    """

    point: IndexArray
    xyz: DoubleArray
    ends: IndexArray
    corners: DoubleArray
    corner_ends: IndexArray
    hit: BoolArray


def no_points(regions: int) -> ObjectPoints:
    """That no region has any."""
    ends = np.zeros(regions + 1, np.int64)
    return ObjectPoints(ends[:0], np.zeros((0, 3)), ends, np.zeros((0, 2)), ends, np.zeros(regions, bool))


def object_points(
    regions: Sequence[Region],
    instances: npt.NDArray[np.uint16],
    scene: Scene,
    ground: Ground,
    sights: Sights,
    config: FusionConfig,
) -> ObjectPoints:
    """Each region's own points among those of the scene. What lies in and around regions is clustered once for all."""
    high, low = points_near(regions, instances, scene.pixel, scene.height_m, config.ground_clearance_m)
    foot_m, meets = ground_ranges(sights, ground, config.max_range_m)
    farthest_m = np.where(meets & ~sights.cut_off, BLEED * foot_m + 2.0, np.inf)

    def chosen(points: Near, asked: BoolArray) -> BoolArray:
        place, xyz, range_m = _places(points.ends, points.point, asked, scene.xyz, sights.origin)
        candidates = Candidates(points.ends, place, points.weight, range_m)
        return choose_objects(candidates, cluster(xyz, config.cluster_gap_m), config.cluster_gap_m, farthest_m)

    own = chosen(high, np.ones(len(regions), bool))
    hit, lying, inner = _judged(high.ends, high.weight, own, low.ends, low.weight)
    flat = chosen(low, lying) if lying.any() else np.zeros_like(inner)
    _, xyz, ends = _listed(*high[:2], own, *low[:2], flat, scene.xyz)
    corners, corner_ends = hulls(xyz, ends)
    # The object's foot, or the ground that it stands on.
    feet = within(corners, corner_ends, scene.xyz, low.point, low.ends, inner)
    return ObjectPoints(*_listed(*high[:2], own, *low[:2], flat | feet, scene.xyz), corners, corner_ends, hit)


@kernel(
    Tuple((array(int64, 1), array(float64, 2), array(float64, 1)))(
        view(int64, 1), view(int64, 1), view(boolean, 1), view(float64, 2), view(float64, 1)
    )
)
def _places(
    ends: IndexArray, point: IndexArray, asked: BoolArray, xyz: DoubleArray, camera: DoubleArray
) -> tuple[IndexArray, DoubleArray, DoubleArray]:
    """The different points near the regions that are asked for.

    Returns:
        (K,) which of them each point is, -1 for none; (M, 3) these; (M,) their distances from the camera.
    """
    place, number = np.full(len(point), -1), np.full(len(xyz), -1)
    places, range_m, count = np.empty((len(point), 3)), np.empty(len(point)), 0
    for r in range(len(asked)):
        for k in range(ends[r], ends[r + 1] if asked[r] else ends[r]):
            n = point[k]
            if number[n] < 0:
                number[n] = count
                range_m[count] = math.hypot(xyz[n, 0] - camera[0], xyz[n, 1] - camera[1])
                for axis in range(3):
                    places[count, axis] = xyz[n, axis]
                count += 1
            place[k] = number[n]
    return place, places[:count], range_m[:count]


@kernel(
    Tuple((array(boolean, 1), array(boolean, 1), array(boolean, 1)))(
        view(int64, 1), view(float64, 1), view(boolean, 1), view(int64, 1), view(float64, 1)
    )
)
def _judged(
    ends: IndexArray, weight: DoubleArray, own: BoolArray, low_ends: IndexArray, low_weight: DoubleArray
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """What regions have and lack.

    Returns:
        (regions,) whether any point fell into each; (regions,) whether it lies flat: it has no point of its own above
        the clearance, then its ground points are the object; (K,) which low ones are in a region that is not flat.
    """
    hit, lying = np.zeros(len(ends) - 1, np.bool_), np.zeros(len(ends) - 1, np.bool_)
    inner = np.zeros(len(low_weight), np.bool_)
    for r in range(len(hit)):
        has = high = low = False
        for k in range(ends[r], ends[r + 1]):
            has |= own[k]
            high |= weight[k] > 0
        for k in range(low_ends[r], low_ends[r + 1]):
            low |= low_weight[k] > 0
            inner[k] = has and low_weight[k] > 0
        hit[r], lying[r] = high or low, low and not has
    return hit, lying, inner


@kernel(
    Tuple((array(int64, 1), array(float64, 2), array(int64, 1)))(
        view(int64, 1), view(int64, 1), view(boolean, 1), view(int64, 1), view(int64, 1), view(boolean, 1),
        view(float64, 2),
    )
)  # fmt: skip
def _listed(
    ends: IndexArray,
    point: IndexArray,
    own: BoolArray,
    low_ends: IndexArray,
    low_point: IndexArray,
    low_own: BoolArray,
    xyz: DoubleArray,
) -> tuple[IndexArray, DoubleArray, IndexArray]:
    """Rows of the scene that are own points of each region, the low ones last; these points; where each one's end."""
    rows, listed_ends, count = np.empty(len(point) + len(low_point), np.int64), np.zeros(len(ends), np.int64), 0
    for r in range(len(ends) - 1):
        for k in range(ends[r], ends[r + 1]):
            if own[k]:
                rows[count] = point[k]
                count += 1
        for k in range(low_ends[r], low_ends[r + 1]):
            if low_own[k]:
                rows[count] = low_point[k]
                count += 1
        listed_ends[r + 1] = count
    listed = np.empty((count, 3))
    for n in range(count):
        for axis in range(3):
            listed[n, axis] = xyz[rows[n], axis]
    return rows[:count], listed, listed_ends
