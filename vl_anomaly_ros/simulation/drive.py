# SPDX-License-Identifier: Apache-2.0
"""A simulated drive: a ROS 2 bag with camera, LiDAR, TF and odometry, and the truth beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vl_anomaly_ros.errors import SimulationError

from .bag import BagWriter
from .camera import Intrinsics, Mounting
from .images import write_png
from .lidar import LidarModel, sweep
from .looks import Response, draw_response, expose
from .motion import apply
from .mujoco_renderer import MujocoRenderer, load_mujoco
from .scenario import Scenario, make_scenario
from .scene import FloatArray, SceneObject
from .truth import footprint_distance_m, pixel_boxes, pose_in, size_of

_LOG = logging.getLogger(__name__)

START_NS = 1_700_000_000_000_000_000
"""Stamp of the first odometry message: a fixed moment, so that the same seed gives the same bytes."""
_TRUTH_CLASSES = ("car", "truck", "person", "cyclist")
_ODOM_HZ = 50.0
_LATENCY_NS = {"camera": 35_000_000, "lidar": 25_000_000, "odom": 1_000_000}


@dataclass(frozen=True)
class DriveSettings:
    """What `generate_drive` makes.

    Attributes:
        seed: scene, cast, noise.
        duration_s: from the first to the last picture.
        rate_hz, lidar_rate_hz: camera and LiDAR; they are not in step.
        lidar_beams, azimuth_steps, lidar_window_deg, lidar_step_m: see `LidarModel`; the window is the whole angle.
        image_size: width, height, pixels; `fov_x_deg` wide.
        jpeg_quality: 1 to 100; `raw_images` writes sensor_msgs/Image instead.
        anomalies, anomaly_count: split of the catalogue, and how many along the way.
        look, style: fixed, or drawn from the seed when None.
        write_truth_masks: also write truth/ pictures, and the instance of each LiDAR point.
    """

    seed: int
    duration_s: float = 12.0
    rate_hz: float = 5.0
    lidar_rate_hz: float = 10.0
    lidar_beams: int = 32
    azimuth_steps: int = 1200
    lidar_window_deg: float = 360.0
    lidar_step_m: float = 1 / 512
    image_size: tuple[int, int] = (1024, 512)
    fov_x_deg: float = 80.0
    jpeg_quality: int = 90
    raw_images: bool = False
    anomalies: str = "seen"
    anomaly_count: int = 7
    look: str | None = None
    style: str | None = None
    write_truth_masks: bool = False

    def __post_init__(self) -> None:
        for name in ("duration_s", "rate_hz", "lidar_rate_hz", "lidar_beams", "azimuth_steps", "lidar_step_m"):
            if not getattr(self, name) > 0:
                raise SimulationError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not 1 <= self.jpeg_quality <= 100:
            raise SimulationError(f"jpeg_quality: expected 1 to 100, got {self.jpeg_quality}")
        if self.anomalies not in ("none", "seen", "unseen", "all"):
            raise SimulationError(f"anomalies: expected none, seen, unseen or all, got {self.anomalies!r}")

    def lidar(self) -> LidarModel:
        """The LiDAR these settings describe."""
        window = float(np.radians(self.lidar_window_deg) / 2)
        return LidarModel(self.lidar_beams, self.azimuth_steps, window, step_m=self.lidar_step_m)

    def intrinsics(self) -> Intrinsics:
        """The camera these settings describe."""
        return Intrinsics(*self.image_size, float(np.radians(self.fov_x_deg)))


def demo_settings() -> DriveSettings:
    """The drive of the demo: 12 s, several anomalies, at most 12 MB."""
    return DriveSettings(
        seed=10, lidar_rate_hz=5.0, azimuth_steps=1080, lidar_window_deg=120.0, lidar_step_m=1 / 256, jpeg_quality=82,
        look="noon", style="urban", anomaly_count=8,
    )  # fmt: skip


CAMERA_MOUNTING = Mounting(forward_m=1.2, up_m=1.5, pitch_rad=0.03)
LIDAR_POSE_BASE = np.array([[1.0, 0, 0, 0.9], [0, 1, 0, 0.0], [0, 0, 1, 1.8], [0, 0, 0, 1]])


@dataclass
class _Recording:
    """State of one drive while it is written."""

    settings: DriveSettings
    scenario: Scenario
    renderer: MujocoRenderer
    response: Response
    rng: np.random.Generator
    out: Path
    truth: list[dict[str, Any]] = field(default_factory=list)
    clouds: dict[int, dict[int, int]] = field(default_factory=dict)

    def move_to(self, time_s: float) -> FloatArray:
        """Put everything where it is at `time_s`; returns T_world_base."""
        for thing, track in self.scenario.tracks:
            apply(self.scenario.scene, thing, track, time_s)
        self.renderer.update()
        return self.scenario.ego.pose(self.scenario.scene, time_s)


def _events(settings: DriveSettings, rng: np.random.Generator) -> list[tuple[int, int, str]]:
    """(log time, stamp, sensor) in the order of the log, nanoseconds."""
    events = []
    for sensor, rate, first, jitter_s, span in (
        ("odom", _ODOM_HZ, 0.0, 0.0, settings.duration_s + 0.4),
        ("camera", settings.rate_hz, 0.25, 4e-4, settings.duration_s),
        ("lidar", settings.lidar_rate_hz, 0.212, 5e-4, settings.duration_s),
    ):
        times = first + np.arange(round(span * rate)) / rate
        times = times + (np.clip(rng.normal(0, jitter_s, len(times)), -3 * jitter_s, 3 * jitter_s) if jitter_s else 0.0)
        events += [(START_NS + round(t * 1e9) + _LATENCY_NS[sensor], START_NS + round(t * 1e9), sensor) for t in times]
    return sorted(events)


def generate_drive(out: Path, settings: DriveSettings, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the drive into the new folder `out` and return its `truth.jsonl`.

    The folder is a ROS 2 bag: /camera/image_raw[/compressed], /camera/camera_info, /lidar/points, /tf (odom to
    base_link), /tf_static (base_link to camera_front_optical and lidar_top), /odom. `truth.jsonl` has one line per
    picture: its stamp and the anomalies and road users seen in it; poses in `odom`, and again in `base_link` at that
    stamp.

    Args:
        out: folder to make.
        settings: what to simulate.
        progress: called with messages written and their number.

    Raises:
        SimulationError: `out` exists, nothing can be drawn, or the cast finds no room on the road.
    """
    load_mujoco()
    rng = np.random.default_rng([settings.seed, 0xBA6])
    scenario = make_scenario(
        settings.seed,
        settings.duration_s + 0.5,
        anomalies=settings.anomalies,
        anomaly_count=settings.anomaly_count,
        look=settings.look,
        style=settings.style,
    )
    events = _events(settings, rng)
    with MujocoRenderer(scenario.scene, *settings.image_size) as renderer:
        recording = _Recording(settings, scenario, renderer, draw_response(rng), rng, out)
        with BagWriter(out, raw_images=settings.raw_images) as bag:
            bag.static_transforms(
                START_NS, START_NS,
                {"camera_front_optical": CAMERA_MOUNTING.pose_base_camera(), "lidar_top": LIDAR_POSE_BASE},
            )  # fmt: skip
            for done, (log_ns, stamp_ns, sensor) in enumerate(events, 1):
                _WRITERS[sensor](recording, bag, log_ns, stamp_ns)
                if progress is not None:
                    progress(done, len(events))
    path = out / "truth.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in _with_lidar_counts(recording)), encoding="utf-8")
    _LOG.info("wrote %d messages and %d truth lines to %s", len(events) + 1, len(recording.truth), out)
    return path


