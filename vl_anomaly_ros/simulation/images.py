# SPDX-License-Identifier: Apache-2.0
"""Image data sets with class, instance and 3D truth. The same arguments give the same bytes."""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from vl_anomaly_ros.errors import SimulationError

from .catalogue import KNOWN_CLASSES, anomaly_categories
from .looks import LOOKS, draw_response, expose
from .mujoco_renderer import MujocoRenderer, load_mujoco
from .scene import ANOMALY_VALUE, VOID_VALUE
from .truth import footprint_distance_m, pixel_boxes, pose_in, size_of
from .views import View, place_things, random_view
from .world import make_scene

_LOG = logging.getLogger(__name__)

WORLD_VERSION = 2
"""Raised whenever the same seed gives another picture."""
_POOL = 14


@dataclass(frozen=True)
class ImageSettings:
    """What `generate_images` was asked for."""

    count: int
    seed: int
    anomalies: str = "none"
    anomaly_density: float = 2.0
    width_px: int = 512
    height_px: int = 256
    views_per_scene: int = 10

    def __post_init__(self) -> None:
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


def _scene_frames(job: tuple[Path, ImageSettings, int]) -> list[str]:
    """Render the views of scene number `index`; returns their lines of objects.jsonl."""
    out, settings, index = job
    cv2.setNumThreads(1)
    scene_seed = settings.seed * 100_003 + index
    categories = anomaly_categories(settings.anomalies)
    scene = make_scene(scene_seed, categories=categories, anomaly_count=_POOL if categories else 0)
    rng = np.random.default_rng([scene_seed, 0xF2A])
    first = index * settings.views_per_scene
    lines = []
    with MujocoRenderer(scene, settings.width_px, settings.height_px) as renderer:
        for frame in range(first, min(first + settings.views_per_scene, settings.count)):
            view = random_view(rng, scene, settings.width_px, settings.height_px)
            place_things(rng, scene, view, settings.anomaly_density)
            renderer.update()
            renderer.look_from(view.pose_world_base @ view.mounting.pose_base_camera(), view.intrinsics.fov_y_rad)
            colour = expose(renderer.colour(), scene.look, draw_response(rng), rng)
            semantic, instances = renderer.labels()
            for folder, image in (("images", colour), ("semantic", semantic), ("instances", instances)):
                write_png(out / folder / f"{frame:06d}.png", image)
            lines.append(json.dumps(_record(frame, renderer, view, instances)))
    return lines


def _record(frame: int, renderer: MujocoRenderer, view: View, instances: NDArray[np.uint16]) -> dict[str, Any]:
    scene = renderer.scene
    by_number = {thing.instance: thing for thing in scene.objects if thing.instance}
    camera = (view.pose_world_base @ view.mounting.pose_base_camera())[:3, 3]
    objects = []
    for number, (box, area) in pixel_boxes(instances).items():
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
    }  # fmt: skip


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
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write an image data set and return its `dataset.yaml`.

    Layout: `images/`, `semantic/` (uint8, index into KNOWN_CLASSES, 254 anomaly, 255 void), `instances/` (uint16,
    0 none), all `000000.png` and on; `objects.jsonl`, one line a frame: objects seen, poses in base_link.

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
        progress: called with pictures done and `count`.

    Raises:
        SimulationError: a setting is refused, or nothing can be drawn on this machine.
    """
    settings = ImageSettings(count, seed, anomalies, anomaly_density, width, height, views_per_scene)
    load_mujoco()
    for folder in ("images", "semantic", "instances"):
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
    things = Counter((thing["split"], thing["category"]) for frame in frames for thing in frame["objects"])
    return {
        "version": WORLD_VERSION,
        "settings": asdict(settings),
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
        "looks": {name: looks.get(name, 0) for name in LOOKS},
    }  # fmt: skip
