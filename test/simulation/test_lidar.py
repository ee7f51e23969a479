# SPDX-License-Identifier: Apache-2.0
"""The LiDAR's beams, noise and drop-out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vl_anomaly_ros.simulation.lidar import LidarModel, rolling_sweep, sweep
from vl_anomaly_ros.simulation.mujoco_renderer import MujocoRenderer
from vl_anomaly_ros.simulation.world import make_scene


@pytest.mark.parametrize("beams", [32, 64])
def test_beams_rise_from_ring_zero(beams: int) -> None:
    model = LidarModel(beams=beams, azimuth_steps=90)
    directions, ring = model.directions()
    assert directions.shape == (90 * beams, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    elevations = model.elevations_rad()
    assert (np.diff(elevations) > 0).all()
    np.testing.assert_allclose(np.arcsin(directions[:, 2]), elevations[ring], atol=1e-9)


def test_window_keeps_what_lies_ahead() -> None:
    directions, _ = LidarModel(azimuth_steps=360, window_rad=np.radians(60)).directions()
    assert len(directions) == 120 * 32
    assert (directions[:, 0] > 0).all()


@pytest.mark.usefixtures("gl")
def test_ranges_are_noisy_whole_steps_with_drop_out() -> None:
    scene = make_scene(5, style="rural", length_m=120.0, traffic=False)
    pose = np.eye(4)
    pose[:3, 3] = scene.line.place(40.0, -1.5, 1.8)
    clean = LidarModel(azimuth_steps=360, noise_m=0.0, drop_out=0.0)
    noisy = LidarModel(azimuth_steps=360)
    with MujocoRenderer(scene, 0, 0) as renderer:
        exact = sweep(renderer, clean, pose, np.random.default_rng(0))
        cloud = sweep(renderer, noisy, pose, np.random.default_rng(0))
    np.testing.assert_array_equal(cloud.points * 512, np.round(cloud.points * 512))
    assert 0.8 * len(exact.points) < len(cloud.points) < len(exact.points)
    ranges = np.linalg.norm(cloud.points, axis=1)
    assert ranges.max() < noisy.max_range_m
    lowest = cloud.ring == 0
    # Ring 0 looks down 25 degrees from 1.8 m: the road lies at 4.26 m.
    road = lowest & (cloud.semantic == 0)
    assert np.median(ranges[road]) == pytest.approx(1.8 / np.sin(np.radians(25)), abs=0.02)
    assert 0.006 < ranges[road].std() < 0.03
    assert (cloud.intensity == np.round(cloud.intensity)).all()
    assert 0 <= cloud.intensity.min() <= cloud.intensity.max() <= 255


@pytest.mark.usefixtures("gl")
def test_columns_of_a_rolling_sweep_fire_one_after_the_other_clockwise() -> None:
    scene = make_scene(5, style="rural", length_m=120.0, traffic=False)
    pose: NDArray[np.float64] = np.eye(4)
    pose[:3, 3] = scene.line.place(40.0, -1.5, 1.8)
    model = LidarModel(beams=16, azimuth_steps=200, window_rad=np.pi / 2)
    asked: list[int] = []

    def standing(time_ns: int) -> NDArray[np.float64]:
        asked.append(time_ns)
        return pose

    def driving(time_ns: int) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = pose.copy()
        moved[2, 3] += 20e-9 * time_ns  # upwards: the road sinks away
        return moved

    with MujocoRenderer(scene, 0, 0) as renderer:
        still = sweep(renderer, model, pose, np.random.default_rng(0))
        same = rolling_sweep(renderer, model, standing, 100_000_000, np.random.default_rng(0))
        rising = rolling_sweep(renderer, model, driving, 100_000_000, np.random.default_rng(0))
    assert still.time_ns is None
    assert same.time_ns is not None
    assert rising.time_ns is not None
    np.testing.assert_array_equal(same.points, still.points)
    # The window is the middle half of the turn.
    assert asked == sorted(asked)
    assert len(asked) == 100
    assert (asked[0], asked[-1]) == (25_250_000, 74_750_000)
    azimuth = np.arctan2(same.points[:, 1], same.points[:, 0])
    np.testing.assert_allclose(np.pi - azimuth, same.time_ns * 1e-8 * 2 * np.pi, atol=0.01)
    road = (rising.semantic == 0) & (np.hypot(*rising.points[:, :2].T) < 8)
    assert road.sum() > 50
    np.testing.assert_allclose(rising.points[road, 2], -1.8 - 20e-9 * rising.time_ns[road], atol=0.03)
