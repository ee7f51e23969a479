# SPDX-License-Identifier: Apache-2.0
"""The LiDAR's beams, noise and drop-out."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.simulation.lidar import LidarModel, sweep
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
