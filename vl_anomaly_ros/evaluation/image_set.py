# SPDX-License-Identifier: Apache-2.0
"""Labelled images on disk, in the layout that `vl-anomaly simulate images` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.types import BoolArray, ByteArray

ANOMALY, VOID = 254, 255
"""Values of a semantic image beside the indices of the known classes."""


@dataclass(frozen=True)
class LabelledImage:
    """One image with its truth.

    Attributes:
        index: number of the image in the set.
        image: (H, W, 3) uint8 RGB.
        semantic: (H, W) uint8, index of the known class, ANOMALY or VOID.
        instances: (H, W) uint16 instance ids, 0 none.
        objects: what is said of each instance in `objects.jsonl`.
        hard: (H, W) bool, normal things that are easily taken for anomalies; None where the set does not mark them.
    """

    index: int
    image: ByteArray
    semantic: ByteArray
    instances: npt.NDArray[np.uint16]
    objects: tuple[dict[str, Any], ...]
    hard: BoolArray | None = None

    @property
    def label(self) -> ByteArray:
        """(H, W) uint8: 0 normal, 1 anomaly, 255 void."""
        label = np.where(self.semantic == VOID, 255, self.semantic == ANOMALY)
        return label.astype(np.uint8)


class ImageSet:
    """The images of a folder, in order.

    Args:
        root: a folder with `dataset.yaml`, `objects.jsonl`, `images/`, `semantic/`, `instances/`.

    Raises:
        EvaluationError: the folder is no image set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        description = root / "dataset.yaml"
        if not description.is_file():
            raise EvaluationError(
                f"{root}: expected an image set with dataset.yaml, found none; make one with "
                f"`vl-anomaly simulate images --out {root}`"
            )
        self.description: dict[str, Any] = yaml.safe_load(description.read_text(encoding="utf-8"))
        self._objects: dict[int, tuple[dict[str, Any], ...]] = {}
        with (root / "objects.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                self._objects[int(record["frame"])] = tuple(record["objects"])
        self._marks_hard = (root / "hard").is_dir()
        self._names = sorted(p.name for p in (root / "images").glob("*.png"))
        if not self._names:
            raise EvaluationError(f"{root}: expected images in {root / 'images'}, found none")

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[LabelledImage]:
        for name in self._names:
            index = int(Path(name).stem)
            yield LabelledImage(
                index=index,
                image=np.ascontiguousarray(self._read("images", name, cv2.IMREAD_COLOR)[..., ::-1]),
                semantic=self._read("semantic", name, cv2.IMREAD_UNCHANGED),
                instances=self._read("instances", name, cv2.IMREAD_UNCHANGED).astype(np.uint16),
                objects=self._objects.get(index, ()),
                hard=self._read("hard", name, cv2.IMREAD_UNCHANGED) > 0 if self._marks_hard else None,
            )

    def _read(self, folder: str, name: str, mode: int) -> Any:
        path = self.root / folder / name
        picture = cv2.imread(str(path), mode)
        if picture is None:
            raise EvaluationError(f"{path}: expected a PNG picture, it is absent or damaged; make the set anew")
        return picture
