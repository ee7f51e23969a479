# SPDX-License-Identifier: Apache-2.0
"""A small world of upright boxes over a sloped road, seen by a spinning LiDAR and a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.geometry.camera import project
from vl_anomaly_ros.geometry.transforms import apply, inverse
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, Frame, PointCloud, Region

WIDTH, HEIGHT, FOCAL = 640, 360, 400.0
CAMERA_HEIGHT_M, LIDAR_HEIGHT_M = 1.5, 1.8
# Camera at (1, 0, 1.5) in base_link, looking along x.
T_BASE_CAMERA = np.array([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, CAMERA_HEIGHT_M], [0, 0, 0, 1]])
K = np.array([[FOCAL, 0, 319.5], [0, FOCAL, 179.5], [0, 0, 1]])


@dataclass(frozen=True)
class Thing:
    """An axis-aligned box: centre on the ground, size, and distance of its foot above the road."""

    x: float
    y: float
    length: float
    width: float
    height: float
    lift: float = 0.0

    def near_z(self, slope: float) -> float:
        return slope * self.x + self.lift


@dataclass
class World:
    """Things on a road that rises with `slope`; `scan` and `picture` give what the sensors see."""

    things: list[Thing]
    slope: float = 0.0
    noise_m: float = 0.0
    beams: int = 48
    reach_deg: float = 50.0
    T_base_camera: DoubleArray = field(default_factory=T_BASE_CAMERA.copy)

    def hit(self, origin: DoubleArray, direction: DoubleArray) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
        """Range (inf: sky) and what was hit: 0 road, from 1 the things."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ground = (self.slope * origin[0] - origin[2]) / (direction[:, 2] - self.slope * direction[:, 0])
            best = np.where(ground > 0, ground, np.inf)
            what = np.zeros(len(direction), np.int64)
            for number, thing in enumerate(self.things, 1):
                low_z = thing.near_z(self.slope)
                low = np.array([thing.x - thing.length / 2, thing.y - thing.width / 2, low_z])
                high = np.array([thing.x + thing.length / 2, thing.y + thing.width / 2, low_z + thing.height])
                a, b = (low - origin) / direction, (high - origin) / direction
                enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
                closer = (enter <= leave) & (enter > 0) & (enter < best)
                best, what = np.where(closer, enter, best), np.where(closer, number, what)
        return best, what

    def scan(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Cloud in base_link, `reach_deg` to either side, and what each point lies on."""
        azimuth = np.deg2rad(np.arange(-self.reach_deg, self.reach_deg, 0.25))
        elevation = np.deg2rad(np.linspace(-24, 4, self.beams))
        a, e = (v.ravel() for v in np.meshgrid(azimuth, elevation))
        direction = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1) + 1e-9
        origin = np.array([0.0, 0.0, LIDAR_HEIGHT_M])
        range_m, what = self.hit(origin, direction)
        range_m = range_m + np.random.default_rng(3).normal(0, self.noise_m, len(range_m))
        ok = range_m < 100
        return (origin + direction[ok] * range_m[ok, None]).astype(np.float32), what[ok]

    def picture(self) -> npt.NDArray[np.uint16]:
        """(H, W) what each pixel sees: 0 road or sky, from 1 the things."""
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
        optical = np.stack([(u.ravel() - K[0, 2]) / FOCAL, (v.ravel() - K[1, 2]) / FOCAL, np.ones(u.size)], 1)
        direction = optical @ self.T_base_camera[:3, :3].T + 1e-9
        range_m, what = self.hit(self.T_base_camera[:3, 3], direction)
        return np.where(np.isfinite(range_m), what, 0).reshape(HEIGHT, WIDTH).astype(np.uint16)

    def frame(self) -> Frame:
        """Everything a frame can hold; the cloud is given in base_link."""
        xyz, _ = self.scan()
        return Frame(
            1_000_000_000,
            "camera",
            "optical",
            np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            "base_link",
            CameraCalibration(WIDTH, HEIGHT, K, "optical"),
            PointCloud(xyz, 1_000_000_000, "base_link"),
            inverse(self.T_base_camera),
            self.T_base_camera,
        )

    def seen(self, number: int) -> npt.NDArray[np.int64]:
        """Indices of the points on a thing that fall into the image."""
        xyz, what = self.scan()
        _, ok = project(CameraCalibration(WIDTH, HEIGHT, K, "optical"), apply(inverse(self.T_base_camera), xyz))
        return np.flatnonzero(ok & (what == number))


def region_at(bbox: tuple[int, int, int, int], value: int = 1) -> Region:
    """A region known by its bounding box alone."""
    return Region(value, bbox, 100, (0.0, 0.0), 0.9, (0.9, 0.9, 0.9))
