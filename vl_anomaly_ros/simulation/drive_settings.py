# SPDX-License-Identifier: Apache-2.0
"""What a simulated drive is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.errors import SimulationError

from .camera import Intrinsics
from .lidar import LidarModel


@dataclass(frozen=True)
class DriveSettings:
    """What `generate_drive` makes.

    Attributes:
        seed: scene, cast, noise.
        duration_s: from the first to the last picture.
        rate_hz, lidar_rate_hz: camera and LiDAR; they are not in step.
        lidar_beams, azimuth_steps, lidar_window_deg, lidar_step_m: see `LidarModel`; the window is the whole angle.
        rolling: each column of a sweep is taken at its own time, given in the cloud, over a turn of 1 / `lidar_rate_hz`
            from the stamp; else a sweep is taken at one instant.
        swerve_m: how far the ego vehicle swerves to either side, once in 20 m.
        image_size: width, height, pixels; `fov_x_deg` wide.
        jpeg_quality: 1 to 100; `raw_images` writes sensor_msgs/Image instead.
        anomalies, anomaly_count: split of the catalogue, and how many along the way.
        look, style: fixed, or drawn from the seed when None.
        write_truth_masks: also write truth/ pictures, and the instance of each LiDAR point; where `rolling`, also what
            the LiDAR would see of the world standing still in the middle of each sweep.
    """

    seed: int
    duration_s: float = 12.0
    rate_hz: float = 5.0
    lidar_rate_hz: float = 10.0
    lidar_beams: int = 32
    azimuth_steps: int = 1200
    lidar_window_deg: float = 360.0
    lidar_step_m: float = 1 / 512
    rolling: bool = False
    swerve_m: float = 0.0
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

    def turn_ns(self) -> int:
        """Time of a turn of the LiDAR where it is rolling, else 0."""
        return round(1e9 / self.lidar_rate_hz) if self.rolling else 0

    def intrinsics(self) -> Intrinsics:
        """The camera these settings describe."""
        return Intrinsics(*self.image_size, float(np.radians(self.fov_x_deg)))


def demo_settings() -> DriveSettings:
    """The drive of the demo: 12 s, several anomalies, at most 12 MB."""
    return DriveSettings(
        seed=10, lidar_rate_hz=5.0, azimuth_steps=1080, lidar_window_deg=120.0, lidar_step_m=1 / 256, jpeg_quality=82,
        look="noon", style="urban", anomaly_count=8,
    )  # fmt: skip
