# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from vl_anomaly_ros.geometry.boxes import (
    MIN_SIZE_M,
    convex_hull,
    distance_to_polygon,
    footprint,
    half_turn,
    oriented_box,
    oriented_boxes,
    rectangle,
    signed_area,
)
from vl_anomaly_ros.geometry.polygons import hulls


@pytest.mark.parametrize("yaw", [-1.5, -0.7, 0.0, 0.3, 1.2, math.pi / 2])
def test_recovers_a_turned_box(yaw: float) -> None:
    centre, size, found = oriented_box(rectangle(np.array([30.0, -4.0]), (4.2, 1.8), yaw))
    assert centre == pytest.approx([30.0, -4.0])
    assert size == pytest.approx((4.2, 1.8))
    assert found == pytest.approx(yaw)
    assert -math.pi / 2 < found <= math.pi / 2


def test_two_near_sides_give_the_box() -> None:
    # What one view sees of a car: its rear (x = 10) and its left side (y = 1).
    rear = np.stack([np.full(20, 10.0), np.linspace(-1, 1, 20)], 1)
    side = np.stack([np.linspace(10, 14, 40), np.full(40, 1.0)], 1)
    centre, size, yaw = oriented_box(np.concatenate([rear, side]))
    # The hull is a triangle, but the points follow its legs.
    assert centre == pytest.approx([12.0, 0.0], abs=1e-6)
    assert size == pytest.approx((4.0, 2.0))
    assert yaw == pytest.approx(0.0)


def test_a_rounded_rear_does_not_turn_the_box() -> None:
    # Rear with corners rounded by 0.4 m, and one side, at a heading of 0.3, with 2 cm of noise.
    rng = np.random.default_rng(4)
    arc = np.linspace(-1, 1, 60)
    rear = np.stack([10 + 0.4 * np.abs(arc) ** 4, arc], 1)
    side = np.stack([np.linspace(10.4, 13, 40), np.full(40, 1.0)], 1)
    turn = np.array([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]])
    _, _, yaw = oriented_box(np.concatenate([rear, side]) @ turn + rng.normal(0, 0.02, (100, 2)))
    assert yaw == pytest.approx(0.3, abs=math.radians(4))


@pytest.mark.parametrize(
    "points",
    [
        np.array([[5.0, 2.0]]),
        np.array([[5.0, 2.0]] * 7),
        np.array([[5.0, 2.0], [5.0, 3.0]]),
        np.array([[5.0, 2.0], [6.0, 2.0], [7.0, 2.0], [5.5, 2.0]]),
        np.array([[5.0, 2.0], [5.0 + 1e-9, 2.0]]),
    ],
    ids=["one", "identical", "two", "collinear", "nearly identical"],
)
def test_degenerate_points_give_a_box_with_area(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    centre, size, yaw = oriented_box(points)
    assert np.all(np.isfinite([*centre, *size, yaw]))
    assert min(size) >= MIN_SIZE_M
    polygon = footprint(convex_hull(points), centre, size, yaw)
    assert len(polygon) >= 3
    assert signed_area(polygon) >= 0.99 * MIN_SIZE_M**2
    assert all(distance_to_polygon(polygon, point) < 1e-6 for point in points)


def test_hull_is_counter_clockwise_and_holds_all_points() -> None:
    points = np.random.default_rng(2).normal([50.0, -20.0], 1.0, (200, 2))
    hull = convex_hull(points)
    assert signed_area(hull) > 0
    assert all(distance_to_polygon(hull, point) < 1e-5 for point in points)


def test_hull_keeps_its_precision_far_from_the_origin() -> None:
    points = rectangle(np.array([500_000.0, 5_000_000.0]), (0.5, 0.3), 0.4)
    assert signed_area(convex_hull(points)) == pytest.approx(0.15, abs=1e-6)


def test_distance_to_polygon_by_hand() -> None:
    square = np.array([[3.0, 4.0], [5, 4], [5, 6], [3, 6]])
    assert distance_to_polygon(square, np.zeros(2)) == pytest.approx(5.0)
    assert distance_to_polygon(square, np.array([4.0, 0.0])) == pytest.approx(4.0)
    assert distance_to_polygon(square, np.array([4.0, 5.0])) == 0.0


def test_many_boxes_at_once_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(5)
    sets = [rng.normal(0, 1, (n, 2)) * [3.0, 0.5] + rng.uniform(-40, 40, 2) for n in (1, 2, 3, 7, 60, 500)]
    fallback = np.linspace(0, 1, len(sets))
    xy, ends = np.concatenate(sets), np.cumsum([0, *(len(some) for some in sets)])
    together = oriented_boxes(xy, ends, *hulls(xy, ends), fallback)
    for box, some, yaw in zip(together, sets, fallback.tolist()):
        centre, size, heading = oriented_box(some, yaw)
        assert box[:2] == pytest.approx(centre)
        assert box[2:4] == pytest.approx(size)
        assert half_turn(float(box[4])) == pytest.approx(heading)


def test_hulls_run_counter_clockwise() -> None:
    rng = np.random.default_rng(6)
    for spread in ([1.0, 1.0], [30.0, 0.01], [0.01, 0.01]):
        for _ in range(50):
            hull = convex_hull(rng.normal(0, spread, (20, 2)) + rng.uniform(-80, 80, 2))
            assert signed_area(hull) > 0
