# SPDX-License-Identifier: Apache-2.0
"""Hand-made results of the pipeline, for tests of what is made of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vl_anomaly_ros.types import (
    AnomalyLabel,
    DepthStatus,
    Frame,
    FrameResult,
    GivenPictures,
    HazardZone,
    NameSource,
    PointCloud,
    Region,
    Timing,
)

T_OPTICAL_LEVEL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # z up to z forward


def make_frame(**more: Any) -> Frame:
    """A 4x6 image with 5 points in the frame "lidar", which is 1 m above base_link; the camera is 2 m above it."""
    T_base_camera = np.eye(4)
    T_base_camera[:3, :3] = T_OPTICAL_LEVEL.T
    T_base_camera[2, 3] = 2.0
    T_base_lidar = np.eye(4)
    T_base_lidar[2, 3] = 1.0
    xyz = np.array([[10, 0, 0], [10, 1, 0], [20, 0, 0], [5, 5, 5], [10, 0, 1]], np.float32)
    values: dict[str, Any] = {
        "stamp_ns": 2_000_000_003,
        "camera": "front",
        "frame_id": "optical",
        "image": np.full((4, 6, 3), 100, np.uint8),
        "output_frame": "base_link",
        "points": PointCloud(xyz, 1_900_000_003, "lidar"),
        "T_camera_points": np.linalg.inv(T_base_camera) @ T_base_lidar,
        "T_output_camera": T_base_camera,
    }
    return Frame(**{**values, **more})


def make_zone(status: DepthStatus = DepthStatus.MEASURED, **more: Any) -> HazardZone:
    """A box 10 m ahead, turned by 30 degrees, of the points 0, 1 and 4."""
    measured = status is not DepthStatus.UNKNOWN
    values: dict[str, Any] = {
        "id": 7,
        "region_id": 1,
        "status": status,
        "reason": "" if status is DepthStatus.MEASURED else "why not",
        "center_m": (10.0, 0.5, 1.5),
        "size_m": (2.0, 1.0, 1.0),
        "yaw_rad": math.radians(30),
        "position_covariance": np.diag([0.04, 0.01, 0.09]),
        "footprint_m": np.array([[9.0, 0.0], [11.0, 0.0], [11.0, 1.0], [9.0, 1.0]]),
        "z_range_m": (1.0, 2.0),
        "distance_m": 9.0,
        "point_indices": np.array([0, 1, 4] if measured else [], np.int64),
    }
    return HazardZone(**{**values, **more})


def make_result(*zones: HazardZone, **more: Any) -> FrameResult:
    """One region with the given zones."""
    instances = np.zeros((4, 6), np.uint16)
    instances[1:3, 2:5] = 1
    label = AnomalyLabel("dog", NameSource.DICTIONARY, 0.75, runners_up=(("sofa", 0.2), ("cone", 0.05)))
    region = Region(1, (2, 1, 5, 3), 6, (3.0, 1.5), 0.9, (0.8, 0.7, 0.6), label)
    values: dict[str, Any] = {
        "frame": make_frame(),
        "ok": True,
        "pictures": GivenPictures(
            probability=np.where(instances > 0, 0.9, 0.1).astype(np.float32),
            mask=(instances > 0).astype(np.uint8) * 255,
            instances=instances,
            segmentation=(instances > 0).astype(np.uint8),
        ),
        "class_names": ("road", "dog"),
        "regions": (region,),
        "zones": zones,
        "zone_frame": "base_link",
        "engine": "fake/none",
        "method": "vl4ad",
        "vocabulary_revision": 4,
        "timing": Timing(12.5, 20.0),
    }
    return FrameResult(**{**values, **more})


def sight_of(result: FrameResult) -> Any:
    """What a node with one camera sees then. Needs the built messages."""
    from vl_anomaly_ros.config import Config
    from vl_anomaly_ros.node.panorama import Panorama

    no_transforms: Any = None
    return Panorama(["front"], Config(), no_transforms).with_result(result)
