# SPDX-License-Identifier: Apache-2.0
"""Height of points above the ground, estimated from the cloud itself.

A robust plane takes out slope and mounting error; a grid of what remains follows kerbs, camber and hills. Anything that
is narrower than the opening window (cars, pallets, planks) cannot pass for ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numba import float64, int64
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry.plane import MAX_OFFSET_M, MAX_SLOPE, MIN_CELLS, WAVE, consensus_plane
from vl_anomaly_ros.geometry.surface import CELL_M, heights, meeting_ranges
from vl_anomaly_ros.types import BoolArray, DoubleArray

OPENING_CELLS = 3
STEP_M = 0.15
"""A cell belongs to the ground when it departs by no more from the ground around it (a kerb does not),
and by `WAVE` more per metre of range."""
FLAT_M = 0.15
LOW_SHARE = 0.05
DENSE_RANGE_M = 20.0
DENSE_POINTS = 5000
MAX_RANGE_M = 500.0
"""The grid reaches no farther, however far points are used."""
GROWTH_STEPS = 8
_BLUR = cv2.getGaussianKernel(9, 1.0)


@dataclass(frozen=True)
class Ground:
    """Ground surface z(x, y) = plane + grid of residuals, in level axes.

    Attributes:
        plane: (3,) a, b, c of z = a x + b y + c.
        origin_m: (2,) x, y of the centre of the first cell.
        residual_m: (nx, ny) what to add to the plane, 2 by 2 cells at least; empty for the plane alone.
    """

    plane: DoubleArray
    origin_m: DoubleArray
    residual_m: DoubleArray

    def z(self, xy: DoubleArray) -> DoubleArray:
        """Ground height under points: (N, 2) metres to (N,) metres; between cells in proportion, beyond them constant.

        >>> grid = Ground(np.zeros(3), np.zeros(2), np.array([[0.0, 0.0], [0.2, 0.4]]))
        >>> [round(float(z), 6) for z in grid.z(np.array([[0.5, 0.0], [0.5, 0.5], [9.0, 9.0]]))]
        [0.1, 0.15, 0.4]
        """
        return heights(np.ascontiguousarray(xy, np.float64), self.plane, self.origin_m, self.residual_m)

    def met_by(self, start: DoubleArray, lines: DoubleArray, max_range_m: float) -> tuple[DoubleArray, BoolArray]:
        """Where lines from one place meet the ground, as distances along it, and whether they do: `meeting_ranges`."""
        return meeting_ranges(start, lines, max_range_m, self.plane, self.origin_m, self.residual_m)


def prior_ground(normal: DoubleArray | None = None) -> Ground:
    """The plane through the origin with that normal: the ground z = 0 of the ego frame.

    >>> float(prior_ground().z(np.array([[5.0, 2.0]]))[0])
    0.0
    """
    n = np.array([0.0, 0.0, 1.0]) if normal is None or normal[2] < 0.5 else normal
    return Ground(np.array([-n[0] / n[2], -n[1] / n[2], 0.0]), np.zeros(2), np.zeros((0, 0)))


def estimate_ground(xyz: DoubleArray, prior: Ground, max_range_m: float = 80.0) -> Ground:
    """Ground surface of a cloud.

    Args:
        xyz: (N, 3) metres, level axes, origin on the ground below the ego vehicle.
        prior: what holds where the cloud says nothing.
        max_range_m: the grid reaches so far.

    Returns:
        The estimate, or `prior` where too few cells hold points near it.
    """
    max_range_m = min(max_range_m, MAX_RANGE_M)
    xyz = np.ascontiguousarray(xyz, np.float64)
    cells, low = _cell_lows(xyz, prior.plane, max_range_m, MAX_OFFSET_M, MAX_SLOPE, CELL_M)
    if len(cells) < MIN_CELLS:
        return prior
    centre = np.asarray((cells + 0.5) * CELL_M, np.float64)
    found, plane = consensus_plane(centre, low, prior.plane)
    if not found:
        return prior
    first = cells.min(axis=0)
    shape = np.maximum(cells.max(axis=0) - first + 1, 2)
    i, j = (cells - first).T
    grid, limit = np.full(shape, np.inf), np.zeros(shape)
    grid[i, j] = low - centre @ plane[:2] - plane[2]
    limit[i, j] = STEP_M + WAVE * np.hypot(centre[:, 0], centre[:, 1])
    return Ground(plane, (first + 0.5) * CELL_M, _grow(_open(grid), limit))


@kernel(float64(array(float64, 1), int64))
def _in_order(values: DoubleArray, rank: int) -> float:
    """The value that would stand at this place if they were sorted (Hoare's selection); they are moved about."""
    first, last = 0, len(values) - 1
    while first < last:
        pivot = values[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    return float(values[rank])


@kernel(array(int64, 1)(view(float64, 2), view(float64, 1), float64, float64, float64))
def _near_ground(
    xyz: DoubleArray, prior: DoubleArray, max_range_m: float, max_offset_m: float, max_slope: float
) -> npt.NDArray[np.int64]:
    """Rows of points that may lie on the ground, in range.

    Near a sensor with many beams they lie so close together that an even choice of them says as much as all.
    """
    close, far = np.empty(len(xyz), np.int64), np.empty(len(xyz), np.int64)
    num_close = num_far = 0
    for n in range(len(xyz)):
        x, y, z = xyz[n, 0], xyz[n, 1], xyz[n, 2]
        range_m = math.sqrt(x * x + y * y)
        height = z - (x * prior[0] + y * prior[1] + prior[2])
        if not (abs(height) < max_offset_m + max_slope * range_m and range_m < max_range_m):  # nor no number
            continue
        if range_m < DENSE_RANGE_M:
            close[num_close] = n
            num_close += 1
        else:
            far[num_far] = n
            num_far += 1
    return np.concatenate((close[: num_close : 1 + num_close // DENSE_POINTS], far[:num_far]))


@kernel(
    Tuple((array(int64, 2), array(float64, 1)))(
        view(float64, 2), view(float64, 1), float64, float64, float64, float64
    ),
    long=True,
)  # fmt: skip
def _cell_lows(
    xyz: DoubleArray,
    prior: DoubleArray,
    max_range_m: float,
    max_offset_m: float,
    max_slope: float,
    cell_m: float,
) -> tuple[npt.NDArray[np.int64], DoubleArray]:
    """Flat cells, (M, 2), and the low end of z in each: the 5 % quantile, proof against stray returns.

    In a flat cell half of the points lie near the low end; the foot of a wall or of a car is not ground for sure.
    """
    rows = _near_ground(xyz, prior, max_range_m, max_offset_m, max_slope)
    if len(rows) == 0:
        return np.empty((0, 2), np.int64), np.empty(0)
    i, j = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    for n in range(len(rows)):
        i[n], j[n] = math.floor(xyz[rows[n], 0] / cell_m), math.floor(xyz[rows[n], 1] / cell_m)
    first_i, first_j, columns = i.min(), j.min(), j.max() - j.min() + 1
    key = (i - first_i) * columns + (j - first_j)
    begin = np.zeros(key.max() + 2, np.int64)
    for n in range(len(rows)):
        begin[key[n] + 1] += 1
    begin = np.cumsum(begin)
    end, z = begin[:-1].copy(), np.empty(len(rows))
    for n in range(len(rows)):
        z[end[key[n]]] = xyz[rows[n], 2]
        end[key[n]] += 1
    cells, low, found = np.empty((len(rows), 2), np.int64), np.empty(len(rows)), 0
    for k in range(len(end)):
        count = end[k] - begin[k]
        if count == 0:
            continue
        here = z[begin[k] : end[k]]
        middle = _in_order(here, count // 2)
        lowest = _in_order(here, int(LOW_SHARE * count))
        if middle - lowest < FLAT_M:
            cells[found, 0], cells[found, 1] = k // columns + first_i, k % columns + first_j
            low[found] = lowest
            found += 1
    return cells[:found].copy(), low[:found].copy()


def _open(grid: DoubleArray) -> DoubleArray:
    """Grey opening that ignores empty (inf) cells; they stay empty."""
    window = np.ones((OPENING_CELLS, OPENING_CELLS), np.uint8)
    eroded = cv2.erode(grid, window, borderType=cv2.BORDER_REPLICATE)
    dilated = cv2.dilate(np.where(np.isinf(eroded), -np.inf, eroded), window, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.where(np.isinf(grid), np.inf, dilated), np.float64)


def _grow(grid: DoubleArray, limit: DoubleArray) -> DoubleArray:
    """Smooth surface through the cells that are ground: those near the plane, then those near the surface so far.

    So the ground may climb away from the plane little by little, but it does not jump onto things.
    """
    surface = np.zeros_like(grid)
    ground = np.zeros(grid.shape, bool)
    for _ in range(GROWTH_STEPS):
        grown = np.abs(grid - surface) < limit
        if np.array_equal(grown, ground):
            break
        ground = grown
        weight, value = (_smooth(np.where(ground, of, 0.0)) for of in (1.0, grid))
        # Away from known cells it fades to the plane.
        surface = value / np.maximum(weight, 0.02)
    return np.asarray(surface, np.float64)


def _smooth(grid: DoubleArray) -> DoubleArray:
    """Gaussian blur by one cell; beyond the border lies 0."""
    return np.asarray(cv2.sepFilter2D(grid, -1, _BLUR, _BLUR, borderType=cv2.BORDER_CONSTANT), np.float64)
