# SPDX-License-Identifier: Apache-2.0
"""Zones of several cameras at one moment: where fields of view overlap, one thing gives one zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.boxes import distance_to_polygon, half_turn, signed_area
from vl_anomaly_ros.geometry.transforms import apply
from vl_anomaly_ros.geometry.uniting import Member, corners, united
from vl_anomaly_ros.types import DepthStatus, DoubleArray, FloatArray, FrameResult, HazardZone, Region

SHARED_POINTS = 0.3
"""Zones of one cloud are of one thing when they share this part of the points of the smaller."""
NEAR_POINTS = 0.5
"""Zones of two clouds are when this part of the points of the smaller lies near the other's."""
NEAR_OF_GAP = 0.5
"""Near, as a share of `fusion.cluster_gap_m`: two people 0.8 m apart leave a gap of some 0.3 m, half of 0.5 m is less.
"""
COMMON_GROUND = 0.5
"""Wedges of unknown depth are of one thing when this part of the smaller lies in the other..."""
LIKE_WEDGES = 0.2
"""...and this is the least ratio of their areas: that of an uncalibrated camera is all that is ahead, and holds every
other one, which would be lost in it."""
SAMPLE = 64
"""Points of the smaller zone looked at when two clouds are compared, and four times as many of the other."""


class SeenZone(NamedTuple):
    """A zone with what is said of it.

    Attributes:
        zone: in level axes, see `HazardZone`.
        region: in the image of the first of `cameras`.
        cameras: who sees it.
        xyz: (n, 3) float32 its LiDAR points, metres, in the frame of the zones (not its level axes).
    """

    zone: HazardZone
    region: Region
    cameras: tuple[str, ...]
    xyz: FloatArray


@dataclass(frozen=True)
class View:
    """The newest that one camera has said.

    Attributes:
        camera: its name.
        seen: its zones in the output frame at the time of its image.
        cloud_stamp_ns: of the cloud that `HazardZone.point_indices` are of; the same stamp is the same cloud.
        T_now_then: (4, 4) maps the output frame at the time of its image to the output frame now.
    """

    camera: str
    seen: tuple[SeenZone, ...]
    cloud_stamp_ns: int | None
    T_now_then: DoubleArray


def seen_zones(result: FrameResult) -> tuple[SeenZone, ...]:
    """The zones of one frame, with their points in `FrameResult.zone_frame`."""
    frame, zones = result.frame, result.zones
    ends = np.cumsum([zone.num_points for zone in zones], dtype=np.int64)
    xyz = np.zeros((int(ends[-1]) if len(zones) else 0, 3), np.float32)
    if len(xyz) and frame.points is not None and frame.T_camera_points is not None:
        T = frame.T_camera_points
        if result.zone_frame != frame.frame_id and frame.T_output_camera is not None:
            T = frame.T_output_camera @ T
        xyz = apply(T, frame.points.xyz[np.concatenate([zone.point_indices for zone in zones])]).astype(np.float32)
    regions = {region.id: region for region in result.regions}
    return tuple(
        SeenZone(zone, regions[zone.region_id], (frame.camera,), xyz[end - zone.num_points : end])
        for zone, end in zip(zones, ends)
    )


def carried(zone: HazardZone, T: DoubleArray, ego_m: DoubleArray | None = None) -> HazardZone:
    """The zone after the rigid motion `T` (4, 4) of its axes; the same object where `T` is the identity.

    The box turns about z alone: pitch and roll of the vehicle move it, and widen its z range.

    Args:
        zone: in level axes.
        T: maps these axes then to the same axes now.
        ego_m: (2,) ego origin now, for the distance; None: the origin.
    """
    if np.array_equal(T, np.eye(4)):
        return zone
    moved = apply(T, corners(zone))
    polygon = moved[: len(zone.footprint_m), :2]
    low, high = float(moved[:, 2].min()), float(moved[:, 2].max())
    x, y, _ = apply(T, np.array([zone.center_m]))[0].tolist()
    R = T[:3, :3]
    return replace(
        zone,
        center_m=(x, y, (low + high) / 2),
        size_m=(*zone.size_m[:2], high - low),
        yaw_rad=half_turn(zone.yaw_rad + math.atan2(R[1, 0], R[0, 0])),
        position_covariance=R @ zone.position_covariance @ R.T,
        footprint_m=polygon,
        z_range_m=(low, high),
        distance_m=distance_to_polygon(polygon, np.zeros(2) if ego_m is None else ego_m),
    )


