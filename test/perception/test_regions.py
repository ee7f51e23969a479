# SPDX-License-Identifier: Apache-2.0
"""Regions from probability maps drawn by hand."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from vl_anomaly_ros.perception.areas import cell_of
from vl_anomaly_ros.perception.naming import pooled_features
from vl_anomaly_ros.perception.regions import Regions, find_regions
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import BoolArray, FloatArray, ScoreMap


def score_map(probability: FloatArray, sources: FloatArray | None = None) -> ScoreMap:
    sources = np.zeros((3, 2, 2), np.float32) if sources is None else sources
    return ScoreMap(
        probability.astype(np.float32),
        sources,
        np.zeros(sources.shape[1:], np.int32),
        np.zeros((1, 1, 1), np.float32),
        *probability.shape[::-1],
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


def test_areas_beyond_the_maximum_become_the_last_region_together(caplog: pytest.LogCaptureFixture) -> None:
    probability = drawn("xxx.x.xx", "........", "x.......")
    probability[0, 4] = 0.9
    with caplog.at_level(logging.WARNING):
        result = found(probability, max_regions=2)
    first, last = result.regions
    assert (first.area_px, first.merged) == (3, 1)
    assert (last.area_px, last.merged, last.bbox) == (4, 3, (0, 0, 8, 3))
    assert last.centroid_px == (17 / 4, 2 / 4)
    assert last.probability == pytest.approx(float(probability[result.instances == 2].mean()))
    assert result.instances.tolist() == [[1, 1, 1, 0, 2, 0, 2, 2], [0] * 8, [2] + [0] * 7]
    assert np.array_equal(result.mask != 0, result.instances != 0)
    assert "4 anomalous areas" in caplog.text


@pytest.mark.parametrize("max_regions", [1, 2, 3, 4])
def test_no_area_is_ever_lost_by_the_maximum(max_regions: int) -> None:
    probability = drawn("xxx.x.xx", "........", "xxxx....")
    result = found(probability, max_regions=max_regions)
    assert len(result.regions) == max_regions
    np.testing.assert_array_equal(result.instances != 0, probability > 0.5)
    assert sum(region.merged for region in result.regions) == 4
    assert [region.id for region in result.regions] == list(range(1, max_regions + 1))


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
def test_means_over_cells_of_coarser_and_finer_grids(grid: tuple[int, int]) -> None:
    """A pixel counts to the cell that holds its centre."""
    values = np.random.default_rng(0).random((3, *grid)).astype(np.float32)
    probability = random_blobs(3)
    result = find_regions(score_map(probability, values), threshold=0.5, min_area_px=12, max_regions=3)
    assert result.regions[-1].merged > 1
    rows, columns = cell_of(90, grid[0]), cell_of(130, grid[1])
    pooled = pooled_features(result, values)
    of_a_view = pooled_features(result, np.concatenate([values] * 3, axis=2)[:, :, grid[1] : 2 * grid[1]])
    for region in result.regions:
        ys, xs = np.nonzero(result.instances == region.id)
        means = values[:, rows[ys], columns[xs]].mean(axis=1, dtype=np.float64)
        assert region.sources == pytest.approx(tuple(means), rel=1e-12)
        np.testing.assert_allclose(pooled[region.id - 1], means / np.linalg.norm(means), rtol=1e-12)
    np.testing.assert_array_equal(of_a_view, pooled)


def test_maps_that_are_parts_of_larger_ones_serve() -> None:
    whole = np.random.default_rng(0).random((3, 40, 60)).astype(np.float32)
    part = whole[:, 3:30, 10:50]
    part.flags.writeable = False
    maps = [
        ScoreMap(sources[0], sources, np.zeros((27, 40), np.int32), sources, 200, 100)
        for sources in (part, part.copy())
    ]
    one, other = (find_regions(m, threshold=0.7, min_area_px=9, max_regions=20) for m in maps)
    assert len(one.regions) == 20
    assert one.regions == other.regions
    np.testing.assert_array_equal(one.instances, other.instances)


def test_more_areas_than_ids_can_count() -> None:
    probability = np.zeros((520, 520), np.float32)
    probability[::2, ::2] = 1  # 67600 pixels that do not touch
    result = found(probability, max_regions=65535)
    assert len(result.regions) == 65535
    assert result.regions[-1].merged == 67600 - 65535 + 1
    np.testing.assert_array_equal(result.instances != 0, probability > 0)
    assert int(result.instances.max()) == 65535
    np.testing.assert_array_equal(np.bincount(result.instances[result.instances > 0])[1:65535], 1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (64, 3)])
@pytest.mark.parametrize(("value", "threshold"), [(0.0, 0.0), (1.0, 1.0), (0.4, 0.4), (0.7, 0.0)])
def test_an_image_that_is_anomalous_all_over(width: int, height: int, value: float, threshold: float) -> None:
    flat = np.full((2, 3), value, np.float32)
    whole = ScoreMap(
        flat, np.stack([flat] * 3), np.zeros((2, 3), np.int32), np.zeros((1, 1, 1), np.float32), width, height
    )
    result = find_regions(whole, threshold=threshold, min_area_px=1, max_regions=1)
    np.testing.assert_array_equal(result.mask != 0, upsampled(flat, width, height) >= np.float32(threshold))
    if value in (0.0, 1.0, 0.7):
        (region,) = result.regions
        assert (region.bbox, region.area_px) == ((0, 0, width, height), width * height)
        assert region.centroid_px == pytest.approx(((width - 1) / 2, (height - 1) / 2))
        assert (region.probability, *region.sources) == pytest.approx((value,) * 4)


@pytest.mark.parametrize("seed", range(12))
def test_regions_of_a_coarse_map_are_those_of_its_picture(seed: int) -> None:
    """The large picture is not made; the answer is as if it were."""
    rng = np.random.default_rng(seed)
    rows, columns, width, height = (int(n) for n in rng.integers((2, 2, 1, 1), (40, 60, 300, 200)))
    cells = ndimage.gaussian_filter(rng.random((rows, columns)), 0.8).astype(np.float32)
    cells = (cells - cells.min()) / np.ptp(cells)
    sources = rng.random((3, rows, columns)).astype(np.float32)
    small = ScoreMap(cells, sources, np.zeros((rows, columns), np.int32), sources, width, height)
    large = ScoreMap(
        upsampled(cells, width, height), sources, np.zeros((rows, columns), np.int32), sources, width, height
    )
    for threshold, max_regions in ((0.3, 64), (0.55, 64), (0.7, 3)):
        one, other = (
            find_regions(m, threshold=threshold, min_area_px=5, max_regions=max_regions) for m in (small, large)
        )
        assert len(one.regions) == len(other.regions)
        for region, same in zip(one.regions, other.regions):
            assert replace(region, probability=0.0) == replace(same, probability=0.0)
            assert region.probability == pytest.approx(same.probability, rel=1e-6)
        np.testing.assert_array_equal(one.instances, other.instances)
        labels, count = ndimage.label(large.probability >= np.float32(threshold), np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        np.testing.assert_array_equal(one.mask != 0, np.isin(labels, 1 + np.flatnonzero(sizes >= 5)))


def test_lines_one_pixel_wide_and_areas_along_all_borders() -> None:
    probability = np.zeros((30, 30), np.float32)
    probability[[0, -1]], probability[:, [0, -1]] = 1, 1
    probability[np.arange(5, 25), np.arange(24, 4, -1)] = 1
    frame, line = found(probability).regions
    assert (frame.bbox, frame.area_px, frame.centroid_px) == ((0, 0, 30, 30), 4 * 29, (14.5, 14.5))
    assert (line.bbox, line.area_px) == ((5, 5, 25, 25), 20)
