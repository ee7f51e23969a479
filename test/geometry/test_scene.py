# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from road_world import HEIGHT, WIDTH, K, Thing, World

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.geometry.camera import project
from vl_anomaly_ros.geometry.scene import prepare
from vl_anomaly_ros.geometry.transforms import apply
from vl_anomaly_ros.types import CameraCalibration, PointCloud

MODELS = [
    CameraCalibration(WIDTH, HEIGHT, K, "optical"),
    CameraCalibration(WIDTH, HEIGHT, K, "optical", np.array([-0.25, 0.05, 0.001, 0.0, 0.0])),
    CameraCalibration(WIDTH, HEIGHT, K / np.array([[3.0], [3.0], [1.0]]), "optical", np.zeros(4), "equidistant"),
]


@pytest.mark.parametrize("calibration", MODELS, ids=["rectified", "plumb_bob", "fisheye"])
def test_the_cheap_test_loses_no_point_of_the_image(calibration: CameraCalibration) -> None:
    frame = dataclasses.replace(World([Thing(10, 0, 2, 2, 2)], reach_deg=180).frame(), calibration=calibration)
    scene = prepare(frame, FusionConfig(max_range_m=200.0))
    assert not scene.why_not
    assert frame.points is not None
    assert frame.T_camera_points is not None
    uv, seen = project(calibration, apply(frame.T_camera_points, frame.points.xyz))
    order = np.argsort(scene.index)
    assert scene.index[order].tolist() == np.flatnonzero(seen).tolist()
    assert np.array_equal(scene.pixel[order], np.rint(uv[seen]).astype(np.int64))
    assert np.all(np.diff(scene.pixel[:, 0]) >= 0), "the points are in order of their column"


def test_points_beyond_the_range_are_left_out() -> None:
    frame = World([]).frame()
    near_and_far = np.array([[0.0, 0.0, 50.0], [0.0, 0.0, 30.0]], np.float32)
    frame = dataclasses.replace(frame, points=PointCloud(near_and_far, 0, "optical"), T_camera_points=np.eye(4))
    scene = prepare(frame, FusionConfig(max_range_m=40.0))
    assert scene.index.tolist() == [1]
    # 30 m ahead of the camera, which is 1 m ahead of the ego origin and 1.5 m above the ground.
    assert scene.xyz.tolist() == [pytest.approx([31.0, 0.0, 1.5])]


def test_coordinates_without_bound_are_left_out() -> None:
    frame = World([]).frame()
    wild = np.array([[3e38, 3e38, 3e38], [-3e38, 0.0, 3e38], [0.0, 0.0, 30.0]], np.float32)
    frame = dataclasses.replace(frame, points=PointCloud(wild, 0, "optical"), T_camera_points=np.eye(4))
    assert prepare(frame, FusionConfig()).index.tolist() == [2]


def test_what_is_unusable_is_named() -> None:
    frame = World([]).frame()
    calibration = CameraCalibration(WIDTH, HEIGHT, K, "optical", np.ones(5), "double_sphere")
    scene = prepare(dataclasses.replace(frame, calibration=calibration), FusionConfig())
    assert "double_sphere" in scene.why_not
    assert scene.ground is not None
    assert not prepare(dataclasses.replace(frame, T_output_camera=None), FusionConfig()).placed