def merge(views: Sequence[View], ego_m: DoubleArray, config: FusionConfig) -> tuple[SeenZone, ...]:
    """All that the cameras see, in the output frame now, a thing that several see once.

    Two zones of one camera stay two, and so do one that is measured and one of unknown depth: a wedge may hold a second
    thing. What is merged encloses the points of all, so a wrong match costs a zone of its own, never coverage.

    Args:
        views: at most one a camera; their order does not matter.
        ego_m: (2,) ego origin in the output frame now.
        config: `cluster_gap_m` is used.

    Returns:
        In the order of the camera's name and the id of the zone there. Ids are those of the camera where there is one
        view, else 1, 2, ... Of one view that did not move, the very same zones.

    Raises:
        GeometryError: a camera comes twice, or `T_now_then` is no finite transform.
    """
    for view in views:
        if view.T_now_then.shape != (4, 4) or not np.all(np.isfinite(view.T_now_then)):
            raise GeometryError(
                f"camera {view.camera}: expected a finite 4x4 motion since its image, got {view.T_now_then.tolist()}; "
                "leave this camera out and say so"
            )
    if len({view.camera for view in views}) != len(views):
        raise GeometryError(
            f"views: expected at most one of a camera, got {', '.join(sorted(view.camera for view in views))}"
        )
    ordered = sorted(views, key=lambda view: view.camera)
    seen = [_now(one, view.T_now_then, ego_m) for view in ordered for one in sorted(view.seen, key=lambda s: s.zone.id)]
    if len(views) <= 1:
        return tuple(seen)
    clouds = [view.cloud_stamp_ns for view in ordered for _ in view.seen]
    merged = []
    for number, group in enumerate(_groups(seen, clouds, config), 1):
        if len(group) == 1:
            one = seen[group[0]]
            merged.append(one._replace(zone=replace(one.zone, id=number)))
            continue
        first, *others = sorted(group, key=lambda i: (-_certainty(seen[i].region), i))
        members = [Member(seen[i].zone, seen[i].xyz, clouds[i]) for i in (first, *others)]
        zone, xyz = united(members, number, ego_m)
        cameras = tuple(seen[i].cameras[0] for i in (first, *sorted(others)))
        merged.append(SeenZone(zone, seen[first].region, cameras, xyz))
    return tuple(merged)


def _certainty(region: Region) -> float:
    """How well a region is known: a name counts more than a score."""
    return (1 + region.label.confidence if region.label.name else 0.0) + 1e-3 * region.probability


def _now(seen: SeenZone, T: DoubleArray, ego_m: DoubleArray) -> SeenZone:
    zone = carried(seen.zone, T, ego_m)
    return seen if zone is seen.zone else seen._replace(zone=zone, xyz=apply(T, seen.xyz).astype(np.float32))


def _groups(seen: Sequence[SeenZone], clouds: Sequence[int | None], config: FusionConfig) -> list[list[int]]:
    """Indices of zones that show one thing, best matches first; a group has one zone of a camera at most."""
    near_m = NEAR_OF_GAP * config.cluster_gap_m
    found = []
    for i, j in _close(seen, near_m):
        likeness = _likeness(seen[i], seen[j], clouds[i] is not None and clouds[i] == clouds[j], near_m)
        if likeness > 0:
            found.append((-likeness, i, j))
    group = {i: [i] for i in range(len(seen))}
    for _, i, j in sorted(found):
        both = sorted({*group[i], *group[j]})
        if len({seen[k].cameras[0] for k in both}) == len(both):
            for k in both:
                group[k] = both
    return [members for i, members in group.items() if members[0] == i]


def _close(seen: Sequence[SeenZone], near_m: float) -> list[tuple[int, int]]:
    """Pairs of zones of two cameras, both measured or both not, whose boxes along the axes meet within `near_m`."""
    if not seen:
        return []
    low = np.array([[*one.zone.footprint_m.min(axis=0), one.zone.z_range_m[0]] for one in seen]) - near_m / 2
    high = np.array([[*one.zone.footprint_m.max(axis=0), one.zone.z_range_m[1]] for one in seen]) + near_m / 2
    unknown = np.array([one.zone.status is DepthStatus.UNKNOWN for one in seen])
    camera = np.array([one.cameras[0] for one in seen])
    meet = np.all((low[:, None] <= high) & (high[:, None] >= low), axis=2)
    meet &= (unknown[:, None] == unknown) & (camera[:, None] != camera)
    return [(i, j) for i, j in np.argwhere(np.triu(meet)).tolist()]


def _likeness(a: SeenZone, b: SeenZone, same_cloud: bool, near_m: float) -> float:
    """How surely two zones show one thing; 0: not at all. Shared points weigh more than near ones."""
    if a.zone.status is DepthStatus.UNKNOWN:
        areas = signed_area(a.zone.footprint_m), signed_area(b.zone.footprint_m)
        share = _common_area(a.zone.footprint_m, b.zone.footprint_m) / max(min(areas), 1e-9)
        return share if share >= COMMON_GROUND and min(areas) >= LIKE_WEDGES * max(areas) else 0.0
    fewest = min(a.zone.num_points, b.zone.num_points)
    if same_cloud:
        shared = np.intersect1d(a.zone.point_indices, b.zone.point_indices, assume_unique=True)
        share = len(shared) / max(fewest, 1)
        return 1 + share if share >= SHARED_POINTS else 0.0
    small, large = (a, b) if a.zone.num_points <= b.zone.num_points else (b, a)
    # Seen from above: the rings of a LiDAR are far apart in height, its columns are not.
    x, y = _some(small, SAMPLE).T
    other_x, other_y = _some(large, 4 * SAMPLE).T
    if not len(x):
        return 0.0
    squared = np.square(x[:, None] - other_x)
    squared += np.square(y[:, None] - other_y)
    nearest = squared.min(axis=1)
    share = np.count_nonzero(nearest <= near_m**2) / len(x)
    # Of two that are near alike, the one that lies closer.
    return share / (1 + math.sqrt(float(nearest.mean()))) if share >= NEAR_POINTS else 0.0


def _some(seen: SeenZone, count: int) -> FloatArray:
    """(n, 2) float32 places of `count` points at most, spread over all."""
    return seen.xyz[:: -(-len(seen.xyz) // count) or 1, :2]


def _common_area(a: DoubleArray, b: DoubleArray) -> float:
    """Area of the intersection of two convex polygons, m^2."""
    middle = a.mean(axis=0)
    area, _ = cv2.intersectConvexConvex((a - middle).astype(np.float32), (b - middle).astype(np.float32))
    return float(area)
