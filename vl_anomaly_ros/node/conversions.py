# SPDX-License-Identifier: Apache-2.0
"""Results to messages. Sensor messages become types in `vl_anomaly_ros.decoding`, which replay shares."""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Point32, Polygon, Pose, Quaternion, Vector3
from sensor_msgs.msg import Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header

from vl_anomaly_ros import types
from vl_anomaly_ros.msg import AnomalyArray, AnomalyCandidate, AnomalyLabel, HazardZone, HazardZoneArray
from vl_anomaly_ros.types import DoubleArray, FrameResult

METHOD = "vl_anomaly"
_ENCODINGS = {"float32": "32FC1", "uint8": "8UC1", "uint16": "16UC1"}
_POINT_FIELDS = (
    ("x", PointField.FLOAT32),
    ("y", PointField.FLOAT32),
    ("z", PointField.FLOAT32),
    ("zone", PointField.UINT32),
)
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


def anomalies_message(result: FrameResult, header: Header) -> AnomalyArray:
    """vl_anomaly_ros/AnomalyArray of a judged frame, or STATUS_UNKNOWN of one that could not be judged."""
    message = unknown_anomalies(header, result.frame.camera, result.reason)
    message.engine = result.engine
    message.vocabulary_revision = result.vocabulary_revision
    message.engine_time_ms = result.timing.engine_ms
    if result.ok:
        message.status, message.reason = AnomalyArray.STATUS_OK, ""
        message.class_names = list(result.class_names)
        message.labels = [label_message(region) for region in result.regions]
    return message


def unknown_anomalies(header: Header, camera: str, reason: str) -> AnomalyArray:
    """The message that says: this image could not be judged."""
    return AnomalyArray(
        header=header,
        camera=camera,
        status=AnomalyArray.STATUS_UNKNOWN,
        reason=reason or "unknown",
        method=METHOD,
    )


def label_message(region: types.Region) -> AnomalyLabel:
    """vl_anomaly_ros/AnomalyLabel of one region; not tracked."""
    x0, y0, x1, y1 = region.bbox
    return AnomalyLabel(
        instance_id=region.id,
        name=region.label.name,
        name_source=_NAME_SOURCES[region.label.source],
        approved=region.label.approved,
        confidence=region.label.confidence,
        runners_up=[AnomalyCandidate(name=name, confidence=c) for name, c in region.label.runners_up],
        probability=region.probability,
        score_detector=region.sources[0],
        score_text=region.sources[1],
        score_clip=region.sources[2],
        roi=RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0),
        area_px=region.area_px,
        centroid_x_px=region.centroid_px[0],
        centroid_y_px=region.centroid_px[1],
    )


def zones_message(result: FrameResult, header: Header, ego_frame: str) -> HazardZoneArray:
    """vl_anomaly_ros/HazardZoneArray of a frame. `header` is the image's; the frame becomes that of the zones."""
    frame = result.frame
    zone_header = Header(stamp=header.stamp, frame_id=result.zone_frame or header.frame_id)
    message = unknown_zones(zone_header, frame.camera, result.reason, ego_frame)
    message.points_used = frame.points is not None
    if frame.points is not None:
        message.points_stamp = time_message(frame.points.stamp_ns)
        message.points_age_s = frame.points_age_s
    message.tf_used = frame.T_output_camera is not None
    message.tf_age_s = frame.tf_age_s
    if result.ok:
        message.status, message.reason = HazardZoneArray.STATUS_OK, ""
        labels = {region.id: region for region in result.regions}
        message.zones = [
            zone_message(zone, labels[zone.region_id], result.R_zone_level, header.stamp) for zone in result.zones
        ]
    return message


def unknown_zones(header: Header, camera: str, reason: str, ego_frame: str) -> HazardZoneArray:
    """The message that says: this image could not be judged."""
    return HazardZoneArray(
        header=header,
        camera=camera,
        status=HazardZoneArray.STATUS_UNKNOWN,
        reason=reason or "unknown",
        ego_frame=ego_frame,
        points_age_s=math.nan,
        tf_age_s=math.nan,
    )


