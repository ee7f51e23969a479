# SPDX-License-Identifier: Apache-2.0
"""Pictures of Cityscapes to train on, read as they are drawn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.conventions import CITYSCAPES
from vl_anomaly_ros.training.data import Picture, left_to_train

_FIRST_INSTANCE = 1000  # label id * 1000 + number; below, a region is no single thing


class CityscapesPictures:
    """`leftImg8bit/SPLIT/CITY/FRAME_leftImg8bit.png` with `gtFine/SPLIT/CITY/FRAME_gtFine_instanceIds.png`.

    Args:
        root: of the data set.
        split: train or val.
        width_px, height_px: that pictures and labels are resized to; labels by the nearest pixel.
        count: the first so many, in the order of their names; 0: all.

    Raises:
        TrainingError: there is none.
    """

    def __init__(self, root: Path, split: str, width_px: int, height_px: int, count: int = 0) -> None:
        self.root, self.size = root, (width_px, height_px)
        self.classes = list(CITYSCAPES.classes)
        self.files = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))[: count or None]
        if not self.files:
            raise TrainingError(
                f"{root}: expected leftImg8bit/{split}/CITY/FRAME_leftImg8bit.png, found none; unpack Cityscapes there"
            )

    def __len__(self) -> int:
        return len(self.files)

    def split(self, held_out: int) -> tuple[CityscapesPictures, CityscapesPictures]:
        """Return all but the last pictures, and the last ones.

        Raises:
            TrainingError: none would be left to train on.
        """
        left = left_to_train(len(self), held_out)
        first, last = copy.copy(self), copy.copy(self)
        first.files, last.files = self.files[:left], self.files[left:]
        return first, last

    def picture(self, index: int) -> Picture:
        """One picture with its truth.

        Raises:
            TrainingError: a file is absent or damaged, or the two are not of one size.
        """
        file = self.files[index]
        frame = file.name.removesuffix("_leftImg8bit.png")
        truth = self.root / "gtFine" / file.parent.parent.name / file.parent.name / f"{frame}_gtFine_instanceIds.png"
        image, ids = _read(file, cv2.IMREAD_COLOR)[..., ::-1], _read(truth, cv2.IMREAD_UNCHANGED)
        if image.shape[:2] != ids.shape:
            raise TrainingError(f"{truth}: expected the size of its picture, {image.shape[:2]}, got {ids.shape}")
        image = cv2.resize(np.ascontiguousarray(image), self.size, interpolation=cv2.INTER_AREA)
        ids = cv2.resize(ids, self.size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
        things = ids >= _FIRST_INSTANCE
        labels = np.where(things, ids // _FIRST_INSTANCE, ids).astype(np.uint8)
        semantic = CITYSCAPES.semantic(labels)
        instances, objects = _numbered(np.where(things, ids, 0), semantic, self.classes)
        return Picture(self.classes, image, semantic, instances, objects)


def _numbered(
    ids: npt.NDArray[np.int64], semantic: npt.NDArray[np.uint8], classes: list[str]
) -> tuple[npt.NDArray[np.uint16], dict[int, dict[str, Any]]]:
    """Number the things from 1, and say of each what it is, its area and its box (x0, y0, x1, y1), end exclusive."""
    values, numbers = np.unique(ids, return_inverse=True)
    numbers = numbers.reshape(ids.shape) + int(values[0] != 0)  # 0 is where there is no thing
    objects = {}
    for number in np.unique(numbers[numbers > 0]).tolist():
        ys, xs = np.nonzero(numbers == number)
        index = int(semantic[ys[0], xs[0]])
        if index < len(classes):
            box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
            objects[number] = {"category": classes[index], "known": True, "area_px": len(ys), "bbox": box}
    return numbers.astype(np.uint16), objects


def _read(path: Path, mode: int) -> Any:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise TrainingError(f"{path}: expected a PNG picture, it is absent or damaged; unpack Cityscapes anew")
    return picture
