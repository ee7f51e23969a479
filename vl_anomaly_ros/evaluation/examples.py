# SPDX-License-Identifier: Apache-2.0
"""What every labelled data set gives: pictures with their truth; and the simulated sets as such."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.conventions import UNCLASSED
from vl_anomaly_ros.evaluation.image_set import ANOMALY, ImageSet, LabelledImage
from vl_anomaly_ros.types import BoolArray, ByteArray


@dataclass(frozen=True)
class Thing:
    """An anomaly whose name is known: its name and its mask (H, W)."""

    name: str
    mask: BoolArray


@dataclass(frozen=True)
class Truth:
    """What is known of a picture.

    Attributes:
        label: (H, W) uint8, 0 normal, 1 anomaly, 255 void.
        semantic: (H, W) uint8, index of the data set's known classes, `UNCLASSED` elsewhere; None without classes.
        things: the anomalies whose names are known.
        hard: (H, W) bool, normal things that are easily taken for anomalies, such as shadows and puddles; None where
            the data set does not mark them.
    """

    label: ByteArray
    semantic: ByteArray | None
    things: tuple[Thing, ...]
    hard: BoolArray | None = None


class Example(Protocol):
    """One picture of a data set."""

    @property
    def name(self) -> str:
        """Unique in the set."""

    def image(self) -> ByteArray:
        """(H, W, 3) uint8 RGB."""

    def truth(self) -> Truth:
        """Of the picture; of another size if the set is so."""


class ExampleSet(Protocol):
    """A data set, which can be read again and again.

    Attributes:
        classes: names of the known classes that are labelled.
    """

    classes: tuple[str, ...]

    def __len__(self) -> int:
        """How many pictures."""

    def __iter__(self) -> Iterator[Example]:
        """One after another, in a fixed order."""


@dataclass(frozen=True)
class SimulatedExample:
    """One picture of `vl-anomaly simulate images`."""

    item: LabelledImage

    @property
    def name(self) -> str:
        """Its number."""
        return f"{self.item.index:06d}"

    def image(self) -> ByteArray:
        """(H, W, 3) uint8 RGB."""
        return self.item.image

    def truth(self) -> Truth:
        """With the category of every anomaly."""
        item = self.item
        things = tuple(
            Thing(str(record["category"]), item.instances == record["instance"])
            for record in item.objects
            if not record["known"]
        )
        semantic = np.where(item.semantic == ANOMALY, UNCLASSED, item.semantic).astype(np.uint8)
        return Truth(item.label, semantic, things, item.hard)


class SimulatedSet:
    """The pictures of a folder that `vl-anomaly simulate images` wrote.

    Raises:
        EvaluationError: the folder is none.
    """

    def __init__(self, root: Path) -> None:
        self._images = ImageSet(root)
        classes = self._images.description.get("classes")
        if not isinstance(classes, list):
            raise EvaluationError(f"{root}: dataset.yaml: expected a list of classes, got none; make the set anew")
        self.classes = tuple(str(name) for name in classes)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Example]:
        return map(SimulatedExample, self._images)
