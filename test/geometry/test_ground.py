# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from road_world import Thing, World

from vl_anomaly_ros.geometry.ground import estimate_ground, prior_ground
from vl_anomaly_ros.types import DoubleArray


def heights(world: World) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Points ahead, what they lie on, and their estimated height."""
    xyz, what = world.scan()
    ahead = (xyz[:, 0] > 2) & (np.abs(xyz[:, 1]) < xyz[:, 0])
    points = xyz[ahead].astype(np.float64)
    ground = estimate_ground(points, prior_ground())
    return points, what[ahead].astype(np.float64), points[:, 2] - ground.z(points[:, :2])


@pytest.mark.parametrize("slope", [-0.08, -0.02, 0.0, 0.05, 0.10])
def test_follows_a_slope(slope: float) -> None:
    points, what, height = heights(World([Thing(15, 2, 4, 1.8, 1.5)], slope, noise_m=0.02))
    near = np.hypot(points[:, 0], points[:, 1]) < 40
    assert np.quantile(np.abs(height[near & (what == 0)]), 0.99) < 0.10
    car = points[what == 1]
    true_height = car[:, 2] - slope * car[:, 0]
    assert np.abs(height[what == 1] - true_height).max() < 0.12


def test_a_wall_and_parked_cars_do_not_lift_the_ground() -> None:
    cars = [Thing(8 + 6 * k, 3.0, 4.4, 1.8, 1.5) for k in range(4)]
    points, what, height = heights(World([*cars, Thing(25, -8, 30, 0.5, 6.0)], 0.0, noise_m=0.02))
    assert np.quantile(np.abs(height[what == 0]), 0.99) < 0.08
    assert np.abs(height[what > 0] - points[what > 0, 2]).max() < 0.12


def test_a_low_pallet_is_not_ground() -> None:
    points, what, height = heights(World([Thing(10, 0, 1.2, 1.2, 0.2)], noise_m=0.01))
    top = (what == 1) & (points[:, 2] > 0.17)
    assert top.sum() > 5
    assert height[top].min() > 0.13


def test_a_kerb_is_followed() -> None:
    rng = np.random.default_rng(0)
    xy = np.stack([rng.uniform(3, 30, 20_000), rng.uniform(-10, 10, 20_000)], 1)
    z = np.where(xy[:, 1] > 4, 0.12, 0.0) + rng.normal(0, 0.01, len(xy))
    ground = estimate_ground(np.c_[xy, z], prior_ground())
    assert ground.z(np.array([[15.0, 7.0]]))[0] == pytest.approx(0.12, abs=0.04)
    assert ground.z(np.array([[15.0, -3.0]]))[0] == pytest.approx(0.0, abs=0.04)


def test_stray_returns_below_the_road_do_not_pull_it_down() -> None:
    rng = np.random.default_rng(1)
    road = np.c_[rng.uniform(3, 30, 10_000), rng.uniform(-8, 8, 10_000), rng.normal(0, 0.01, 10_000)]
    stray = np.c_[rng.uniform(3, 30, 30), rng.uniform(-8, 8, 30), np.full(30, -1.0)]
    ground = estimate_ground(np.concatenate([road, stray]), prior_ground())
    assert np.abs(ground.z(road[:, :2])).max() < 0.08


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_points_leave_the_prior(count: int) -> None:
    xyz = np.tile([[10.0, 0.0, 0.3]], (count, 1))
    assert estimate_ground(xyz, prior_ground()).z(np.array([[10.0, 0.0]]))[0] == 0.0


def test_the_prior_of_a_pitched_vehicle_is_tilted() -> None:
    # z axis leaning forward by 0.1: the ground falls by 0.1 per metre ahead.
    ground = prior_ground(np.array([0.1, 0.0, 1.0]) / np.hypot(0.1, 1.0))
    assert ground.z(np.array([[10.0, 3.0]]))[0] == pytest.approx(-1.0)


def test_the_same_cloud_gives_the_same_ground() -> None:
    points, _, _ = heights(World([Thing(12, 1, 4, 2, 1.6)], 0.03, noise_m=0.02))
    first, second = (estimate_ground(points, prior_ground()) for _ in range(2))
    assert np.array_equal(first.residual_m, second.residual_m)
    assert np.array_equal(first.plane, second.plane)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_points_that_are_no_place_do_not_count(value: float) -> None:
    points, _, _ = heights(World([Thing(12, 1, 4, 2, 1.6)], 0.03, noise_m=0.02))
    wild = np.full((50, 3), value)
    with_wild = estimate_ground(np.concatenate([wild, points, wild]), prior_ground())
    alone = estimate_ground(points, prior_ground())
    assert np.array_equal(with_wild.plane, alone.plane)
    assert np.array_equal(with_wild.residual_m, alone.residual_m)
    assert np.isfinite(alone.z(np.array([[1e9, -1e9], [-1e300, 1e300]]))).all()
    assert np.isnan(alone.z(np.array([[np.nan, 0.0]]))).all()


def test_a_range_without_bound_needs_no_grid_without_bound() -> None:
    road = np.random.default_rng(0).uniform([3, -8, -0.01], [30, 8, 0.01], (5000, 3))
    far = np.array([[9e7, 0.0, 0.0], [0.0, -9e7, 0.0]])
    ground = estimate_ground(np.concatenate([road, far]), prior_ground(), max_range_m=1e9)
    assert max(ground.residual_m.shape) <= 1000
