# SPDX-License-Identifier: Apache-2.0
"""Which points of a region are the object: not the background past its edge, not what stands in front of it.

Camera and LiDAR stand apart and masks bleed, so a region also catches points of other things. Three facts tell them
apart: things are separated by gaps wider than the spacing of the beams, the object lies inside the region while
background and occluders go on outside it, and the middle of a region is more certainly the object than its rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vl_anomaly_ros.types import BoolArray, DoubleArray, IntArray

IndexArray = npt.NDArray[np.int64]
VOXELS_A_GAP = 6
BEAM_SPACING_RAD = 0.008
"""Neighbouring returns of one surface may be this far apart sideways, seen from the sensor (scanners turn by 0.1 to 0.4
degrees from shot to shot; one may be lost)."""
VERTICAL_WEIGHT = 0.33
"""Height differences count by so much: beams leave wider gaps up and down a surface than along it."""
MIN_SHARE = 0.3
"""A cluster counts as a candidate from this share of the best one's score; of the candidates the nearest is taken."""
PART_GAPS = 3
"""Parts of one thing may lie so many gaps apart in range: a bonnet seen at a grazing angle returns nothing between the
grille and the windscreen. The background is another thing because it goes on outside the region, however close."""
WHOLE_INSIDE = 0.7
"""A cluster with less of it inside the region may be the object and what it stands beside."""
MIN_INSIDE = 0.5
"""From this share inside the region, a part is the object's own."""


class Clusters(NamedTuple):
    """Labels from 0 of connected points, (N,) int32: by the whole gap, and by half of it."""

    coarse: IntArray
    fine: IntArray


def cluster(xyz: DoubleArray, gap_m: float) -> Clusters:
    """Label points that are connected by steps shorter than a gap that grows with range.

    Args:
        xyz: (N, 3) metres, level axes near the sensor.
        gap_m: widest step near the sensor; farther off it is range times `BEAM_SPACING_RAD`.

    >>> cluster(np.array([[5.0, 0, 0], [5.2, 0, 0], [5.6, 0, 0], [7.0, 0, 0]]), 0.5)
    Clusters(coarse=array([0, 0, 0, 1], dtype=int32), fine=array([0, 0, 1, 2], dtype=int32))
    """
    if len(xyz) == 0:
        return Clusters(np.zeros(0, np.int32), np.zeros(0, np.int32))
    flat = xyz * np.array([1.0, 1.0, VERTICAL_WEIGHT])
    # One point a voxel keeps the number of pairs small.
    voxel = np.floor(flat * (VOXELS_A_GAP / gap_m)).astype(np.int64)
    voxel -= voxel.min(axis=0)
    size = voxel.max(axis=0) + 1
    key = (voxel[:, 0] * size[1] + voxel[:, 1]) * size[2] + voxel[:, 2]
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    few = flat[first]
    spacing = BEAM_SPACING_RAD * np.linalg.norm(xyz[first], axis=1)
    widest = max(gap_m, float(spacing.max()))
    pairs = cKDTree(few).query_pairs(widest, output_type="ndarray")
    step2 = np.sum((few[pairs[:, 0]] - few[pairs[:, 1]]) ** 2, axis=1)
    beam = np.minimum(spacing[pairs[:, 0]], spacing[pairs[:, 1]])
    labels = []
    for gap in (gap_m, gap_m / 2):
        a, b = pairs[step2 <= np.maximum(beam, gap) ** 2].T
        graph = csr_array((np.ones(len(a), np.int8), (a, b)), shape=(len(few), len(few)))
        labels.append(connected_components(graph, directed=False)[1][back.reshape(-1)].astype(np.int32))
    return Clusters(*labels)


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

    def of(self, chosen: BoolArray) -> Candidates:
        """Some of them."""
        return Candidates(self.xyz[chosen], self.range_m[chosen], self.inside[chosen], self.weight[chosen])


def choose_object(points: Candidates, clusters: Clusters, gap_m: float, farthest_m: float = np.inf) -> IndexArray:
    """Indices of the points that are the object's; empty where no cluster qualifies.

    An object that stands close to a wall or a hedge forms one cluster with it, most of which goes on outside the
    region: there the finer clusters are used.

    Args:
        points: in and around the region.
        clusters: of these points.
        gap_m: by which they were clustered.
        farthest_m: where the line of sight through the foot of the region meets the ground. What begins farther off
            cannot be the object, it is only seen past it.
    """
    chosen, share = _choose(points, clusters.coarse, gap_m, farthest_m)
    if not len(chosen) or share >= WHOLE_INSIDE:
        return chosen
    finer, _ = _choose(points, clusters.fine, gap_m, farthest_m)
    return finer if len(finer) else chosen


def _choose(points: Candidates, labels: IntArray, gap_m: float, farthest_m: float) -> tuple[IndexArray, float]:
    """The object's points by these clusters, and the share of the main cluster that lies inside the region."""
    if not points.inside.any():
        return np.zeros(0, np.int64), 0.0
    parts = int(labels.max()) + 1
    own = labels[points.inside]
    inside = np.bincount(own, minlength=parts)
    weight = np.bincount(own, points.weight[points.inside], minlength=parts)
    near, far = np.full(parts, np.inf), np.zeros(parts)
    np.minimum.at(near, own, points.range_m[points.inside])
    np.maximum.at(far, own, points.range_m[points.inside])
    share = inside / np.maximum(np.bincount(labels, minlength=parts), 1)
    score = np.where(near <= farthest_m, weight * share, 0.0)
    if score.max() <= 0:
        return np.zeros(0, np.int64), 0.0
    possible = score >= MIN_SHARE * score.max()
    main = int(np.argmin(np.where(possible, near, np.inf)))
    # Other parts of the same thing follow it in range.
    reach = PART_GAPS * np.maximum(gap_m, BEAM_SPACING_RAD * near)
    possible = (share >= MIN_INSIDE) & (score > 0)
    same = np.arange(parts) == main
    while True:
        first, last = near[same].min(), far[same].max()
        grown = same | (possible & (near <= last + reach) & (far >= first - reach))
        if np.array_equal(grown, same):
            break
        same = grown
    return np.flatnonzero(same[labels] & points.inside), float(share[main])
