# SPDX-License-Identifier: Apache-2.0
"""From a probability map to connected anomalous regions."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.perception.areas import Extents, IndexArray, connected, extents, grid
from vl_anomaly_ros.perception.upsampling import runs_at_least
from vl_anomaly_ros.types import ByteArray, DoubleArray, FloatArray, Region, ScoreMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Regions:
    """The regions of one image.

    Attributes:
        instances: (H, W) uint16 region ids, 0 none.
        regions: by id, from 1; the largest first, equal ones from top to bottom and left to right.
        runs: (n, 3) int64, their pixels: y, first x and the x behind the last of each horizontal run, region after
            region, each from top to bottom and left to right.
        starts: (regions + 1,) int64, where the runs of each region begin, and n.
    """

    instances: npt.NDArray[np.uint16]
    regions: tuple[Region, ...]
    runs: IndexArray
    starts: IndexArray

    @cached_property
    def mask(self) -> ByteArray:
        """(H, W) uint8, 255 in every region."""
        mask = np.zeros(self.instances.shape, np.uint8)
        paint(mask, self.runs, self.starts, np.full(len(self.regions), 255))
        return mask


def find_regions(score_map: ScoreMap, *, threshold: float, min_area_px: int, max_regions: int) -> Regions:
    """8-connected areas whose probability is at least `threshold`. Holes stay holes.

    Args:
        score_map: of the image.
        threshold: anomaly probability.
        min_area_px: smaller areas are left out.
        max_regions: at most so many regions, the largest; 1..65535. Areas beyond that form the last region together
            (`Region.merged`): none of them may be passed over.
    """
    width, height = score_map.width, score_map.height
    runs, sums = runs_at_least(threshold, score_map.probability, width, height)
    areas, count = connected(runs)
    ranked = _ranked(extents(runs, areas, count), min_area_px)
    merged = len(ranked) - max_regions + 1
    if merged > 1:
        logger.warning("%d anomalous areas: the smallest %d become one region", len(ranked), merged)

    instances = np.zeros((height, width), np.uint16)
    runs, starts, boxes, means = _gathered(
        runs,
        sums,
        areas,
        count,
        ranked,
        max_regions,
        score_map.sources,
        *grid(width, height, score_map.sources.shape[1:]),
        instances,
    )
    regions = tuple(
        Region(
            region_id,
            (x0, y0, x1, y1),
            size_px,
            (x, y),
            probability,
            (detector, text, clip),
            merged=merged if merged > 1 and region_id == max_regions else 1,
        )
        for region_id, (size_px, x0, y0, x1, y1), (x, y, probability, detector, text, clip) in zip(
            range(1, len(starts)), boxes.tolist(), means.tolist()
        )
    )
    return Regions(instances, regions, runs, starts)


def _ranked(found: Extents, min_area_px: int) -> IndexArray:
    """The areas that are large enough, in the order of the regions."""
    order = np.lexsort((found.x1, found.y1, found.x0, found.y0, -found.size_px))
    return order[found.size_px[order] >= min_area_px]


@kernel(
    *(
        numba.void(array(dtype, 2), view(numba.int64, 2), view(numba.int64, 1), view(numba.int64, 1))
        for dtype in (numba.uint8, numba.uint16)
    )
)
def paint(
    picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], runs: IndexArray, starts: IndexArray, values: IndexArray
) -> None:
    """Set the pixels of each region to its value, in place. The runs lie within the picture."""
    for region in range(len(values)):
        for run in range(starts[region], starts[region + 1]):
            picture[runs[run, 0], runs[run, 1] : runs[run, 2]] = values[region]


@kernel(
    numba.types.Tuple((array(numba.int64, 2), array(numba.int64, 1), array(numba.int64, 2), array(numba.float64, 2)))(
        view(numba.int64, 2),
        view(numba.float64, 1),
        view(numba.int64, 1),
        numba.int64,
        view(numba.int64, 1),
        numba.int64,
        numba.types.Array(numba.float32, 3, "A", readonly=True),  # a part of the network's output, not copied
        view(numba.int64, 1),
        view(numba.int64, 1),
        view(numba.int64, 1),
        array(numba.uint16, 2),
    )
)
def _gathered(
    runs: IndexArray,
    sums: DoubleArray,
    areas: IndexArray,
    count: int,
    ranked: IndexArray,
    max_regions: int,
    sources: FloatArray,
    rows: IndexArray,
    columns: IndexArray,
    column_edges: IndexArray,
    instances: npt.NDArray[np.uint16],
) -> tuple[IndexArray, IndexArray, IndexArray, DoubleArray]:
    """The regions, painted into `instances`, from runs, the sum of the probability over each, and the area of each.

    Of `count` areas those in `ranked` are large enough, in the order of the regions; from `max_regions` on they are one
    region together. A pixel has the source scores of the cell that holds its centre.

    Returns:
        `Regions.runs` and `Regions.starts`; (n, 5) size, x0, y0, x1, y1 of each region; and (n, 6) means over its
        pixels: x, y, probability, sources.
    """
    number = np.full(count, -1, np.int64)  # the region of each area, from 0; -1: too small
    for rank in range(len(ranked)):
        number[ranked[rank]] = min(rank, max_regions - 1)
    starts = np.zeros(min(len(ranked), max_regions) + 1, np.int64)
    for run in range(len(runs)):
        if number[areas[run]] >= 0:
            starts[number[areas[run]] + 1] += 1
    starts = np.cumsum(starts)
    ends = starts[:-1].copy()  # of what is there so far
    grouped, boxes, means = (
        np.empty((starts[-1], 3), np.int64),
        np.zeros((len(ends), 5), np.int64),
        np.zeros((len(ends), 6)),
    )
    for run in range(len(runs)):
        region = number[areas[run]]
        if region < 0:
            continue
        y, x, end = runs[run, 0], runs[run, 1], runs[run, 2]
        box, mean = boxes[region], means[region]
        if ends[region] == starts[region]:
            box[1], box[2] = x, y
        box[0] += end - x
        box[1], box[3], box[4] = min(box[1], x), max(box[3], end), y + 1
        mean[0] += (x + end - 1) * (end - x) / 2
        mean[1] += y * (end - x)
        mean[2] += sums[run]
        grouped[ends[region]] = runs[run]
        ends[region] += 1
        instances[y, x:end] = region + 1
        detector, text, clip = mean[3], mean[4], mean[5]
        cell = columns[x]
        while x < end:
            behind = min(column_edges[cell + 1], end)
            detector += (behind - x) * sources[0, rows[y], cell]
            text += (behind - x) * sources[1, rows[y], cell]
            clip += (behind - x) * sources[2, rows[y], cell]
            x, cell = behind, cell + 1
        mean[3], mean[4], mean[5] = detector, text, clip
    for region in range(len(means)):
        means[region] /= boxes[region, 0]
    return grouped, starts, boxes, means
