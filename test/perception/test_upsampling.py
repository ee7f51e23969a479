# SPDX-License-Identifier: Apache-2.0
"""The picture is OpenCV's, and the runs are where the picture is high, to the bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.perception.upsampling import runs_at_least, upsampled
from vl_anomaly_ros.types import BoolArray, FloatArray

SIZES = [
    (1, 1, 1, 1), (1, 1, 5, 3), (1, 9, 4, 4), (9, 1, 4, 4), (8, 16, 1, 1), (8, 16, 1, 9), (8, 16, 9, 1),
    (8, 16, 16, 8), (8, 16, 32, 16), (7, 13, 131, 89), (64, 128, 97, 41), (50, 70, 64, 64), (39, 128, 1242, 375),
    (5, 7, 1000, 3),
]  # fmt: skip
"""Rows and columns of the map, width and height of the picture."""


def maps(seed: int, rows: int, columns: int) -> FloatArray:
    """Noise, or noise of few values so that many pixels lie at a threshold, or a few peaks on nothing."""
    rng = np.random.default_rng(seed)
    noise = rng.random((rows, columns)).astype(np.float32)
    if seed % 3 == 1:
        return np.asarray(np.round(noise * 4) / 4, np.float32)
    return np.where(noise > 0.9, noise, np.float32(0)) if seed % 3 == 2 else noise


def drawn(threshold: float, cells: FloatArray, width: int, height: int) -> BoolArray:
    """The runs as a picture; they are in order, within it, not empty, and do not touch."""
    runs, sums = runs_at_least(threshold, cells, width, height)
    assert len(runs) == len(sums)
    picture = np.zeros((height, width), bool)
    before = (-1, 0, 0)
    for y, first, end in runs.tolist():
        assert 0 <= y < height
        assert 0 <= first < end <= width
        assert y > before[0] or first > before[2]
        before = (y, first, end)
        picture[y, first:end] = True
    return picture


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_is_that_of_opencv(size: tuple[int, int, int, int]) -> None:
    rows, columns, width, height = size
    cells = maps(0, rows, columns)
    expected = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width)
    picture = upsampled(cells, width, height)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, expected, rtol=0, atol=5e-7)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_a_map_of_the_pictures_size_is_the_picture() -> None:
    cells = maps(0, 31, 47)
    np.testing.assert_array_equal(upsampled(cells, 47, 31), cells)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_runs_are_where_the_picture_is_high_to_the_bit(size: tuple[int, int, int, int], seed: int) -> None:
    rows, columns, width, height = size
    cells = maps(seed, rows, columns)
    picture = upsampled(cells, width, height)
    # Values that the picture really has, and their neighbours, are the hardest.
    some = np.random.default_rng(seed).choice(picture.ravel(), 3)
    for threshold in (0.0, 0.25, 0.5, 0.75, 1.0, *some.tolist(), *np.nextafter(some, np.float32(2)).tolist()):
        expected = picture >= np.float32(threshold)
        np.testing.assert_array_equal(drawn(threshold, cells, width, height), expected)
        _, sums = runs_at_least(threshold, cells, width, height)
        assert sums.sum() == pytest.approx(picture[expected].sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1.0])
def test_a_level_map_is_not_lost_by_rounding(value: float) -> None:
    """Weights that do not sum to one exactly may lift a pixel over its cells, up to the threshold."""
    cells = np.full((9, 11), value, np.float32)
    picture = upsampled(cells, 640, 360)
    for threshold in np.unique(picture).tolist():
        np.testing.assert_array_equal(drawn(threshold, cells, 640, 360), picture >= np.float32(threshold))


def test_one_peak_on_nothing_is_seen_at_every_place() -> None:
    for row, column in np.ndindex(4, 5):
        cells = np.zeros((4, 5), np.float32)
        cells[row, column] = 0.9
        np.testing.assert_array_equal(drawn(0.5, cells, 50, 40), upsampled(cells, 50, 40) >= np.float32(0.5))
        assert drawn(0.5, cells, 50, 40).any()


def test_more_runs_than_there_was_room_for() -> None:
    cells = np.zeros((300, 300), np.float32)
    cells[:, ::2] = 1
    runs, sums = runs_at_least(0.5, cells, 300, 300)
    assert len(runs) == 45_000
    np.testing.assert_array_equal(sums, np.ones(45_000))
    assert drawn(0.5, cells, 300, 300).sum() == 45_000


def test_a_part_of_a_larger_map_serves() -> None:
    whole = maps(0, 20, 30)
    part = whole[3:17, 4:25]
    part.flags.writeable = False
    np.testing.assert_array_equal(upsampled(part, 90, 70), upsampled(part.copy(), 90, 70))
    np.testing.assert_array_equal(drawn(0.6, part, 90, 70), drawn(0.6, part.copy(), 90, 70))