def _time_s(stamp_ns: int) -> float:
    return (stamp_ns - START_NS) * 1e-9


def _write_odometry(recording: _Recording, bag: BagWriter, log_ns: int, stamp_ns: int) -> None:
    scene, ego, time = recording.scenario.scene, recording.scenario.ego, _time_s(stamp_ns)
    pose = np.linalg.inv(ego.pose(scene, 0.0)) @ ego.pose(scene, time)
    before, after = ego.pose(scene, time - 0.02), ego.pose(scene, time + 0.02)
    turn = before[:3, :3].T @ after[:3, :3]
    yaw_rate = float(np.arctan2(turn[1, 0], turn[0, 0]) / 0.04)
    bag.odometry(log_ns, stamp_ns, pose, float(np.hypot(*ego.velocity_mps(scene, time)[:2])), yaw_rate)


def _write_cloud(recording: _Recording, bag: BagWriter, log_ns: int, stamp_ns: int) -> None:
    pose = recording.move_to(_time_s(stamp_ns)) @ LIDAR_POSE_BASE
    points = sweep(recording.renderer, recording.settings.lidar(), pose, recording.rng)
    bag.cloud(log_ns, stamp_ns, points)
    numbers, counts = np.unique(points.instance, return_counts=True)
    recording.clouds[stamp_ns] = {int(n): int(c) for n, c in zip(numbers, counts, strict=True)}
    if recording.settings.write_truth_masks:
        (recording.out / "truth").mkdir(exist_ok=True)
        np.savez_compressed(
            recording.out / "truth" / f"{stamp_ns}_points.npz", instance=points.instance, semantic=points.semantic
        )


