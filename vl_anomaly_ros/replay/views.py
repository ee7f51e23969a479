# SPDX-License-Identifier: Apache-2.0
"""The views of a result in 3D: obstacle points for costmaps, markers for RViz."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vl_anomaly_ros.geometry.transforms import quaternion_from
from vl_anomaly_ros.overlay import STATUS_COLOURS
from vl_anomaly_ros.replay.interfaces import CLOUD, MARKERS, header_message, new, time_message, vector
from vl_anomaly_ros.types import DepthStatus, DoubleArray, FrameResult, HazardZone

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("zone", "<u4")])


def zone_pose(zone: HazardZone, R_zone_level: DoubleArray) -> Any:
    """The geometry_msgs/Pose of a zone's box in the frame of the zones."""
    c, s = math.cos(zone.yaw_rad), math.sin(zone.yaw_rad)
    x, y, z, w = quaternion_from(R_zone_level @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]))
    return new(
        "geometry_msgs/msg/Pose",
        position=vector("Point", R_zone_level @ np.asarray(zone.center_m)),
        orientation=new("geometry_msgs/msg/Quaternion", x=float(x), y=float(y), z=float(z), w=float(w)),
    )


def zone_outline(zone: HazardZone, R_zone_level: DoubleArray, kind: str = "Point32") -> list[Any]:
    """The corners of a zone on the ground as geometry_msgs points."""
    return [vector(kind, R_zone_level @ np.array([x, y, zone.z_range_m[0]])) for x, y in zone.footprint_m]


def obstacle_points(result: FrameResult) -> Any:
    """The LiDAR points of all zones as PointCloud2 with fields x, y, z, zone, in the frame of the zones."""
    frame = result.frame
    rows = [np.zeros(0, _POINT)]
    if frame.points is not None and frame.T_camera_points is not None:
        T_zone_camera = np.eye(4) if result.zone_frame == frame.frame_id else frame.T_output_camera
        for zone in result.zones:
            if T_zone_camera is None or not zone.num_points:
                continue
            T = T_zone_camera @ frame.T_camera_points
            xyz = frame.points.xyz[zone.point_indices] @ T[:3, :3].T + T[:3, 3]
            row = np.zeros(len(xyz), _POINT)
            row["x"], row["y"], row["z"], row["zone"] = xyz[:, 0], xyz[:, 1], xyz[:, 2], zone.id
            rows.append(row)
    points = np.concatenate(rows)
    return new(
        CLOUD,
        header=header_message(frame.stamp_ns, result.zone_frame),
        height=1,
        width=len(points),
        fields=[
            new("sensor_msgs/msg/PointField", name=name, offset=4 * i, datatype=6 if name == "zone" else 7, count=1)
            for i, name in enumerate(("x", "y", "z", "zone"))
        ],
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * len(points),
        data=points.view(np.uint8).reshape(-1),
        is_dense=True,
    )


def marker_array(result: FrameResult) -> Any:
    """Boxes, labels and ground outlines of the zones for RViz; the first marker clears those of the last image."""
    markers = [_marker(result, "", 0, action=3)]
    for zone in result.zones:
        name = next((r.label.name for r in result.regions if r.id == zone.region_id), "") or "unknown object"
        colour = STATUS_COLOURS[zone.status]
        outline = zone_outline(zone, result.R_zone_level, "Point")
        markers.append(_marker(result, "footprint", zone.id, kind=4, points=[*outline, *outline[:1]], colour=colour))
        if zone.status != DepthStatus.UNKNOWN:
            pose = zone_pose(zone, result.R_zone_level)
            markers.append(_marker(result, "box", zone.id, kind=1, pose=pose, size=zone.size_m, colour=colour))
        text = f"{name}\n{zone.distance_m:.1f} m {zone.status.name}"
        pose = zone_pose(zone, result.R_zone_level)
        markers.append(_marker(result, "label", zone.id, kind=9, pose=pose, text=text, colour=(255, 255, 255)))
    return new(MARKERS, markers=markers)


def _marker(
    result: FrameResult,
    namespace: str,
    number: int,
    *,
    action: int = 0,
    kind: int = 0,
    pose: Any = None,
    size: tuple[float, float, float] | None = None,
    points: list[Any] | None = None,
    text: str = "",
    colour: tuple[int, int, int] = (0, 0, 0),
) -> Any:
    stand = new(
        "geometry_msgs/msg/Pose",
        position=vector("Point", (0, 0, 0)),
        orientation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )
    nothing = time_message(0)
    r, g, b = (channel / 255.0 for channel in colour)
    return new(
        "visualization_msgs/msg/Marker",
        header=header_message(result.frame.stamp_ns, result.zone_frame),
        ns=namespace,
        id=number,
        type=kind,
        action=action,
        pose=pose or stand,
        scale=vector("Vector3", size or (0.1, 0.1, 0.6)),
        color=new("std_msgs/msg/ColorRGBA", r=r, g=g, b=b, a=0.5 if size else 1.0),
        lifetime=new("builtin_interfaces/msg/Duration", sec=nothing.sec, nanosec=nothing.nanosec),
        frame_locked=False,
        points=points or [],
        colors=[],
        texture_resource="",
        texture=new(
            "sensor_msgs/msg/CompressedImage",
            header=header_message(0, ""),
            format="",
            data=np.zeros(0, np.uint8),
        ),
        uv_coordinates=[],
        text=text,
        mesh_resource="",
        mesh_file=new("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
        mesh_use_embedded_materials=False,
    )
