# SPDX-License-Identifier: Apache-2.0
"""Regions from probability maps drawn by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy import ndimage

from vl_anomaly_ros.perception.regions import Regions, cell_areas, find_regions
from vl_anomaly_ros.perception.scoring import cell_of
from vl_anomaly_ros.types import BoolArray, FloatArray, ScoreMap


def score_map(probability: FloatArray, sources: FloatArray | None = None) -> ScoreMap:
    sources = np.zeros((3, 2, 2), np.float32) if sources is None else sources
    return ScoreMap(
        probability.astype(np.float32),
        sources,
        np.zeros(probability.shape, np.int32),
        np.zeros((1, 1, 1), np.float32),
    )


def drawn(*rows: str) -> FloatArray:
    """A map with 0.9 at every x and 0.1 elsewhere."""
    return np.array([[0.9 if c == "x" else 0.1 for c in row] for row in rows], np.float32)


def found(probability: FloatArray, min_area_px: int = 1, max_regions: int = 64) -> Regions:
    return find_regions(score_map(probability), threshold=0.5, min_area_px=min_area_px, max_regions=max_regions)


def test_nothing_there() -> None:
    result = found(drawn("....", "...."))
    assert result.regions == ()
    assert not result.mask.any()
    assert not result.instances.any()
    assert result.mask.dtype == np.uint8
    assert result.instances.dtype == np.uint16


def test_everything_there() -> None:
    result = found(drawn("xxx", "xxx"))
    assert result.regions[0].bbox == (0, 0, 3, 2)
    assert result.regions[0].area_px == 6
    assert np.all(result.instances == 1)


def test_diagonal_neighbours_are_one_region() -> None:
    assert len(found(drawn("x...", ".x..", "..x.")).regions) == 1


def test_holes_stay_holes() -> None:
    probability = drawn("xxxxx", "x...x", "x.x.x", "x...x", "xxxxx")
    result = found(probability)
    assert [region.area_px for region in result.regions] == [16, 1]
    np.testing.assert_array_equal(result.mask != 0, probability > 0.5)
    assert result.instances[2].tolist() == [1, 0, 2, 0, 1]


def test_the_threshold_itself_counts() -> None:
    probability = np.array([[0.5, np.nextafter(np.float32(0.5), np.float32(0))]], np.float32)
    assert found(probability).mask.tolist() == [[255, 0]]


def test_small_regions_are_left_out_everywhere() -> None:
    result = found(drawn("xx..x", "....x", "x...x"), min_area_px=2)
    assert [region.area_px for region in result.regions] == [3, 2]
    assert result.mask[2, 0] == 0
    assert np.array_equal(result.mask != 0, result.instances != 0)


def test_the_largest_come_first_then_from_top_to_bottom_and_left_to_right() -> None:
    result = found(drawn("x.x..", ".....", "x.xx.", "....."))
    boxes = [region.bbox for region in result.regions]
    assert boxes == [(2, 2, 4, 3), (0, 0, 1, 1), (2, 0, 3, 1), (0, 2, 1, 3)]
    assert [region.id for region in result.regions] == [1, 2, 3, 4]
    assert [int(result.instances[y0, x0]) for x0, y0, _, _ in boxes] == [1, 2, 3, 4]


def test_areas_beyond_the_maximum_stay_in_the_mask_and_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = found(drawn("xxx.x.xx"), max_regions=2)
    assert [region.area_px for region in result.regions] == [3, 2]
    assert result.mask[0, 4] == 255
    assert result.instances[0, 4] == 0
    assert "3 anomalous areas" in caplog.text


def test_means_over_the_region_alone() -> None:
    probability = np.full((4, 8), 0.1, np.float32)
    probability[:2, :3] = [[0.6, 0.7, 0.8], [0.6, 0.7, 0.8]]
    sources = np.zeros((3, 2, 4), np.float32)
    sources[0, 0, :2] = [0.5, 1.0]  # cells of 2 x 2 pixels: the region covers one whole, and half of the next
    sources[2] = 0.25
    region = find_regions(score_map(probability, sources), threshold=0.5, min_area_px=1, max_regions=9).regions[0]
    assert region.probability == pytest.approx(0.7)
    assert region.sources == pytest.approx(((4 * 0.5 + 2 * 1.0) / 6, 0, 0.25))
    assert region.centroid_px == pytest.approx((1, 0.5))
    assert region.bbox == (0, 0, 3, 2)


def random_blobs(seed: int) -> FloatArray:
    noise = np.random.default_rng(seed).random((90, 130))
    smooth = ndimage.gaussian_filter(noise, 2)
    return np.asarray((smooth - smooth.min()) / (smooth.max() - smooth.min()), np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_an_independent_labelling(seed: int) -> None:
    probability = random_blobs(seed)
    result = found(probability, min_area_px=12, max_regions=500)
    labels, count = ndimage.label(probability >= 0.5, np.ones((3, 3)))
    areas: list[BoolArray] = [labels == i + 1 for i in range(count)]
    large = [area for area in areas if area.sum() >= 12]
    assert len(result.regions) == len(large) >= 5
    for region in result.regions:
        inside = result.instances == region.id
        assert any(np.array_equal(inside, area) for area in large)
        ys, xs = np.nonzero(inside)
        assert region.bbox == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert region.area_px == inside.sum()
        assert region.centroid_px == pytest.approx((xs.mean(), ys.mean()))
        assert region.probability == pytest.approx(probability[inside].mean(), rel=1e-5)


def test_same_input_same_result() -> None:
    first, second = (found(random_blobs(7)) for _ in range(2))
    assert first.regions == second.regions
    np.testing.assert_array_equal(first.instances, second.instances)


@pytest.mark.parametrize("grid", [(1, 1), (7, 11), (45, 65), (90, 130), (200, 300), (45, 300)])
def test_pixels_per_cell_of_coarser_and_finer_grids(grid: tuple[int, int]) -> None:
    result = found(random_blobs(3), min_area_px=12)
    rows, columns = cell_of(90, grid[0]), cell_of(130, grid[1])
    for region in result.regions:
        expected = np.zeros(grid, np.int32)
        ys, xs = np.nonzero(result.instances == region.id)
        np.add.at(expected, (rows[ys], columns[xs]), 1)
        areas, cells = cell_areas(result.instances, region.id, region.bbox, grid)
        have = np.zeros(grid, np.int32)
        have[cells] = areas
        np.testing.assert_array_equal(have, expected)


def test_nothing_lies_outside_of_the_box() -> None:
    result = found(drawn("......", "..x...", "...xx.", "......"))
    assert result.box == (slice(1, 3), slice(2, 5))
    result.mask[result.box] = 0
    assert not result.mask.any()
