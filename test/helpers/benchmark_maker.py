# SPDX-License-Identifier: Apache-2.0
"""Made-up data sets in the layouts of the published benchmarks, with the colours that the tiny bundle sees.

Every picture is sky over road, with a red dog. `label_values` says what the label holds at each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tiny_bundle import BLUE, GREY, RED

SIZE = (48, 80)
SKY = (slice(0, 20), slice(0, 80))
DOG = (slice(26, 42), slice(30, 54))
BORDER = (slice(44, 48), slice(0, 80))


def picture(seed: int = 0, *, dog: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    made = np.full((*SIZE, 3), GREY, np.int64)
    made[SKY] = BLUE
    if dog:
        made[DOG] = RED
    noise = np.random.default_rng(seed).integers(-3, 4, made.shape)
    return np.asarray(np.clip(made + noise, 0, 255), np.uint8)


def labels(road: int, sky: int, dog: int, void: int) -> np.ndarray:
    """(H, W) uint8 with the values of a convention."""
    made = np.full(SIZE, road, np.uint8)
    made[SKY], made[DOG], made[BORDER] = sky, dog, void
    return made


def write(path: Path, image: np.ndarray) -> None:
    """A picture, RGB or grey; the ending says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image):
        raise OSError(path)


def road_anomaly(root: Path) -> None:
    names = ["animals01_dog.jpg", "obstacles02.jpg"]
    for seed, name in enumerate(names):
        write(root / "frames" / name, picture(seed))
        write(root / "frames" / f"{Path(name).stem}.labels" / "labels_semantic.png", labels(1, 0, 2, 255))
    (root / "frame_list.json").write_text(json.dumps(names))


def _segment_me(root: Path, ending: str, names: list[str]) -> None:
    for seed, name in enumerate(names):
        write(root / "images" / f"{name}.{ending}", picture(seed))
        write(root / "labels_masks" / f"{name}_labels_semantic.png", labels(0, 0, 1, 255))
        write(root / "labels_masks" / f"{name}_labels_semantic_color.png", picture(seed))
    write(root / "images" / f"airplane0000.{ending}", picture())  # of the test, without a public label


def road_anomaly_21(root: Path) -> None:
    _segment_me(root, "jpg", ["validation0000", "validation0001"])


def road_obstacle_21(root: Path) -> None:
    _segment_me(root, "webp", ["validation_1", "validation_2"])


FRAMES = ["04_Maurener_Weg_8_000000_000030", "15_Rechbergstr_Deckenpfronn_000001_000020"]


def fishyscapes_lost_and_found(root: Path) -> None:
    for seed, frame in enumerate(FRAMES):
        split, scene = ("train", "test")[seed], "_".join(frame.split("_")[:-2])
        write(root / "leftImg8bit" / split / scene / f"{frame}_leftImg8bit.png", picture(seed))
        write(root / "fishyscapes_lostandfound" / f"{seed:04d}_{frame}_labels.png", labels(0, 0, 1, 255))


def fishyscapes_static(root: Path) -> None:
    for seed, frame in enumerate(["frankfurt_000000_000294", "munster_000001_000019"]):
        normal, whole = picture(seed, dog=False), picture(seed)
        write(root / "leftImg8bit" / "val" / frame.split("_")[0] / f"{frame}_leftImg8bit.png", normal)
        start = root / "fs_val_v3" / f"{seed:04d}_{frame}"
        write(start.with_name(start.name + "_labels.png"), labels(0, 0, 1, 255))
        np.savez(start.with_name(start.name + "_rgb.npz"), rgb=whole.astype(np.int64) - normal)


def lost_and_found(root: Path) -> None:
    for seed, frame in enumerate(FRAMES):
        scene = "_".join(frame.split("_")[:-2])
        write(root / "leftImg8bit" / "test" / scene / f"{frame}_leftImg8bit.png", picture(seed))
        write(root / "gtCoarse" / "test" / scene / f"{frame}_gtCoarse_labelIds.png", labels(1, 0, 7 + 20 * seed, 0))


def cityscapes(root: Path) -> None:
    for seed, frame in enumerate(["frankfurt_000000_000294", "munster_000001_000019"]):
        city = frame.split("_")[0]
        write(root / "leftImg8bit" / "val" / city / f"{frame}_leftImg8bit.png", picture(seed, dog=False))
        # 7 road, 23 sky, 26 car, 1 ego vehicle
        write(root / "gtFine" / "val" / city / f"{frame}_gtFine_labelIds.png", labels(7, 23, 26, 1))


def bdd_anomaly(root: Path) -> None:
    for split, name, dog in (("train", "0a", 17), ("train", "0b", 13), ("val", "0c", 18)):
        write(root / "seg" / "images" / split / f"{name}.jpg", picture())
        # 0 road, 10 sky; 17 motorcycle, 18 bicycle, 13 car: the second picture shows no anomaly
        write(root / "seg" / "labels" / split / f"{name}_train_id.png", labels(0, 10, dog, 255))


def bdd_anomaly_today(root: Path) -> None:
    for split, name, dog in (("train", "0a", 17), ("train", "0b", 13), ("val", "0c", 18)):
        write(root / "images" / "10k" / split / f"{name}.jpg", picture())
        write(root / "labels" / "sem_seg" / "masks" / split / f"{name}.png", labels(0, 10, dog, 255))


def street_hazards(root: Path) -> None:
    for seed, town in enumerate(["t5", "t6"]):
        write(root / "test" / "images" / "test" / town / "300.png", picture(seed))
        # 8 road, 1 unlabelled, 14 anomaly
        write(root / "test" / "annotations" / "test" / town / "300.png", labels(8, 1, 14, 0))


MAKERS: dict[str, Callable[[Path], None]] = {
    "road-anomaly": road_anomaly,
    "road-anomaly-21": road_anomaly_21,
    "road-obstacle-21": road_obstacle_21,
    "fishyscapes-lost-and-found": fishyscapes_lost_and_found,
    "fishyscapes-static": fishyscapes_static,
    "lost-and-found": lost_and_found,
    "lost-and-found-no-known": lost_and_found,
    "cityscapes": cityscapes,
    "bdd-anomaly": bdd_anomaly,
    "street-hazards": street_hazards,
}
