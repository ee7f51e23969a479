# SPDX-License-Identifier: Apache-2.0
"""Random frames through regions, projection and fusion: each region gets a zone of finite numbers, and no kernel reads
or writes beyond its arrays (which is seen with NUMBA_BOUNDSCHECK=1, as `./run test` does once).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL, prepare
from vl_anomaly_ros.geometry.transforms import matrix_from
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.perception.regions import Regions, find_regions
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, FloatArray, Frame, PointCloud, ScoreMap

FRAMES = 60
COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
WILD = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 0], np.float32)


def regions_of(rng: np.random.Generator, width: int, height: int) -> Regions:
    rows, columns = (int(side) for side in rng.integers(1, 40, 2))
    probability = (rng.random((rows, columns)) ** rng.integers(1, 9)).astype(np.float32)
    sources = rng.random((3, rows, columns)).astype(np.float32)
    features = rng.random((8, *rng.integers(1, 20, 2))).astype(np.float32)
    score_map = ScoreMap(probability, sources, np.zeros((rows, columns), np.int32), features, width, height)
    least, most = int(rng.integers(20)), int(rng.integers(1, 65))
    return find_regions(score_map, threshold=rng.choice([0, 0.2, 0.5, 0.9, 1]), min_area_px=least, max_regions=most)


def camera(rng: np.random.Generator, width: int, height: int) -> CameraCalibration:
    """Any that `decode_calibration` would take, and wilder distortion."""
    model = str(rng.choice(list(COEFFICIENTS)))
    fx, fy = width * 10 ** rng.uniform(-1.2, 2), height * 10 ** rng.uniform(-1.2, 2)
    K = np.array(
        [[fx, 0.1 * fx * rng.normal(), rng.uniform(-1, 2) * width], [0, fy, rng.uniform(-1, 2) * height], [0, 0, 1]]
    )
    D = rng.normal(size=COEFFICIENTS[model]) * 10.0 ** rng.integers(-3, 4)
    return CameraCalibration(width, height, K, "camera", D=D, distortion_model=model)


def cloud(rng: np.random.Generator) -> FloatArray:
    count = int(rng.choice([0, 1, 2, 10, 500, 5000]))
    xyz = (rng.normal(size=(count, 3)) * 10.0 ** rng.integers(-3, 5)).astype(np.float32)
    if rng.random() < 0.5:  # a ground
        xyz[:, :2], xyz[:, 2] = rng.uniform(-60, 60, (count, 2)), -1.8 + 0.02 * rng.normal(size=count)
    if count and rng.random() < 0.4:
        wild = rng.integers(0, count, 1 + count // 10)
        xyz[wild, rng.integers(0, 3, len(wild))] = rng.choice(WILD, len(wild))
    return xyz


def pose(rng: np.random.Generator, upright: DoubleArray) -> DoubleArray:
    T = matrix_from(rng.normal(size=3) * 10.0 ** rng.integers(-2, 9), rng.normal(size=4))
    if rng.random() < 0.6:
        T[:3, :3] = upright
    if rng.random() < 0.5:
        T[:3, 3] = (0.0, 0.0, 1.5)
    return T


@pytest.mark.parametrize("seed", range(5))
def test_each_region_gets_a_zone_of_finite_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(FRAMES):
        width, height = (int(side) for side in rng.integers(1, 200, 2))
        found = regions_of(rng, width, height)
        frame = Frame(
            stamp_ns=1,
            camera="camera",
            frame_id="camera",
            image=np.zeros((height, width, 3), np.uint8),
            output_frame="base_link",
            calibration=camera(rng, width, height),
            points=PointCloud(cloud(rng), 1, "lidar"),
            T_camera_points=pose(rng, R_OPTICAL_LEVEL),
            T_output_camera=pose(rng, R_OPTICAL_LEVEL.T),
        )
        config = replace(
            FusionConfig(), max_range_m=rng.choice([5.0, 80.0, 500.0]), cluster_gap_m=rng.choice([0.1, 0.5, 2.0])
        )
        zones = fuse(frame, found.regions, found.instances, config, prepare(frame, config)).zones
        assert [zone.region_id for zone in zones] == [region.id for region in found.regions]
        for zone in zones:
            numbers = [*zone.center_m, *zone.size_m, zone.distance_m, *zone.z_range_m, *zone.footprint_m.ravel()]
            assert np.all(np.isfinite(numbers))
            assert len(zone.footprint_m) >= 3
