# SPDX-License-Identifier: Apache-2.0
"""The segmentation of an image with the names of its anomalies as further classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.perception.areas import cell_of
from vl_anomaly_ros.perception.growth import NOTHING, Fine
from vl_anomaly_ros.perception.regions import Regions, paint
from vl_anomaly_ros.types import IntArray, Region

UNNAMED = "unknown"
"""Class name of anomalies without a name."""


def extended_names(
    named: Sequence[Region], known_names: tuple[str, ...], added_words: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the classes of an image: the known ones, then its anomalies'; and the class index of each region.

    Words that were added to the vocabulary, and that some of its pixels are, come last.

    An anomaly never takes the index of a known class, even if they share a name. Regions without a name are
    "unknown".
    """
    names = [region.label.name or UNNAMED for region in named]
    added = tuple(dict.fromkeys([*names, *added_words]))
    return (*known_names, *added), tuple(len(known_names) + added.index(name) for name in names)


def extended_segmentation(
    class_map: IntArray, regions: Regions, named: Sequence[Region], known_names: tuple[str, ...], fine: Fine = NOTHING
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Class index of each pixel of the image, with that of its region, or of the word it is, where it lies in one.

    Args:
        class_map: (h, w) int32 known class indices, at mask resolution.
        regions: of the image.
        named: the same regions with their labels.
        known_names: names of the known classes.
        fine: which added words pixels of regions are.

    Returns:
        (H, W) uint8, or uint16 where there are more than 256 names.
    """
    class_names, class_indices = extended_names(named, known_names, fine.words)
    small = class_map.astype(np.uint8 if len(class_names) <= 256 else np.uint16)
    height, width = regions.instances.shape
    columns, rows = cell_of(width, class_map.shape[1]), cell_of(height, class_map.shape[0])
    segmentation = small.take(columns, axis=1).take(rows, axis=0)
    paint(segmentation, regions.runs, regions.starts, np.array(class_indices, np.int64))
    if fine.words:
        places = fine.places.take(columns, axis=1).take(rows, axis=0)
        inside = (places >= 0) & (regions.instances > 0)
        # Looked for behind the known classes: an anomaly never takes the index of one, even if they share a name.
        index = [class_names.index(word, len(known_names)) for word in fine.words]
        segmentation[inside] = np.array(index, segmentation.dtype)[places[inside]]
    return segmentation
