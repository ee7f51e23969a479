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
class Regions:
    """The regions of one image.

    Attributes:
        mask: (H, W) uint8, 255 in every area of at least the minimum size, also in those beyond the maximum number.
        instances: (H, W) uint16 region ids, 0 none.
        regions: by id, from 1; the largest first, equal ones from top to bottom and left to right.
    """

    mask: ByteArray
    instances: npt.NDArray[np.uint16]
    regions: tuple[Region, ...]


def find_regions(score_map: ScoreMap, *, threshold: float, min_area_px: int, max_regions: int) -> Regions:
    """8-connected areas whose probability is at least `threshold`. Holes stay holes.

    Args:
        score_map: of the image.
        threshold: anomaly probability.
        min_area_px: smaller areas are left out.
        max_regions: at most so many regions, the largest; the rest stays in the mask.
    """
    anomalous = (score_map.probability >= threshold).view(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(anomalous, connectivity=8, ltype=cv2.CV_32S)
    areas = stats[1:, cv2.CC_STAT_AREA]
    # lexsort takes its last key first; component numbers depend on OpenCV's algorithm, positions do not.
    order = np.lexsort((stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP], -areas.astype(np.int64)))
    large = [int(index) + 1 for index in order if areas[index] >= min_area_px]
    kept = large[:max_regions]
    if len(large) > len(kept):
        logger.warning("%d anomalous areas, only the largest %d become regions", len(large), len(kept))
    if not large:
        empty = np.zeros(anomalous.shape, np.uint16)
        return Regions(np.zeros(anomalous.shape, np.uint8), empty, ())

    id_of, mask_of = np.zeros(count, np.uint16), np.zeros(count, np.uint8)
    id_of[kept] = np.arange(1, len(kept) + 1)
    mask_of[large] = 255
    instances = id_of[labels]
    probabilities, sources = _means(score_map, instances, len(kept))
    regions = []
    for region_id, label in enumerate(kept, start=1):
        x, y, width, height, area = (int(value) for value in stats[label])
        regions.append(
            Region(
                id=region_id,
                bbox=(x, y, x + width, y + height),
                area_px=area,
                centroid_px=(float(centroids[label, 0]), float(centroids[label, 1])),
                probability=float(probabilities[region_id - 1]),
                sources=(
                    float(sources[0, region_id - 1]),
                    float(sources[1, region_id - 1]),
                    float(sources[2, region_id - 1]),
                ),
            )
        )
    return Regions(mask_of[labels], instances, tuple(regions))


def pixels_of(
    instances: npt.NDArray[np.uint16],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows, columns and region ids (from 0) of all pixels that belong to a region."""
    flat = np.flatnonzero(instances)
    rows, columns = np.divmod(flat, instances.shape[1])
    return rows, columns, instances.ravel()[flat].astype(np.intp) - 1


def _means(
    score_map: ScoreMap, instances: npt.NDArray[np.uint16], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean probability (count,) and source scores (3, count) over the pixels of each region."""
    rows, columns, region = pixels_of(instances)
    area = np.bincount(region, minlength=count)
    probability = np.bincount(region, score_map.probability[rows, columns], count) / area
    height, width = score_map.sources.shape[1:]
    cells = cell_of(instances.shape[0], height)[rows] * width + cell_of(instances.shape[1], width)[columns]
    means = [np.bincount(region, source.ravel()[cells], count) / area for source in score_map.sources]
    return probability, np.stack(means)
