# SPDX-License-Identifier: Apache-2.0
"""Convex footprints and oriented boxes on the ground plane, for any number of points from one up."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vl_anomaly_ros.types import DoubleArray

MIN_SIZE_M = 0.1
"""No side of a box is given shorter: a surface seen edge-on is still a thing."""

SIDE_M = 0.2
"""Points nearer to a side lie on it: range noise, and the roundness of real things."""
SAMPLE = 120
HEADINGS_RAD = np.deg2rad(np.arange(0.0, 90.0, 2.0))


def convex_hull(xy: DoubleArray) -> DoubleArray:
    """(M, 2) float64 corners of the convex hull, counter-clockwise; M is 1 or 2 for identical or collinear points.

    >>> convex_hull(np.array([[0.0, 0], [1, 0], [1, 1], [0.5, 0.5], [0, 1]])).shape
    (4, 2)
    """
    middle = xy.mean(axis=0)
    # OpenCV works in single precision: near the middle of the points that is below a micrometre.
    index = cv2.convexHull((xy - middle).astype(np.float32)[:, None], returnPoints=False).reshape(-1)
    hull = xy[index]
    return np.asarray(hull[::-1] if signed_area(hull) < 0 else hull, np.float64)


def signed_area(polygon: DoubleArray) -> float:
    """Area in square units, positive for counter-clockwise corners."""
    x, y = (polygon - polygon[0]).T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def distance_to_polygon(polygon: DoubleArray, point: DoubleArray) -> float:
    """Distance from a point to a convex counter-clockwise polygon, 0 inside.

    >>> distance_to_polygon(np.array([[1.0, -1], [2, -1], [2, 1], [1, 1]]), np.zeros(2))
    1.0
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    edge, to_point = end - start, point - start
    cross = edge[:, 0] * to_point[:, 1] - edge[:, 1] * to_point[:, 0]
    if len(polygon) >= 3 and np.all(cross >= 0) and signed_area(polygon) > 0:
        return 0.0
    length2 = np.maximum(np.sum(edge * edge, axis=1), 1e-18)
    along = np.clip(np.sum(edge * to_point, axis=1) / length2, 0.0, 1.0)
    return float(np.linalg.norm(to_point - along[:, None] * edge, axis=1).min())


def half_turn(angle: float) -> float:
    """Angle in (-pi/2, pi/2] of the same undirected axis.

    >>> round(half_turn(math.pi), 6), round(half_turn(-math.pi / 2), 6)
    (0.0, 1.570796)
    """
    folded = math.remainder(angle, math.pi)
    return math.pi / 2 if folded <= -math.pi / 2 + 1e-12 else folded


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
    hull = convex_hull(xy)
    edges = np.roll(hull, -1, axis=0) - hull
    edges = edges[np.linalg.norm(edges, axis=1) > 1e-6]
    if not len(edges):
        return xy.mean(axis=0), (MIN_SIZE_M, MIN_SIZE_M), half_turn(fallback_yaw)
    # The hull has the extent; a sample of the other points suffices to tell which sides they follow.
    some = np.concatenate([hull, xy[:: max(1, len(xy) // SAMPLE)]])
    angles = np.concatenate([np.arctan2(edges[:, 1], edges[:, 0]), HEADINGS_RAD])
    cos, sin = np.cos(angles), np.sin(angles)
    along = np.outer(cos, some[:, 0]) + np.outer(sin, some[:, 1])
    across = np.outer(cos, some[:, 1]) - np.outer(sin, some[:, 0])
    ends = [(v.min(axis=1), v.max(axis=1)) for v in (along, across)]
    to_side = [np.minimum(v - low[:, None], high[:, None] - v) for v, (low, high) in zip((along, across), ends)]
    closeness = np.sum(1 / np.maximum(np.minimum(*to_side), SIDE_M), axis=1)
    (low_a, high_a), (low_c, high_c) = ends
    area = (high_a - low_a + MIN_SIZE_M) * (high_c - low_c + MIN_SIZE_M)
    best = int(np.argmin(np.where(closeness >= 0.99 * closeness.max(), area, np.inf)))
    middle = np.array([low_a[best] + high_a[best], low_c[best] + high_c[best]]) / 2
    centre = np.array([[cos[best], -sin[best]], [sin[best], cos[best]]]) @ middle
    yaw, size = float(angles[best]), (float(high_a[best] - low_a[best]), float(high_c[best] - low_c[best]))
    if size[0] < size[1]:
        yaw, size = yaw + math.pi / 2, (size[1], size[0])
    return centre, (max(size[0], MIN_SIZE_M), max(size[1], MIN_SIZE_M)), half_turn(yaw)


def rectangle(centre: DoubleArray, size: tuple[float, float], yaw: float) -> DoubleArray:
    """(4, 2) corners, counter-clockwise.

    >>> rectangle(np.zeros(2), (2.0, 1.0), 0.0).tolist()
    [[-1.0, -0.5], [1.0, -0.5], [1.0, 0.5], [-1.0, 0.5]]
    """
    corners = np.array([[-1.0, -1.0], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2
    c, s = math.cos(yaw), math.sin(yaw)
    return np.asarray(corners @ np.array([[c, s], [-s, c]]) + centre, np.float64)


def footprint(xy: DoubleArray, centre: DoubleArray, size: tuple[float, float], yaw: float) -> DoubleArray:
    """(M, 2) counter-clockwise convex polygon with at least 3 corners: the hull, or the box where that has no width."""
    hull = convex_hull(xy)
    thin = len(hull) < 3 or signed_area(hull) < 0.25 * MIN_SIZE_M * size[0]
    return rectangle(centre, size, yaw) if thin else hull
