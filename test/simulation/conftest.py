# SPDX-License-Identifier: Apache-2.0
"""Drawing needs MuJoCo and an off-screen OpenGL; a short drive is made once for all tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vl_anomaly_ros.errors import SimulationError
from vl_anomaly_ros.simulation.drive import generate_drive
from vl_anomaly_ros.simulation.drive_settings import DriveSettings
from vl_anomaly_ros.simulation.mujoco_renderer import MujocoRenderer
from vl_anomaly_ros.simulation.world import make_scene

DRIVE = DriveSettings(
    seed=3,
    duration_s=1.2,
    rate_hz=2.5,
    lidar_rate_hz=5.0,
    azimuth_steps=720,
    lidar_window_deg=120.0,
    image_size=(320, 160),
    anomaly_count=4,
    style="suburban",
    look="noon",
    write_truth_masks=True,
)


@pytest.fixture(scope="session")
def gl() -> None:
    """Skip where nothing can be drawn."""
    if importlib.util.find_spec("mujoco") is None:  # importing it here would be too early: MUJOCO_GL is not chosen yet
        pytest.skip("needs the Python package mujoco")
    try:
        MujocoRenderer(make_scene(0, length_m=100.0, style="rural", traffic=False), 16, 16).close()
    except SimulationError as error:
        pytest.skip(f"no off-screen OpenGL on this machine: {error}")


@pytest.fixture(scope="session")
def drive(gl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """Bag of a short drive with truth masks; read only."""
    path = tmp_path_factory.mktemp("first") / "drive"
    generate_drive(path, DRIVE)
    return path


@pytest.fixture
def settings() -> DriveSettings:
    """What the drive was made from."""
    return DRIVE
