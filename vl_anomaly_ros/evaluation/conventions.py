# SPDX-License-Identifier: Apache-2.0
"""What the values of each benchmark's label pictures mean.

Sources: cityscapesScripts (labels.py); the SegmentMeIfYouCan benchmark code (tracks.py); Fishyscapes' bdl-benchmark;
the README of RoadAnomaly and its authors' loader (classes background, road, anomaly); anomaly-seg of Hendrycks et al.
(create_dataset.py, create_bdd_dataset.py, dataset.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.types import ByteArray

NORMAL, ANOMALY, VOID = 0, 1, 255
UNCLASSED = 255
"""In a picture of classes: anomalous, void, or normal of no named class."""
_WRONG = 2


@dataclass(frozen=True)
class Convention:
    """Meaning of label values; a value that is not listed is refused.

    Attributes:
        normal: value -> name of the known class; empty where it is normal but of no class that is measured.
        anomaly: value -> name of the thing; empty where the data set does not say.
        void: values that are not judged.
    """

    normal: Mapping[int, str]
    anomaly: Mapping[int, str]
    void: frozenset[int] = field(default_factory=frozenset)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the known classes that are measured."""
        return tuple(dict.fromkeys(name for name in self.normal.values() if name))

    def label(self, values: ByteArray) -> ByteArray:
        """(H, W) uint8 of 0 normal, 1 anomaly, 255 void.

        Raises:
            EvaluationError: a value is not of this convention.
        """
        table = np.full(256, _WRONG, np.uint8)
        for meaning, group in ((NORMAL, self.normal), (ANOMALY, self.anomaly), (VOID, self.void)):
            table[list(group)] = meaning
        found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        wrong = found[table[found] == _WRONG]
        if wrong.size:
            expected = sorted({*self.normal, *self.anomaly, *self.void})
            raise EvaluationError(
                f"label: expected values {_ranges(expected)}, got {wrong[0]}; use the label pictures as published"
            )
        return table[values]

    def semantic(self, values: ByteArray) -> ByteArray:
        """(H, W) uint8 index into `classes`, or `UNCLASSED`."""
        table = np.full(256, UNCLASSED, np.uint8)
        for value, name in self.normal.items():
            if name:
                table[value] = self.classes.index(name)
        return table[values]


def _ranges(values: list[int]) -> str:
    """Short for people.

    >>> _ranges([0, 1, 2, 255])
    '0..2, 255'
    """
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in parts)


CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""In the order of Cityscapes' train ids."""

_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_BDD_ANOMALIES = ("train", "motorcycle", "bicycle")

CITYSCAPES = Convention(
    normal=dict(zip(_CITYSCAPES_IDS, CITYSCAPES_CLASSES)),
    anomaly={},
    void=frozenset({*range(34), 255} - {*_CITYSCAPES_IDS}),  # 255: licence plates, -1 in labels.py
)
"""`*_labelIds.png`."""

BDD_ANOMALY = Convention(
    normal={i: name for i, name in enumerate(CITYSCAPES_CLASSES) if name not in _BDD_ANOMALIES},
    anomaly={i: name for i, name in enumerate(CITYSCAPES_CLASSES) if name in _BDD_ANOMALIES},
    void=frozenset({255}),
)
"""`*_train_id.png` of BDD100K, not shifted: train, motorcycle and bicycle are the anomalies."""

STREET_HAZARDS = Convention(
    normal=dict(enumerate(
        ("", "building", "fence", "", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation", "car",
         "wall", "traffic sign"), 1,
    )),
    anomaly={14: ""},
    void=frozenset({0, 255}),
)  # fmt: skip
"""Unlabeled (1, mostly sky) and other (4) are normal, as the authors count them, but no class that is measured."""

SEGMENT_ME = Convention(normal={0: ""}, anomaly={1: ""}, void=frozenset({255}))
"""SegmentMeIfYouCan and Fishyscapes."""

ROAD_ANOMALY = Convention(normal={0: "", 1: ""}, anomaly={2: ""}, void=frozenset({255}))
"""Background and road are normal."""

LOST_AND_FOUND = Convention(
    normal={1: ""}, anomaly=dict.fromkeys(range(2, 201), ""), void=frozenset({0, *range(201, 256)})
)
"""`*_labelIds.png`: only the free space is normal; what is around it is not labelled."""