def _write_picture(recording: _Recording, bag: BagWriter, log_ns: int, stamp_ns: int) -> None:
    settings, renderer = recording.settings, recording.renderer
    pose_base = recording.move_to(_time_s(stamp_ns))
    intrinsics = settings.intrinsics()
    renderer.look_from(pose_base @ CAMERA_MOUNTING.pose_base_camera(), intrinsics.fov_y_rad)
    picture = expose(renderer.colour(), recording.scenario.scene.look, recording.response, recording.rng)
    semantic, instances = renderer.labels()
    done, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
    if not done:
        raise SimulationError(f"could not encode a picture of shape {picture.shape} as JPEG")
    bag.image(log_ns, stamp_ns, picture, jpeg.tobytes())
    bag.camera_info(log_ns, stamp_ns, intrinsics)
    recording.truth.append(_truth_line(recording, stamp_ns, pose_base, instances))
    if settings.write_truth_masks:
        (recording.out / "truth").mkdir(exist_ok=True)
        write_png(recording.out / "truth" / f"{stamp_ns}_semantic.png", semantic)
        write_png(recording.out / "truth" / f"{stamp_ns}_instances.png", instances)


_WRITERS: dict[str, Callable[[_Recording, BagWriter, int, int], None]] = {
    "odom": _write_odometry, "lidar": _write_cloud, "camera": _write_picture,
}  # fmt: skip


def _truth_line(
    recording: _Recording, stamp_ns: int, pose_base: FloatArray, instances: NDArray[np.uint16]
) -> dict[str, Any]:
    scenario = recording.scenario
    pose_odom = scenario.ego.pose(scenario.scene, 0.0)
    by_number: dict[int, SceneObject] = {thing.instance: thing for thing in scenario.scene.objects if thing.instance}
    objects = []
    for number, (box, area) in pixel_boxes(instances).items():
        thing = by_number[number]
        if thing.split == "known" and thing.name not in _TRUTH_CLASSES:
            continue
        objects.append(
            {"instance": number, "name": thing.name, "split": thing.split, "is_anomaly": thing.split != "known",
             **pose_in(thing, pose_odom), "base_link": pose_in(thing, pose_base), "size_m": size_of(thing), "bbox": box,
             "area_px": area, "distance_m": round(footprint_distance_m(thing, pose_base[:3, 3]), 3)}
        )  # fmt: skip
    return {"stamp_ns": stamp_ns, "frame_id": "odom", "objects": objects}


def _with_lidar_counts(recording: _Recording) -> list[dict[str, Any]]:
    """Truth lines with each object's LiDAR points in the sweep nearest in time."""
    stamps = np.array(sorted(recording.clouds))
    for line in recording.truth:
        nearest = int(stamps[np.abs(stamps - line["stamp_ns"]).argmin()]) if len(stamps) else None
        line["lidar_stamp_ns"] = nearest
        for thing in line["objects"]:
            thing["lidar_points"] = recording.clouds[nearest].get(thing["instance"], 0) if nearest is not None else 0
    return recording.truth
