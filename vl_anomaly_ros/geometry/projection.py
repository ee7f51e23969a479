# SPDX-License-Identifier: Apache-2.0
"""The formulas of the camera model, point by point: to a pixel, to a ray, and a whole cloud at one look."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from numba import boolean, float32, float64, int32, int64
from numba.types import Tuple, UniTuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import BoolArray, DoubleArray, FloatArray, IntArray

PINHOLE, BROWN, EQUIDISTANT = 0, 1, 2
MIN_DEPTH_M = 0.05
"""Points nearer to the image plane than this, or behind it, have no pixel."""
MAX_TANGENT = 8.0
"""Brown-Conrady models are not followed beyond 82.9 degrees off the optical axis."""
_TRIALS, _TABLE = 2000, 4096
_STEPS = 20
_CONVERGED = 1e-13


class Lens(NamedTuple):
    """What kernels know of a calibration.

    Attributes:
        model: PINHOLE, BROWN or EQUIDISTANT.
        fx, skew, cx, fy, cy: of the intrinsic matrix.
        D: eight distortion coefficients, zero where none is given.
        width, height: of the image.
        limit: the model is trusted up to this tangent (BROWN) or angle (EQUIDISTANT) off the optical axis.
    """

    model: int
    fx: float
    skew: float
    cx: float
    fy: float
    cy: float
    D: tuple[float, ...]
    width: int
    height: int
    limit: float


# No arrays: these would be counted as in use, and as free again, at each call.
_LENS = numba.typeof(Lens(PINHOLE, 1.0, 0.0, 0.0, 1.0, 0.0, (0.0,) * 8, 1, 1, 0.0))
_COEFFICIENTS = UniTuple(float64, 8)


@kernel(float64(float64, _COEFFICIENTS))
def _radial(r2: float, D: tuple[float, ...]) -> float:
    """Brown-Conrady: factor of a point at that squared tangent."""
    top = 1 + r2 * (D[0] + r2 * (D[1] + r2 * D[4]))
    bottom = 1 + r2 * (D[5] + r2 * (D[6] + r2 * D[7]))
    return top / bottom


@kernel(float64(int64, float64, _COEFFICIENTS))
def _bent(model: int, off_axis: float, D: tuple[float, ...]) -> float:
    """Radius in the image, at focal length 1, of a tangent (BROWN) or an angle (EQUIDISTANT)."""
    square = off_axis * off_axis
    if model == EQUIDISTANT:
        return off_axis * (1 + square * (D[0] + square * (D[1] + square * (D[2] + square * D[3]))))
    return off_axis * _radial(square, D)


@kernel(float64(int64, _COEFFICIENTS))
def growing_up_to(model: int, D: tuple[float, ...]) -> float:
    """How far off the axis the image radius keeps growing; beyond, things would fold back into the image."""
    end = math.pi if model == EQUIDISTANT else MAX_TANGENT
    step = end / (_TRIALS - 1)
    for k in range(_TRIALS - 1):
        if not _bent(model, (k + 1) * step, D) > _bent(model, k * step, D):
            return k * step
    return end


@kernel(UniTuple(float64, 2)(float64, float64, float64, _LENS))
def _pixel(x: float, y: float, z: float, lens: Lens) -> tuple[float, float]:
    """Column and row of a point of the optical frame; NaN where it has no pixel."""
    nowhere = (math.nan, math.nan)
    if lens.model == EQUIDISTANT:
        radius = math.sqrt(x * x + y * y)
        angle = math.atan2(radius, z)
        if not (angle <= lens.limit and radius + abs(z) > 1e-9):
            return nowhere
        scale = _bent(EQUIDISTANT, angle, lens.D) / radius if radius > 1e-12 else 0.0
        x, y = x * scale, y * scale
    else:
        if not z > MIN_DEPTH_M:
            return nowhere
        x, y = x / z, y / z
        if lens.model == BROWN:
            r2 = x * x + y * y
            if not r2 <= lens.limit * lens.limit:
                return nowhere
            radial, p1, p2 = _radial(r2, lens.D), lens.D[2], lens.D[3]
            x, y = (
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            )
    u = lens.fx * x + lens.skew * y + lens.cx
    v = lens.fy * y + lens.cy
    if -0.5 <= u < lens.width - 0.5 and -0.5 <= v < lens.height - 0.5:
        return u, v
    return nowhere


@kernel(Tuple((array(float64, 2), array(boolean, 1)))(view(float64, 2), _LENS))
def pixels(xyz: DoubleArray, lens: Lens) -> tuple[DoubleArray, BoolArray]:
    """(N, 2) pixels of (N, 3) points, and (N,) whether each has one; the others are zero."""
    uv = np.zeros((len(xyz), 2))
    seen = np.zeros(len(xyz), np.bool_)
    for n in range(len(xyz)):
        u, v = _pixel(xyz[n, 0], xyz[n, 1], xyz[n, 2], lens)
        if u == u:
            seen[n] = True
            uv[n, 0], uv[n, 1] = u, v
    return uv, seen


@kernel(float64(float64, view(float64, 1), view(float64, 1)))
def _looked_up(value: float, increasing: DoubleArray, values: DoubleArray) -> float:
    """What lies at a place of a table, in proportion between its rows, at its ends beyond them."""
    above = np.searchsorted(increasing, value)
    if above == 0:
        return float(values[0])
    if above == len(increasing):
        return float(values[-1])
    start, end = increasing[above - 1], increasing[above]
    share = (value - start) / (end - start)
    return float(values[above - 1] + (values[above] - values[above - 1]) * share)


@kernel(array(float64, 2)(view(float64, 2), _LENS))
def directions(uv: DoubleArray, lens: Lens) -> DoubleArray:
    """(N, 3) unit vectors along which (N, 2) pixels look.

    The radius is looked up in a table of the model. The tangential part of Brown's model is taken off by fixed-point
    steps.
    """
    off_axis = np.linspace(0.0, lens.limit, _TABLE)
    bent = np.empty(_TABLE)
    if lens.model != PINHOLE:
        for k in range(_TABLE):
            bent[k] = _bent(lens.model, off_axis[k], lens.D)
    p1, p2 = lens.D[2], lens.D[3]
    out = np.empty((len(uv), 3))
    for n in range(len(uv)):
        yd = (uv[n, 1] - lens.cy) / lens.fy
        xd = (uv[n, 0] - lens.cx - lens.skew * yd) / lens.fx
        x, y, z = xd, yd, 1.0
        if lens.model == EQUIDISTANT:
            radius = math.sqrt(xd * xd + yd * yd)
            angle = _looked_up(radius, bent, off_axis)
            scale = math.sin(angle) / radius if radius > 1e-12 else 0.0
            x, y, z = xd * scale, yd * scale, math.cos(angle)
        elif lens.model == BROWN:
            for _ in range(_STEPS):
                r2 = x * x + y * y
                xt = xd - (2 * p1 * x * y + p2 * (r2 + 2 * x * x))
                yt = yd - (p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)
                radius = math.sqrt(xt * xt + yt * yt)
                scale = _looked_up(radius, bent, off_axis) / radius if radius > 1e-12 else 1.0
                moved = abs(xt * scale - x) + abs(yt * scale - y)
                x, y = xt * scale, yt * scale
                if moved < _CONVERGED:
                    break
        length = math.sqrt(x * x + y * y + z * z)
        out[n, 0], out[n, 1], out[n, 2] = x / length, y / length, z / length
    return out


_LOOK = Tuple((array(float64, 2), array(float64, 2), array(int64, 1), array(int32, 2)))


@kernel(_LOOK(view(float32, 2), _LENS, view(float64, 2), view(float64, 2), view(float32, 2), float32), long=True)
def look(
    xyz: FloatArray,
    lens: Lens,
    T_camera_points: DoubleArray,
    T_level_points: DoubleArray,
    ahead: FloatArray,
    max_range2: np.float32,
) -> tuple[DoubleArray, DoubleArray, npt.NDArray[np.int64], IntArray]:
    """A cloud as one camera sees it, in one pass.

    Args:
        xyz: (N, 3) points.
        lens: of the camera.
        T_camera_points: (4, 4) to the optical frame.
        T_level_points: (4, 4) to the level axes.
        ahead: (2, 4) of a point p ahead |ahead[0] p| <= ahead[1] p.
        max_range2: m^2, farther ones are left out.

    Returns:
        (M, 3) points ahead, level axes. Of those in the image, in order of their column: (V, 3) points, level axes,
        (V,) their rows in the cloud, and (V, 2) their pixels.
    """
    level = np.empty((len(xyz), 3))
    row, place = np.empty(len(xyz), np.int64), np.empty(len(xyz), np.int64)
    pixel = np.empty((len(xyz), 2), np.int32)
    in_columns = np.zeros(lens.width + 1, np.int64)
    near = seen = 0
    T, L = T_camera_points, T_level_points
    for n in range(len(xyz)):
        x, y, z = xyz[n, 0], xyz[n, 1], xyz[n, 2]
        side = ahead[0, 0] * x + ahead[0, 1] * y + ahead[0, 2] * z + ahead[0, 3]
        reach = ahead[1, 0] * x + ahead[1, 1] * y + ahead[1, 2] * z + ahead[1, 3]
        # No number, of coordinates without bound, is ahead of nothing.
        if not (abs(side) <= reach and x * x + y * y + z * z < max_range2):
            continue
        for axis in range(3):
            level[near, axis] = L[axis, 0] * x + L[axis, 1] * y + L[axis, 2] * z + L[axis, 3]
        u, v = _pixel(
            T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3],
            T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3],
            T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3],
            lens,
        )
        if u == u:
            # From -0.5 up to the width less 0.5: rounded, a column of the image.
            pixel[seen, 0], pixel[seen, 1] = np.int32(np.rint(u)), np.int32(np.rint(v))
            row[seen], place[seen] = n, near
            in_columns[pixel[seen, 0] + 1] += 1
            seen += 1
        near += 1
    begin = np.cumsum(in_columns)
    xyz_seen, index, pixel_seen = np.empty((seen, 3)), np.empty(seen, np.int64), np.empty((seen, 2), np.int32)
    for n in range(seen):
        to = begin[pixel[n, 0]]
        begin[pixel[n, 0]] += 1
        index[to] = row[n]
        for axis in range(3):
            xyz_seen[to, axis] = level[place[n], axis]
        pixel_seen[to, 0], pixel_seen[to, 1] = pixel[n, 0], pixel[n, 1]
    return level[:near], xyz_seen, index, pixel_seen
