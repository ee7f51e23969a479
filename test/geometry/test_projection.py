# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.geometry.camera import lens_of, project
from vl_anomaly_ros.geometry.projection import look
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, FloatArray, IntArray

WIDTH, HEIGHT = 64, 48
K = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
EVERYWHERE = np.array([[0, 0, 0, 0], [0, 0, 0, 1]], np.float32)


def seen(xyz: DoubleArray | FloatArray, max_range_m: float = 100.0) -> tuple[list[int], IntArray]:
    """Rows and pixels of the points in the image of a camera that looks along z."""
    lens = lens_of(CameraCalibration(WIDTH, HEIGHT, K, "optical"))
    cloud = np.ascontiguousarray(xyz, np.float32)
    _, level, index, pixel = look(cloud, lens, np.eye(4), np.eye(4), EVERYWHERE, np.float32(max_range_m**2))
    assert np.array_equal(level, cloud[index].astype(np.float64))
    return index.tolist(), pixel


def test_no_points() -> None:
    rows, pixel = seen(np.zeros((0, 3)))
    assert rows == []
    assert pixel.shape == (0, 2)


def test_points_at_the_borders_get_pixels_of_the_image() -> None:
    # Outermost places that still are in the image, half a pixel beyond the centres of its corners, and just outside.
    u, v = np.meshgrid([-0.51, -0.499, WIDTH - 0.501, WIDTH - 0.49], [-0.51, -0.499, HEIGHT - 0.501, HEIGHT - 0.49])
    xyz = np.stack([(u.ravel() - 31.5) / 40, (v.ravel() - 23.5) / 40, np.ones(16)], 1) * 10.0
    rows, pixel = seen(xyz)
    assert sorted(rows) == [5, 6, 9, 10]
    assert sorted(pixel.tolist()) == [[0, 0], [0, HEIGHT - 1], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("axis", range(3))
def test_coordinates_without_bound_are_nowhere(value: float, axis: int) -> None:
    xyz = np.array([[0.0, 0, 10], [0.0, 0, 10]], np.float32)
    xyz[0, axis] = value
    assert seen(xyz)[0] == [1]


def test_points_of_one_column_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform([-8, -6, 9], [8, 6, 11], (3000, 3))
    rows, pixel = seen(xyz)
    order = np.lexsort((np.array(rows), pixel[:, 0]))
    assert order.tolist() == list(range(len(rows)))
    uv, ok = project(CameraCalibration(WIDTH, HEIGHT, K, "optical"), xyz.astype(np.float32).astype(np.float64))
    assert sorted(rows) == np.flatnonzero(ok).tolist()
    assert np.array_equal(pixel, np.rint(uv[rows]))


def test_a_cloud_as_large_as_can_be_seen_whole() -> None:
    rows, pixel = seen(np.tile(np.array([[0.0, 0.0, 5.0]], np.float32), (200_000, 1)))
    assert rows == list(range(200_000))
    assert np.all(pixel == [[32, 24]])
