# SPDX-License-Identifier: Apache-2.0
"""Loops over convex polygons: hulls of many sets of points, their areas, and how far they are from a place.

Several sets lie behind one another in one array: the rows of set k are those from ends[k] to ends[k + 1].
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import boolean, float32, float64, int64, uint32
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import BoolArray, DoubleArray, FloatArray


@kernel(float64(view(float64, 2), int64, int64, int64))
def _turn(xy: DoubleArray, a: int, b: int, c: int) -> float:
    """Positive where the way from row a over b to c turns left."""
    return float(
        (xy[b, 0] - xy[a, 0]) * (xy[c, 1] - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (xy[c, 0] - xy[a, 0])
    )  # fmt: skip


@kernel(array(int64, 1)(view(uint32, 1)))
def _in_order(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Rows of the keys from the least to the greatest, equal ones in their order (radix sort, a byte at a time)."""
    order, sorted_so_far = np.arange(len(keys)), np.empty(len(keys), np.int64)
    begin = np.empty(257, np.int64)
    for shift in range(0, 32, 8):
        begin[:] = 0
        for n in range(len(keys)):
            begin[((keys[n] >> np.uint32(shift)) & np.uint32(255)) + 1] += 1
        begin = np.cumsum(begin)
        for row in order:
            byte = (keys[row] >> np.uint32(shift)) & np.uint32(255)
            sorted_so_far[begin[byte]] = row
            begin[byte] += 1
        order, sorted_so_far = sorted_so_far, order
    return order


@kernel(array(int64, 1)(array(float32, 1)))
def _from_left(x: FloatArray) -> npt.NDArray[np.int64]:
    """Rows of numbers in their order: their bits, read as integers, are in it but for the sign."""
    keys = x.view(np.uint32).copy()
    for n in range(len(keys)):
        keys[n] ^= np.uint32(0xFFFFFFFF) if keys[n] >> np.uint32(31) else np.uint32(0x80000000)
    return _in_order(keys)


@kernel(array(int64, 2)(view(float64, 2)))
def _low_and_high(xy: DoubleArray) -> npt.NDArray[np.int64]:
    """(2, places) rows from left to right; of points above one another the lowest and the highest."""
    ends, places = np.empty((2, len(xy)), np.int64), 0
    for n in _from_left(xy[:, 0].astype(np.float32)):
        if places == 0 or xy[n, 0] != xy[ends[0, places - 1], 0]:
            ends[0, places] = ends[1, places] = n
            places += 1
        elif xy[n, 1] < xy[ends[0, places - 1], 1]:
            ends[0, places - 1] = n
        elif xy[n, 1] > xy[ends[1, places - 1], 1]:
            ends[1, places - 1] = n
    return np.copy(ends[:, :places])


@kernel(array(int64, 1)(view(float64, 2)))
def _hull(xy: DoubleArray) -> npt.NDArray[np.int64]:
    """Rows of the corners of the convex hull, counter-clockwise from the leftmost (Andrew's monotone chain)."""
    if len(xy) == 0:
        return np.empty(0, np.int64)
    # In single precision, so that what lies on a line but for the noise of the arithmetic mostly lies on it.
    at = np.empty((len(xy), 2))
    for n in range(len(xy)):
        at[n, 0], at[n, 1] = np.float32(xy[n, 0] - xy[0, 0]), np.float32(xy[n, 1] - xy[0, 1])
    low, high = _low_and_high(at)
    places = len(low)
    corner, count = np.empty(2 * places, np.int64), 0
    for k in range(places):
        while count > 1 and _turn(at, corner[count - 2], corner[count - 1], low[k]) <= 0:
            count -= 1
        corner[count] = low[k]
        count += 1
    lower = count if high[places - 1] == low[places - 1] else count + 1
    for k in range(places - 1, -1, -1):
        if high[k] == corner[count - 1]:
            continue
        while count > lower and _turn(at, corner[count - 2], corner[count - 1], high[k]) <= 0:
            count -= 1
        if high[k] != corner[0]:
            corner[count] = high[k]
            count += 1
    return np.copy(corner[:count])


@kernel(Tuple((array(float64, 2), array(int64, 1)))(view(float64, 2), view(int64, 1)))
def hulls(xy: DoubleArray, ends: npt.NDArray[np.int64]) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """(M, 2) corners of the convex hulls of sets of points, (N, 2 or 3), counter-clockwise, and their ends.

    One or two corners of points that are all the same or lie on a line; none of no points.
    """
    # A row that is no number may stand in the lower chain and in the upper one.
    corners, corner_ends = np.empty((2 * len(xy), 2)), np.zeros(len(ends), np.int64)
    count = 0
    for k in range(len(ends) - 1):
        first = ends[k]
        for n in _hull(xy[first : ends[k + 1]]):
            corners[count, 0], corners[count, 1] = xy[first + n, 0], xy[first + n, 1]
            count += 1
        corner_ends[k + 1] = count
    return corners[:count], corner_ends


