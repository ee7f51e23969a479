# SPDX-License-Identifier: Apache-2.0
"""The published benchmarks, each by its name: layout, convention, and how its pictures and truth are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation import conventions, layouts
from vl_anomaly_ros.evaluation.conventions import Convention
from vl_anomaly_ros.evaluation.examples import Thing, Truth
from vl_anomaly_ros.evaluation.layouts import Layout, Pair, overlaid
from vl_anomaly_ros.types import ByteArray
from vl_anomaly_ros.untrusted import plain


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        name: as papers call it.
        folder: its root may be given itself, or the folder that this one lies in.
        expected: what the root holds, for people.
        layout: finds its pictures.
        convention: of its labels.
        only_anomalous: pictures without an anomaly do not belong to it.
    """

    name: str
    folder: str
    expected: str
    layout: Layout
    convention: Convention
    only_anomalous: bool = False


_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # as the labels were drawn
_FISHYSCAPES_FRAMES = "leftImg8bit/*/*/FRAME_leftImg8bit.png"
BENCHMARKS = {
    "road-anomaly": Benchmark(
        "RoadAnomaly", "RoadAnomaly_jpg", "frame_list.json, frames/NAME.jpg, frames/NAME.labels/labels_semantic.png",
        layouts.road_anomaly, conventions.ROAD_ANOMALY,
    ),
    "road-anomaly-21": Benchmark(
        "SegmentMeIfYouCan RoadAnomaly21", "dataset_AnomalyTrack",
        "images/NAME.jpg, labels_masks/NAME_labels_semantic.png", layouts.segment_me, conventions.SEGMENT_ME,
    ),
    "road-obstacle-21": Benchmark(
        "SegmentMeIfYouCan RoadObstacle21", "dataset_ObstacleTrack",
        "images/NAME.webp, labels_masks/NAME_labels_semantic.png", layouts.segment_me, conventions.SEGMENT_ME,
    ),
    "fishyscapes-lost-and-found": Benchmark(
        "Fishyscapes Lost & Found", "fishyscapes",
        f"fishyscapes_lostandfound/NUMBER_FRAME_labels.png, and of Lost and Found {_FISHYSCAPES_FRAMES}",
        layouts.fishyscapes_lost_and_found, conventions.SEGMENT_ME,
    ),
    "fishyscapes-static": Benchmark(
        "Fishyscapes Static", "fishyscapes",
        f"fs_val_v3/NUMBER_FRAME_labels.png and ..._rgb.npz, and of Cityscapes {_FISHYSCAPES_FRAMES}",
        layouts.fishyscapes_static, conventions.SEGMENT_ME,
    ),
    "lost-and-found": Benchmark(
        "Lost and Found (test)", "dataset_LostAndFound",
        "leftImg8bit/test/SCENE/FRAME_leftImg8bit.png, gtCoarse/test/SCENE/FRAME_gtCoarse_labelIds.png",
        layouts.lost_and_found, conventions.LOST_AND_FOUND,
    ),
    "lost-and-found-no-known": Benchmark(
        "Lost and Found (test) without children and bicycles", "dataset_LostAndFound",
        "leftImg8bit/test/SCENE/FRAME_leftImg8bit.png, gtCoarse/test/SCENE/FRAME_gtCoarse_labelIds.png",
        layouts.lost_and_found_no_known, conventions.LOST_AND_FOUND,
    ),
    "cityscapes": Benchmark(
        "Cityscapes (val)", "cityscapes",
        "leftImg8bit/val/CITY/FRAME_leftImg8bit.png, gtFine/val/CITY/FRAME_gtFine_labelIds.png",
        layouts.cityscapes, conventions.CITYSCAPES,
    ),
    "bdd-anomaly": Benchmark(
        "BDD-Anomaly", "bdd100k",
        "seg/images/{train,val}/NAME.jpg and seg/labels/{train,val}/NAME_train_id.png, or "
        "images/10k/{train,val}/NAME.jpg and labels/sem_seg/masks/{train,val}/NAME.png",
        layouts.bdd_anomaly, conventions.BDD_ANOMALY, only_anomalous=True,
    ),
    "street-hazards": Benchmark(
        "StreetHazards (test)", "streethazards",
        "test/images/test/TOWN/NAME.png, test/annotations/test/TOWN/NAME.png",
        layouts.street_hazards, conventions.STREET_HAZARDS,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class BenchmarkExample:
    """One picture of a benchmark; read when it is asked for."""

    pair: Pair
    convention: Convention

    @property
    def name(self) -> str:
        """Of the picture, unique in the benchmark."""
        return self.pair.name

    def image(self) -> ByteArray:
        """(H, W, 3) uint8 RGB.

        Raises:
            EvaluationError: a file is absent or damaged.
        """
        image = np.ascontiguousarray(_read(self.pair.image, _AS_STORED)[..., ::-1])
        return image if self.pair.overlay is None else overlaid(image, self.pair.overlay)

    def truth(self) -> Truth:
        """What the labels say.

        Raises:
            EvaluationError: the file is absent, damaged, or of another convention.
        """
        values = self.values()
        convention = self.convention
        try:
            label = convention.label(values)
        except EvaluationError as error:
            raise EvaluationError(f"{plain(str(self.pair.label))}: {error}") from error
        named = [(value, name) for value, name in convention.anomaly.items() if name]
        return Truth(
            label=label,
            semantic=convention.semantic(values) if convention.classes else None,
            things=tuple(thing for value, name in named for thing in _things(name, values == value)),
        )

    def values(self) -> ByteArray:
        """(H, W) uint8 as in the file."""
        values = _read(self.pair.label, cv2.IMREAD_UNCHANGED)
        if values.ndim == 3 and (values[..., 1:3] == values[..., :1]).all():
            values = values[..., 0]  # grey, written as colour
        if values.ndim != 2 or values.dtype != np.uint8:
            raise EvaluationError(
                f"{plain(str(self.pair.label))}: expected a grey picture of 8 bits, got {values.shape} {values.dtype}; "
                "use the label pictures as published, not the coloured ones"
            )
        return np.ascontiguousarray(values)


class BenchmarkSet:
    """The pictures of a benchmark that have labels.

    Args:
        benchmark: one of `BENCHMARKS`.
        root: its folder.

    Raises:
        EvaluationError: the folder is not laid out like it.
    """

    def __init__(self, benchmark: Benchmark, root: Path) -> None:
        self.classes = benchmark.convention.classes
        inner = root / benchmark.folder
        pairs = benchmark.layout(inner if inner.is_dir() else root)
        if not pairs:
            raise EvaluationError(
                f"{plain(str(root))}: expected {benchmark.name} as published: {benchmark.expected}; found no such "
                "picture; name the folder that holds these"
            )
        missing = [path for pair in pairs for path in pair.files if not path.is_file()]
        if missing:
            raise EvaluationError(
                f"{plain(str(root))}: expected {benchmark.name} as published: {benchmark.expected}; "
                f"{plain(str(missing[0].relative_to(root)))} is absent, {len(missing)} in all; fetch them"
            )
        self._examples = [BenchmarkExample(pair, benchmark.convention) for pair in pairs]
        if benchmark.only_anomalous:
            self._examples = [one for one in self._examples if np.isin(one.values(), [*one.convention.anomaly]).any()]
            if not self._examples:
                raise EvaluationError(f"{plain(str(root))}: expected {benchmark.name}: no picture shows an anomaly")

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[BenchmarkExample]:
        return iter(self._examples)


def _things(name: str, mask: ByteArray) -> Iterator[Thing]:
    """Each 8-connected area of a mask is a thing."""
    count, ids = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return (Thing(name, np.asarray(ids == number)) for number in range(1, count))


def _read(path: Path, mode: int) -> ByteArray:
    try:
        picture = cv2.imread(str(path), mode)
    except cv2.error:
        picture = None
    if picture is None:
        raise EvaluationError(f"{plain(str(path))}: expected a picture, it is absent or damaged; fetch it anew")
    return np.asarray(picture)
