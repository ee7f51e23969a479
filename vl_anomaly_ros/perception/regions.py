# SPDX-License-Identifier: Apache-2.0
"""From a probability map to connected anomalous regions."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.perception.scoring import cell_of
from vl_anomaly_ros.types import ByteArray, Region, ScoreMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pixels:
    """The pixels of all areas of an image, so that what follows costs by their number, not by the image's size.

    Attributes:
        rows, columns: (n,) int64 positions.
        region: (n,) int64 index of the region, its id minus 1; -1 for areas beyond the maximum number of regions.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    region: npt.NDArray[np.int64]

    def of_regions(self) -> Pixels:
        """Without the pixels of areas that are no region."""
        inside = self.region >= 0
        return self if inside.all() else Pixels(self.rows[inside], self.columns[inside], self.region[inside])

    def cells(self, image: tuple[int, ...], grid: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """(n,) flat index of the cell of a `grid` (height, width) over an `image` (height, width) for each pixel."""
        rows, columns = cell_of(image[0], grid[0]), cell_of(image[1], grid[1])
        return np.asarray(rows[self.rows] * grid[1] + columns[self.columns])


@dataclass(frozen=True)
class Regions:
    """The regions of one image.

    Attributes:
        mask: (H, W) uint8, 255 in every area of at least the minimum size, also in those beyond the maximum number.
        instances: (H, W) uint16 region ids, 0 none.
        regions: by id, from 1; the largest first, equal ones from top to bottom and left to right.
        pixels: the pixels of `mask`.
    """

    mask: ByteArray
    instances: npt.NDArray[np.uint16]
    regions: tuple[Region, ...]
    pixels: Pixels


def find_regions(score_map: ScoreMap, *, threshold: float, min_area_px: int, max_regions: int) -> Regions:
    """8-connected areas whose probability is at least `threshold`. Holes stay holes.

    Args:
        score_map: of the image.
        threshold: anomaly probability.
        min_area_px: smaller areas are left out.
        max_regions: at most so many regions, the largest; the rest stays in the mask.
    """
    anomalous = (score_map.probability >= threshold).view(np.uint8)
    rows, columns = _nonzero(anomalous)
    count, labels = cv2.connectedComponents(anomalous, connectivity=8, ltype=cv2.CV_32S)
    component = labels[rows, columns].astype(np.int64) - 1
    area = np.bincount(component, minlength=count - 1)
    first = np.zeros(count - 1, np.int64)
    first[component[::-1]] = np.arange(len(component))[::-1]
    # Component numbers depend on OpenCV's algorithm, sizes and positions do not. lexsort takes its last key first.
    order = np.lexsort((first, -area))
    large = order[area[order] >= min_area_px]
    kept = large[:max_regions]
    if len(large) > len(kept):
        logger.warning("%d anomalous areas, only the largest %d become regions", len(large), len(kept))

    region_of = np.full(count - 1, -2)
    region_of[large] = -1
    region_of[kept] = np.arange(len(kept))
    region = region_of[component]
    in_mask = region > -2
    pixels = Pixels(rows[in_mask], columns[in_mask], region[in_mask])
    mask, instances = np.zeros(anomalous.shape, np.uint8), np.zeros(anomalous.shape, np.uint16)
    mask[pixels.rows, pixels.columns] = 255
    instances[pixels.rows, pixels.columns] = pixels.region + 1
    return Regions(mask, instances, _described(score_map, pixels.of_regions(), area[kept]), pixels)


def _nonzero(mask: ByteArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `np.nonzero`, several times faster."""
    points = cv2.findNonZero(mask)
    if points is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    points = points.reshape(-1, 2).astype(np.int64)
    coordinates: npt.NDArray[np.int64] = points.reshape(-1, 2).astype(np.int64)
    return coordinates[:, 1], coordinates[:, 0]


def _boxes(pixels: Pixels, areas: npt.NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Bounding boxes x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""
    order = np.argsort(pixels.region.astype(np.uint16), kind="stable")  # a radix sort: linear
    starts = np.cumsum(areas) - areas
    rows, columns = pixels.rows[order], pixels.columns[order]
    lows = [np.minimum.reduceat(values, starts).tolist() for values in (columns, rows)]
    highs = [(np.maximum.reduceat(values, starts) + 1).tolist() for values in (columns, rows)]
    return list(zip(*lows, *highs))


def _described(score_map: ScoreMap, pixels: Pixels, areas: npt.NDArray[np.int64]) -> tuple[Region, ...]:
    """Each region with its means over its pixels, in one pass over all pixels for each mean."""
    if len(areas) == 0:
        return ()
    count, image = len(areas), score_map.probability.shape
    cells = pixels.cells(image, score_map.sources.shape[1:])
    values = [
        pixels.columns,
        pixels.rows,
        score_map.probability[pixels.rows, pixels.columns],
        *(source.ravel()[cells] for source in score_map.sources),
    ]
    means = np.stack([np.bincount(pixels.region, value, count) for value in values], axis=1) / areas[:, None]
    return tuple(
        Region(number, box, area, (x, y), probability, (detector, text, clip))
        for number, (box, area, (x, y, probability, detector, text, clip)) in enumerate(
            zip(_boxes(pixels, areas), areas.tolist(), means.tolist()), start=1
        )
    )