def zone_message(zone: types.HazardZone, region: types.Region, R_zone_level: DoubleArray, stamp: Time) -> HazardZone:
    """vl_anomaly_ros/HazardZone, its geometry rotated from level axes into the frame of the zones.

    Args:
        zone: in level axes (z up).
        region: what it belongs to.
        R_zone_level: (3, 3), see `FrameResult`.
        stamp: of the image: zones are not tracked, so each is first and last seen now.
    """
    covariance = R_zone_level @ zone.position_covariance @ R_zone_level.T
    ground = np.column_stack([zone.footprint_m, np.full(len(zone.footprint_m), zone.z_range_m[0])]) @ R_zone_level.T
    return HazardZone(
        id=zone.id,
        label=label_message(region),
        depth_status=int(zone.status),
        depth_reason=zone.reason,
        pose=zone_pose(zone, R_zone_level),
        size=Vector3(x=float(zone.size_m[0]), y=float(zone.size_m[1]), z=float(zone.size_m[2])),
        position_covariance=covariance.astype(np.float64).reshape(9),
        footprint=Polygon(points=[Point32(x=float(x), y=float(y), z=float(z)) for x, y, z in ground]),
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


def zone_pose(zone: types.HazardZone, R_zone_level: DoubleArray) -> Pose:
    """Pose of the box of a zone in the frame of the zones."""
    cos, sin = math.cos(zone.yaw_rad), math.sin(zone.yaw_rad)
    x, y, z = R_zone_level @ np.asarray(zone.center_m)
    return Pose(
        position=Point(x=float(x), y=float(y), z=float(z)),
        orientation=quaternion(R_zone_level @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])),
    )


def quaternion(R: DoubleArray) -> Quaternion:
    """The unit quaternion of a (3, 3) rotation, w >= 0.

    By Bar-Itzhack's symmetric matrix (J. Guidance 23(6), 2000), whose leading eigenvector it is: no case by case.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R
    K = np.array(
        [
            [xx - yy - zz, 0.0, 0.0, 0.0],
            [yx + xy, yy - xx - zz, 0.0, 0.0],
            [zx + xz, zy + yz, zz - xx - yy, 0.0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    q = np.linalg.eigh(K / 3.0, UPLO="L").eigenvectors[:, -1]
    x, y, z, w = (q if q[3] >= 0 else -q).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def obstacle_points_message(result: FrameResult, header: Header) -> PointCloud2:
    """sensor_msgs/PointCloud2 of the LiDAR points of all zones, in the frame of the zones: x, y, z and the zone's id.

    A zone of depth UNKNOWN has no points: who drives by this cloud must also heed `~/hazard_zones`.
    """
    frame = result.frame
    layout = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("zone", "<u4")])
    records = np.zeros(sum(zone.num_points for zone in result.zones), layout)
    if len(records) and frame.points is not None and frame.T_camera_points is not None:
        T = frame.T_camera_points
        if result.zone_frame != frame.frame_id and frame.T_output_camera is not None:
            T = frame.T_output_camera @ T
        rows = np.concatenate([zone.point_indices for zone in result.zones])
        xyz = frame.points.xyz[rows] @ T[:3, :3].T.astype(np.float32) + T[:3, 3].astype(np.float32)
        records["x"], records["y"], records["z"] = xyz.T
        records["zone"] = np.repeat([zone.id for zone in result.zones], [zone.num_points for zone in result.zones])
    message = PointCloud2(header=Header(stamp=header.stamp, frame_id=result.zone_frame), height=1, is_dense=True)
    message.width, message.point_step, message.row_step = len(records), layout.itemsize, records.nbytes
    message.fields = [
        PointField(name=name, offset=4 * i, datatype=datatype, count=1)
        for i, (name, datatype) in enumerate(_POINT_FIELDS)
    ]
    _fill(message, records)
    return message


def _fill(message: Any, values: npt.NDArray[Any]) -> None:
    """Copy an array into `message.data` at once; assigning `bytes` is checked element by element by some rclpy."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    message.data = data
