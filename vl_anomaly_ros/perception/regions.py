# SPDX-License-Identifier: Apache-2.0
"""From a probability map to connected anomalous regions."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.perception.scoring import cell_of
from vl_anomaly_ros.types import ByteArray, IntArray, Region, ScoreMap

logger = logging.getLogger(__name__)

Box = tuple[slice, slice]
"""Rows and columns of a part of the image."""


@dataclass(frozen=True)
class Regions:
    """The regions of one image.

    Attributes:
        mask: (H, W) uint8, 255 in every area of at least the minimum size, also in those beyond the maximum number.
        instances: (H, W) uint16 region ids, 0 none.
        regions: by id, from 1; the largest first, equal ones from top to bottom and left to right.
        box: part of the image outside of which `mask` is 0, so that later steps need not look there.
    """

    mask: ByteArray
    instances: npt.NDArray[np.uint16]
    regions: tuple[Region, ...]
    box: Box


def find_regions(score_map: ScoreMap, *, threshold: float, min_area_px: int, max_regions: int) -> Regions:
    """8-connected areas whose probability is at least `threshold`. Holes stay holes.

    Args:
        score_map: of the image.
        threshold: anomaly probability.
        min_area_px: smaller areas are left out.
        max_regions: at most so many regions, the largest; the rest stays in the mask.
    """
    anomalous = (score_map.probability >= threshold).view(np.uint8)
    left, top, width, height = cv2.boundingRect(anomalous)
    box = (slice(top, top + height), slice(left, left + width))
    mask, instances = np.zeros(anomalous.shape, np.uint8), np.zeros(anomalous.shape, np.uint16)
    if width == 0:
        return Regions(mask, instances, (), box)

    count, labels, stats, centroids = cv2.connectedComponentsWithStats(anomalous[box], connectivity=8, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    # Component numbers depend on OpenCV's algorithm, sizes and positions do not. lexsort takes its last key first.
    order = np.lexsort((centroids[:, 0], stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP], -areas))
    large = order[(order != 0) & (areas[order] >= min_area_px)]
    kept = large[:max_regions]
    if len(large) > len(kept):
        logger.warning("%d anomalous areas, only the largest %d become regions", len(large), len(kept))

    mask_of, id_of = np.zeros(count, np.uint8), np.zeros(count, np.uint16)
    mask_of[large] = 255
    id_of[kept] = np.arange(1, len(kept) + 1)
    mask[box], instances[box] = mask_of[labels], id_of[labels]
    regions = []
    for region_id, component in enumerate(kept.tolist(), start=1):
        x, y, w, h, area = stats[component].tolist()
        centre_x, centre_y = centroids[component].tolist()
        bbox = (left + x, top + y, left + x + w, top + y + h)
        probability, sources = _means(score_map, instances, region_id, bbox)
        regions.append(Region(region_id, bbox, area, (left + centre_x, top + centre_y), probability, sources))
    return Regions(mask, instances, tuple(regions), box)


def cell_areas(
    instances: npt.NDArray[np.uint16], region_id: int, bbox: tuple[int, int, int, int], grid: tuple[int, int]
) -> tuple[IntArray, Box]:
    """How many pixels of a region lie in each cell of a grid over the image.

    Args:
        instances: (H, W) uint16 region ids.
        region_id: of the region.
        bbox: its bounding box in pixels.
        grid: rows and columns of the grid.

    Returns:
        (h, w) int32 pixel counts, and the part of the grid they belong to; every other cell holds none.
    """
    x0, y0, x1, y1 = bbox
    inside = (instances[y0:y1, x0:x1] == region_id).view(np.uint8)
    # Rows of one cell follow each other, so sums over runs of rows, then of columns, are sums over cells.
    rows, row_starts = np.unique(cell_of(instances.shape[0], grid[0])[y0:y1], return_index=True)
    columns, column_starts = np.unique(cell_of(instances.shape[1], grid[1])[x0:x1], return_index=True)
    by_row = np.add.reduceat(inside, row_starts, axis=0, dtype=np.int32)
    areas: IntArray = np.add.reduceat(by_row, column_starts, axis=1, dtype=np.int32)
    # Where cells are smaller than pixels some cells hold no pixel centre.
    if len(rows) <= rows[-1] - rows[0] or len(columns) <= columns[-1] - columns[0]:
        spread = np.zeros((rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1), np.int32)
        spread[np.ix_(rows - rows[0], columns - columns[0])] = areas
        areas = spread
    return areas, (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


def _means(
    score_map: ScoreMap, instances: npt.NDArray[np.uint16], region_id: int, bbox: tuple[int, int, int, int]
) -> tuple[float, tuple[float, float, float]]:
    """Mean probability and mean source scores over the pixels of a region."""
    x0, y0, x1, y1 = bbox
    inside = (instances[y0:y1, x0:x1] == region_id).view(np.uint8)
    probability = cv2.mean(score_map.probability[y0:y1, x0:x1], mask=inside)[0]
    height, width = score_map.sources.shape[1:]
    areas, cells = cell_areas(instances, region_id, bbox, (height, width))
    weights = areas / areas.sum()
    detector, text, clip = (float((source[cells] * weights).sum()) for source in score_map.sources)
    return probability, (detector, text, clip)
