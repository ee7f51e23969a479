# SPDX-License-Identifier: Apache-2.0
"""The simulated camera: intrinsics, mounting on the vehicle, projection. Pixel centres lie at whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scene import FloatArray


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera without distortion, square pixels, principal point in the middle of the picture."""

    width_px: int
    height_px: int
    fov_x_rad: float

    @property
    def focal_px(self) -> float:
        """Focal length, pixels."""
        return float(self.width_px / 2 / np.tan(self.fov_x_rad / 2))

    @property
    def fov_y_rad(self) -> float:
        """Vertical field of view, radians."""
        return float(2 * np.arctan(self.height_px / 2 / self.focal_px))

    @property
    def matrix(self) -> FloatArray:
        """K, (3, 3)."""
        cx, cy = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        return np.array([[self.focal_px, 0, cx], [0, self.focal_px, cy], [0, 0, 1]], dtype=np.float64)

    def project(self, points_camera: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Pixels (N, 2) of points (N, 3) in the optical frame, and which of them lie in the picture."""
        depth = points_camera[:, 2]
        safe = np.where(depth > 1e-6, depth, 1.0)
        pixels = points_camera[:, :2] / safe[:, None] * self.focal_px + self.matrix[:2, 2]
        limits = np.array([self.width_px, self.height_px]) - 0.5
        inside = (depth > 1e-6) & np.all((pixels > -0.5) & (pixels < limits), axis=1)
        return pixels, inside


@dataclass(frozen=True)
class Mounting:
    """Where the camera sits in base_link (x forward, y left, z up, origin on the ground)."""

    forward_m: float = 1.2
    left_m: float = 0.0
    up_m: float = 1.5
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0

    def pose_base_camera(self) -> FloatArray:
        """T_base_camera (4, 4): optical frame (x right, y down, z forward) to base_link; pitch > 0 looks down."""
        cp, sp, cy, sy = np.cos(self.pitch_rad), np.sin(self.pitch_rad), np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        pose = np.eye(4)
        pose[:3, :3] = turn @ optical
        pose[:3, 3] = self.forward_m, self.left_m, self.up_m
        return pose


def pose_on_ground(x_m: float, y_m: float, yaw_rad: float) -> FloatArray:
    """Pose (4, 4) of a frame on level ground."""
    pose = np.eye(4)
    cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
    pose[:2, :2] = [[cosine, -sine], [sine, cosine]]
    pose[:2, 3] = x_m, y_m
    return pose
