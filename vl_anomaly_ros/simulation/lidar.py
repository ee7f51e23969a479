# SPDX-License-Identifier: Apache-2.0
"""Spinning LiDAR: beams, range noise, drop-out; a sweep is taken at one instant, or column by column as it turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .mujoco_renderer import MujocoRenderer
from .scene import FloatArray

Rng = np.random.Generator


@dataclass(frozen=True)
class LidarModel:
    """A sensor in its own frame: x forward, y left, z up.

    Attributes:
        beams: number of lasers, denser near the horizon as in sensors made for roads.
        azimuth_steps: columns over the whole turn.
        window_rad: half width of the azimuth window that the driver keeps, pi for all of it.
        max_range_m, min_range_m: returns outside are none.
        noise_m: standard deviation of the range.
        drop_out: share of returns lost near by; more are lost far off and on dark surfaces.
        step_m: coordinates are whole multiples of it (a power of two, so that float32 holds them exactly).
    """

    beams: int = 32
    azimuth_steps: int = 1200
    window_rad: float = np.pi
    max_range_m: float = 100.0
    min_range_m: float = 0.9
    noise_m: float = 0.012
    drop_out: float = 0.02
    step_m: float = 1 / 512

    def elevations_rad(self) -> FloatArray:
        """Elevation of each beam from bottom to top, (beams,) radians; ring 0 is the lowest."""
        share = np.linspace(0, 1, self.beams)
        return np.radians(np.interp(share, [0.0, 0.28, 0.85, 1.0], [-25.0, -8.0, 1.5, 12.0]))

    def azimuths_rad(self) -> FloatArray:
        """Azimuth of each column in the order in which they fire, (columns,): clockwise, from the rear to the rear."""
        azimuth = -np.pi + (np.arange(self.azimuth_steps) + 0.5) * 2 * np.pi / self.azimuth_steps
        return np.asarray(azimuth[np.abs(azimuth) <= self.window_rad][::-1])

    def directions(self) -> tuple[FloatArray, NDArray[np.uint16]]:
        """Unit directions (N, 3), column by column, and the ring of each, (N,)."""
        azimuth = self.azimuths_rad()
        a, e = np.meshgrid(azimuth, self.elevations_rad(), indexing="ij")
        directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1).reshape(-1, 3)
        return directions, np.tile(np.arange(self.beams, dtype=np.uint16), len(azimuth))


@dataclass(frozen=True)
class Sweep:
    """Returns of one sweep.

    Attributes:
        points: (N, 3) float32, metres, LiDAR frame.
        intensity: (N,) float32, 0 to 255, whole numbers.
        ring: (N,) uint16.
        instance: (N,) uint16, object hit, 0 where it has no instance.
        semantic: (N,) uint8, class hit.
        time_ns: (N,) uint32, from the start of the sweep; None where it is taken at one instant.
    """

    points: NDArray[np.float32]
    intensity: NDArray[np.float32]
    ring: NDArray[np.uint16]
    instance: NDArray[np.uint16]
    semantic: NDArray[np.uint8]
    time_ns: NDArray[np.uint32] | None = None


def sweep(renderer: MujocoRenderer, model: LidarModel, pose_world_lidar: FloatArray, rng: Rng) -> Sweep:
    """One sweep from `pose_world_lidar` (4, 4), all at one instant."""
    directions, ring = model.directions()
    ranges, geoms = renderer.cast(pose_world_lidar[:3, 3], directions @ pose_world_lidar[:3, :3].T, model.max_range_m)
    return _returns(renderer, model, (directions, ring), (ranges, geoms), rng)[0]


def rolling_sweep(
    renderer: MujocoRenderer, model: LidarModel, pose_at: Callable[[int], FloatArray], turn_ns: int, rng: Rng
) -> Sweep:
    """One sweep of a sensor that takes `turn_ns` for a turn, each column from where the sensor is at its time.

    Args:
        renderer: casts the rays.
        model: the sensor.
        pose_at: moves the scene to a time, in nanoseconds from the start of the turn, and gives T_world_lidar then.
        turn_ns: of a whole turn, of which the window sees a part.
        rng: noise.

    Returns:
        Points in the frame of the sensor, each at its own time.
    """
    directions, ring = model.directions()
    times = np.round((np.pi - model.azimuths_rad()) / (2 * np.pi) * turn_ns).astype(np.uint32)
    cast = []
    for time_ns, column in zip(times.tolist(), directions.reshape(len(times), -1, 3), strict=True):
        pose = pose_at(time_ns)
        cast.append(renderer.cast(pose[:3, 3], column @ pose[:3, :3].T, model.max_range_m))
    ranges, geoms = (np.concatenate(values) for values in zip(*cast, strict=True))
    points, seen = _returns(renderer, model, (directions, ring), (ranges, geoms), rng)
    return replace(points, time_ns=np.repeat(times, model.beams)[seen])


def _returns(
    renderer: MujocoRenderer,
    model: LidarModel,
    rays: tuple[FloatArray, NDArray[np.uint16]],
    hits: tuple[FloatArray, NDArray[np.int32]],
    rng: Rng,
) -> tuple[Sweep, NDArray[np.bool_]]:
    """What the sensor says of the hits of its rays, and which of them it says."""
    (directions, ring), (ranges, geoms) = rays, hits
    semantic, instance, brightness = renderer.hit_labels(geoms)
    reach = np.where(np.isfinite(ranges), ranges, 0.0)
    noisy = reach + rng.normal(0, model.noise_m, len(reach))
    lost = model.drop_out + 0.35 * (reach / model.max_range_m) ** 2 * (1.2 - np.clip(brightness, 0, 1))
    seen = (geoms >= 0) & (noisy > model.min_range_m) & (noisy < model.max_range_m) & (rng.random(len(reach)) > lost)
    points = np.round(directions[seen] * noisy[seen, None] / model.step_m) * model.step_m
    strength = 200 * np.clip(brightness[seen], 0.02, 1.2) * np.exp(-reach[seen] / 80) + rng.normal(
        0, 4, int(seen.sum())
    )
    intensity = np.clip(np.round(strength), 0, 255).astype(np.float32)
    return Sweep(points.astype(np.float32), intensity, ring[seen], instance[seen], semantic[seen]), seen
