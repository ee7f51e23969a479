# SPDX-License-Identifier: Apache-2.0
"""Connected areas of pixels that are held as horizontal runs, and how they lie over a grid of cells."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import array, kernel, view

IndexArray = npt.NDArray[np.int64]

_FAR = 2**62


@kernel(numba.int64(array(numba.int64, 1), numba.int64))
def _root(parent: IndexArray, run: int) -> int:
    """The first run that `run` is known to hang together with; ways there are halved."""
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@kernel(numba.types.Tuple((array(numba.int64, 1), numba.int64))(view(numba.int64, 2)))
def connected(runs: IndexArray) -> tuple[IndexArray, int]:
    """Which runs belong together: those of one 8-connected area.

    Args:
        runs: (n, 3) int64 y, first x and the x behind the last, from top to bottom and left to right, none of which
            touch in one row.

    Returns:
        (n,) the area of each run, numbered from 0 in the order of their first runs; and how many areas there are.
    """
    parent = np.arange(len(runs))
    above = 0  # the first run of the row above that may still touch; never behind the run itself
    for run in range(len(runs)):
        y, first, end = runs[run, 0], runs[run, 1], runs[run, 2]
        while runs[above, 0] < y - 1 or (runs[above, 0] == y - 1 and runs[above, 2] < first):
            above += 1
        other = above
        while runs[other, 0] == y - 1 and runs[other, 1] <= end:  # by a corner, too
            one, two = _root(parent, run), _root(parent, other)
            parent[max(one, two)] = min(one, two)
            other += 1
    areas, count = np.empty(len(runs), np.int64), 0
    for run in range(len(runs)):
        root = _root(parent, run)
        if root == run:
            areas[run] = count
            count += 1
        else:
            areas[run] = areas[root]
    return areas, count


class Extents(NamedTuple):
    """Of areas, (n,) int64 each: number of pixels, and the bounding boxes; x1 and y1 exclusive."""

    size_px: IndexArray
    x0: IndexArray
    y0: IndexArray
    x1: IndexArray
    y1: IndexArray


def extents(runs: IndexArray, areas: IndexArray, count: int) -> Extents:
    """Sizes and boxes of `count` areas, to which the runs belong; one of a negative area to none."""
    return Extents(*_extents(runs, areas, count))


@kernel(array(numba.int64, 2)(view(numba.int64, 2), view(numba.int64, 1), numba.int64))
def _extents(runs: IndexArray, areas: IndexArray, count: int) -> IndexArray:
    found = np.zeros((5, count), np.int64)
    found[1:3] = _FAR
    for run in range(len(runs)):
        y, first, end, area = runs[run, 0], runs[run, 1], runs[run, 2], areas[run]
        if area < 0:
            continue
        found[0, area] += end - first
        found[1, area], found[2, area] = min(found[1, area], first), min(found[2, area], y)
        found[3, area], found[4, area] = max(found[3, area], end), max(found[4, area], y + 1)
    return found


class Grid(NamedTuple):
    """A grid of cells over the same extent as the image; the cell of a pixel is the one that holds its centre.

    Attributes:
        rows: (H,) row of the cell of each row of pixels.
        columns: (W,) the same of columns.
        column_edges: (cells + 1,) the first column of pixels whose cell is at least 0, 1, 2, ..., cells.
    """

    rows: npt.NDArray[Any]
    columns: npt.NDArray[Any]
    column_edges: npt.NDArray[Any]


def grid(width: int, height: int, shape: tuple[int, ...]) -> Grid:
    """The grid of (rows, columns) cells over an image."""
    return Grid(cell_of(height, shape[0]), cell_of(width, shape[1]), cell_edges(width, shape[1]))


@lru_cache(maxsize=32)
def cell_of(pixels: int, cells: int) -> npt.NDArray[Any]:
    """For each pixel of an axis, the cell of a coarser (or finer) grid over the same extent that holds its centre.

    Read only: one array serves all frames.

    >>> cell_of(6, 3).tolist(), cell_of(2, 4).tolist()
    ([0, 0, 1, 1, 2, 2], [1, 3])
    """
    cell = ((np.arange(pixels) + 0.5) * (cells / pixels)).astype(np.int64).clip(0, cells - 1)
    cell.flags.writeable = False
    return cell


@lru_cache(maxsize=32)
def cell_edges(pixels: int, cells: int) -> npt.NDArray[Any]:
    """(cells + 1,) the first pixel whose cell of `cell_of` is at least 0, 1, 2, ..., cells. Read only.

    >>> cell_edges(6, 3).tolist(), cell_edges(2, 4).tolist()
    ([0, 2, 4, 6], [0, 0, 1, 1, 2])
    """
    edges = np.searchsorted(cell_of(pixels, cells), np.arange(cells + 1)).astype(np.int64)
    edges.flags.writeable = False
    return edges
