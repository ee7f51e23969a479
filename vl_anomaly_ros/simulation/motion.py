# SPDX-License-Identifier: Apache-2.0
"""Who drives, walks and lies where during a drive: the ego vehicle's path and everybody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera import pose_on_ground
from .scene import FloatArray, Scene, SceneObject

Rng = np.random.Generator

EGO_HALF_WIDTH_M = 0.95
_CLEAR_M = 0.35
_SWERVE_WAVE_M = 20.0


@dataclass(frozen=True)
class Track:
    """Motion along the road: arc length and offset change evenly after `start_s`; before it the thing stands."""

    s_m: float
    d_m: float
    along_mps: float = 0.0
    across_mps: float = 0.0
    start_s: float = 0.0
    yaw_rad: float = 0.0

    def at(self, time_s: float) -> tuple[float, float]:
        """Arc length and offset at `time_s`, metres."""
        moved = max(0.0, time_s - self.start_s)
        return self.s_m + self.along_mps * moved, self.d_m + self.across_mps * moved

    def along(self, scene: Scene, times_s: FloatArray) -> FloatArray:
        """World positions (T, 3) at `times_s` (T,)."""
        moved = np.maximum(0.0, times_s - self.start_s)
        return scene.line.place(self.s_m + self.along_mps * moved, self.d_m + self.across_mps * moved)


@dataclass(frozen=True)
class EgoPath:
    """The ego vehicle follows its lane at a gently changing speed and steers around what lies in its way.

    `times_s`, `s_m`, `d_m` are (N,) samples; poses between them are interpolated.
    """

    times_s: FloatArray
    s_m: FloatArray
    d_m: FloatArray

    def arc_m(self, time_s: float) -> float:
        """Arc length at `time_s`, metres."""
        return float(np.interp(time_s, self.times_s, self.s_m))

    def along(self, scene: Scene, times_s: FloatArray) -> FloatArray:
        """World positions (T, 3) of base_link at `times_s` (T,)."""
        return scene.line.place(np.interp(times_s, self.times_s, self.s_m), np.interp(times_s, self.times_s, self.d_m))

    def position(self, scene: Scene, time_s: float) -> FloatArray:
        """World position (3,) of base_link."""
        d = np.interp(time_s, self.times_s, self.d_m)
        return scene.line.place(self.arc_m(time_s), float(d))

    def pose(self, scene: Scene, time_s: float) -> FloatArray:
        """T_world_base (4, 4): heading along the path."""
        step = self.position(scene, time_s + 0.05) - self.position(scene, time_s - 0.05)
        x, y, _ = self.position(scene, time_s)
        return pose_on_ground(float(x), float(y), float(np.arctan2(step[1], step[0])))

    def velocity_mps(self, scene: Scene, time_s: float) -> FloatArray:
        """World velocity (3,)."""
        return np.asarray((self.position(scene, time_s + 0.05) - self.position(scene, time_s - 0.05)) / 0.1)


def make_ego_path(
    rng: Rng,
    scene: Scene,
    duration_s: float,
    start_m: float,
    obstacles: Sequence[tuple[Track, float]],
    swerve_m: float = 0.0,
) -> EgoPath:
    """Path around `obstacles`, given as tracks with the radius of each; it swerves by `swerve_m` to either side.

    At 10 m/s, 0.5 m in a wave of 20 m is a yaw rate of up to 28 deg/s, which changes sides each second.
    """
    times = np.arange(-0.5, duration_s + 1.0, 0.02)
    speed = float(rng.uniform(9, 11)) + 1.2 * np.sin(2 * np.pi * times / 9.0 + float(rng.uniform(0, 6.28)))
    s = start_m + np.concatenate([[0.0], np.cumsum(speed[:-1] * 0.02)])
    lane = -(scene.section.lanes_right - 0.5) * scene.section.lane_m
    shift, weight = np.zeros_like(s), np.zeros_like(s)
    for track, radius in obstacles:
        met = float(np.interp(track.s_m, s, times))
        at_s, at_d = track.at(met)
        need = radius + EGO_HALF_WIDTH_M + _CLEAR_M + 0.15
        if abs(at_d - lane) >= need:
            continue
        target = at_d + need if at_d <= lane else at_d - need
        ramp = np.clip(1 - (np.abs(s - at_s - 0.5) - radius - 5) / 16, 0, 1)
        window = ramp * ramp * (3 - 2 * ramp)
        shift += window * (target - lane)
        weight += window
    swerve = swerve_m * np.sin(2 * np.pi * s / _SWERVE_WAVE_M)
    return EgoPath(times, s, lane + shift / np.maximum(weight, 1.0) + swerve)


def apply(scene: Scene, thing: SceneObject, track: Track, time_s: float) -> None:
    """Put `thing` where its track is at `time_s`."""
    s, d = track.at(time_s)
    line = scene.line
    thing.placed = 1.0 < s < float(line.s_m[-1]) - 1.0
    thing.position_m = line.place(s, d, scene.section.height(d))
    heading = float(line.heading(s))
    thing.yaw_rad = heading + track.yaw_rad
    moving = time_s >= track.start_s
    along, across = (track.along_mps, track.across_mps) if moving else (0.0, 0.0)
    thing.velocity_mps = np.array(
        [along * np.cos(heading) - across * np.sin(heading), along * np.sin(heading) + across * np.cos(heading), 0.0]
    )


def keeps_clear(
    scene: Scene, ego: EgoPath, duration_s: float, track: Track, radius_m: float, others: Sequence[tuple[Track, float]]
) -> bool:
    """Whether nothing on `track` ever comes too close to the ego vehicle or to `others` during the drive."""
    times = np.arange(0.0, duration_s + 0.1, 0.1)
    here = track.along(scene, times)
    ahead, behind = ego.along(scene, times + 0.05), ego.along(scene, times - 0.05)
    forward = ahead - behind
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    for reach in (-1.0, 0.6, 2.2, 3.6):
        gaps = np.hypot(*((ahead + behind) / 2 + reach * forward - here).T[:2])
        if (gaps < radius_m + EGO_HALF_WIDTH_M + 0.1).any():
            return False
    return all(
        (np.hypot(*(other.along(scene, times) - here).T[:2]) >= 0.85 * (radius_m + reach)).all()
        for other, reach in others
    )
