# SPDX-License-Identifier: Apache-2.0
"""Areas of runs are the areas that an independent labelling finds, pixel by pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from vl_anomaly_ros.perception.areas import IndexArray, cell_edges, cell_of, connected, extents
from vl_anomaly_ros.types import BoolArray


def patterns(seed: int) -> BoolArray:
    """Noise of any density, with thin lines, holes, islands in holes, and areas that touch by a corner."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    noise = rng.random((height, width))
    if seed % 3 == 0:
        noise = ndimage.gaussian_filter(noise, 1.2)
        return np.asarray(noise > np.quantile(noise, rng.random()))
    return np.asarray(noise < rng.choice([0.2, 0.5, 0.6, 0.8, 0.95]))


def runs_of(picture: BoolArray) -> IndexArray:
    """Its runs, by steps from pixel to pixel."""
    padded = np.zeros((len(picture), picture.shape[1] + 2), np.int8)
    padded[:, 1:-1] = picture
    steps = np.diff(padded, axis=1)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.column_stack([rows, starts, ends]).astype(np.int64)


def drawn(runs: IndexArray, values: IndexArray, like: npt.NDArray[np.generic]) -> IndexArray:
    picture = np.full(like.shape, -1)
    for (y, first, end), value in zip(runs.tolist(), values.tolist()):
        picture[y, first:end] = value
    return picture


@pytest.mark.parametrize("seed", range(300))
def test_agrees_with_an_independent_labelling(seed: int) -> None:
    binary = patterns(seed)
    runs = runs_of(binary)
    areas, count = connected(runs)
    labels, expected = ndimage.label(binary, np.ones((3, 3)))
    assert count == expected
    # Both number areas by their first pixel.
    np.testing.assert_array_equal(drawn(runs, areas, binary), labels - 1)
    found = extents(runs, areas, count)
    for area in range(count):
        ys, xs = np.nonzero(labels == area + 1)
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert (found.x0[area], found.y0[area], found.x1[area], found.y1[area]) == box
        assert found.size_px[area] == len(xs)


def test_no_runs_no_areas() -> None:
    areas, count = connected(np.zeros((0, 3), np.int64))
    assert (len(areas), count) == (0, 0)
    assert all(len(values) == 0 for values in extents(np.zeros((0, 3), np.int64), areas, 0))


@pytest.mark.parametrize("turned", [False, True])
def test_a_spiral_is_one_area(turned: bool) -> None:
    """Arms that meet only at the very end."""
    spiral = np.zeros((41, 41), bool)
    x = y = 0
    dx, dy, length = 1, 0, 40
    spiral[0, 0] = True
    while length > 0:
        for _ in range(length):
            x, y = x + dx, y + dy
            spiral[y, x] = True
        dx, dy = -dy, dx
        length -= 1 if dx else 0
        length -= 1 if dx else 0
    picture = spiral[::-1, ::-1] if turned else spiral
    assert connected(runs_of(picture))[1] == ndimage.label(picture, np.ones((3, 3)))[1]


def test_a_comb_is_one_area_and_its_teeth_are_many() -> None:
    teeth = np.zeros((50, 400), bool)
    teeth[:, ::2] = True
    assert connected(runs_of(teeth))[1] == 200
    teeth[-1] = True
    assert connected(runs_of(teeth))[1] == 1


def test_more_areas_than_two_bytes_count() -> None:
    dots = np.zeros((600, 600), bool)
    dots[::2, ::2] = True
    areas, count = connected(runs_of(dots))
    assert count == 90_000
    np.testing.assert_array_equal(areas, np.arange(90_000))


def test_each_pixel_has_the_cell_of_its_centre() -> None:
    assert cell_of(7, 3).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert cell_of(3, 3).tolist() == [0, 1, 2]
    assert cell_of(1, 5).tolist() == [2]


@pytest.mark.parametrize(("pixels", "cells"), [(7, 3), (3, 3), (1, 5), (4, 9), (1920, 114), (375, 63)])
def test_cells_begin_at_their_edges(pixels: int, cells: int) -> None:
    edges, cell = cell_edges(pixels, cells), cell_of(pixels, cells)
    assert (edges[0], edges[-1], len(edges)) == (0, pixels, cells + 1)
    for k in range(cells):
        assert np.all(cell[edges[k] : edges[k + 1]] == k)
