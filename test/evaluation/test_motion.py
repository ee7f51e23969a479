# SPDX-License-Identifier: Apache-2.0
"""Zones of a vehicle that swerves: where they lie with its motion taken out, and without."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vl_anomaly_ros.config import Config, FusionConfig
from vl_anomaly_ros.errors import EvaluationError, SimulationError
from vl_anomaly_ros.evaluation.kitti import recorded_frames
from vl_anomaly_ros.evaluation.motion import STANDING, Placement, measure_motion, motion_report
from vl_anomaly_ros.geometry.transforms import apply, inverse
from vl_anomaly_ros.simulation.drive import generate_drive
from vl_anomaly_ros.simulation.drive_settings import DriveSettings
from vl_anomaly_ros.types import DoubleArray

TURNING = DriveSettings(
    seed=5,
    duration_s=1.5,
    rate_hz=6.7,
    lidar_beams=32,
    azimuth_steps=1200,
    lidar_window_deg=90.0,
    rolling=True,
    swerve_m=0.5,
    image_size=(512, 256),
    anomaly_count=5,
    style="suburban",
    look="noon",
    write_truth_masks=True,
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive whose LiDAR turns while the vehicle swerves."""
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("needs the Python package mujoco")
    root = tmp_path_factory.mktemp("motion") / "drive"
    try:
        generate_drive(root, TURNING)
    except SimulationError as error:
        pytest.skip(f"no off-screen OpenGL on this machine: {error}")
    return root


def middle(placements: list[Placement], variant: str) -> float:
    return float(np.median([one.shift_m for one in placements if one.variant == variant]))


def test_compensation_brings_zones_to_where_a_standing_lidar_sees_them(drive: Path) -> None:
    placements = measure_motion(drive)
    table = motion_report(placements)
    assert sum(one.variant == STANDING for one in placements) >= 20, table
    compensated = middle(placements, "all motion compensated")
    assert compensated < 0.1, table
    assert compensated < 0.5 * middle(placements, "not within the sweep"), table
    assert compensated < 0.5 * middle(placements, "not at all"), table


def test_the_vehicle_turns_hard(drive: Path) -> None:
    poses = [np.array(line["T_odom_base"]) for line in map(json.loads, (drive / "truth.jsonl").open())]
    stamps = [line["stamp_ns"] * 1e-9 for line in map(json.loads, (drive / "truth.jsonl").open())]
    heading = np.unwrap([np.arctan2(T[1, 0], T[0, 0]) for T in poses])
    assert np.degrees(np.abs(np.diff(heading) / np.diff(stamps))).max() > 15
    assert np.linalg.norm(poses[-1][:3, 3] - poses[0][:3, 3]) / (stamps[-1] - stamps[0]) > 8


def test_points_of_things_at_rest_stand_in_their_boxes_without_the_motion(drive: Path) -> None:
    """The whole way: times in the recording, decoded, the motion taken out by TF; against the true boxes."""
    lines = {line["stamp_ns"]: line for line in map(json.loads, (drive / "truth.jsonl").open())}
    outside = {}
    for deskew in (True, False):
        config = Config(fusion=FusionConfig(deskew=deskew))
        out, total = 0, 0
        for frame in recorded_frames(drive, config):
            assert frame.points is not None
            assert frame.T_camera_points is not None
            assert frame.T_output_camera is not None
            assert frame.points.offsets_ns is None, "taken out, or not asked for"
            with np.load(drive / "truth" / f"{frame.points.stamp_ns}_points.npz") as arrays:
                hits = arrays["instance"]
            xyz = apply(frame.T_output_camera @ frame.T_camera_points, frame.points.xyz)
            for item in lines[frame.stamp_ns]["objects"]:
                pose = item["base_link"]
                if any(pose["velocity_mps"]):
                    continue
                own = local(xyz[hits == item["instance"]], pose["center_m"], pose["yaw_rad"])
                out += int(np.sum(np.any(np.abs(own) > np.array(item["size_m"]) / 2 + 0.08, axis=1)))
                total += len(own)
        assert total > 500
        outside[deskew] = out / total
    assert outside[True] < 0.01
    assert outside[False] > 0.3


def local(xyz: DoubleArray, centre: list[float], yaw_rad: float) -> DoubleArray:
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    T[:3, 3] = centre
    return apply(inverse(T), xyz)


def test_a_drive_without_what_a_standing_lidar_sees_is_refused(drive: Path, tmp_path: Path) -> None:
    bare = tmp_path / drive.name
    shutil.copytree(drive, bare, ignore=shutil.ignore_patterns("*_standing.npz"))
    with pytest.raises(EvaluationError, match="--rolling"):
        measure_motion(bare)


def test_a_table_tells_what_has_no_depth() -> None:
    rows = [
        Placement("all motion compensated", "crate", 12.0, 0.05, 0.2),
        Placement("all motion compensated", "crate", 13.0, 0.05, float("nan")),
        Placement("all motion compensated", "crate", 14.0, 0.05, 0.4),
    ]
    line = next(line for line in motion_report(rows).splitlines() if line.startswith("0-15     all"))
    assert line.split()[4:] == ["3", "1", "0.300", "0.380", "0.400"]
