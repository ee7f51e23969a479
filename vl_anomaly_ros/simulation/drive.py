# SPDX-License-Identifier: Apache-2.0
"""A simulated drive: a ROS 2 bag with camera, LiDAR, TF and odometry, and the truth beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vl_anomaly_ros.errors import SimulationError

from .bag import BagWriter
from .camera import Mounting
from .drive_settings import DriveSettings
from .images import write_png
from .lidar import rolling_sweep, sweep
from .looks import Response, draw_response, expose
from .motion import apply
from .mujoco_renderer import MujocoRenderer, load_mujoco
from .scenario import Scenario, make_scenario
from .scene import FloatArray
from .truth import add_lidar_counts, truth_line

_LOG = logging.getLogger(__name__)

START_NS = 1_700_000_000_000_000_000
"""Stamp of the first odometry message: a fixed moment, so that the same seed gives the same bytes."""
_ODOM_HZ = 50.0
_LATENCY_NS = {"camera": 35_000_000, "lidar": 25_000_000, "odom": 1_000_000}


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

    def pose_odom(self) -> FloatArray:
        """T_world_odom (4, 4)."""
        return self.scenario.ego.pose(self.scenario.scene, 0.0)

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
        late_ns = _LATENCY_NS[sensor] + (settings.turn_ns() if sensor == "lidar" else 0)
        events += [(START_NS + round(t * 1e9) + late_ns, START_NS + round(t * 1e9), sensor) for t in times]
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
        swerve_m=settings.swerve_m,
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
    add_lidar_counts(recording.truth, recording.clouds)
    path = out / "truth.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in recording.truth), encoding="utf-8")
    _LOG.info("wrote %d messages and %d truth lines to %s", len(events) + 1, len(recording.truth), out)
    return path


def _time_s(stamp_ns: int) -> float:
    return (stamp_ns - START_NS) * 1e-9


def _write_odometry(recording: _Recording, bag: BagWriter, log_ns: int, stamp_ns: int) -> None:
    scene, ego, time = recording.scenario.scene, recording.scenario.ego, _time_s(stamp_ns)
    pose = np.linalg.inv(recording.pose_odom()) @ ego.pose(scene, time)
    before, after = ego.pose(scene, time - 0.02), ego.pose(scene, time + 0.02)
    turn = before[:3, :3].T @ after[:3, :3]
    yaw_rate = float(np.arctan2(turn[1, 0], turn[0, 0]) / 0.04)
    bag.odometry(log_ns, stamp_ns, pose, float(np.hypot(*ego.velocity_mps(scene, time)[:2])), yaw_rate)


def _write_cloud(recording: _Recording, bag: BagWriter, log_ns: int, stamp_ns: int) -> None:
    model = recording.settings.lidar()
    if recording.settings.rolling:
        points = rolling_sweep(
            recording.renderer,
            model,
            lambda after_ns: recording.move_to(_time_s(stamp_ns + after_ns)) @ LIDAR_POSE_BASE,
            recording.settings.turn_ns(),
            recording.rng,
        )
    else:
        pose = recording.move_to(_time_s(stamp_ns)) @ LIDAR_POSE_BASE
        points = sweep(recording.renderer, model, pose, recording.rng)
    bag.cloud(log_ns, stamp_ns, points)
    numbers, counts = np.unique(points.instance, return_counts=True)
    recording.clouds[stamp_ns] = {int(n): int(c) for n, c in zip(numbers, counts, strict=True)}
    if recording.settings.write_truth_masks:
        (recording.out / "truth").mkdir(exist_ok=True)
        np.savez_compressed(
            recording.out / "truth" / f"{stamp_ns}_points.npz", instance=points.instance, semantic=points.semantic
        )
        if recording.settings.rolling:
            _write_standing(recording, stamp_ns)


def _write_standing(recording: _Recording, stamp_ns: int) -> None:
    """What the LiDAR would see of the world standing still in the middle of a sweep: with its noise, and exactly."""
    model, rng = recording.settings.lidar(), np.random.default_rng([recording.settings.seed, stamp_ns])
    pose = recording.move_to(_time_s(stamp_ns + recording.settings.turn_ns() // 2)) @ LIDAR_POSE_BASE
    np.savez_compressed(
        recording.out / "truth" / f"{stamp_ns}_standing.npz",
        points=sweep(recording.renderer, model, pose, rng).points,
        exact=sweep(recording.renderer, replace(model, noise_m=0.0, drop_out=0.0), pose, rng).points,
        T_odom_lidar=np.linalg.inv(recording.pose_odom()) @ pose,
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
    pose_odom = recording.pose_odom()
    line = truth_line(recording.scenario.scene, stamp_ns, pose_odom, pose_base, instances)
    if settings.rolling:
        line["T_odom_base"] = (np.linalg.inv(pose_odom) @ pose_base).tolist()
    recording.truth.append(line)
    if settings.write_truth_masks:
        (recording.out / "truth").mkdir(exist_ok=True)
        write_png(recording.out / "truth" / f"{stamp_ns}_semantic.png", semantic)
        write_png(recording.out / "truth" / f"{stamp_ns}_instances.png", instances)


_WRITERS: dict[str, Callable[[_Recording, BagWriter, int, int], None]] = {
    "odom": _write_odometry, "lidar": _write_cloud, "camera": _write_picture,
}  # fmt: skip