@kernel(float64(view(float64, 2)))
def area(polygon: DoubleArray) -> float:
    """Area of a polygon, (M, 2), positive for counter-clockwise corners."""
    twice = 0.0
    for n in range(1, len(polygon) - 1):
        twice += _turn(polygon, 0, n, n + 1)
    return twice / 2


@kernel(boolean(view(float64, 2), float64, float64))
def holds(polygon: DoubleArray, x: float, y: float) -> bool:
    """Whether a place lies in a convex polygon or on its rim, given at least three counter-clockwise corners."""
    if len(polygon) < 3:
        return False
    for n in range(len(polygon)):
        m = n + 1 if n + 1 < len(polygon) else 0
        ex, ey = polygon[m, 0] - polygon[n, 0], polygon[m, 1] - polygon[n, 1]
        if not ex * (y - polygon[n, 1]) - ey * (x - polygon[n, 0]) >= 0:
            return False
    return True


@kernel(float64(view(float64, 2), float64, float64))
def distance(polygon: DoubleArray, x: float, y: float) -> float:
    """Distance from a place to a convex polygon with counter-clockwise corners; 0 in it."""
    if area(polygon) > 0 and holds(polygon, x, y):
        return 0.0
    nearest2 = math.inf
    for n in range(len(polygon)):
        m = n + 1 if n + 1 < len(polygon) else 0
        ex, ey = polygon[m, 0] - polygon[n, 0], polygon[m, 1] - polygon[n, 1]
        px, py = x - polygon[n, 0], y - polygon[n, 1]
        along = min(max((ex * px + ey * py) / max(ex * ex + ey * ey, 1e-18), 0.0), 1.0)
        nearest2 = min(nearest2, (px - along * ex) ** 2 + (py - along * ey) ** 2)
    return math.sqrt(nearest2)


@kernel(array(float64, 1)(view(float64, 2), view(int64, 1)))
def distances(corners: DoubleArray, ends: npt.NDArray[np.int64]) -> DoubleArray:
    """(sets,) distances of polygons from the origin."""
    apart = np.empty(len(ends) - 1)
    for k in range(len(apart)):
        apart[k] = distance(corners[ends[k] : ends[k + 1]], 0.0, 0.0)
    return apart


@kernel(array(float64, 2)(view(float64, 1)))
def rectangle(box: DoubleArray) -> DoubleArray:
    """(4, 2) corners, counter-clockwise, of x and y of the centre, length, width and heading."""
    x, y, length, width, yaw = box
    c, s, corners = math.cos(yaw), math.sin(yaw), np.empty((4, 2))
    for n in range(4):
        along = length / 2 if n in (1, 2) else -length / 2
        across = width / 2 if n in (2, 3) else -width / 2
        corners[n, 0], corners[n, 1] = x + c * along - s * across, y + s * along + c * across
    return corners


@kernel(Tuple((array(float64, 2), array(int64, 1)))(view(float64, 2), view(int64, 1), view(float64, 2), float64))
def footprints(
    corners: DoubleArray, ends: npt.NDArray[np.int64], boxes: DoubleArray, thin_m: float
) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """Hulls and where they end; those that are almost lines are replaced by their boxes, see `rectangle`."""
    polygons, polygon_ends = np.empty((len(corners) + 4 * len(boxes), 2)), np.zeros(len(ends), np.int64)
    count = 0
    for k in range(len(boxes)):
        hull = corners[ends[k] : ends[k + 1]]
        is_line = not area(hull) >= 0.25 * thin_m * boxes[k, 2]
        polygon_ends[k + 1] = count + (4 if is_line else len(hull))
        polygons[count : polygon_ends[k + 1]] = rectangle(boxes[k, :5]) if is_line else hull.copy()
        count = polygon_ends[k + 1]
    return polygons[:count], polygon_ends


@kernel(
    array(boolean, 1)(
        view(float64, 2), view(int64, 1), view(float64, 2), view(int64, 1), view(int64, 1), view(boolean, 1)
    )
)  # fmt: skip
def within(
    corners: DoubleArray,
    corner_ends: npt.NDArray[np.int64],
    xyz: DoubleArray,
    point: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    wanted: BoolArray,
) -> BoolArray:
    """(N,) which of the wanted of N rows of `xyz`, named by `point`, lie in the polygon of their set."""
    inside = np.zeros(len(point), np.bool_)
    for k in range(len(ends) - 1):
        polygon = corners[corner_ends[k] : corner_ends[k + 1]]
        for n in range(ends[k], ends[k + 1]):
            inside[n] = wanted[n] and holds(polygon, xyz[point[n], 0], xyz[point[n], 1])
    return inside
