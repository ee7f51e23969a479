# SPDX-License-Identifier: Apache-2.0
"""One hazard zone made of several that show the same thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.geometry.boxes import (
    convex_hull,
    distance_to_polygon,
    footprint,
    oriented_box,
    turned_covariances,
    vertical_extents,
)
from vl_anomaly_ros.geometry.measured import middle_variance
from vl_anomaly_ros.types import DepthStatus, DoubleArray, FloatArray, HazardZone


class Member(NamedTuple):
    """A zone, its (n, 3) float32 points in the same axes, and the stamp of the cloud they are of."""

    zone: HazardZone
    xyz: FloatArray
    cloud_ns: int | None


def united(members: Sequence[Member], number: int, ego_m: DoubleArray) -> tuple[HazardZone, FloatArray]:
    """The zone that several cameras see, and its (n, 3) float32 points.

    One that is measured is made anew of all points, as a zone of one camera is. Where the members have few points or
    none, it encloses all that they enclose.

    Args:
        members: at least two, all of them UNKNOWN or none.
        number: id of the zone.
        ego_m: (2,) ego origin.

    Returns:
        A zone of the best status of the members and the region of the first. Its `point_indices` are of the cloud of
        the first member; a point of another cloud has -1.
    """
    index, xyz = _points(members)
    status = min(member.zone.status for member in members)
    best = [member.zone for member in members if member.zone.status is status]
    shape = xyz.astype(np.float64)
    if status in (DepthStatus.SPARSE, DepthStatus.UNKNOWN):
        shape = np.concatenate([shape, *(corners(member.zone) for member in members)])
    bearing = math.atan2(*(shape[:, :2].mean(axis=0) - ego_m)[::-1])
    centre, size, yaw = oriented_box(shape[:, :2], bearing + math.pi / 2)
    polygon = footprint(convex_hull(shape[:, :2]), centre, size, yaw)
    ((low, high),) = vertical_extents(shape, np.array([0, len(shape)])).tolist()
    sides = (*size, high - low)
    variance = np.array([sides]) ** 2 / 12  # where nothing is measured the thing is anywhere in the box alike
    if status is not DepthStatus.UNKNOWN:
        variance = middle_variance(np.array([sides]), np.array([len(xyz)]))
    (covariance,) = turned_covariances(variance, np.array([yaw]))
    if status is DepthStatus.STALE:
        # How far the thing may have moved since is all that makes a stale zone wide in its narrowest direction.
        moved = max(float(np.linalg.eigvalsh(zone.position_covariance[:2, :2])[0]) for zone in best)
        covariance += np.diag([moved, moved, 0.0])
    zone = HazardZone(
        id=number,
        region_id=members[0].zone.region_id,
        status=status,
        reason="; ".join(dict.fromkeys(zone.reason for zone in best if zone.reason)),
        center_m=(float(centre[0]), float(centre[1]), (low + high) / 2),
        size_m=sides,
        yaw_rad=yaw,
        position_covariance=covariance,
        footprint_m=polygon,
        z_range_m=(low, high),
        distance_m=distance_to_polygon(polygon, ego_m),
        point_indices=index,
    )
    return zone, xyz


def corners(zone: HazardZone) -> DoubleArray:
    """(2n, 3) corners of the footprint, at the lowest z and then at the highest."""
    xy = np.tile(zone.footprint_m, (2, 1))
    return np.column_stack([xy, np.repeat(zone.z_range_m, len(zone.footprint_m))])


def _points(members: Sequence[Member]) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Indices and coordinates of all points, each point of a cloud once."""
    indices, places = [], []
    for cloud_ns in dict.fromkeys(member.cloud_ns for member in members):
        same = [member for member in members if member.cloud_ns == cloud_ns]
        index, first = np.unique(np.concatenate([m.zone.point_indices for m in same]), return_index=True)
        indices.append(index if cloud_ns == members[0].cloud_ns else np.full_like(index, -1))
        places.append(np.concatenate([m.xyz for m in same])[first])
    return np.concatenate(indices), np.concatenate(places)
