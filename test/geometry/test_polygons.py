# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.geometry.polygons import area, distance, distances, footprints, hulls, rectangle, within
from vl_anomaly_ros.types import DoubleArray


def hull(xy: DoubleArray) -> DoubleArray:
    return hulls(np.asarray(xy, np.float64), np.array([0, len(xy)]))[0]


@pytest.mark.parametrize("seed", range(8))
def test_hulls_are_those_of_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = [rng.normal(0, 3, (int(rng.integers(3, 80)), 2)) for _ in range(10)]
    sets += [rng.integers(0, 4, (30, 2)).astype(float) for _ in range(10)]  # many twice, many on one line
    ends = np.cumsum([0, *(len(xy) for xy in sets)])
    corners, corner_ends = hulls(np.concatenate(sets), ends)
    for number, xy in enumerate(sets):
        own = corners[corner_ends[number] : corner_ends[number + 1]]
        expected = xy[cv2.convexHull(xy.astype(np.float32), returnPoints=False).ravel()]
        assert {tuple(corner) for corner in own.tolist()} == {tuple(corner) for corner in expected.tolist()}
        assert area(own) >= 0


def test_empty_sets_between_others_have_no_corners() -> None:
    corners, ends = hulls(np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([0, 0, 3, 3]))
    assert ends.tolist() == [0, 0, 3, 3]
    assert corners.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert hulls(np.zeros((0, 2)), np.array([0]))[0].shape == (0, 2)


def test_points_on_a_line_have_two_corners_and_the_same_point_one() -> None:
    assert hull(np.array([[0.0, 0], [2, 2], [1, 1], [3, 3]])).tolist() == [[0, 0], [3, 3]]
    assert hull(np.array([[5.0, 3], [5, 1], [5, 2]])).tolist() == [[5, 1], [5, 3]]
    assert hull(np.array([[5.0, 3]] * 4)).tolist() == [[5, 3]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_ends(value: float) -> None:
    xy = np.random.default_rng(0).normal(0, 1, (40, 2))
    xy[[0, 7, 20]] = value
    assert 1 <= len(hull(xy)) <= 80


def test_places_in_polygons_and_on_their_rims() -> None:
    corners = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2], [5, 5], [6, 6]])
    places = np.array([[5.5, 5.5, 0], [np.nan, 1, 0], [3, 1, 0], [2, 1, 0], [1, 1, 0]])
    point, ends = np.array([4, 3, 4, 2, 1, 0]), np.array([0, 5, 6])
    inside = within(corners, np.array([0, 4, 6]), places, point, ends, np.array([True, True, False, True, True, True]))
    # The third is not asked for, and a line holds nothing.
    assert inside.tolist() == [True, True, False, False, False, False]


def test_distance_to_a_line_and_to_a_point() -> None:
    assert distance(np.array([[0.0, 1], [4, 1]]), 2.0, 0.0) == pytest.approx(1.0)
    assert distance(np.array([[3.0, 4]]), 0.0, 0.0) == pytest.approx(5.0)


def test_distances_of_many_polygons_from_the_origin() -> None:
    corners = np.array([[3.0, 4], [5, 4], [5, 6], [3, 6], [-1, -1], [1, -1], [0, 1], [0, 2]])
    assert distances(corners, np.array([0, 4, 7, 8])).tolist() == [5.0, 0.0, 2.0]


def test_a_hull_that_is_a_line_gets_the_corners_of_its_box() -> None:
    triangle, line = np.array([[0.0, 0], [2, 0], [0, 2]]), np.array([[5.0, 5], [7, 5]])
    boxes = np.array([[1.0, 1, 2, 2, 0], [6.0, 5, 2, 0.1, 0]])
    polygons, ends = footprints(np.concatenate([triangle, line]), np.array([0, 3, 5]), boxes, 0.1)
    assert ends.tolist() == [0, 3, 7]
    assert polygons[:3].tolist() == triangle.tolist()
    assert polygons[3:] == pytest.approx(np.array([[5.0, 4.95], [7, 4.95], [7, 5.05], [5, 5.05]]))
    assert polygons[3:].tolist() == rectangle(boxes[1]).tolist()


@pytest.mark.parametrize("spread", [1e-30, 1.0, 1e6])
def test_corners_run_from_the_leftmost_whatever_the_signs_and_sizes(spread: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        xy = rng.normal(0, spread, (200, 2))
        corners = hull(xy)
        assert corners[0, 0] == pytest.approx(xy[:, 0].min(), rel=1e-6)
        assert corners[:, 0].max() == pytest.approx(xy[:, 0].max(), rel=1e-6)
        turn = np.argmax(corners[:, 0])
        assert np.all(np.diff(corners[: turn + 1, 0]) >= 0)
        assert np.all(np.diff(corners[turn:, 0]) <= 0)
