# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.geometry.choice import Candidates, choose_objects
from vl_anomaly_ros.geometry.clustering import BEAM_SPACING_RAD, cluster
from vl_anomaly_ros.types import BoolArray, DoubleArray


def grid(x: float, y0: float, y1: float, z0: float = 0.3, z1: float = 1.5, step: float = 0.1) -> DoubleArray:
    """An upright surface across the view."""
    y, z = (v.ravel() for v in np.meshgrid(np.arange(y0, y1, step), np.arange(z0, z1, step)))
    return np.stack([np.full(len(y), x), y, z], 1)


Scenery = tuple[DoubleArray, Candidates]


def candidates(*parts: tuple[DoubleArray, float | BoolArray], region: int = 0) -> Scenery:
    """Surfaces around one of three regions, each with whether it is inside the region, or how deep."""
    xyz = np.concatenate([part for part, _ in parts])
    weight = np.concatenate([np.broadcast_to(np.asarray(depth, np.float64), len(part)) for part, depth in parts])
    ends = np.where(np.arange(4) > region, len(xyz), 0)
    return xyz, Candidates(ends, np.arange(len(xyz)), weight, np.hypot(xyz[:, 0], xyz[:, 1]))


def choose(scenery: Scenery, farthest_m: float = np.inf) -> list[int]:
    xyz, points = scenery
    return [int(i) for i in np.flatnonzero(choose_objects(points, cluster(xyz, 0.5), 0.5, np.full(3, farthest_m)))]


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


def test_regions_do_not_disturb_one_another() -> None:
    # The same wall stands around both regions; the second one has nothing of its own within its range.
    wall = grid(16, -6, 6)
    parts = (
        candidates((grid(10, -0.5, 0.5), 0.9), (wall, np.where(np.abs(wall[:, 1]) < 0.7, 0.1, 0.0))),
        candidates((grid(30, 2, 4), 0.9), (wall, 0.0), region=1),
        candidates((grid(12, -3, -2), 0.4), (wall, 0.0), region=2),
    )
    farthest_m = np.array([np.inf, 20.0, np.inf])
    alone = [np.flatnonzero(choose_objects(p, cluster(xyz, 0.5), 0.5, farthest_m)).tolist() for xyz, p in parts]
    weight, range_m = (np.concatenate([getattr(p, name) for _, p in parts]) for name in Candidates._fields[2:])
    ends = np.cumsum([0, *(len(xyz) for xyz, _ in parts)])
    clusters = cluster(np.concatenate([xyz for xyz, _ in parts]), 0.5)
    together = choose_objects(Candidates(ends, np.arange(len(weight)), weight, range_m), clusters, 0.5, farthest_m)
    for number, chosen in enumerate(alone):
        assert np.flatnonzero(together[ends[number] : ends[number + 1]]).tolist() == chosen
    assert [len(chosen) for chosen in alone] == [10 * 12, 0, 10 * 12]


def test_a_branch_above_is_not_part_of_what_stands_below() -> None:
    # 2 m of air between them, in the same columns of space.
    thing, branch = grid(10, -0.5, 0.5, 0.2, 1.0), grid(10, -0.5, 0.5, 3.0, 3.5)
    labels = cluster(np.concatenate([thing, branch]), 0.5)
    assert len(set(labels.coarse[: len(thing)].tolist())) == 1
    assert not set(labels.coarse[: len(thing)].tolist()) & set(labels.coarse[len(thing) :].tolist())


def test_strokes_that_pass_each_other_in_height_are_as_near_as_their_ends() -> None:
    # A mast from 0 to 3 m and, 0.4 m beside it, a sign from 2 to 2.5 m: at the same height they are 0.4 m apart.
    mast = np.stack([np.full(31, 10.0), np.zeros(31), np.linspace(0, 3, 31)], 1)
    sign = np.stack([np.full(6, 10.0), np.full(6, 0.4), np.linspace(2, 2.5, 6)], 1)
    labels = cluster(np.concatenate([mast, sign]), 0.5)
    assert labels.coarse.max() == 0
    assert labels.fine.max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_labels_do_not_depend_on_the_order_of_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([5, -5, 0], [25, 5, 2], (400, 3))
    order = rng.permutation(len(xyz))
    for labels, mixed in zip(cluster(xyz, 0.5), cluster(xyz[order], 0.5)):
        pairs = set(zip(labels[order].tolist(), mixed.tolist()))
        assert len(pairs) == labels.max() + 1 == mixed.max() + 1


def test_strokes_are_cut_where_the_air_between_is_too_wide_wherever_they_begin() -> None:
    # One column of space: parts 0.7 m above one another hang together (0.7 * 0.33 < 0.25), 0.8 m only by the whole gap.
    for foot in np.linspace(-3, 3, 41):
        for air, fine in ((0.7, 1), (0.8, 2)):
            z = np.concatenate([np.arange(0, 1.0, 0.1), 0.9 + air + np.arange(0, 1.0, 0.1)]) + foot
            labels = cluster(np.stack([np.full(20, 10.02), np.full(20, 0.05), z], 1), 0.5)
            assert (labels.coarse.max() + 1, labels.fine.max() + 1) == (1, fine)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, -1e300])
def test_coordinates_that_are_no_place_end(value: float) -> None:
    xyz = np.random.default_rng(0).uniform([5, -5, 0], [25, 5, 2], (300, 3))
    xyz[::7] = value
    labels = cluster(xyz, 0.5)
    for label in labels:
        assert 0 <= label.min() <= label.max() < len(xyz)


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_those_of_all_pairs_compared(seed: int) -> None:
    # Points that lie alone in their columns: strokes are points, and every pair can be compared by hand.
    rng = np.random.default_rng(seed)
    cells = rng.permutation(40 * 40)[:200]
    xyz = np.stack([10 + (cells // 40 + 0.5) / 6, (cells % 40 - 20 + 0.5) / 6, rng.uniform(0, 1.5, 200)], 1)
    apart = xyz[:, None] - xyz
    step = np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2 + (0.33 * apart[..., 2]) ** 2)
    for gap, labels in zip((0.5, 0.25), cluster(xyz, 0.5)):
        near = step <= gap
        reached = np.eye(len(xyz), dtype=bool)
        while not np.array_equal(wider := reached @ near, reached):
            reached = wider
        assert np.array_equal(reached, labels[:, None] == labels)
