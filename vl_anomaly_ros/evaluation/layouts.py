# SPDX-License-Identifier: Apache-2.0
"""Where each benchmark keeps its pictures and labels, as it is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.score_maps import read_arrays
from vl_anomaly_ros.types import ByteArray
from vl_anomaly_ros.untrusted import plain, read_file

_PICTURES = (".jpg", ".png", ".webp")
_LIST_BYTES = 1 << 20


@dataclass(frozen=True)
class Pair:
    """A picture and its label.

    Attributes:
        name: unique in the data set.
        image, label: files.
        overlay: what is added to the picture, in `rgb` of an .npz; None for most.
    """

    name: str
    image: Path
    label: Path
    overlay: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that must be there."""
        return (self.image, self.label, *([] if self.overlay is None else [self.overlay]))


Layout = Callable[[Path], list[Pair]]


def road_anomaly(root: Path) -> list[Pair]:
    """`frame_list.json`, `frames/NAME.jpg` with `frames/NAME.labels/labels_semantic.png`."""
    frames, listing = root / "frames", root / "frame_list.json"
    if not listing.is_file():
        return []
    try:
        listed = json.loads(read_file(listing, _LIST_BYTES, EvaluationError))
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{plain(str(listing))}: expected JSON, got: {error}; fetch it anew") from error
    if not isinstance(listed, list) or not all(isinstance(name, str) and "/" not in name for name in listed):
        raise EvaluationError(f"{plain(str(listing))}: expected a list of file names; fetch it anew")
    return [Pair(Path(n).stem, frames / n, frames / f"{Path(n).stem}.labels" / "labels_semantic.png") for n in listed]


def segment_me(root: Path) -> list[Pair]:
    """`images/NAME.*` with `labels_masks/NAME_labels_semantic.png`; the test pictures have no public label."""
    pairs = []
    for image in _pictures(root / "images"):
        label = root / "labels_masks" / f"{image.stem}_labels_semantic.png"
        if label.is_file():
            pairs.append(Pair(image.stem, image, label))
    return pairs


def fishyscapes_lost_and_found(root: Path) -> list[Pair]:
    """`fishyscapes_lostandfound/NUMBER_FRAME_labels.png` with `leftImg8bit/*/SCENE/FRAME_leftImg8bit.png`."""
    images = _by_frame(root)
    labels = _files(root / "fishyscapes_lostandfound", "*_labels.png")
    return [Pair(_frame(label), images.get(_frame(label), _absent(root, _frame(label))), label) for label in labels]


def fishyscapes_static(root: Path) -> list[Pair]:
    """`fs_val_v*/NUMBER_FRAME_labels.png` and `_rgb.npz`, with Cityscapes' `leftImg8bit/val/CITY/FRAME_*.png`."""
    images = _by_frame(root)
    folders = sorted(root.glob("fs_val_v[0-9]*")) or [root]
    return [
        Pair(
            _frame(label),
            images.get(_frame(label), _absent(root, _frame(label))),
            label,
            label.with_name(label.name.removesuffix("_labels.png") + "_rgb.npz"),
        )
        for label in _files(folders[-1], "*_labels.png")
    ]


def lost_and_found(root: Path) -> list[Pair]:
    """`leftImg8bit/test/SCENE/FRAME_leftImg8bit.png` with `gtCoarse/test/SCENE/FRAME_gtCoarse_labelIds.png`."""
    return _cityscapes_like(root, "test", "gtCoarse")


def lost_and_found_no_known(root: Path) -> list[Pair]:
    """As `lost_and_found`, without the scenes whose obstacles are children or bicycles, as SegmentMeIfYouCan does."""
    return [pair for pair in lost_and_found(root) if not pair.name.startswith(_KNOWN_OBSTACLES)]


_KNOWN_OBSTACLES = (
    "15_Rechbergstr_Deckenpfronn",
    "01_Hanns_Klemm_Str_45_000006",
    "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)


def cityscapes(root: Path) -> list[Pair]:
    """`leftImg8bit/val/CITY/FRAME_leftImg8bit.png` with `gtFine/val/CITY/FRAME_gtFine_labelIds.png`."""
    return _cityscapes_like(root, "val", "gtFine")


def bdd_anomaly(root: Path) -> list[Pair]:
    """`seg/{images,labels}/{train,val}`, NAME.jpg with NAME_train_id.png; or as BDD100K is published today."""
    if (root / "labels" / "sem_seg").is_dir():
        images, labels, ending = root / "images" / "10k", root / "labels" / "sem_seg" / "masks", ".png"
    else:
        images, labels, ending = root / "seg" / "images", root / "seg" / "labels", "_train_id.png"
    return [
        Pair(image.stem, image, labels / split / f"{image.stem}{ending}")
        for split in ("train", "val")
        for image in _pictures(images / split)
    ]


def street_hazards(root: Path) -> list[Pair]:
    """`test/images/test/TOWN/NAME.png` with `test/annotations/test/TOWN/NAME.png`."""
    images, labels = (root / "test" / kind / "test" for kind in ("images", "annotations"))
    towns = sorted(path for path in images.glob("*") if path.is_dir())
    return [Pair(f"{t.name}_{i.stem}", i, labels / t.name / f"{i.stem}.png") for t in towns for i in _pictures(t)]


def overlaid(image: ByteArray, overlay: Path) -> ByteArray:
    """A picture of Fishyscapes Static: Cityscapes' plus the overlay, clipped to 0..255, as its authors do.

    Raises:
        EvaluationError: the overlay is no such file, or of another shape.
    """
    added = read_arrays(overlay, ("rgb",))["rgb"]
    if added.shape != image.shape or added.dtype.kind not in "iu":
        what = plain(str(overlay))
        raise EvaluationError(f"{what}: rgb: expected {image.shape} whole numbers, got {added.shape} {added.dtype}")
    return np.clip(image.astype(np.int64) + added.astype(np.int64), 0, 255).astype(np.uint8)


def _cityscapes_like(root: Path, split: str, truth: str) -> list[Pair]:
    pairs = []
    for image in _files(root / "leftImg8bit" / split, "*/*_leftImg8bit.png"):
        frame = image.name.removesuffix("_leftImg8bit.png")
        pairs.append(Pair(frame, image, root / truth / split / image.parent.name / f"{frame}_{truth}_labelIds.png"))
    return pairs


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in _files(folder, "*") if path.suffix in _PICTURES)


def _by_frame(root: Path) -> dict[str, Path]:
    """Pictures by their frame, of whatever split."""
    return {path.name.removesuffix("_leftImg8bit.png"): path for path in _files(root, "leftImg8bit/*/*/*.png")}


def _frame(label: Path) -> str:
    """The frame of a Fishyscapes label.

    >>> _frame(Path("0000_04_Maurener_Weg_8_000000_000030_labels.png"))
    '04_Maurener_Weg_8_000000_000030'
    """
    return label.name.removesuffix("_labels.png").partition("_")[2]


def _absent(root: Path, frame: str) -> Path:
    """Where a picture was looked for."""
    return root / "leftImg8bit" / "*" / "*" / f"{frame}_leftImg8bit.png"
