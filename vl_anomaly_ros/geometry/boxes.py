# SPDX-License-Identifier: Apache-2.0
"""Convex footprints and oriented boxes on the ground plane, for any number of points from one up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import float64, int64

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry import polygons
from vl_anomaly_ros.types import DoubleArray

MIN_SIZE_M = 0.1
"""No side of a box is given shorter: a surface seen edge-on is still a thing."""

SIDE_M = 0.2
"""Points nearer to a side lie on it: range noise, and the roundness of real things."""
SAMPLE = 48
LONGEST = 8
"""Sides of the hull that are tried as headings, the longest; other headings are tried as well."""
HEADINGS_RAD = np.deg2rad(np.arange(0.0, 90.0, 3.0))
_HEADINGS = np.stack([np.cos(HEADINGS_RAD), np.sin(HEADINGS_RAD)], 1)
GOOD = 0.99
"""Headings that are followed by this share of the points that follow the best one are as good."""


def convex_hull(xy: DoubleArray) -> DoubleArray:
    """(M, 2) float64 corners of the convex hull, counter-clockwise; M is 1 or 2 for identical or collinear points.

    >>> convex_hull(np.array([[0.0, 0], [1, 0], [1, 1], [0.5, 0.5], [0, 1]])).shape
    (4, 2)
    """
    return polygons.hulls(np.ascontiguousarray(xy, np.float64), np.array([0, len(xy)]))[0]


def signed_area(polygon: DoubleArray) -> float:
    """Area in square units, positive for counter-clockwise corners."""
    return polygons.area(np.ascontiguousarray(polygon, np.float64))


def distance_to_polygon(polygon: DoubleArray, point: DoubleArray) -> float:
    """Distance from a point to a convex counter-clockwise polygon, 0 inside.

    >>> distance_to_polygon(np.array([[1.0, -1], [2, -1], [2, 1], [1, 1]]), np.zeros(2))
    1.0
    """
    x, y = point.tolist()
    return polygons.distance(np.ascontiguousarray(polygon, np.float64), x, y)


def half_turn(angle: float) -> float:
    """Angle in (-pi/2, pi/2] of the same undirected axis.

    >>> round(half_turn(math.pi), 6), round(half_turn(-math.pi / 2), 6)
    (0.0, 1.570796)
    """
    folded = math.remainder(angle, math.pi)
    return math.pi / 2 if folded <= -math.pi / 2 + 1e-12 else folded


@kernel(float64(view(float64, 2), array(float64, 2)))
def _longest_sides(hull: DoubleArray, headings: DoubleArray) -> float:
    """Write the headings, (cos, sin), of the `LONGEST` longest sides into the first rows; the length of the longest.

    A hull of fewer sides repeats the heading 0.
    """
    squared = np.zeros(len(hull))
    for n in range(len(hull)):
        m = n + 1 if n + 1 < len(hull) else 0
        squared[n] = (hull[m, 0] - hull[n, 0]) ** 2 + (hull[m, 1] - hull[n, 1]) ** 2
    longest = math.sqrt(squared.max())
    for k in range(LONGEST):
        headings[k, 0], headings[k, 1] = 1.0, 0.0
        n = int(np.argmax(squared))
        if squared[n] > 0:
            m, length = n + 1 if n + 1 < len(hull) else 0, math.sqrt(squared[n])
            headings[k, 0], headings[k, 1] = (hull[m, 0] - hull[n, 0]) / length, (hull[m, 1] - hull[n, 1]) / length
            squared[n] = 0
    return longest


@kernel(
    array(float64, 2)(view(float64, 2), view(int64, 1), view(float64, 2), view(int64, 1), view(float64, 1))
)  # fmt: skip
def oriented_boxes(
    xy: DoubleArray,
    ends: npt.NDArray[np.int64],
    corners: DoubleArray,
    corner_ends: npt.NDArray[np.int64],
    fallback_yaws: DoubleArray,
) -> DoubleArray:
    """`oriented_box` of sets of points that lie behind one another, see `polygons`.

    Args:
        xy: (N, 2 or 3) metres, at least one point a set.
        ends: (sets + 1,) where each set ends in `xy`.
        corners: (M, 2) hulls of the sets.
        corner_ends: (sets + 1,) where each hull ends.
        fallback_yaws: (sets,) headings where the points have no extent.

    Returns:
        (sets, 5) x and y of the centre, length, width, and heading of the length, in any turn.
    """
    boxes = np.empty((len(fallback_yaws), 5))
    headings = np.empty((LONGEST + len(_HEADINGS), 2))
    headings[LONGEST:] = _HEADINGS
    closeness, rectangle = np.empty(len(headings)), np.empty((len(headings), 4))
    px, py, nearest = np.empty(SAMPLE), np.empty(SAMPLE), np.empty(SAMPLE)
    for k in range(len(fallback_yaws)):
        hull = corners[corner_ends[k] : corner_ends[k + 1]]
        # The hull has the extent; a sample of the points suffices to tell which sides they follow.
        x0, y0, count = hull[0, 0], hull[0, 1], ends[k + 1] - ends[k]
        for n in range(SAMPLE):
            row = ends[k] + n * count // SAMPLE
            px[n], py[n] = xy[row, 0] - x0, xy[row, 1] - y0
        longest = _longest_sides(hull, headings)
        for h in range(len(headings)):
            c, s = headings[h, 0], headings[h, 1]
            low_a = high_a = low_c = high_c = 0.0  # along the heading, and across it
            for n in range(1, len(hull)):
                x, y = hull[n, 0] - x0, hull[n, 1] - y0
                a, t = c * x + s * y, c * y - s * x
                low_a, high_a, low_c, high_c = min(low_a, a), max(high_a, a), min(low_c, t), max(high_c, t)
            for n in range(SAMPLE):
                a, t = c * px[n] + s * py[n], c * py[n] - s * px[n]
                nearest[n] = 1 / max(min(a - low_a, high_a - a, t - low_c, high_c - t), SIDE_M)
            closeness[h] = nearest.sum()
            rectangle[h, 0], rectangle[h, 1], rectangle[h, 2], rectangle[h, 3] = low_a, high_a, low_c, high_c
        good, best, least = GOOD * closeness.max(), 0, math.inf
        for h in range(len(headings)):
            low_a, high_a, low_c, high_c = rectangle[h]
            area = (high_a - low_a + MIN_SIZE_M) * (high_c - low_c + MIN_SIZE_M)
            if closeness[h] >= good and area < least:
                best, least = h, area
        (low_a, high_a, low_c, high_c), (c, s) = rectangle[best], headings[best]
        a, t, length, width = (low_a + high_a) / 2, (low_c + high_c) / 2, high_a - low_a, high_c - low_c
        yaw = math.atan2(s, c) if longest > 1e-6 else fallback_yaws[k]
        if longest > 1e-6 and length < width:
            yaw += math.pi / 2
        boxes[k, 0], boxes[k, 1] = x0 + c * a - s * t, y0 + s * a + c * t
        boxes[k, 2], boxes[k, 3] = max(length, width, MIN_SIZE_M), max(min(length, width), MIN_SIZE_M)
        boxes[k, 4] = yaw
    return boxes


def oriented_box(xy: DoubleArray, fallback_yaw: float = 0.0) -> tuple[DoubleArray, tuple[float, float], float]:
    """Rectangle around points whose sides the points follow.

    A view shows one or two sides of a thing, so the heading is the one with most points close to a side (the closeness
    criterion of Zhang et al., "Efficient L-shape fitting for vehicle detection using laser scanners", IV 2017); of
    headings that do this equally well the one with the smallest rectangle is taken.

    Args:
        xy: (N, 2) metres, N at least 1.
        fallback_yaw: heading where the points have no extent.

    Returns:
        (2,) centre, (length, width) with length >= width >= `MIN_SIZE_M`, and the heading of the length, counter-
        clockwise from x in (-pi/2, pi/2].

    >>> centre, size, yaw = oriented_box(np.array([[0.0, 0], [2, 2], [1, 3], [-1, 1]]))
    >>> [round(float(v), 3) for v in (*centre, *size, yaw)]
    [0.5, 1.5, 2.828, 1.414, 0.785]
    """
    xy, ends = np.ascontiguousarray(xy, np.float64), np.array([0, len(xy)])
    (box,) = oriented_boxes(xy, ends, *polygons.hulls(xy, ends), np.array([fallback_yaw]))
    _, _, length, width, yaw = box.tolist()
    return box[:2], (length, width), half_turn(yaw)


@kernel(array(float64, 2)(view(float64, 2), view(int64, 1)))
def vertical_extents(xyz: DoubleArray, ends: npt.NDArray[np.int64]) -> DoubleArray:
    """(sets, 2) lowest and highest z of sets of points, moved apart to `MIN_SIZE_M` where they are nearer."""
    extents = np.empty((len(ends) - 1, 2))
    for k in range(len(extents)):
        low, high = math.inf, -math.inf
        for n in range(ends[k], ends[k + 1]):
            low, high = min(low, xyz[n, 2]), max(high, xyz[n, 2])
        if high - low < MIN_SIZE_M:
            low, high = (low + high - MIN_SIZE_M) / 2, (low + high + MIN_SIZE_M) / 2
        extents[k, 0], extents[k, 1] = low, high
    return extents


@kernel(array(float64, 3)(view(float64, 2), view(float64, 1)))
def turned_covariances(variances: DoubleArray, yaws: DoubleArray) -> DoubleArray:
    """(N, 3, 3) of N times three independent variances along length, width and height of boxes of these headings."""
    turned = np.zeros((len(yaws), 3, 3))
    for n in range(len(yaws)):
        (along, across, up), c, s = variances[n], math.cos(yaws[n]), math.sin(yaws[n])
        turned[n, 0, 0], turned[n, 1, 1] = c * c * along + s * s * across, s * s * along + c * c * across
        turned[n, 0, 1] = turned[n, 1, 0] = c * s * (along - across)
        turned[n, 2, 2] = up
    return turned


def rectangle(centre: DoubleArray | Sequence[float], size: tuple[float, float], yaw: float) -> DoubleArray:
    """(4, 2) corners, counter-clockwise.

    >>> rectangle(np.zeros(2), (2.0, 1.0), 0.0).tolist()
    [[-1.0, -0.5], [1.0, -0.5], [1.0, 0.5], [-1.0, 0.5]]
    """
    return polygons.rectangle(np.array([*centre, *size, yaw], np.float64))


def footprint(
    hull: DoubleArray, centre: DoubleArray | Sequence[float], size: tuple[float, float], yaw: float
) -> DoubleArray:
    """(M, 2) counter-clockwise convex polygon of 3 corners at least: the hull, or the box where that is a line."""
    box = np.array([[*centre, *size, yaw]], np.float64)
    return polygons.footprints(np.ascontiguousarray(hull), np.array([0, len(hull)]), box, MIN_SIZE_M)[0]
