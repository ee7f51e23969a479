# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.geometry.clustering import BEAM_SPACING_RAD, Candidates, choose_object, cluster
from vl_anomaly_ros.types import BoolArray, DoubleArray


def grid(x: float, y0: float, y1: float, z0: float = 0.3, z1: float = 1.5, step: float = 0.1) -> DoubleArray:
    """An upright surface across the view."""
    y, z = (v.ravel() for v in np.meshgrid(np.arange(y0, y1, step), np.arange(z0, z1, step)))
    return np.stack([np.full(len(y), x), y, z], 1)


def candidates(*parts: tuple[DoubleArray, float | BoolArray]) -> Candidates:
    """Surfaces, each with whether it is inside the region, or how deep."""
    xyz = np.concatenate([part for part, _ in parts])
    weight = np.concatenate([np.broadcast_to(np.asarray(depth, np.float64), len(part)) for part, depth in parts])
    return Candidates(xyz, np.hypot(xyz[:, 0], xyz[:, 1]), weight > 0, weight)


def choose(points: Candidates, farthest_m: float = np.inf) -> list[int]:
    return [int(i) for i in choose_object(points, cluster(points.xyz, 0.5), 0.5, farthest_m)]


def test_gap_grows_with_range() -> None:
    def parts(x: float, gap: float) -> int:
        return int(cluster(np.array([[x, 0.0, 1.0], [x, gap, 1.0]]), 0.5).coarse.max()) + 1

    assert parts(10, 0.7) == 2
    assert parts(0.9 / BEAM_SPACING_RAD, 0.7) == 1


def test_gaps_between_beams_do_not_cut_an_upright_surface() -> None:
    # 32 beams, 1.3 degrees apart, at 30 m: 0.7 m between rows.
    rows = np.concatenate([grid(30.0, -1, 1, z0=z, z1=z + 0.01) for z in (0.3, 1.0, 1.7)])
    assert cluster(rows, 0.5).coarse.max() == 0


def test_no_points_no_clusters() -> None:
    assert cluster(np.zeros((0, 3)), 0.5).coarse.shape == (0,)
    assert choose(candidates((np.zeros((0, 3)), 0.0))) == []


def test_background_at_the_rim_is_left_out() -> None:
    # The mask bleeds: 0.3 m of wall left and right of the object is inside it, but only at its rim.
    thing, wall_in, wall_out = grid(10, -0.5, 0.5), grid(16, -0.8, 0.8), grid(16, 0.8, 6)
    points = candidates((thing, 0.9), (wall_in, 0.1), (wall_out, 0.0))
    assert choose(points) == list(range(len(thing)))


def test_an_occluder_in_front_is_left_out() -> None:
    # A car stands before the object: nearer, and partly inside the region, but it goes on outside.
    thing = grid(15, -1, 1)
    car = grid(8, -3, 0.2)
    points = candidates((thing, 0.9), (car, np.where(car[:, 1] > -0.4, 0.5, 0.0)))
    assert choose(points) == list(range(len(thing)))


def test_of_two_things_inside_the_nearer_one_is_taken() -> None:
    near, far = grid(10, -1, 0), grid(20, -1, 1)
    assert min(choose(candidates((far, 0.5), (near, 0.5)))) == len(far)


def test_parts_at_the_same_range_belong_together() -> None:
    # A trailer and its load board, 0.8 m apart sideways.
    left, right = grid(12, -1, -0.4), grid(12.2, 0.4, 1)
    assert len(choose(candidates((left, 0.8), (right, 0.8)))) == len(left) + len(right)


def test_a_thing_close_to_a_wall_is_divided_from_it() -> None:
    # 0.4 m before a long wall: one cluster by 0.5 m, two by 0.25 m.
    thing, wall = grid(10.0, -0.5, 0.5, step=0.05), grid(10.4, -6, 6, step=0.05)
    points = candidates((thing, 0.9), (wall, np.where(np.abs(wall[:, 1]) < 0.6, 0.05, 0.0)))
    assert choose(points) == list(range(len(thing)))


def test_what_begins_behind_the_foot_of_the_region_is_not_the_object() -> None:
    wall = grid(30, -1, 1)
    points = candidates((wall, 0.9))
    assert len(choose(points, 20.0)) == 0
    assert len(choose(points, 35.0)) == len(wall)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_and_identical_points(count: int) -> None:
    points = candidates((np.tile([[10.0, 1.0, 0.5]], (count, 1)), 1.0))
    assert choose(points) == list(range(count))
