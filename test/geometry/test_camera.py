# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.camera import lens_of, per_calibration, project, rays
from vl_anomaly_ros.types import CameraCalibration, DoubleArray

K = np.array([[500.0, 0, 400], [0, 480, 300], [0, 0, 1]])
BARREL = np.array([-0.30, 0.09, 0.001, -0.002, 0.0])
RATIONAL = np.array([0.6, 0.05, 0.0004, -0.0003, 0.002, 0.95, 0.16, 0.01])
FISHEYE = np.array([0.02, -0.008, 0.001, -0.0002])


def camera(D: DoubleArray | None = None, model: str = "plumb_bob") -> CameraCalibration:
    return CameraCalibration(800, 600, K, "optical", np.zeros(0) if D is None else D, model)


def ahead(count: int = 500, spread: float = 0.7) -> DoubleArray:
    rng = np.random.default_rng(1)
    depth = rng.uniform(2, 50, count)
    return np.stack([rng.uniform(-spread, spread, count) * depth, rng.uniform(-0.5, 0.5, count) * depth, depth], 1)


def test_pinhole_by_hand() -> None:
    # u = 500 * 2 / 10 + 400, v = 480 * -1 / 10 + 300
    uv, seen = project(camera(), np.array([[2.0, -1.0, 10.0]]))
    assert seen.all()
    assert uv.tolist() == [[500.0, 252.0]]


def test_points_behind_beside_and_at_the_camera_are_not_seen() -> None:
    points = np.array([[0.0, 0, -5], [0, 0, 0], [100, 0, 1], [0.01, 0.01, 0.01], [np.nan, 0, 5]])
    uv, seen = project(camera(), points)
    assert not seen.any()
    assert np.all(np.isfinite(uv))


@pytest.mark.parametrize(
    ("D", "model"), [(BARREL, "plumb_bob"), (RATIONAL, "rational_polynomial"), (np.zeros(5), "plumb_bob")]
)
def test_projection_agrees_with_opencv(D: DoubleArray, model: str) -> None:
    points = ahead()
    uv, seen = project(camera(D, model), points)
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, D)
    assert seen.sum() > 300
    assert np.allclose(uv[seen], expected[seen, 0], atol=1e-6)


def test_fisheye_agrees_with_opencv() -> None:
    points = ahead(spread=1.5)
    uv, seen = project(camera(FISHEYE, "equidistant"), points)
    expected, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, FISHEYE)
    assert seen.sum() > 100
    assert np.allclose(uv[seen], expected[seen, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("D", "model"),
    [(None, "plumb_bob"), (BARREL, "plumb_bob"), (RATIONAL, "rational_polynomial"), (FISHEYE, "equidistant")],
)
def test_rays_look_at_what_projects_there(D: DoubleArray | None, model: str) -> None:
    points = ahead(spread=0.6)
    uv, seen = project(camera(D, model), points)
    direction = points / np.linalg.norm(points, axis=1, keepdims=True)
    angle = np.arccos(np.clip(np.sum(rays(camera(D, model), uv[seen]) * direction[seen], axis=1), -1, 1))
    assert seen.sum() > 200
    assert np.rad2deg(angle).max() < 0.01


def test_points_outside_the_field_of_view_do_not_fold_back() -> None:
    # tan = 2.2: by the polynomial alone 2.2 * (1 - 0.3 * 4.84 + 0.09 * 23.4) = 3.6 -> outside; without the quartic term
    # 2.2 * (1 - 0.3 * 4.84) = -0.99, which would be a pixel left of the middle for a point far to the right.
    bent = np.array([-0.3, 0.0, 0.0, 0.0, 0.0])
    points = np.array([[2.2, 0.0, 1.0], [0.5, 0.0, 1.0]])
    folded, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, bent)
    assert -100 < folded[0, 0, 0] < 800  # what the guard is for
    assert project(camera(bent), points)[1].tolist() == [False, True]


def test_skew_is_applied_and_inverted() -> None:
    skewed = CameraCalibration(800, 600, np.array([[500.0, 10, 400], [0, 480, 300], [0, 0, 1]]), "optical")
    uv, _ = project(skewed, np.array([[1.0, 2.0, 10.0]]))
    assert uv.tolist() == [[452.0, 396.0]]
    ray = rays(skewed, uv)[0]
    assert np.allclose(ray / ray[2], [0.1, 0.2, 1.0])


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(GeometryError, match=r"optical.*got 'thin_prism'"):
        project(camera(np.array([0.1, 0, 0, 0]), "thin_prism"), ahead())


def test_what_follows_from_a_calibration_is_found_once_and_of_each_object_apart() -> None:
    asked: list[str] = []

    @per_calibration
    def width_of(calibration: CameraCalibration) -> int:
        asked.append(calibration.frame_id)
        return calibration.width

    cameras = [CameraCalibration(100 + n, 80, np.eye(3), f"camera{n}") for n in range(200)]
    for _ in range(3):
        assert width_of(cameras[0]) == 100
    assert asked == ["camera0"]
    # However many there are, none is taken for another, not even one made where a forgotten one was.
    assert [width_of(camera) for camera in cameras] == [100 + n for n in range(200)]
    assert [width_of(CameraCalibration(n + 1, 80, np.eye(3), "new")) for n in range(200)] == list(range(1, 201))


def test_a_model_that_is_not_known_is_refused_each_time() -> None:
    calibration = CameraCalibration(100, 80, np.eye(3), "camera", np.ones(5), "double_sphere")
    for _ in range(2):
        with pytest.raises(GeometryError, match="double_sphere"):
            lens_of(calibration)
