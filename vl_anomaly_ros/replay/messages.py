# SPDX-License-Identifier: Apache-2.0
"""From pipeline results to the node's messages, without ROS: for the results recording of an offline replay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.replay.interfaces import (
    ANOMALIES,
    PACKAGE,
    ZONES,
    header_message,
    image_message,
    new,
    time_message,
    vector,
)
from vl_anomaly_ros.replay.views import marker_array, obstacle_points, zone_outline, zone_pose
from vl_anomaly_ros.types import FrameResult, HazardZone, NameSource, Region

_SOURCE_NUMBER = {source: number for number, source in enumerate(NameSource)}


def output_messages(result: FrameResult, overlay: npt.NDArray[np.uint8], ego_frame: str) -> dict[str, Any]:
    """The messages of one result by output name (`OUTPUT_TYPES`); pictures are left out where there is no result.

    Args:
        result: of the pipeline.
        overlay: (H, W, 3) uint8 RGB, the picture for people.
        ego_frame: frame that distances are measured from.
    """
    frame = result.frame
    out = {
        "anomalies": anomaly_array(result),
        "hazard_zones": hazard_zone_array(result, ego_frame),
        "overlay": image_message(frame.stamp_ns, frame.frame_id, overlay, "rgb8"),
    }
    if not result.ok:
        return out
    wide = result.segmentation.dtype == np.uint16
    for name, pixels, encoding in (
        ("score", result.probability, "32FC1"),
        ("mask", result.mask, "mono8"),
        ("instances", result.instances, "16UC1"),
        ("segmentation", result.segmentation, "16UC1" if wide else "8UC1"),
    ):
        out[name] = image_message(frame.stamp_ns, frame.frame_id, pixels, encoding)
    out["markers"] = marker_array(result)
    if frame.points is not None:
        out["obstacle_points"] = obstacle_points(result)
    return out


def anomaly_array(result: FrameResult) -> Any:
    """A vl_anomaly_ros/AnomalyArray."""
    frame = result.frame
    return new(
        ANOMALIES,
        header=header_message(frame.stamp_ns, frame.frame_id),
        camera=frame.camera,
        status=0 if result.ok else 1,
        reason=result.reason,
        engine=result.engine,
        method=result.method,
        vocabulary_revision=result.vocabulary_revision,
        class_names=list(result.class_names),
        engine_time_ms=result.timing.engine_ms,
        labels=[_label(region) for region in result.regions],
    )


def _label(region: Region) -> Any:
    x0, y0, x1, y1 = region.bbox
    roi = new(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=x0,
        y_offset=y0,
        height=y1 - y0,
        width=x1 - x0,
        do_rectify=False,
    )
    return new(
        f"{PACKAGE}/msg/AnomalyLabel",
        instance_id=region.id,
        track_id=0,
        name=region.label.name,
        name_source=_SOURCE_NUMBER[region.label.source],
        approved=region.label.approved,
        confidence=region.label.confidence,
        runners_up=[
            new(f"{PACKAGE}/msg/AnomalyCandidate", name=name, confidence=confidence)
            for name, confidence in region.label.runners_up
        ],
        probability=region.probability,
        score_detector=region.sources[0],
        score_text=region.sources[1],
        score_clip=region.sources[2],
        roi=roi,
        area_px=region.area_px,
        centroid_x_px=region.centroid_px[0],
        centroid_y_px=region.centroid_px[1],
    )


def hazard_zone_array(result: FrameResult, ego_frame: str) -> Any:
    """A vl_anomaly_ros/HazardZoneArray."""
    frame = result.frame
    labels = {region.id: region for region in result.regions}
    return new(
        ZONES,
        header=header_message(frame.stamp_ns, result.zone_frame or frame.output_frame),
        camera=frame.camera,
        status=0 if result.ok else 1,
        reason=result.reason,
        ego_frame=ego_frame,
        points_used=frame.points is not None,
        points_stamp=time_message(0 if frame.points is None else frame.points.stamp_ns),
        points_age_s=frame.points_age_s,
        tf_used=frame.T_output_camera is not None,
        tf_age_s=frame.tf_age_s,
        zones=[_zone(zone, labels[zone.region_id], result) for zone in result.zones],
    )


def _zone(zone: HazardZone, region: Region, result: FrameResult) -> Any:
    R = result.R_zone_level
    low, high = zone.z_range_m
    stamp = time_message(result.frame.stamp_ns)
    return new(
        f"{PACKAGE}/msg/HazardZone",
        id=zone.id,
        track_id=0,
        label=_label(region),
        cameras=[result.frame.camera],
        depth_status=int(zone.status),
        depth_reason=zone.reason,
        pose=zone_pose(zone, R),
        size=vector("Vector3", zone.size_m),
        position_covariance=(R @ zone.position_covariance @ R.T).reshape(9),
        footprint=new("geometry_msgs/msg/Polygon", points=zone_outline(zone, R)),
        z_min_m=low,
        z_max_m=high,
        distance_m=zone.distance_m,
        closing_speed_mps=math.nan,
        closing_speed_sigma_mps=math.nan,
        num_points=zone.num_points,
        probability=region.probability,
        first_seen=stamp,
        last_seen=stamp,
    )
