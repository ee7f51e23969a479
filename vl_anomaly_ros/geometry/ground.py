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
STEP_M = 0.3
"""Ground within a cell may differ by so much from the plane (kerbs, ramps), and by `WAVE` more per metre of range."""
WAVE = 0.03


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
        return base + np.asarray(
            ndimage.map_coordinates(self.residual_m, cells.T, order=1, mode="nearest"), np.float64
        )


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
    near = (np.abs(height) < STEP_M + MAX_SLOPE * range_m) & (range_m < max_range_m)
    if int(near.sum()) < MIN_CELLS:
        return prior
    cells, low = _cell_lows(xyz[near])
    plane = _robust_plane((cells + 0.5) * CELL_M, low, prior)
    if plane is None:
        return prior
    origin = cells.min(axis=0)
    centre = (cells + 0.5) * CELL_M
    residual = low - centre @ plane[:2] - plane[2]
    believed = np.abs(residual) < STEP_M + WAVE * np.hypot(centre[:, 0], centre[:, 1])
    shape = cells.max(axis=0) - origin + 1
    grid = np.full(tuple(shape), np.inf)
    grid[tuple((cells[believed] - origin).T)] = residual[believed]
    return Ground(plane, (origin + 0.5) * CELL_M, _fill(_open(grid)))


def _cell_lows(xyz: DoubleArray) -> tuple[npt.NDArray[np.int64], DoubleArray]:
    """Cells that hold points, (M, 2), and the low end of z in each: the 5 % quantile, proof against stray returns."""
    index = np.floor(xyz[:, :2] / CELL_M).astype(np.int64)
    key = (index[:, 0] - index[:, 0].min()) * (np.ptp(index[:, 1]) + 1) + (index[:, 1] - index[:, 1].min())
    order = np.lexsort((xyz[:, 2], key))
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    count = np.diff(np.r_[first, len(order)])
    chosen = order[first + (0.05 * count).astype(np.int64)]
    return index[chosen], xyz[chosen, 2]


def _robust_plane(xy: DoubleArray, z: DoubleArray, prior: Ground) -> DoubleArray | None:
    """(3,) plane by reweighted least squares from the prior, None where it cannot be trusted.

    Cells above the plane may be objects, so they lose weight sooner than cells below it.
    """
    near = np.hypot(xy[:, 0], xy[:, 1]) < PLANE_RANGE_M
    if int(near.sum()) < MIN_CELLS:
        return None
    xy, z = xy[near], z[near]
    A = np.c_[xy, np.ones(len(xy))]
    plane = prior.plane.copy()
    # From a wide view, in which a slope or a wrong mounting height still fits, to a narrow one.
    for width in (1.0, 0.7, 0.5, 0.35, 0.25, 0.2, 0.2, 0.2):
        error = z - A @ plane
        scaled = np.where(error > 0, error / width, error / (2 * width))
        weight = np.maximum(1 - scaled**2, 0.0) ** 2
        # The pull of the prior keeps a narrow or one-sided view from tilting the plane.
        regular = np.diag([50.0, 50.0, 0.5])
        normal = A.T @ (A * weight[:, None]) + regular
        plane = np.linalg.solve(normal, A.T @ (weight * z) + regular @ prior.plane)
    kept = np.abs(z - A @ plane) < 0.3
    if int(kept.sum()) < MIN_CELLS or float(np.hypot(*(plane - prior.plane)[:2])) > MAX_SLOPE:
        return None
    return np.asarray(plane, np.float64)


def _open(grid: DoubleArray) -> DoubleArray:
    """Grey opening that ignores empty (inf) cells; they stay empty."""
    eroded = ndimage.minimum_filter(grid, OPENING_CELLS, mode="nearest")
    dilated = ndimage.maximum_filter(np.where(np.isinf(eroded), -np.inf, eroded), OPENING_CELLS, mode="nearest")
    return np.where(np.isinf(grid), np.inf, dilated)


def _fill(grid: DoubleArray) -> DoubleArray:
    """Smooth over known cells and fade to 0 (the plane) away from them."""
    known = np.isfinite(grid)
    weight = ndimage.gaussian_filter(known.astype(np.float64), 1.0, mode="constant")
    value = ndimage.gaussian_filter(np.where(known, grid, 0.0), 1.0, mode="constant")
    return np.asarray(value / np.maximum(weight, 0.02), np.float64)
