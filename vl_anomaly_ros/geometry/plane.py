# SPDX-License-Identifier: Apache-2.0
"""The plane of the ground among cells that may hold it, by random sample consensus."""

from __future__ import annotations

import math

import numpy as np
from numba import boolean, float64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import DoubleArray

MIN_CELLS = 8
PLANE_RANGE_M = 30.0
MAX_SLOPE = 0.15
"""Steepest plane that is believed, as rise over run relative to the prior plane."""
MAX_OFFSET_M = 0.5
"""A plane that passes the ego origin farther above or below is not believed."""
TOLERANCE_M = 0.08
"""A cell lies on a plane when it departs by no more from it..."""
WAVE = 0.005
"""...and by so much more per metre of range, for the error of the angles."""
HYPOTHESES = 150
_DRAWS = np.random.default_rng(0).random((3, HYPOTHESES))
MIN_TWICE_AREA_M2 = 20.0
SCORED_CELLS = 200
PULL_SLOPE, PULL_OFFSET = 50.0, 0.5


@kernel(
    float64(view(float64, 1), view(float64, 1), view(float64, 1), view(float64, 1), view(float64, 1), view(float64, 1))
)
def _score(
    plane: DoubleArray, prior: DoubleArray, x: DoubleArray, y: DoubleArray, z: DoubleArray, tolerance: DoubleArray
) -> float:
    """How well a plane explains the cells; of two that do it about as well, the more level one scores higher."""
    tilt = math.sqrt((plane[0] - prior[0]) ** 2 + (plane[1] - prior[1]) ** 2)
    if tilt > MAX_SLOPE or abs(plane[2] - prior[2]) > MAX_OFFSET_M:
        return -math.inf
    on = under = 0
    # An even choice of the cells tells the better planes.
    for n in range(0, len(z), -(-len(z) // SCORED_CELLS)):
        above = (z[n] - plane[2] - plane[0] * x[n] - plane[1] * y[n]) / tolerance[n]
        on += abs(above) < 1
        under += above < -2
    return (on - under) * (1 - 2 * tilt)


@kernel(boolean(array(float64, 1), view(float64, 1), view(float64, 1), view(float64, 1), view(float64, 1)))
def _refine(plane: DoubleArray, x: DoubleArray, y: DoubleArray, z: DoubleArray, tolerance: DoubleArray) -> bool:
    """Least squares over the cells near the plane, in place; whether there are enough of them.

    A weak pull to what was found keeps a narrow or one-sided view from tilting the plane.
    """
    xx, yy, ww = PULL_SLOPE, PULL_SLOPE, PULL_OFFSET
    xy = xw = yw = 0.0
    xz, yz, wz = PULL_SLOPE * plane[0], PULL_SLOPE * plane[1], PULL_OFFSET * plane[2]
    count = 0
    for n in range(len(z)):
        if not abs(z[n] - x[n] * plane[0] - y[n] * plane[1] - plane[2]) < tolerance[n]:
            continue
        count += 1
        xx, xy, yy = xx + x[n] * x[n], xy + x[n] * y[n], yy + y[n] * y[n]
        xw, yw, ww = xw + x[n], yw + y[n], ww + 1
        xz, yz, wz = xz + x[n] * z[n], yz + y[n] * z[n], wz + z[n]
    if count < MIN_CELLS:
        return False
    # Three equations, solved by elimination; the pull keeps the divisors away from zero.
    f, g = xy / xx, xw / xx
    yy, yw, yz = yy - f * xy, yw - f * xw, yz - f * xz
    h = yw / yy
    ww, wz = ww - g * xw - h * yw, wz - g * xz - h * yz
    plane[2] = wz / ww
    plane[1] = (yz - yw * plane[2]) / yy
    plane[0] = (xz - xy * plane[1] - xw * plane[2]) / xx
    return True


@kernel(Tuple((boolean, array(float64, 1)))(view(float64, 2), view(float64, 1), view(float64, 1)))
def consensus_plane(xy: DoubleArray, z: DoubleArray, prior: DoubleArray) -> tuple[bool, DoubleArray]:
    """Whether there are cells enough, and the (3,) plane that most cells lie on and few lie under.

    Nothing is under the ground, so cells below a plane speak against it, while cells above it may be objects. Planes
    are tried by random sample consensus, drawn with a fixed seed: the same cloud gives the same ground.
    """
    range_m = np.sqrt(xy[:, 0] ** 2 + xy[:, 1] ** 2)
    near = np.flatnonzero(range_m < PLANE_RANGE_M)
    if len(near) < MIN_CELLS:
        return False, prior.copy()
    x, y, z, tolerance = xy[near, 0], xy[near, 1], z[near], TOLERANCE_M + WAVE * range_m[near]
    best, best_score = prior.copy(), _score(prior, prior, x, y, z, tolerance)
    plane = np.empty(3)
    for draw in range(HYPOTHESES):
        a, b, c = int(_DRAWS[0, draw] * len(z)), int(_DRAWS[1, draw] * len(z)), int(_DRAWS[2, draw] * len(z))
        px, py, pz = x[b] - x[a], y[b] - y[a], z[b] - z[a]
        qx, qy, qz = x[c] - x[a], y[c] - y[a], z[c] - z[a]
        area = px * qy - py * qx
        if not abs(area) > MIN_TWICE_AREA_M2:  # thin triangles fix no plane
            continue
        plane[0], plane[1] = (pz * qy - py * qz) / area, (px * qz - pz * qx) / area
        plane[2] = z[a] - plane[0] * x[a] - plane[1] * y[a]
        score = _score(plane, prior, x, y, z, tolerance)
        if score > best_score:
            best, best_score = plane.copy(), score
    for _ in range(3):
        if not _refine(best, x, y, z, tolerance):
            return False, prior.copy()
    return True, best
