# SPDX-License-Identifier: Apache-2.0
"""Image data sets with class, instance and 3D truth. The same arguments give the same bytes."""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from vl_anomaly_ros.errors import SimulationError

from .catalogue import KNOWN_CLASSES, anomaly_categories
from .ground import HARD_KINDS
from .hard_looks import HARD_LOOKS
from .hard_view import HardCamera
from .hard_world import make_hard_scene
from .looks import LOOKS, draw_response, expose
from .mujoco_renderer import MujocoRenderer, load_mujoco
from .places import HARD_STYLES, STYLES
from .scene import ANOMALY_VALUE, VOID_VALUE, Scene
from .truth import footprint_distance_m, pixel_boxes, pose_in, size_of
from .views import View, place_things, random_view
from .world import make_scene

_LOG = logging.getLogger(__name__)

WORLD_VERSIONS: dict[str, int] = {"standard": 2, "hard": 1}
"""Raised whenever the same seed gives another picture in that world."""
WORLD_LOOKS: dict[str, tuple[str, ...]] = {"standard": LOOKS, "hard": HARD_LOOKS}
WORLD_STYLES: dict[str, tuple[str, ...]] = {"standard": STYLES, "hard": HARD_STYLES}
_POOL = 14


@dataclass(frozen=True)
class ImageSettings:
    """What `generate_images` was asked for; no looks or styles stand for all of the world's."""

    count: int
    seed: int
    anomalies: str = "none"
    anomaly_density: float = 2.0
    width_px: int = 512
    height_px: int = 256
    views_per_scene: int = 10
    world: str = "standard"
    looks: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.world not in WORLD_VERSIONS:
            raise SimulationError(f"world: expected standard or hard, got {self.world!r}")
        for name, known in (("looks", WORLD_LOOKS[self.world]), ("styles", WORLD_STYLES[self.world])):
            for value in getattr(self, name):
                if value not in known:
                    raise SimulationError(
                        f"{name}: expected some of {', '.join(known)} in the {self.world} world, got {value!r}"
                    )
        if self.anomalies not in ("none", "seen", "unseen", "all"):
            raise SimulationError(f"anomalies: expected none, seen, unseen or all, got {self.anomalies!r}")
        for name in ("count", "width_px", "height_px", "views_per_scene"):
            if getattr(self, name) < 1:
                raise SimulationError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.seed < 0 or self.anomaly_density < 0:
            raise SimulationError("seed and anomaly_density: expected numbers that are not negative")


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write an image; colour pictures are RGB."""
    picture = image[..., ::-1] if image.ndim == 3 else image
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise SimulationError(f"could not encode {path.name}: shape {image.shape}, {image.dtype}")
    path.write_bytes(data.tobytes())


def _scene(settings: ImageSettings, scene_seed: int) -> Scene:
    categories = anomaly_categories(settings.anomalies)
    rng = np.random.default_rng([scene_seed, 0xC0D])
    look, style = (str(rng.choice(names)) if names else None for names in (settings.looks, settings.styles))
    make = make_hard_scene if settings.world == "hard" else make_scene
    return make(scene_seed, categories=categories, anomaly_count=_POOL if categories else 0, look=look, style=style)


def _scene_frames(job: tuple[Path, ImageSettings, int]) -> list[str]:
    """Render the views of scene number `index`; returns their lines of objects.jsonl."""
    out, settings, index = job
    cv2.setNumThreads(1)
    scene_seed = settings.seed * 100_003 + index
    scene = _scene(settings, scene_seed)
    rng = np.random.default_rng([scene_seed, 0xF2A])
    first = index * settings.views_per_scene
    lines = []
    hard = settings.world == "hard"
    with MujocoRenderer(scene, settings.width_px, settings.height_px) as renderer:
        camera = HardCamera(renderer) if hard else None
        for frame in range(first, min(first + settings.views_per_scene, settings.count)):
            view = random_view(rng, scene, settings.width_px, settings.height_px)
            place_things(rng, scene, view, settings.anomaly_density, hard=hard)
            renderer.update()
            renderer.look_from(view.pose_world_base @ view.mounting.pose_base_camera(), view.intrinsics.fov_y_rad)
            response = draw_response(rng)
            pictures: dict[str, NDArray[Any]] = {}
            if camera is None:
                pictures["images"] = expose(renderer.colour(), scene.look, response, rng)
                pictures["semantic"], pictures["instances"] = renderer.labels()
            else:
                taken = camera.take(view, rng)
                pictures |= {"images": expose(taken.colour, scene.look, response, rng), "semantic": taken.semantic,
                            "instances": taken.instances, "hard": taken.hard}  # fmt: skip
            for folder, image in pictures.items():
                write_png(out / folder / f"{frame:06d}.png", image)
            lines.append(json.dumps(_record(frame, renderer, view, pictures)))
    return lines


def _record(frame: int, renderer: MujocoRenderer, view: View, pictures: dict[str, NDArray[Any]]) -> dict[str, Any]:
    scene = renderer.scene
    by_number = {thing.instance: thing for thing in scene.objects if thing.instance}
    camera = (view.pose_world_base @ view.mounting.pose_base_camera())[:3, 3]
    objects = []
    for number, (box, area) in pixel_boxes(pictures["instances"]).items():
        thing = by_number[number]
        pose = pose_in(thing, view.pose_world_base)
        objects.append(
            {"instance": number, "category": thing.name, "variant": thing.variant, "known": thing.split == "known",
             "split": thing.split, "bbox": box, "area_px": area,
             "distance_m": round(footprint_distance_m(thing, camera), 3), "center_m": pose["center_m"],
             "size_m": size_of(thing), "yaw_rad": pose["yaw_rad"], "velocity_mps": pose["velocity_mps"]}
        )  # fmt: skip
    return {
        "frame": frame, "scene_seed": scene.seed, "look": scene.look.name, "style": scene.style,
        "camera": {"K": [round(float(v), 4) for v in view.intrinsics.matrix.ravel()],
                   "height_m": round(view.mounting.up_m, 4), "pitch_rad": round(view.mounting.pitch_rad, 5)},
        "objects": objects,
        **({"hard_px": _hard_counts(pictures["hard"])} if "hard" in pictures else {}),
    }  # fmt: skip


def _hard_counts(hard: NDArray[np.uint8]) -> dict[str, int]:
    counts = np.bincount(hard.ravel(), minlength=len(HARD_KINDS))
    return {name: int(count) for name, count in zip(HARD_KINDS, counts, strict=True) if count and name != "none"}


def generate_images(
    out: Path,
    *,
    count: int,
    seed: int,
    anomalies: str = "none",
    anomaly_density: float = 2.0,
    width: int = 512,
    height: int = 256,
    views_per_scene: int = 10,
    workers: int = 1,
    world: str = "standard",
    looks: Sequence[str] = (),
    styles: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write an image data set and return its `dataset.yaml`.

    Layout: `images/`, `semantic/` (uint8, index into KNOWN_CLASSES, 254 anomaly, 255 void), `instances/` (uint16,
    0 none), all `000000.png` and on; `objects.jsonl`, one line a frame: objects seen, poses in base_link. The
    hard world also has `hard/` (uint8, index into HARD_KINDS): where a normal thing lies that is easily taken for an
    anomaly; `semantic/` holds the known class there as ever.

    Args:
        out: folder to make; files in it are overwritten.
        count: number of pictures.
        seed: the data set's seed; another seed shares no scene.
        anomalies: "none", "seen", "unseen" or "all".
        anomaly_density: mean number of anomalies put into a picture.
        width: of the pictures, pixels.
        height: of the pictures, pixels.
        views_per_scene: pictures taken of one scene, each with things placed anew.
        workers: processes; the result does not depend on it.
        world: "standard" or "hard".
        looks: light and weather to draw from; none for all of the world's.
        styles: surroundings to draw from; none for all of the world's.
        progress: called with pictures done and `count`.

    Raises:
        SimulationError: a setting is refused, or nothing can be drawn on this machine.
    """
    settings = ImageSettings(count, seed, anomalies, anomaly_density, width, height, views_per_scene, world,
                             tuple(looks), tuple(styles))  # fmt: skip
    load_mujoco()
    for folder in ("images", "semantic", "instances", *(["hard"] if world == "hard" else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(out, settings, index) for index in range(-(-count // views_per_scene))]
    lines: list[str] = []

    def collect(results: Any) -> None:
        for result in results:
            lines.extend(result)
            if progress is not None:
                progress(len(lines), count)

    if workers > 1:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            collect(pool.imap(_scene_frames, jobs))
    else:
        collect(map(_scene_frames, jobs))
    (out / "objects.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    path = out / "dataset.yaml"
    path.write_text(yaml.safe_dump(_summary(settings, lines), sort_keys=False), encoding="utf-8")
    _LOG.info("wrote %d pictures to %s", len(lines), out)
    return path


def _summary(settings: ImageSettings, lines: list[str]) -> dict[str, Any]:
    frames = [json.loads(line) for line in lines]
    looks = Counter(frame["look"] for frame in frames)
    styles = Counter(frame["style"] for frame in frames)
    things = Counter((thing["split"], thing["category"]) for frame in frames for thing in frame["objects"])
    return {
        "version": WORLD_VERSIONS[settings.world],
        "world": settings.world,
        "settings": {**asdict(settings), "looks": list(settings.looks), "styles": list(settings.styles)},
        "intrinsics": "pinhole without distortion; K of each frame is in objects.jsonl",
        "classes": list(KNOWN_CLASSES),
        "anomaly_value": ANOMALY_VALUE,
        "void_value": VOID_VALUE,
        "splits": {split: [row.name for row in anomaly_categories(split)] for split in ("seen", "unseen")},
        "counts": {
            "frames": len(frames),
            "objects": {split: {name: n for (s, name), n in sorted(things.items()) if s == split}
                        for split in ("known", "seen", "unseen")},
        },
        "looks": {name: looks.get(name, 0) for name in WORLD_LOOKS[settings.world]},
        "styles": {name: styles.get(name, 0) for name in WORLD_STYLES[settings.world]},
        **({"hard_kinds": list(HARD_KINDS)} if settings.world == "hard" else {}),
    }  # fmt: skip
