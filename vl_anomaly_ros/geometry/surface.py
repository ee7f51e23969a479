# SPDX-License-Identifier: Apache-2.0
"""The height of a ground surface, a plane and a grid of residuals, and where lines of sight meet it."""

from __future__ import annotations

import math

import numpy as np
from numba import boolean, float64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import BoolArray, DoubleArray

CELL_M = 1.0
STEPS, FINER_STEPS = 100, 10
FIRST_STEP_M = 0.2


@kernel(float64(float64, float64, view(float64, 1), view(float64, 1), view(float64, 2)))
def _height(x: float, y: float, plane: DoubleArray, origin_m: DoubleArray, residual_m: DoubleArray) -> float:
    """Height at a place; between cells in proportion, beyond them constant."""
    base = x * plane[0] + y * plane[1] + plane[2]
    nx, ny = residual_m.shape
    if nx < 2 or ny < 2:
        return float(base)
    i = min(max((x - origin_m[0]) / CELL_M, 0.0), nx - 1 - 1e-9)
    j = min(max((y - origin_m[1]) / CELL_M, 0.0), ny - 1 - 1e-9)
    if not (i >= 0.0 and j >= 0.0):  # of what is no number
        return math.nan
    a, b = int(i), int(j)
    low = residual_m[a, b] + (residual_m[a, b + 1] - residual_m[a, b]) * (j - b)
    high = residual_m[a + 1, b] + (residual_m[a + 1, b + 1] - residual_m[a + 1, b]) * (j - b)
    return float(base + low + (high - low) * (i - a))


@kernel(array(float64, 1)(view(float64, 2), view(float64, 1), view(float64, 1), view(float64, 2)))
def heights(xy: DoubleArray, plane: DoubleArray, origin_m: DoubleArray, residual_m: DoubleArray) -> DoubleArray:
    """(N,) heights at N places; (N, 2), what stands in further columns does not count."""
    z = np.empty(len(xy))
    for n in range(len(xy)):
        z[n] = _height(xy[n, 0], xy[n, 1], plane, origin_m, residual_m)
    return z


@kernel(
    Tuple((array(float64, 1), array(boolean, 1)))(
        view(float64, 1), view(float64, 2), float64, view(float64, 1), view(float64, 1), view(float64, 2)
    )
)
def meeting_ranges(
    start: DoubleArray,
    lines: DoubleArray,
    max_range_m: float,
    plane: DoubleArray,
    origin_m: DoubleArray,
    residual_m: DoubleArray,
) -> tuple[DoubleArray, BoolArray]:
    """Where lines of sight meet the ground, rather too near than too far.

    Args:
        start: (3,) the camera.
        lines: (N, 3) x and y of a unit vector along the ground, and the slope along it.
        max_range_m: the lines are followed so far.
        plane: of the ground.
        origin_m: of the ground's grid.
        residual_m: of the ground's cells.

    Returns:
        (N,) distances along the ground, `max_range_m` at most, and (N,) whether they meet it within that.
    """
    steps = np.zeros(STEPS + 1)
    for k in range(STEPS):
        steps[k + 1] = FIRST_STEP_M * (max_range_m / FIRST_STEP_M) ** (k / (STEPS - 1))
    range_m, meets = np.full(len(lines), max_range_m), np.zeros(len(lines), np.bool_)
    for n in range(len(lines)):
        x, y, slope = lines[n, 0], lines[n, 1], lines[n, 2]
        for k in range(STEPS + 1):
            ground = _height(start[0] + steps[k] * x, start[1] + steps[k] * y, plane, origin_m, residual_m)
            if not start[2] + steps[k] * slope <= ground:
                continue
            # The last step above the ground, and once more in finer steps from there.
            near, far = steps[max(k - 1, 0)], steps[max(k, 1)]
            foot = near
            for m in range(1, FINER_STEPS + 1):
                finer = near + (far - near) * (m / FINER_STEPS)
                ground = _height(start[0] + finer * x, start[1] + finer * y, plane, origin_m, residual_m)
                if start[2] + finer * slope <= ground:
                    foot = near + (far - near) * ((m - 1) / FINER_STEPS)
                    break
            range_m[n], meets[n] = foot, True
            break
    return range_m, meets
