# SPDX-License-Identifier: Apache-2.0
"""Height of points above the ground, estimated from the cloud itself.

A robust plane takes out slope and mounting error; a grid of what remains follows kerbs, camber and hills. Anything that
is narrower than the opening window (cars, pallets, planks) cannot pass for ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vl_anomaly_ros.types import DoubleArray

CELL_M = 1.0
OPENING_CELLS = 3
MIN_CELLS = 8
PLANE_RANGE_M = 30.0
MAX_SLOPE = 0.15
"""Steepest plane that is believed, as rise over run relative to the prior plane."""
MAX_OFFSET_M = 0.5
"""A plane that passes the ego origin farther above or below is not believed."""
STEP_M = 0.15
"""A cell belongs to the ground when it departs by no more from the ground around it (a kerb does not)."""
WAVE = 0.005
"""... and by so much more per metre of range, for the error of the angles."""
FLAT_M = 0.15
HYPOTHESES = 200
GROWTH_STEPS = 8


@dataclass(frozen=True)
class Ground:
    """Ground surface z(x, y) = plane + grid of residuals, in level axes.

    Attributes:
        plane: (3,) a, b, c of z = a x + b y + c.
        origin_m: (2,) x, y of the centre of the first cell.
        residual_m: (nx, ny) what to add to the plane; empty for the plane alone.
    """

    plane: DoubleArray
    origin_m: DoubleArray
    residual_m: DoubleArray

    def z(self, xy: DoubleArray) -> DoubleArray:
        """Ground height under points: (N, 2) metres to (N,) metres."""
        base = np.asarray(xy @ self.plane[:2] + self.plane[2], np.float64)
        if not self.residual_m.size:
            return base
        cells = (xy - self.origin_m) / CELL_M
        return base + np.asarray(ndimage.map_coordinates(self.residual_m, cells.T, order=1, mode="nearest"), np.float64)


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
    range_m = np.hypot(xyz[:, 0], xyz[:, 1])
    height = xyz[:, 2] - prior.z(xyz[:, :2])
    near = (np.abs(height) < MAX_OFFSET_M + MAX_SLOPE * range_m) & (range_m < max_range_m)
    if int(near.sum()) < MIN_CELLS:
        return prior
    cells, low = _cell_lows(xyz[near])
    if len(cells) < MIN_CELLS:
        return prior
    centre = np.asarray((cells + 0.5) * CELL_M, np.float64)
    plane = _plane(centre, low, prior)
    if plane is None:
        return prior
    origin = cells.min(axis=0)
    shape = tuple(int(n) for n in cells.max(axis=0) - origin + 1)
    where = tuple((cells - origin).T)
    grid, limit = np.full(shape, np.inf), np.zeros(shape)
    grid[where] = low - centre @ plane[:2] - plane[2]
    limit[where] = STEP_M + WAVE * np.hypot(centre[:, 0], centre[:, 1])
    return Ground(plane, (origin + 0.5) * CELL_M, _grow(_open(grid), limit))


def _cell_lows(xyz: DoubleArray) -> tuple[npt.NDArray[np.int64], DoubleArray]:
    """Flat cells, (M, 2), and the low end of z in each: the 5 % quantile, proof against stray returns.

    In a flat cell half of the points lie near the low end; the foot of a wall or of a car is not ground for sure.
    """
    index = np.floor(xyz[:, :2] / CELL_M).astype(np.int64)
    key = (index[:, 0] - index[:, 0].min()) * (np.ptp(index[:, 1]) + 1) + (index[:, 1] - index[:, 1].min())
    order = np.lexsort((xyz[:, 2], key))
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    count = np.diff(np.r_[first, len(order)])
    chosen = order[first + (0.05 * count).astype(np.int64)]
    flat = xyz[order[first + count // 2], 2] - xyz[chosen, 2] < FLAT_M
    return index[chosen[flat]], np.asarray(xyz[chosen[flat], 2], np.float64)


def _plane(xy: DoubleArray, z: DoubleArray, prior: Ground) -> DoubleArray | None:
    """(3,) plane that most cells lie on and few lie under, by random sample consensus; None where cells are too few.

    Nothing is under the ground, so cells below a plane speak against it, while cells above it may be objects. The
    samples are drawn with a fixed seed: the same cloud gives the same ground.
    """
    range_m = np.hypot(xy[:, 0], xy[:, 1])
    near = range_m < PLANE_RANGE_M
    if int(near.sum()) < MIN_CELLS:
        return None
    A, z, tolerance = np.c_[xy[near], np.ones(int(near.sum()))], z[near], 0.08 + WAVE * range_m[near]
    triples = np.random.default_rng(0).integers(0, len(z), (HYPOTHESES, 3))
    # Twice the area of the triangle: thin ones fix no plane.
    triples = triples[np.abs(np.linalg.det(A[triples])) > 20.0]
    planes = np.concatenate([prior.plane[None], np.linalg.solve(A[triples], z[triples][..., None])[..., 0]])
    tilt = planes - prior.plane
    planes = planes[(np.hypot(tilt[:, 0], tilt[:, 1]) <= MAX_SLOPE) & (np.abs(tilt[:, 2]) <= MAX_OFFSET_M)]
    error = (z - planes @ A.T) / tolerance
    score = np.sum(np.abs(error) < 1, axis=1) - np.sum(error < -2, axis=1)
    # Of two planes that explain about as much, the more level one.
    tilt = planes - prior.plane
    best = planes[int(np.argmax(score * (1 - 2 * np.hypot(tilt[:, 0], tilt[:, 1]))))]
    for _ in range(3):
        on = np.abs(z - A @ best) < tolerance
        if int(on.sum()) < MIN_CELLS:
            return None
        # A weak pull to what was found keeps a narrow or one-sided view from tilting the plane.
        pull = np.diag([50.0, 50.0, 0.5])
        best = np.linalg.solve(A[on].T @ A[on] + pull, A[on].T @ z[on] + pull @ best)
    return np.asarray(best, np.float64)


def _open(grid: DoubleArray) -> DoubleArray:
    """Grey opening that ignores empty (inf) cells; they stay empty."""
    eroded = ndimage.minimum_filter(grid, OPENING_CELLS, mode="nearest")
    dilated = ndimage.maximum_filter(np.where(np.isinf(eroded), -np.inf, eroded), OPENING_CELLS, mode="nearest")
    return np.where(np.isinf(grid), np.inf, dilated)


def _grow(grid: DoubleArray, limit: DoubleArray) -> DoubleArray:
    """Smooth surface through the cells that are ground: those near the plane, then those near the surface so far.

    So the ground may climb away from the plane little by little, but it does not jump onto things.
    """
    surface = np.zeros_like(grid)
    for _ in range(GROWTH_STEPS):
        ground = np.abs(grid - surface) < limit
        weight = ndimage.gaussian_filter(ground.astype(np.float64), 1.0, mode="constant")
        value = ndimage.gaussian_filter(np.where(ground, grid, 0.0), 1.0, mode="constant")
        # Away from known cells it fades to the plane.
        surface = value / np.maximum(weight, 0.02)
    return np.asarray(surface, np.float64)
