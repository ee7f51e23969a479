# SPDX-License-Identifier: Apache-2.0
"""From regions of the image and points of the LiDAR to hazard zones. Every region yields exactly one zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.association import no_points, object_points
from vl_anomaly_ros.geometry.measured import doubt_of, measured_zones
from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL, Scene, prepare
from vl_anomaly_ros.geometry.sights import Sights, sights_of
from vl_anomaly_ros.geometry.wedge import wedge_zones
from vl_anomaly_ros.types import DoubleArray, Frame, HazardZone, Region

BEHIND = "all LiDAR points on the region lie far behind where it meets the ground"


class FusedZones(NamedTuple):
    """The zones of one frame, the frame they are in, and the rotation of their level axes into it."""

    zones: tuple[HazardZone, ...]
    zone_frame: str
    R_zone_level: DoubleArray


def fuse(
    frame: Frame,
    regions: Sequence[Region],
    instances: npt.NDArray[np.uint16],
    config: FusionConfig,
    scene: Scene | None = None,
) -> FusedZones:
    """Hazard zones of all regions of one frame, in the order of the regions.

    Args:
        frame: image, cloud and transforms, as far as they are known.
        regions: of the image; `Region.id` is the value in `instances`.
        instances: (H, W) uint16 region ids, 0 none.
        config: limits.
        scene: what `prepare` made of this frame, where that was done before.

    Returns:
        One zone a region in `Frame.output_frame`; without a transform to it, UNKNOWN zones in the optical frame.

    Raises:
        GeometryError: `instances` is not of the image's size.
    """
    if instances.shape != frame.image.shape[:2]:
        raise GeometryError(
            f"instances: expected {frame.image.shape[:2]} like the image, got {instances.shape}; "
            "regions and image belong to different frames"
        )
    if scene is None:
        scene = prepare(frame, config if regions else replace(config, enabled=False))
    zone_frame = frame.output_frame if scene.placed else frame.frame_id
    R_zone_level = np.eye(3) if scene.placed else R_OPTICAL_LEVEL
    if not regions:
        return FusedZones((), zone_frame, R_zone_level)
    sights, no_sight = _sights(regions, frame, scene.T_level_camera)
    objects = no_points(len(regions))
    if not scene.why_not and scene.ground is not None:
        objects = object_points(regions, instances, scene, scene.ground, sights, config)
    # Points of a few of many areas would tell where these are, and leave out the others.
    measurable = (np.diff(objects.ends) > 0) & np.array([region.merged <= 1 for region in regions])
    known, unknown = np.flatnonzero(measurable).tolist(), np.flatnonzero(~measurable).tolist()
    measured = measured_zones(known, regions, sights, objects, scene, doubt_of(frame, config), config)
    wedges = wedge_zones(
        sights.of(unknown),
        scene.ground,
        config.max_range_m,
        [regions[number].id for number in unknown],
        [_why_unknown(regions[number], bool(objects.hit[number]), no_sight or scene.why_not) for number in unknown],
    )
    order = {region.id: number for number, region in enumerate(regions)}
    zones = sorted([*measured, *wedges], key=lambda zone: order[zone.region_id])
    if np.any(scene.ego):
        zones = [_moved(zone, scene.ego) for zone in zones]
    return FusedZones(tuple(zones), zone_frame, R_zone_level)


def _why_unknown(region: Region, hit: bool, why_not: str) -> str:
    """Why the depth of a region is not known, given why that of none is."""
    if region.merged > 1:
        return f"{region.merged} areas beyond regions.max_regions"
    return why_not or (BEHIND if hit else "no LiDAR point on the region within range")


def _sights(regions: Sequence[Region], frame: Frame, T_level_camera: DoubleArray) -> tuple[Sights, str]:
    """Lines of sight of the regions, or all that is ahead and the reason where the calibration cannot be used."""
    origin, R = T_level_camera[:3, 3], T_level_camera[:3, :3]
    try:
        return sights_of(regions, frame.calibration, origin, R), ""
    except GeometryError as error:
        return sights_of(regions, None, origin, R), str(error)


def _moved(zone: HazardZone, origin: DoubleArray) -> HazardZone:
    """The zone with its coordinates moved from the ego origin to the output frame's."""
    x, y, z = (float(v) for v in origin)
    return HazardZone(
        zone.id,
        zone.region_id,
        zone.status,
        zone.reason,
        (zone.center_m[0] + x, zone.center_m[1] + y, zone.center_m[2] + z),
        zone.size_m,
        zone.yaw_rad,
        zone.position_covariance,
        zone.footprint_m + origin[:2],
        (zone.z_range_m[0] + z, zone.z_range_m[1] + z),
        zone.distance_m,
        zone.point_indices,
    )
