# SPDX-License-Identifier: Apache-2.0
"""A map at mask resolution as a picture of the image's size: all of it, or only where it is high.

Linear between the centres of four cells, constant beyond the outermost centres, like OpenCV's INTER_LINEAR. First each
row of cells is spread over the width of the picture; a row of pixels is a blend of two of these.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import DoubleArray, FloatArray

IndexArray = npt.NDArray[np.int64]

_ZERO, _ONE = np.float32(0), np.float32(1)

_BELOW, _ABOVE, _TINY = 1 - 1e-6, 1 + 1e-6, 1e-30
"""What lies between values leaves their range only by rounding: by 4e-7 of it at most, or 1e-44 near zero. Beyond these
shares of a threshold it is surely below, or above."""


def upsampled(cells: FloatArray, width: int, height: int) -> FloatArray:
    """(height, width) float32 of (h, w) float32 within 0..1."""
    picture = np.empty((height, width), np.float32)
    _upsample(np.ascontiguousarray(cells), picture)
    return picture


def runs_at_least(threshold: float, cells: FloatArray, width: int, height: int) -> tuple[IndexArray, DoubleArray]:
    """Where the upsampled map is at least `threshold`, to the bit as `upsampled` says, without making the picture.

    Args:
        threshold: 0..1; compared as float32.
        cells: (h, w) float32 within 0..1.
        width: of the picture in pixels.
        height: of the picture in pixels.

    Returns:
        (n, 3) int64: y, first x and the x behind the last of each horizontal run of such pixels, from top to bottom
        and left to right; and (n,) float64, the sum of the map over each.
    """
    runs, sums, count = _runs(np.ascontiguousarray(cells), width, height, np.float32(threshold))
    return runs[:count], sums[:count]


@kernel(
    numba.types.Tuple((array(numba.int64, 1), array(numba.float32, 1), array(numba.float64, 1)))(
        numba.int64, numba.int64
    )
)
def _axis(pixels: int, cells: int) -> tuple[IndexArray, FloatArray, DoubleArray]:
    """How an axis of the picture lies over the cells.

    Returns:
        (cells + 1,) the first pixel at or behind the centre of each cell, and `pixels`; pixels before the first centre
        count to the first cell. (pixels,) how far each is from its cell to the next one, 0..1; and (cells,) the sum of
        that over the pixels of each cell.
    """
    starts, shares, together = np.zeros(cells + 1, np.int64), np.empty(pixels, np.float32), np.zeros(cells)
    begun = 1
    for pixel in range(pixels):
        position = (pixel + 0.5) * (cells / pixels) - 0.5  # in cells from the centre of the first
        position = min(max(position, 0.0), cells - 1.0)
        cell = int(position)
        shares[pixel] = position - cell
        together[cell] += shares[pixel]
        while begun <= cell:
            starts[begun] = pixel
            begun += 1
    starts[begun:] = pixels
    return starts, shares, together


@kernel(numba.void(numba.float32, numba.float32, view(numba.float32, 1), array(numba.float32, 1)))
def _spread(left: np.float32, right: np.float32, shares: FloatArray, pixels: FloatArray) -> None:
    """Write the pixels of a cell, `shares` of the way from it to the next one in its row."""
    for x in range(len(pixels)):
        pixels[x] = left * (_ONE - shares[x]) + right * shares[x]


@kernel(numba.float32(numba.float32, numba.float32, numba.float32))
def _between(above: np.float32, below: np.float32, share: np.float32) -> np.float32:
    """What lies between two rows. Rounded weights may leave 0..1 a little."""
    return min(max(above * (_ONE - share) + below * share, _ZERO), _ONE)


@kernel(numba.void(view(numba.float32, 1), view(numba.float32, 1), numba.float32, array(numba.float32, 1)))
def _blend(above: FloatArray, below: FloatArray, share: np.float32, pixels: FloatArray) -> None:
    """Write what lies between two rows of one width."""
    for x in range(len(pixels)):
        pixels[x] = _between(above[x], below[x], share)


@kernel(numba.void(view(numba.float32, 2), array(numba.float32, 2)), long=True)
def _upsample(cells: FloatArray, picture: FloatArray) -> None:
    rows, down, _ = _axis(picture.shape[0], cells.shape[0])
    columns, along, _ = _axis(picture.shape[1], cells.shape[1])
    spread = np.empty((len(cells), picture.shape[1]), np.float32)
    for row in range(len(cells)):
        for cell in range(cells.shape[1]):
            first, end, beside = columns[cell], columns[cell + 1], min(cell + 1, cells.shape[1] - 1)
            _spread(cells[row, cell], cells[row, beside], along[first:end], spread[row, first:end])
    for above in range(len(cells)):
        below = min(above + 1, len(cells) - 1)
        for y in range(rows[above], rows[above + 1]):
            _blend(spread[above], spread[below], down[y], picture[y])


@kernel(
    numba.int64(
        view(numba.float32, 1),
        view(numba.float32, 1),
        view(numba.int64, 1),
        view(numba.float32, 1),
        numba.float64,
        array(numba.int64, 1),
        array(numba.float32, 1),
        array(numba.float32, 1),
    )
)
def _spread_near(
    above: FloatArray,
    below: FloatArray,
    columns: IndexArray,
    along: FloatArray,
    least: float,
    near: IndexArray,
    upper: FloatArray,
    lower: FloatArray,
) -> int:
    """Write which cells between two rows may reach `least` into `near`, and the two rows at their pixels.

    Returns:
        How many they are.
    """
    count = 0
    for cell in range(len(above)):
        first, end, beside = columns[cell], columns[cell + 1], min(cell + 1, len(above) - 1)
        highest = max(above[cell], above[beside], below[cell], below[beside])
        if first < end and highest >= least:
            _spread(above[cell], above[beside], along[first:end], upper[first:end])
            _spread(below[cell], below[beside], along[first:end], lower[first:end])
            near[count] = cell
            count += 1
    return count


@kernel(
    numba.int64(
        view(numba.float32, 1),
        view(numba.float32, 1),
        view(numba.float32, 1),
        view(numba.float32, 1),
        view(numba.int64, 1),
        view(numba.int64, 1),
        view(numba.float64, 1),
        numba.float32,
        numba.int64,
        numba.float32,
        array(numba.int64, 2),
        array(numba.float64, 1),
        numba.int64,
    )
)
def _row_of_runs(
    above: FloatArray,
    below: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    near: IndexArray,
    columns: IndexArray,
    along: DoubleArray,
    share: np.float32,
    y: int,
    threshold: np.float32,
    runs: IndexArray,
    sums: DoubleArray,
    count: int,
) -> int:
    """Append the runs of a row of pixels, which lies `share` of the way between two rows, to `runs` and `sums`.

    Returns:
        How many runs there are.
    """
    surely_above = threshold * _ABOVE + _TINY
    surely_below = threshold * _BELOW - _TINY
    behind = -1  # the last run of the row
    for cell in near:
        first, end, beside = columns[cell], columns[cell + 1], min(cell + 1, len(above) - 1)
        left, right = _between(above[cell], below[cell], share), _between(above[beside], below[beside], share)
        if left < surely_below and right < surely_below:
            continue
        sure = left > surely_above and right > surely_above
        x = first
        while x < end:
            if sure or _between(upper[x], lower[x], share) >= threshold:
                if x != behind:
                    runs[count, 0], runs[count, 1], sums[count] = y, x, 0.0
                    count += 1
                if sure:
                    sums[count - 1] += left * (end - x - along[cell]) + right * along[cell]
                    x = end
                total = sums[count - 1]
                while x < end and _between(upper[x], lower[x], share) >= threshold:
                    total += _between(upper[x], lower[x], share)
                    x += 1
                runs[count - 1, 2], sums[count - 1], behind = x, total, x
            x += 1
    return count


@kernel(
    numba.types.Tuple((array(numba.int64, 2), array(numba.float64, 1), numba.int64))(
        view(numba.float32, 2), numba.int64, numba.int64, numba.float32
    ),
    long=True,
)
def _runs(cells: FloatArray, width: int, height: int, threshold: np.float32) -> tuple[IndexArray, DoubleArray, int]:
    rows, down, _ = _axis(height, cells.shape[0])
    columns, along, along_all = _axis(width, cells.shape[1])
    upper, lower, near = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(cells.shape[1], np.int64)
    runs, sums, count = np.empty((width, 3), np.int64), np.empty(width), 0
    for row in range(len(cells)):
        above, below = cells[row], cells[min(row + 1, len(cells) - 1)]
        nears = _spread_near(above, below, columns, along, threshold * _BELOW - _TINY, near, upper, lower)
        for y in range(rows[row], rows[row + 1] if nears else 0):
            if count + width > len(runs):
                runs, sums = np.concatenate((runs, runs)), np.concatenate((sums, sums))  # room for more
            count = _row_of_runs(
                above, below, upper, lower, near[:nears], columns, along_all, down[y], y, threshold, runs, sums, count
            )
    return runs, sums, count
