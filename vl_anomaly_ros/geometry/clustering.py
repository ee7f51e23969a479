# SPDX-License-Identifier: Apache-2.0
"""Which points of a region are the object: not the background past its edge, not what stands in front of it.

Camera and LiDAR stand apart and masks bleed, so a region also catches points of other things. Three facts tell them
apart: things are separated by gaps wider than the spacing of the beams, the object lies inside the region while
background and occluders go on outside it, and the middle of a region is more certainly the object than its rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vl_anomaly_ros.types import BoolArray, DoubleArray, IntArray

BEAM_SPACING_RAD = 0.008
"""Neighbouring returns of one surface may be this far apart sideways, seen from the sensor (scanners turn by 0.1 to 0.4
degrees from shot to shot; one may be lost)."""
VERTICAL_WEIGHT = 0.33
"""Height differences count by so much: beams leave wider gaps up and down a surface than along it."""
MIN_SHARE = 0.3
"""A cluster counts as a candidate from this share of the best one's score; of the candidates the nearest is taken."""
WHOLE_INSIDE = 0.7
"""A cluster with less of it inside the region may be the object and what it stands beside."""
MIN_INSIDE = 0.5
"""From this share inside the region, a part is the object's own."""


def cluster(xyz: DoubleArray, gap_m: float, origin: DoubleArray | None = None) -> IntArray:
    """Label points that are connected by steps shorter than a gap that grows with range.

    Args:
        xyz: (N, 3) metres, z up.
        gap_m: widest step near the sensor; farther off it is range times `BEAM_SPACING_RAD`.
        origin: (3,) of the sensor, default the origin.

    Returns:
        (N,) int32 labels from 0.

    >>> cluster(np.array([[5.0, 0, 0], [5.3, 0, 0], [7.0, 0, 0]]), 0.5).tolist()
    [0, 0, 1]
    """
    if len(xyz) == 0:
        return np.zeros(0, np.int32)
    range_m = np.linalg.norm(xyz - (0.0 if origin is None else origin), axis=1)
    gap = np.maximum(gap_m, BEAM_SPACING_RAD * range_m)
    flat = xyz * np.array([1.0, 1.0, VERTICAL_WEIGHT])
    # One point a voxel of an eighth of the gap keeps the number of pairs small.
    voxel = np.floor(flat / (gap_m / 8)).astype(np.int64)
    voxel -= voxel.min(axis=0)
    size = voxel.max(axis=0) + 1
    key = (voxel[:, 0] * size[1] + voxel[:, 1]) * size[2] + voxel[:, 2]
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    few, few_gap = flat[first], gap[first]
    pairs = cKDTree(few).query_pairs(float(few_gap.max()), output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    close = np.linalg.norm(few[a] - few[b], axis=1) <= np.minimum(few_gap[a], few_gap[b])
    a, b = a[close], b[close]
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(len(few), len(few)))
    labels = connected_components(graph, directed=False)[1]
    return np.asarray(labels[back.reshape(-1)], np.int32)


@dataclass(frozen=True)
class Candidates:
    """Points in and around one region, without the ground.

    Attributes:
        xyz: (N, 3) metres, level axes.
        range_m: (N,) from the camera, along the ground.
        inside: (N,) whether the point falls into the region.
        weight: (N,) how deep inside, 0 (outside, or at the rim) to 1 (the middle).
    """

    xyz: DoubleArray
    range_m: DoubleArray
    inside: BoolArray
    weight: DoubleArray


def choose_object(points: Candidates, gap_m: float, farthest_m: float = np.inf) -> npt.NDArray[np.int64]:
    """Indices of the points that are the object's; empty where no cluster qualifies.

    An object that stands close to a wall or a hedge forms one cluster with it, most of which goes on outside the
    region: such a cluster is divided again by a gap half as wide.

    Args:
        points: in and around the region.
        gap_m: see `cluster`.
        farthest_m: where the line of sight through the foot of the region meets the ground. What begins farther off
            cannot be the object, it is only seen past it.
    """
    chosen, share = _choose(points, gap_m, farthest_m)
    if not len(chosen) or share >= WHOLE_INSIDE:
        return chosen
    divided, _ = _choose(points, gap_m / 2, farthest_m)
    return divided if len(divided) else chosen


def _choose(points: Candidates, gap_m: float, farthest_m: float) -> tuple[npt.NDArray[np.int64], float]:
    """The object's points by one gap, and the share of their main cluster that lies inside the region."""
    if not points.inside.any():
        return np.zeros(0, np.int64), 0.0
    labels = cluster(points.xyz, gap_m)
    parts = int(labels.max()) + 1
    total = np.bincount(labels, minlength=parts)
    inside = np.bincount(labels, points.inside, minlength=parts)
    weight = np.bincount(labels, points.weight * points.inside, minlength=parts) + 1e-6 * inside
    near, far = np.full(parts, np.inf), np.zeros(parts)
    np.minimum.at(near, labels[points.inside], points.range_m[points.inside])
    np.maximum.at(far, labels[points.inside], points.range_m[points.inside])
    share = inside / total
    score = np.where((inside > 0) & (near <= farthest_m), weight * share, 0.0)
    if score.max() <= 0:
        return np.zeros(0, np.int64), 0.0
    possible = score >= MIN_SHARE * score.max()
    main = int(np.argmin(np.where(possible, near, np.inf)))
    # Other parts of the same thing (a mirror, a far wheel, what a window splits off) lie at the same range.
    reach = max(2 * gap_m, 2 * BEAM_SPACING_RAD * far[main])
    same = (share >= MIN_INSIDE) & (near <= far[main] + reach) & (far >= near[main] - reach) & (score > 0)
    same[main] = True
    return np.flatnonzero(same[labels] & points.inside), float(share[main])
