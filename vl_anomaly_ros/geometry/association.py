# SPDX-License-Identifier: Apache-2.0
"""Which LiDAR points belong to which region of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry import transforms
from vl_anomaly_ros.geometry.boxes import convex_hull
from vl_anomaly_ros.geometry.camera import project, rays
from vl_anomaly_ros.geometry.clustering import Candidates, Clusters, IndexArray, choose_object, cluster
from vl_anomaly_ros.geometry.ground import Ground, estimate_ground
from vl_anomaly_ros.geometry.wedge import Sight, ground_range
from vl_anomaly_ros.types import BoolArray, DoubleArray, Frame, Region

BLEED = 1.5
"""A mask that reaches below its object shortens the line of sight to the ground by up to this factor."""


@dataclass(frozen=True)
class Scene:
    """Points that fall into the image, in level axes with the ego origin as origin."""

    xyz: DoubleArray
    index: npt.NDArray[np.int64]
    pixel: npt.NDArray[np.int64]
    height_m: DoubleArray
    ground: Ground


def see(frame: Frame, T_level_camera: DoubleArray, prior: Ground, config: FusionConfig) -> tuple[Scene | None, str]:
    """Project the cloud once for all regions.

    Args:
        frame: with calibration, cloud and `T_camera_points`.
        T_level_camera: (4, 4) optical frame to level axes at the ego origin.
        prior: ground where the cloud shows none.
        config: limits.

    Returns:
        What is seen; None and why, where the calibration cannot be used.
    """
    assert frame.points is not None  # noqa: S101  (the caller has looked)
    assert frame.calibration is not None  # noqa: S101
    assert frame.T_camera_points is not None  # noqa: S101
    try:
        ahead = _ahead(frame, config)
        camera = transforms.apply(frame.T_camera_points, frame.points.xyz[ahead])
        uv, seen = project(frame.calibration, camera)
    except GeometryError as error:
        return None, str(error)
    level = transforms.apply(T_level_camera, camera)
    ground = estimate_ground(level, prior, config.max_range_m)
    level = level[seen]
    pixel = np.rint(uv[seen]).astype(np.int64)
    return Scene(level, ahead[seen], pixel, level[:, 2] - ground.z(level[:, :2]), ground), ""


def _ahead(frame: Frame, config: FusionConfig) -> npt.NDArray[np.int64]:
    """Indices of points within range and within the horizontal field of view: a cheap test in single precision."""
    assert frame.points is not None and frame.calibration is not None and frame.T_camera_points is not None  # noqa: S101, PT018
    T = frame.T_camera_points.astype(np.float32)
    xyz = frame.points.xyz
    calibration = frame.calibration
    u, v = np.linspace(-0.5, calibration.width - 0.5, 9), np.linspace(-0.5, calibration.height - 0.5, 9)
    rim = np.array([[a, b] for a in u for b in v])
    direction = rays(calibration, rim)
    near = np.einsum("ij,ij->i", xyz, xyz) < np.float32(config.max_range_m**2)
    z = xyz @ T[2, :3] + T[2, 3]
    if direction[:, 2].min() < 0.2:
        return np.flatnonzero(near if calibration.distortion_model == "equidistant" else near & (z > 0))
    tangent = float(np.abs(direction[:, 0] / direction[:, 2]).max())
    with np.errstate(invalid="ignore"):
        x = xyz @ T[0, :3] + T[0, 3]
    return np.flatnonzero(near & (z > 0) & (np.abs(x) < np.float32(tangent * 1.02) * z + np.float32(0.1)))


def object_points(
    regions: Sequence[Region],
    instances: npt.NDArray[np.uint16],
    scene: Scene,
    sights: Sequence[Sight],
    config: FusionConfig,
) -> list[tuple[IndexArray, IndexArray]]:
    """Indices into `scene` of each region's own points, and of all that fall into it.

    What lies in and around regions is clustered once for all.
    """
    around = [_around(region, instances, scene, sight) for region, sight in zip(regions, sights)]
    above = scene.height_m > config.ground_clearance_m
    wanted = np.zeros(len(scene.xyz), bool)
    for index, _ in around:
        wanted[index] = True
    found = np.flatnonzero(wanted & above)
    clusters = cluster(scene.xyz[found], config.cluster_gap_m)
    place = np.zeros(len(scene.xyz), np.int64)
    place[found] = np.arange(len(found))
    objects = []
    for (index, points), sight in zip(around, sights):
        foot_m, meets = ground_range(sight, scene.ground, config.max_range_m)
        farthest_m = BLEED * foot_m + 2.0 if meets and not sight.cut_off else math.inf
        high = above[index]
        some = index[high]
        own = Clusters(*(labels[place[some]] for labels in clusters))
        chosen = some[choose_object(points.of(high), own, config.cluster_gap_m, farthest_m)]
        low = index[~high]
        flat = points.of(~high)
        if len(chosen):
            inside = low[flat.inside]
            chosen = np.union1d(chosen, inside[_within(scene.xyz[chosen, :2], scene.xyz[inside, :2])])
        else:
            # What lies flat has nothing above the clearance: then the ground points of the region are the object.
            own = cluster(flat.xyz, config.cluster_gap_m)
            chosen = low[choose_object(flat, own, config.cluster_gap_m, farthest_m)]
        objects.append((chosen, index[points.inside]))
    return objects


def _around(
    region: Region, instances: npt.NDArray[np.uint16], scene: Scene, sight: Sight
) -> tuple[IndexArray, Candidates]:
    """Points in the region and around it, so that things which go on outside it are known by that."""
    height, width = instances.shape
    x0, y0, x1, y1 = region.bbox
    margin = 8 + (max(x1 - x0, y1 - y0)) // 4
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    right, bottom = min(width, x1 + margin), min(height, y1 + margin)
    u, v = scene.pixel.T
    near = np.flatnonzero((u >= left) & (u < right) & (v >= top) & (v < bottom))
    mask = instances[top:bottom, left:right] == region.id
    depth_px = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
    weight = depth_px[v[near] - top + 1, u[near] - left + 1].astype(np.float64)
    weight /= max(float(weight.max(initial=0.0)), 1e-9)
    range_m = np.hypot(*(scene.xyz[near, :2] - sight.origin[:2]).T)
    return near, Candidates(scene.xyz[near], range_m, weight > 0, weight)


def _within(object_xy: DoubleArray, xy: DoubleArray) -> BoolArray:
    """(N,) which ground points lie in the footprint: the object's foot, or the ground that it stands on."""
    hull = convex_hull(object_xy)
    if len(hull) < 3:
        return np.zeros(len(xy), bool)
    start, edge = hull[:, None], (np.roll(hull, -1, axis=0) - hull)[:, None]
    left_of = edge[..., 0] * (xy - start)[..., 1] - edge[..., 1] * (xy - start)[..., 0]
    return np.asarray(np.all(left_of >= 0, axis=0))
