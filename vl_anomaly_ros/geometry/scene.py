# SPDX-License-Identifier: Apache-2.0
"""What a frame's cloud and transforms say before its regions are known: the points in view and the ground."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.camera import lens_of, per_calibration, rays
from vl_anomaly_ros.geometry.ground import Ground, estimate_ground, prior_ground
from vl_anomaly_ros.geometry.projection import look
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, FloatArray, Frame, IntArray

R_OPTICAL_LEVEL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Rotates level axes (x forward, y left, z up) into optical axes (x right, y down, z forward)."""
_GRID = np.stack(np.meshgrid(np.linspace(0.0, 1.0, 9), np.linspace(0.0, 1.0, 9)), -1).reshape(-1, 2)
"""Points all over an image, as parts of its width and height."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Scene:
    """Level axes of a frame, and the points that fall into its image, in order of their image column.

    Attributes:
        placed: whether the level axes are those of `Frame.output_frame`; else they stand at the camera.
        ego: (3,) origin of the level axes in the frame of the zones.
        T_level_camera: (4, 4) optical frame to level axes.
        ground: below the level axes' origin; None where the height of the camera is not known.
        why_not: why no point can be used; empty where points can.
        xyz: (N, 3) points, level axes.
        index: (N,) int64 which rows of the cloud they are.
        pixel: (N, 2) int32 where they fall.
        height_m: (N,) above the ground.
    """

    placed: bool
    ego: DoubleArray
    T_level_camera: DoubleArray
    ground: Ground | None
    why_not: str = ""
    xyz: DoubleArray = field(default_factory=lambda: np.zeros((0, 3)))
    index: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    pixel: IntArray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    height_m: DoubleArray = field(default_factory=lambda: np.zeros(0))


def prepare(frame: Frame, config: FusionConfig) -> Scene:
    """All of the work on a frame that needs no regions; it may be done while the network runs."""
    T_output_camera = frame.T_output_camera
    if T_output_camera is None or not np.all(np.isfinite(T_output_camera)):
        T_level_camera = np.eye(4)
        T_level_camera[:3, :3] = R_OPTICAL_LEVEL.T
        return Scene(False, np.zeros(3), T_level_camera, None, _why_no_depth(frame, config, placed=False))
    T_output_ego = np.eye(4) if frame.T_output_ego is None else frame.T_output_ego
    if not np.all(np.isfinite(T_output_ego)):
        T_output_ego = np.eye(4)
    ego = T_output_ego[:3, 3]
    T_level_camera = np.array(T_output_camera, np.float64)
    T_level_camera[:3, 3] -= ego
    prior = prior_ground(T_output_ego[:3, 2])
    why_not = _why_no_depth(frame, config, placed=True)
    if not why_not:
        try:
            return _see(frame, ego, T_level_camera, prior, config)
        except GeometryError as error:
            why_not = str(error)
    return Scene(True, ego, T_level_camera, prior, why_not)


def _why_no_depth(frame: Frame, config: FusionConfig, *, placed: bool) -> str:
    """Why no zone of this frame can be measured; empty where points can be used."""
    known = "; ".join(frame.missing)
    if not config.enabled:
        return "LiDAR fusion is switched off"
    if not placed:
        return known or f"no transform {frame.frame_id} -> {frame.output_frame}"
    if frame.calibration is None:
        return known or "no camera calibration"
    if frame.points is None:
        return known or "no point cloud"
    if not len(frame.points.xyz):
        return "the point cloud is empty"
    if frame.T_camera_points is None or not np.all(np.isfinite(frame.T_camera_points)):
        return known or f"no transform {frame.points.frame_id} -> {frame.frame_id}"
    return ""


def _see(frame: Frame, ego: DoubleArray, T_level_camera: DoubleArray, prior: Ground, config: FusionConfig) -> Scene:
    """Project the cloud and estimate the ground, once for all regions."""
    assert frame.points is not None  # noqa: S101  (the caller has looked)
    assert frame.calibration is not None  # noqa: S101
    assert frame.T_camera_points is not None  # noqa: S101
    level, xyz, index, pixel = look(
        np.ascontiguousarray(frame.points.xyz),
        lens_of(frame.calibration),
        np.ascontiguousarray(frame.T_camera_points),
        np.ascontiguousarray(T_level_camera @ frame.T_camera_points),
        _ahead(frame.calibration, frame.T_camera_points),
        np.float32(min(config.max_range_m**2, _LARGEST)),
    )
    ground = estimate_ground(level, prior, config.max_range_m)
    return Scene(True, ego, T_level_camera, ground, "", xyz, index, pixel, xyz[:, 2] - ground.z(xyz))


@per_calibration
def _widest_tangent(calibration: CameraCalibration) -> float:
    """How far aside of the optical axis the image reaches, with a margin; infinite where that is hardly ahead."""
    direction = rays(calibration, _GRID * np.array([calibration.width, calibration.height]) - 0.5)
    if direction[:, 2].min() < 0.2:
        return np.inf
    return float(np.abs(direction[:, 0] / direction[:, 2]).max()) * 1.02


def _ahead(calibration: CameraCalibration, T_camera_points: DoubleArray) -> FloatArray:
    """(2, 4) rows a and b: a point p with |a p| <= b p lies within the horizontal field of view, or nearly.

    What lies outside is neither in the image nor counts for the ground.
    """
    side, ahead = T_camera_points[0].astype(np.float32), T_camera_points[2].astype(np.float32)
    tangent = _widest_tangent(calibration)
    if np.isfinite(tangent):
        return np.stack([side, np.float32(tangent) * ahead + np.array([0, 0, 0, 0.1], np.float32)])
    if calibration.distortion_model == "equidistant":
        return np.array([[0, 0, 0, 0], [0, 0, 0, 1]], np.float32)  # a fisheye may see what is behind it
    return np.stack([0 * side, ahead])
