# SPDX-License-Identifier: Apache-2.0
"""Camera model: points of the optical frame to pixels of the raw image, and pixels to rays.

Distortion models are those of sensor_msgs/CameraInfo: plumb_bob and rational_polynomial (Brown-Conrady) and
equidistant (Kannala-Brandt). A polynomial is only trusted up to the angle where it stops growing: beyond, points far
outside the field of view would fold back into the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.projection import BROWN, EQUIDISTANT, PINHOLE, Lens, directions, growing_up_to, pixels
from vl_anomaly_ros.types import BoolArray, CameraCalibration, DoubleArray

_BROWN_NAMES = ("plumb_bob", "rational_polynomial", "")
_REMEMBERED = 32
_Said = TypeVar("_Said")


def per_calibration(function: Callable[[CameraCalibration], _Said]) -> Callable[[CameraCalibration], _Said]:
    """Remember what is said of calibrations: a camera gives the very same object with each of its images."""
    known: dict[int, tuple[CameraCalibration, _Said]] = {}  # what is held here keeps its id to itself

    @functools.wraps(function)
    def remembered(calibration: CameraCalibration) -> _Said:
        seen = known.get(id(calibration))
        if seen is None:
            seen = calibration, function(calibration)
            if len(known) >= _REMEMBERED:
                known.clear()
            known[id(calibration)] = seen
        return seen[1]

    return remembered


@per_calibration
def lens_of(calibration: CameraCalibration) -> Lens:
    """The calibration as kernels take it.

    Raises:
        GeometryError: the distortion model is not known.
    """
    distorted = bool(np.any(calibration.D))
    if distorted and calibration.distortion_model not in (*_BROWN_NAMES, "equidistant"):
        raise GeometryError(
            f"camera {calibration.frame_id}: expected distortion_model plumb_bob, rational_polynomial or equidistant, "
            f"got {calibration.distortion_model!r}; recalibrate with one of these or publish the rectified image"
        )
    if calibration.distortion_model == "equidistant":
        model, used = EQUIDISTANT, calibration.D[:4]
    else:
        model, used = (BROWN if distorted else PINHOLE), calibration.D[:8]
    D = tuple(used.tolist()) + (0.0,) * (8 - len(used))
    (fx, skew, cx), (_, fy, cy) = calibration.K[:2].tolist()
    limit = 0.0 if model == PINHOLE else growing_up_to(model, D)
    return Lens(model, fx, skew, cx, fy, cy, D, int(calibration.width), int(calibration.height), limit)


def project(calibration: CameraCalibration, xyz: DoubleArray) -> tuple[DoubleArray, BoolArray]:
    """Pixels of points in the raw image.

    Args:
        calibration: of the camera.
        xyz: (N, 3) metres, in the optical frame.

    Returns:
        (N, 2) float64 pixels, the centre of the first pixel being (0, 0), and (N,) bool: whether the pixel is
        meaningful (in front of the camera, inside the trusted angle, inside the image). Other rows are zero.

    Raises:
        GeometryError: the distortion model is not known.

    >>> K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> uv, seen = project(CameraCalibration(100, 80, K, "camera"), np.array([[1.0, 0, 4], [0, 0, -4]]))
    >>> uv.tolist(), seen.tolist()
    ([[75.0, 40.0], [0.0, 0.0]], [True, False])
    """
    return pixels(np.ascontiguousarray(xyz, np.float64), lens_of(calibration))


def rays(calibration: CameraCalibration, uv: DoubleArray) -> DoubleArray:
    """Unit directions in the optical frame that pixels look along.

    Args:
        calibration: of the camera.
        uv: (N, 2) pixels of the raw image.

    Returns:
        (N, 3) float64 of length 1.

    Raises:
        GeometryError: the distortion model is not known.

    >>> K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> rays(CameraCalibration(100, 80, K, "camera"), np.array([[50.0, 40.0]])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    return directions(np.ascontiguousarray(uv, np.float64), lens_of(calibration))
