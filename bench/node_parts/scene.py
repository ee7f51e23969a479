# SPDX-License-Identifier: Apache-2.0
"""What the sender sends and the stub engine finds: topics, cameras, messages of one street, and a score map for it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.types import DoubleArray, FloatArray

WIDTH, HEIGHT = 1920, 1080
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")])
"""A point as Velodyne's driver packs it: 22 bytes, `time` in seconds before the stamp of the cloud."""
SWEEP_S = 0.1
SMALL = ("anomalies", "hazard_zones")
"""What a planner waits for."""
PER_CAMERA = ("score", "mask", "instances", "segmentation", "anomalies")
SHARED = ("hazard_zones", "obstacle_points", "markers")
_YAWS_DEG = {"front": 0.0, "left": 60.0, "right": -60.0, "rear": 180.0}


@dataclass(frozen=True)
class Rig:
    """Cameras and the names of their topics: with one camera they carry no prefix.

    >>> Rig(1).image("camera"), Rig(4).image("left")
    ('/image', '/left/image')
    """

    count: int

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return ("camera",) if self.count == 1 else tuple(_YAWS_DEG)[: self.count]

    def image(self, camera: str) -> str:
        """Topic of the images of a camera."""
        return f"{self._prefix(camera)}/image"

    def info(self, camera: str) -> str:
        """Topic of the CameraInfos of a camera."""
        return f"{self._prefix(camera)}/camera_info"

    def outputs(self) -> dict[str, tuple[str, str]]:
        """Topic -> (camera, output) of all outputs but the overlay; the camera is empty where all share the topic."""
        own = {f"/vl_anomaly{self._prefix(c)}/{name}": (c, name) for c in self.cameras for name in PER_CAMERA}
        return own | {f"/vl_anomaly/{name}": ("", name) for name in SHARED}

    def place_of(self, camera: str, T_base_front: DoubleArray) -> DoubleArray:
        """(4, 4) optical frame of a camera in base_link: the front camera's, turned about the vertical axis."""
        yaw = np.deg2rad(_YAWS_DEG.get(camera, 0.0))
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        return turn @ T_base_front

    def _prefix(self, camera: str) -> str:
        return "" if self.count == 1 else f"/{camera}"


def packed_points(xyz: FloatArray) -> npt.NDArray[np.void]:
    """(N,) points of `POINT`, fired one after another during the sweep that ended at the stamp."""
    packed = np.zeros(len(xyz), POINT)
    packed["x"], packed["y"], packed["z"] = xyz.T
    packed["time"] = np.linspace(-SWEEP_S, 0.0, len(xyz), dtype=np.float32)
    return packed


def blobs(instances: npt.NDArray[np.uint16], rows: int, columns: int) -> FloatArray:
    """(rows, columns) float32 score map with a blob on each instance, apart from one another where the grid allows.

    Args:
        instances: (H, W) number of the instance at each pixel, 0 none.
        rows: of the score map.
        columns: of the score map.
    """
    cell_h, cell_w = instances.shape[0] / rows, instances.shape[1] / columns
    score = np.zeros((rows, columns), np.float32)
    taken = np.zeros((rows, columns), np.uint8)
    around = np.ones((5, 5), np.uint8)
    areas = np.bincount(instances.ravel())
    for number in sorted(range(1, len(areas)), key=lambda n: (areas[n], n)):  # the small ones choose first
        v, u = np.nonzero(instances == number)
        if not len(v):
            continue
        cells = np.zeros((rows, columns), np.int64)
        np.add.at(cells, ((v / cell_h).astype(int), (u / cell_w).astype(int)), 1)
        covered = (cells > 0.6 * cell_h * cell_w) | (cells == cells.max())
        free = covered & (cv2.dilate(taken, around) == 0)
        score[free] = 0.999
        taken[free] = 1
    return score
