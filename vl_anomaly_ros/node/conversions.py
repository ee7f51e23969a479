# SPDX-License-Identifier: Apache-2.0
"""Results to messages. Sensor messages become types in `vl_anomaly_ros.decoding`, which replay shares.

Images and clouds are messages whose data is filled in place. Messages of many parts are serialised by `cdr`: what these
functions return, a message or bytes, is ready for `publish`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from vl_anomaly_ros import types
from vl_anomaly_ros.msg import AnomalyArray, AnomalyLabel, HazardZoneArray
from vl_anomaly_ros.node.cdr import plain, serialized
from vl_anomaly_ros.node.rotations import quaternion, quaternion_record, yawed
from vl_anomaly_ros.types import DoubleArray, FrameResult

if TYPE_CHECKING:
    from vl_anomaly_ros.geometry.merging import SeenZone
    from vl_anomaly_ros.node.panorama import Sight

Record = SimpleNamespace
"""Has the attributes of a message; see `cdr`."""

_ENCODINGS = {"float32": "32FC1", "uint8": "8UC1", "uint16": "16UC1"}
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("zone", "<u4")])
_POINT_FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.UINT32 if name == "zone" else PointField.FLOAT32, count=1)
    for i, name in enumerate(_POINT.names or ())
]
_NAME_SOURCES = {
    types.NameSource.NONE: AnomalyLabel.SOURCE_NONE,
    types.NameSource.VOCABULARY: AnomalyLabel.SOURCE_VOCABULARY,
    types.NameSource.DICTIONARY: AnomalyLabel.SOURCE_DICTIONARY,
    types.NameSource.TAGGER: AnomalyLabel.SOURCE_TAGGER,
}


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as builtin_interfaces/Time."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header_message(stamp_ns: int, frame_id: str) -> Header:
    """A std_msgs/Header."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def image_message(pixels: npt.NDArray[Any], header: Header, encoding: str = "") -> Image:
    """A sensor_msgs/Image of (H, W) or (H, W, C) pixels in native byte order.

    Args:
        pixels: of float32, uint8 or uint16.
        header: of the message.
        encoding: such as "mono8"; by default the plain name of the dtype, such as "32FC1".
    """
    message = Image(header=header, encoding=encoding or _ENCODINGS[pixels.dtype.name])
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.nbytes // pixels.shape[0]
    message.is_bigendian = int(not np.little_endian)
    _fill(message, pixels)
    return message


def anomalies_message(result: FrameResult, header: Header) -> bytes:
    """vl_anomaly_ros/AnomalyArray of a judged frame, or STATUS_UNKNOWN of one that could not be judged."""
    return serialized(
        AnomalyArray,
        Record(
            header=header,
            camera=result.frame.camera,
            status=AnomalyArray.STATUS_OK if result.ok else AnomalyArray.STATUS_UNKNOWN,
            reason="" if result.ok else result.reason or "unknown",
            engine=result.engine,
            method=result.method,
            vocabulary_revision=result.vocabulary_revision,
            class_names=result.class_names,
            engine_time_ms=result.timing.engine_ms,
            labels=[label_record(region) for region in result.regions],
        ),
    )


def unknown_anomalies(header: Header, camera: str, reason: str) -> bytes:
    """The vl_anomaly_ros/AnomalyArray that says: this image could not be judged."""
    unknown = plain(AnomalyArray(camera=camera, reason=reason or "unknown"))
    unknown.header, unknown.status = header, AnomalyArray.STATUS_UNKNOWN
    return serialized(AnomalyArray, unknown)


def label_record(region: types.Region) -> Record:
    """vl_anomaly_ros/AnomalyLabel of one region; not tracked."""
    x0, y0, x1, y1 = region.bbox
    label = region.label
    return Record(
        instance_id=region.id,
        track_id=0,
        name=label.name,
        name_source=_NAME_SOURCES[label.source],
        approved=label.approved,
        confidence=label.confidence,
        runners_up=label.runners_up,
        probability=region.probability,
        score_detector=region.sources[0],
        score_text=region.sources[1],
        score_clip=region.sources[2],
        roi=Record(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0, do_rectify=False),
        area_px=region.area_px,
        centroid_x_px=region.centroid_px[0],
        centroid_y_px=region.centroid_px[1],
    )


def zones_message(sight: Sight, header: Header, ego_frame: str) -> bytes:
    """vl_anomaly_ros/HazardZoneArray of a moment. `header` has the stamp of the image and the frame of the zones."""
    frame, stamp = sight.frame, plain(header.stamp)
    points = None if frame is None else frame.points
    return serialized(
        HazardZoneArray,
        Record(
            header=header,
            camera=sight.camera,
            status=sight.status,
            reason=sight.reason,
            ego_frame=ego_frame,
            points_used=points is not None,
            points_stamp=time_message(0 if points is None else points.stamp_ns),
            points_age_s=math.nan if frame is None else frame.points_age_s,
            tf_used=frame is not None and frame.T_output_camera is not None,
            tf_age_s=math.nan if frame is None else frame.tf_age_s,
            zones=zone_records(sight.zones, sight.R_zone_level, stamp),
        ),
    )


