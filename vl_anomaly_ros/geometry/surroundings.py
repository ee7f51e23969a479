# SPDX-License-Identifier: Apache-2.0
"""Points in the regions of an image and around them, so that things which go on outside one are known by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import float64, int32, int64, uint16
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry.clustering import IndexArray
from vl_anomaly_ros.types import DoubleArray, IntArray, Region

MARGIN_PX, MARGIN_PARTS = 8, 4
"""How far around a region points are looked at: so many pixels, and its size divided by so much."""
DEPTH_STEPS = 48
"""How finely the depth inside a region is known: a large region is looked at in coarser steps."""
_SIDE, _DIAGONAL = 0.955, 1.3693
"""Steps of the chamfer distance that departs least from the straight one (Borgefors, 1986)."""


class Near(NamedTuple):
    """Points in and around regions, region after region; a point near two regions stands twice.

    Attributes:
        ends: (regions + 1,) where each region's points end.
        point: (K,) rows of the scene.
        weight: (K,) how deep inside the region, 0 outside.
    """

    ends: IndexArray
    point: IndexArray
    weight: DoubleArray


def points_near(
    regions: Sequence[Region],
    instances: npt.NDArray[np.uint16],
    pixel: IntArray,
    height_m: DoubleArray,
    clearance_m: float,
) -> tuple[Near, Near]:
    """Points in and around regions: those higher above the ground than the clearance, and the others.

    Args:
        regions: of the image.
        instances: (H, W) numbers of the regions.
        pixel: (N, 2) int32 of the points, in order of their column.
        height_m: (N,) of the points above the ground.
        clearance_m: what is no higher belongs to the ground.
    """
    boxes = np.array([region.bbox for region in regions], np.int64).reshape(-1, 4)
    ids = np.array([region.id for region in regions], np.int64)
    near = _around(np.ascontiguousarray(instances), boxes, ids, pixel, height_m, clearance_m)
    return Near(*near[:3]), Near(*near[3:])


@kernel(array(float64, 2)(view(uint16, 2), view(int64, 1), int64, int64))
def _depth(instances: npt.NDArray[np.uint16], box: IndexArray, number: int, step: int) -> DoubleArray:
    """How far from the rim every `step`-th pixel of a region's box lies, in steps, with a border of zeros."""
    x0, y0, x1, y1 = box
    rows, columns = (max(y1 - y0, 0) + step - 1) // step, (max(x1 - x0, 0) + step - 1) // step
    depth = np.zeros((rows + 2, columns + 2))
    for i in range(1, rows + 1):
        y, last = y0 + (i - 1) * step, 0.0
        for j in range(1, columns + 1):
            x = x0 + (j - 1) * step
            if 0 <= y < instances.shape[0] and 0 <= x < instances.shape[1] and instances[y, x] == number:
                diagonal = min(depth[i - 1, j - 1], depth[i - 1, j + 1]) + _DIAGONAL
                last = min(diagonal, depth[i - 1, j] + _SIDE, last + _SIDE)
            else:
                last = 0.0
            depth[i, j] = last
    for i in range(rows, 0, -1):
        last = 0.0
        for j in range(columns, 0, -1):
            diagonal = min(depth[i + 1, j + 1], depth[i + 1, j - 1]) + _DIAGONAL
            last = min(depth[i, j], diagonal, depth[i + 1, j] + _SIDE, last + _SIDE)
            depth[i, j] = last
    return depth


_NEAR = (array(int64, 1), array(int64, 1), array(float64, 1))


@kernel(
    Tuple((*_NEAR, *_NEAR))(view(uint16, 2), view(int64, 2), view(int64, 1), view(int32, 2), view(float64, 1), float64),
    long=True,
)
def _around(
    instances: npt.NDArray[np.uint16],
    boxes: IndexArray,
    ids: IndexArray,
    pixel: IntArray,
    height_m: DoubleArray,
    clearance_m: float,
) -> tuple[IndexArray, IndexArray, DoubleArray, IndexArray, IndexArray, DoubleArray]:
    """`points_near`, as twice what `Near` says.

    Args:
        instances: (H, W) numbers of the regions.
        boxes: (regions, 4) x0, y0, x1, y1.
        ids: (regions,) the regions' numbers.
        pixel: (N, 2) of the points, in order of their column.
        height_m: (N,) of the points above the ground.
        clearance_m: what is no higher belongs to the ground.
    """
    height, width = instances.shape
    bounds, most = np.empty((len(ids), 2), np.int64), 0
    for r in range(len(ids)):
        x0, y0, x1, y1 = boxes[r]
        margin = MARGIN_PX + max(x1 - x0, y1 - y0) // MARGIN_PARTS
        # No point of another image, which would have no place in this one.
        bounds[r, 0] = np.searchsorted(pixel[:, 0], max(x0 - margin, 0))
        bounds[r, 1] = np.searchsorted(pixel[:, 0], min(x1 + margin, width))
        most += max(bounds[r, 1] - bounds[r, 0], 0)
    high_ends, low_ends, high, low = np.zeros(len(ids) + 1, np.int64), np.zeros(len(ids) + 1, np.int64), 0, 0
    high_point, high_weight = np.empty(most, np.int64), np.empty(most)
    low_point, low_weight = np.empty(most, np.int64), np.empty(most)
    for r in range(len(ids)):
        x0, y0, x1, y1 = boxes[r]
        margin = MARGIN_PX + max(x1 - x0, y1 - y0) // MARGIN_PARTS
        top, bottom = max(y0 - margin, 0), min(y1 + margin, height)
        step = 1 + max(x1 - x0, y1 - y0, 0) // DEPTH_STEPS
        depth = _depth(instances, boxes[r], ids[r], step)
        for n in range(bounds[r, 0], bounds[r, 1]):
            u, v = pixel[n, 0], pixel[n, 1]
            if not top <= v < bottom:
                continue
            weight = 0.0
            if instances[v, u] == ids[r]:
                # The box may be smaller than the region, and a thin part may fall between the steps.
                i = min(max((v - y0) // step + 1, 0), depth.shape[0] - 1)
                j = min(max((u - x0) // step + 1, 0), depth.shape[1] - 1)
                # To the outline, half a step past the centre of the last step inside.
                weight = max(depth[i, j], 1.0) - 0.5
            if height_m[n] > clearance_m:
                high_point[high], high_weight[high] = n, weight
                high += 1
            else:
                low_point[low], low_weight[low] = n, weight
                low += 1
        high_ends[r + 1], low_ends[r + 1] = high, low
    return high_ends, high_point[:high], high_weight[:high], low_ends, low_point[:low], low_weight[:low]
