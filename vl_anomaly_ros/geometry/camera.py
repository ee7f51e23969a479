# SPDX-License-Identifier: Apache-2.0
"""Camera model: points of the optical frame to pixels of the raw image, and pixels to rays.

Distortion models are those of sensor_msgs/CameraInfo: plumb_bob and rational_polynomial (Brown-Conrady) and
equidistant (Kannala-Brandt). A polynomial is only trusted up to the angle where it stops growing: beyond, points far
outside the field of view would fold back into the image.
"""

from __future__ import annotations

import numpy as np

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import BoolArray, CameraCalibration, DoubleArray

MIN_DEPTH_M = 0.05
"""Points nearer to the image plane than this, or behind it, have no pixel."""

_MAX_TANGENT = 8.0
"""Brown-Conrady models are not followed beyond 82.9 degrees off the optical axis."""

_BROWN = ("plumb_bob", "rational_polynomial", "")


def is_rectified(calibration: CameraCalibration) -> bool:
    """Whether K alone maps rays to pixels."""
    return not np.any(calibration.D) and calibration.distortion_model != "equidistant"


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
    x, y, z = np.asarray(xyz, np.float64).T
    ok = z > MIN_DEPTH_M
    if calibration.distortion_model == "equidistant":
        radius = np.hypot(x, y)
        angle = np.arctan2(radius, z)
        ok = (angle <= _equidistant_limit(calibration)) & (radius + np.abs(z) > 1e-9)
        scale = np.divide(_equidistant(calibration, angle), radius, out=np.zeros_like(radius), where=radius > 1e-12)
        xn, yn = x * scale, y * scale
    else:
        depth = np.where(ok, z, 1.0)
        xn, yn = x / depth, y / depth
        if not is_rectified(calibration):
            ok &= np.hypot(xn, yn) <= _brown_limit(calibration)
            xn, yn = _brown(calibration, np.where(ok, xn, 0.0), np.where(ok, yn, 0.0))
    K = calibration.K
    u = K[0, 0] * xn + K[0, 1] * yn + K[0, 2]
    v = K[1, 1] * yn + K[1, 2]
    ok &= (u >= -0.5) & (u < calibration.width - 0.5) & (v >= -0.5) & (v < calibration.height - 0.5)
    return np.where(ok[:, None], np.stack([u, v], 1), 0.0), ok


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
    K = calibration.K
    yd = (np.asarray(uv, np.float64)[:, 1] - K[1, 2]) / K[1, 1]
    xd = (np.asarray(uv, np.float64)[:, 0] - K[0, 2] - K[0, 1] * yd) / K[0, 0]
    if calibration.distortion_model == "equidistant":
        limit = _equidistant_limit(calibration)
        angles = np.linspace(0.0, limit, 4096)
        radius = np.hypot(xd, yd)
        angle = np.interp(radius, _equidistant(calibration, angles), angles)
        scale = np.divide(np.sin(angle), radius, out=np.zeros_like(radius), where=radius > 1e-12)
        return np.stack([xd * scale, yd * scale, np.cos(angle)], 1)
    xn, yn = xd, yd
    if not is_rectified(calibration):
        xn, yn = _undistort(calibration, xd, yd)
    direction = np.stack([xn, yn, np.ones_like(xn)], 1)
    return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True), np.float64)


def _coefficients(calibration: CameraCalibration, count: int) -> DoubleArray:
    if calibration.distortion_model not in (*_BROWN, "equidistant"):
        raise GeometryError(
            f"camera {calibration.frame_id}: expected distortion_model plumb_bob, rational_polynomial or equidistant, "
            f"got {calibration.distortion_model!r}; recalibrate with one of these or publish the rectified image"
        )
    given = np.zeros(count)
    used = min(count, len(calibration.D))
    given[:used] = calibration.D[:used]
    return given


def _radial(calibration: CameraCalibration, r2: DoubleArray) -> DoubleArray:
    k1, k2, _, _, k3, k4, k5, k6 = _coefficients(calibration, 8)
    top, bottom = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    return np.asarray(top / bottom, np.float64)


def _brown(calibration: CameraCalibration, x: DoubleArray, y: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    p1, p2 = _coefficients(calibration, 4)[2:4]
    r2 = x * x + y * y
    radial = _radial(calibration, r2)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def _brown_limit(calibration: CameraCalibration) -> float:
    """Largest undistorted radius up to which the distorted radius keeps growing."""
    radius = np.linspace(0.0, _MAX_TANGENT, 2000)
    with np.errstate(divide="ignore", invalid="ignore"):
        growing = np.diff(radius * _radial(calibration, radius**2)) > 0
    return float(radius[-1] if growing.all() else radius[int(np.argmin(growing))])


def _undistort(calibration: CameraCalibration, xd: DoubleArray, yd: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Invert `_brown`: the radius from a table, then fixed-point steps for the tangential part."""
    radius = np.linspace(0.0, _brown_limit(calibration), 4096)
    distorted = radius * _radial(calibration, radius**2)
    xn, yn = xd, yd
    for _ in range(20):
        p1, p2 = _coefficients(calibration, 4)[2:4]
        r2 = xn * xn + yn * yn
        xt = xd - (2 * p1 * xn * yn + p2 * (r2 + 2 * xn * xn))
        yt = yd - (p1 * (r2 + 2 * yn * yn) + 2 * p2 * xn * yn)
        rt = np.hypot(xt, yt)
        scale = np.divide(np.interp(rt, distorted, radius), rt, out=np.ones_like(rt), where=rt > 1e-12)
        xn, yn = xt * scale, yt * scale
    return xn, yn


def _equidistant(calibration: CameraCalibration, angle: DoubleArray) -> DoubleArray:
    k1, k2, k3, k4 = _coefficients(calibration, 4)
    a2 = angle * angle
    return np.asarray(angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4)))), np.float64)


def _equidistant_limit(calibration: CameraCalibration) -> float:
    """Largest angle off the optical axis, in radians, up to which the image radius keeps growing."""
    angle = np.linspace(0.0, np.pi, 2000)
    growing = np.diff(_equidistant(calibration, angle)) > 0
    return float(angle[-1] if growing.all() else angle[int(np.argmin(growing))])
