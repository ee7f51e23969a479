# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from road_world import FOCAL, HEIGHT, T_BASE_CAMERA, WIDTH, Thing, World

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.drive import judge_drive
from vl_anomaly_ros.evaluation.zones import report
from vl_anomaly_ros.simulation.bag import BagWriter
from vl_anomaly_ros.simulation.camera import Intrinsics
from vl_anomaly_ros.simulation.lidar import Sweep
from vl_anomaly_ros.types import DepthStatus

STAMP_NS = 5_000_000_000
CRATE, WALL = Thing(12, 1, 1.0, 1.2, 0.9), Thing(20, 0, 0.5, 40, 5.0)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A drive of one picture and one sweep of it, in the layout that the simulation writes."""
    root, world = tmp_path / "drive", World([CRATE, WALL])
    xyz, hit = world.scan()
    zeros = np.zeros(len(xyz))
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with BagWriter(root, raw_images=True) as bag:
        mounts = {"camera_front_optical": T_BASE_CAMERA, "lidar_top": np.eye(4)}
        bag.static_transforms(STAMP_NS, STAMP_NS, mounts)
        bag.image(STAMP_NS, STAMP_NS, picture, b"")
        bag.camera_info(STAMP_NS, STAMP_NS, Intrinsics(WIDTH, HEIGHT, 2 * math.atan(WIDTH / 2 / FOCAL)))
        sweep = Sweep(
            xyz, zeros.astype(np.float32), zeros.astype(np.uint16), hit.astype(np.uint16), zeros.astype(np.uint8)
        )
        bag.cloud(STAMP_NS, STAMP_NS, sweep)
    (root / "truth").mkdir()
    instances = np.where(world.picture() == 1, 1, 0).astype(np.uint16)
    cv2.imwrite(str(root / "truth" / f"{STAMP_NS}_instances.png"), instances)
    np.savez_compressed(root / "truth" / f"{STAMP_NS}_points.npz", instance=hit.astype(np.uint16))
    crate = {"instance": 1, "name": "crate", "is_anomaly": True, "area_px": int(instances.sum()),
             "base_link": {"center_m": [12.0, 1.0, 0.45], "yaw_rad": 0.0}, "size_m": [1.0, 1.2, 0.9]}  # fmt: skip
    dust = {**crate, "instance": 9, "name": "dust", "area_px": 3}
    line = {"stamp_ns": STAMP_NS, "frame_id": "odom", "objects": [crate, dust]}
    (root / "truth.jsonl").write_text(json.dumps(line) + "\n")
    return root


def test_a_drive_is_judged_by_its_true_masks_and_points(drive: Path) -> None:
    (verdict,) = judge_drive(drive)  # the speck of three pixels is no region
    assert (verdict.name, verdict.kind, verdict.status) == ("crate", "anomaly", DepthStatus.MEASURED)
    assert verdict.range_m == pytest.approx(math.hypot(11.5, 0.4), abs=1e-3)
    assert verdict.object_points == len(World([CRATE, WALL]).seen(1))
    assert verdict.good, report([verdict])


@pytest.mark.parametrize("lost", [f"truth/{STAMP_NS}_instances.png", f"truth/{STAMP_NS}_points.npz", "truth.jsonl"])
def test_missing_truth_is_named(drive: Path, lost: str) -> None:
    (drive / lost).unlink()
    with pytest.raises(EvaluationError, match="expected"):
        judge_drive(drive)


def test_truth_of_another_cloud_is_refused(drive: Path) -> None:
    np.savez_compressed(drive / "truth" / f"{STAMP_NS}_points.npz", instance=np.zeros(5, np.uint16))
    with pytest.raises(EvaluationError, match="one a point, got 5"):
        judge_drive(drive)