def zone_records(zones: Sequence[SeenZone], R_zone_level: DoubleArray, stamp: Record) -> list[Record]:
    """vl_anomaly_ros/HazardZone of each, its geometry rotated from level axes into the frame of the zones.

    Args:
        zones: in level axes (z up), each with its region, and who sees it.
        R_zone_level: (3, 3), see `FrameResult`.
        stamp: of the image: zones are not tracked, so each is first and last seen now.
    """
    if not zones:
        return []
    of_level = [seen.zone for seen in zones]
    covariances = R_zone_level @ np.array([zone.position_covariance for zone in of_level]) @ R_zone_level.T
    counts = [len(zone.footprint_m) for zone in of_level]
    heights = np.repeat([zone.z_range_m[0] for zone in of_level], counts)
    corners = at_height(np.concatenate([zone.footprint_m for zone in of_level]), heights, R_zone_level)
    footprints = [corners[end - count : end] for count, end in zip(counts, itertools.accumulate(counts))]
    return [
        _zone_record(seen, pose, covariance, footprint, stamp)
        for seen, pose, covariance, footprint in zip(
            zones, pose_records(of_level, R_zone_level), covariances.reshape(-1, 9), footprints
        )
    ]


def _zone_record(
    seen: SeenZone, pose: Record, covariance: DoubleArray, footprint: DoubleArray, stamp: Record
) -> Record:
    zone, region = seen.zone, seen.region
    length, width, height = zone.size_m
    return Record(
        id=zone.id,
        track_id=0,
        label=label_record(region),
        cameras=seen.cameras,
        depth_status=int(zone.status),
        depth_reason=zone.reason,
        pose=pose,
        size=Record(x=length, y=width, z=height),
        position_covariance=covariance,
        footprint=Record(points=footprint),
        z_min_m=zone.z_range_m[0],
        z_max_m=zone.z_range_m[1],
        distance_m=zone.distance_m,
        closing_speed_mps=math.nan,
        closing_speed_sigma_mps=math.nan,
        num_points=zone.num_points,
        probability=region.probability,
        first_seen=stamp,
        last_seen=stamp,
    )


def pose_records(zones: Sequence[types.HazardZone], R_zone_level: DoubleArray) -> list[Record]:
    """geometry_msgs/Pose of the box of each zone in the frame of the zones."""
    turn = quaternion(R_zone_level)
    places = (np.array([zone.center_m for zone in zones]).reshape(-1, 3) @ R_zone_level.T).tolist()
    return [
        Record(position=Record(x=x, y=y, z=z), orientation=quaternion_record(yawed(turn, zone.yaw_rad)))
        for zone, (x, y, z) in zip(zones, places)
    ]


def at_height(polygon_m: DoubleArray, z_m: float | DoubleArray, R_zone_level: DoubleArray) -> DoubleArray:
    """(n, 3) points of an (n, 2) polygon at a height (or one for each) in level axes, in the frame of the zones."""
    level = np.empty((len(polygon_m), 3))
    level[:, :2], level[:, 2] = polygon_m, z_m
    return np.asarray(level @ R_zone_level.T)


def obstacle_points_message(zones: Sequence[SeenZone], header: Header) -> PointCloud2:
    """sensor_msgs/PointCloud2 of the LiDAR points of all zones, in the frame of the zones: x, y, z and the zone's id.

    A zone of depth UNKNOWN has no points: who drives by this cloud must also heed `~/hazard_zones`.
    """
    records = np.zeros(sum(len(seen.xyz) for seen in zones), _POINT)
    if len(records):
        records["x"], records["y"], records["z"] = np.concatenate([seen.xyz for seen in zones]).T
        records["zone"] = np.repeat([seen.zone.id for seen in zones], [len(seen.xyz) for seen in zones])
    message = PointCloud2(header=header, height=1, is_dense=True, fields=_POINT_FIELDS)
    message.width, message.point_step, message.row_step = len(records), _POINT.itemsize, records.nbytes
    _fill(message, records)
    return message


def _fill(message: Any, values: npt.NDArray[Any]) -> None:
    """Copy an array into the empty `message.data`, once.

    To assign it would copy it again on Kilted. `bytes` or a list would be checked element by element on Humble, and
    by all distributions where ROS_PYTHON_CHECK_FIELDS is 1.
    """
    message.data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
