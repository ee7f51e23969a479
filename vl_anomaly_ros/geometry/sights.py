# SPDX-License-Identifier: Apache-2.0
"""Where regions are seen: lines of sight through the rims of their boxes, and where the lowest meet the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry.camera import rays
from vl_anomaly_ros.geometry.ground import Ground
from vl_anomaly_ros.types import BoolArray, CameraCalibration, DoubleArray, Region

_SIDE = np.linspace(0.0, 1.0, 9)
_RIM = np.array([*((a, b) for a in _SIDE for b in (0.0, 1.0)), *((a, b) for a in (0.0, 1.0) for b in _SIDE)])
"""Points around a box, as parts of its width and height."""


class Sights(NamedTuple):
    """Where regions are seen: lines of sight through the rims of their bounding boxes.

    Attributes:
        origin: (3,) camera, level axes.
        axis: (3,) optical axis, level axes.
        directions: (regions, N, 3) unit vectors, level axes; N is 0 where the camera is not calibrated.
        cut_off: (regions,) whether the lowest line of sight lies at the border of the image, so the foot may be below.
    """

    origin: DoubleArray
    axis: DoubleArray
    directions: DoubleArray
    cut_off: BoolArray

    def of(self, rows: Sequence[int]) -> Sights:
        """Those of some regions."""
        return Sights(self.origin, self.axis, self.directions[rows], self.cut_off[rows])


def sights_of(
    regions: Sequence[Region], calibration: CameraCalibration | None, origin: DoubleArray, R_level_camera: DoubleArray
) -> Sights:
    """Lines of sight of each region's bounding box, sampled along its rim."""
    origin, R = np.ascontiguousarray(origin), np.ascontiguousarray(R_level_camera)
    if calibration is None:
        return Sights(origin, R[:, 2], np.zeros((len(regions), 0, 3)), np.ones(len(regions), bool))
    rim = _rims(np.array([region.bbox for region in regions], np.int64).reshape(-1, 4))
    return Sights(origin, R[:, 2], *_turned(rays(calibration, rim), rim, R, calibration.width, calibration.height))


@kernel(array(float64, 2)(view(int64, 2)))
def _rims(boxes: npt.NDArray[np.int64]) -> DoubleArray:
    """(boxes * len(_RIM), 2) pixels."""
    rim, count = np.empty((len(boxes) * len(_RIM), 2)), 0
    for x0, y0, x1, y1 in boxes:
        width, height = max(x1, x0 + 1) - x0, max(y1, y0 + 1) - y0
        for n in range(len(_RIM)):
            rim[count, 0], rim[count, 1] = x0 - 0.5 + width * _RIM[n, 0], y0 - 0.5 + height * _RIM[n, 1]
            count += 1
    return rim


@kernel(
    Tuple((array(float64, 3), array(boolean, 1)))(view(float64, 2), view(float64, 2), view(float64, 2), int64, int64)
)
def _turned(
    rays: DoubleArray, rim: DoubleArray, R: DoubleArray, width: int, height: int
) -> tuple[DoubleArray, BoolArray]:
    """(boxes, len(_RIM), 3) rays rotated by R, and (boxes,) whether the lowest is at the border, see `Sights`."""
    count = len(rays) // len(_RIM)
    directions, cut_off = np.empty((count, len(_RIM), 3)), np.empty(count, np.bool_)
    for r in range(count):
        lowest = r * len(_RIM)
        for n in range(len(_RIM)):
            ray = rays[r * len(_RIM) + n]
            for axis in range(3):
                directions[r, n, axis] = R[axis, 0] * ray[0] + R[axis, 1] * ray[1] + R[axis, 2] * ray[2]
            if directions[r, n, 2] < directions[r, lowest - r * len(_RIM), 2]:
                lowest = r * len(_RIM) + n
        u, v = rim[lowest]
        cut_off[r] = not (0 < u < width - 1 and 0 < v < height - 1)
    return directions, cut_off


def ground_ranges(
    sights: Sights, ground: Ground, max_range_m: float, pitch_margin: float = 0.0
) -> tuple[DoubleArray, BoolArray]:
    """Where each lowest line of sight meets the ground, as distance along the ground from the camera.

    Args:
        sights: of one camera.
        ground: that they meet.
        max_range_m: how far they are followed.
        pitch_margin: radians by which they are lowered.

    Returns:
        The distances (`max_range_m` at most), and whether they meet the ground within it.
    """
    if not sights.directions.size:
        return np.full(len(sights.cut_off), max_range_m), np.zeros(len(sights.cut_off), bool)
    return ground.met_by(sights.origin, _lowest_lines(sights.directions, pitch_margin), max_range_m)


@kernel(array(float64, 2)(view(float64, 3), float64))
def _lowest_lines(directions: DoubleArray, pitch_margin: float) -> DoubleArray:
    """(N, 3) x and y of a unit vector along the ground, and the slope along it, of the lowest of (N, rays, 3)."""
    lines = np.empty((len(directions), 3))
    for r in range(len(directions)):
        lowest = math.inf
        for x, y, z in directions[r]:
            run = max(math.hypot(x, y), 1e-9)
            if z / run < lowest:
                lowest = z / run
                slope = math.tan(max(math.atan2(z, run) - pitch_margin, -math.pi / 2 + 1e-6))
                lines[r, 0], lines[r, 1], lines[r, 2] = x / run, y / run, slope
    return lines
