# SPDX-License-Identifier: Apache-2.0
"""Hazard zones as RViz markers: boxes for what was measured, wedges for unknown depth, and a line of text for each."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vl_anomaly_ros.node.conversions import quaternion, zone_pose
from vl_anomaly_ros.overlay import STATUS_COLOURS, zone_text
from vl_anomaly_ros.types import DepthStatus, DoubleArray, FrameResult, HazardZone

_TEXT_HEIGHT_M = 0.5
_LINE_WIDTH_M = 0.06


def marker_array(result: FrameResult, header: Header) -> MarkerArray:
    """visualization_msgs/MarkerArray of a frame; the first marker deletes those of the frame before.

    A frame that could not be judged gives one red line of text at the camera.
    """
    zone_header = Header(stamp=header.stamp, frame_id=result.zone_frame or header.frame_id)
    if not result.ok:
        return unknown_markers(zone_header, result.reason)
    made = [_delete_all(zone_header)]
    names = {region.id: region.label.name for region in result.regions}
    for zone in result.zones:
        if zone.status is DepthStatus.UNKNOWN:
            made += _wedge(zone, result.R_zone_level, zone_header)
        else:
            made.append(_box(zone, result.R_zone_level, zone_header))
            made.append(_outline(zone, result.R_zone_level, zone_header, zone.z_range_m[0], "footprint"))
        made.append(_label(zone, names[zone.region_id], result.R_zone_level, zone_header))
    return MarkerArray(markers=made)


def unknown_markers(header: Header, reason: str) -> MarkerArray:
    """The markers of an image that could not be judged."""
    text = _marker(header, "status", 0, Marker.TEXT_VIEW_FACING, DepthStatus.UNKNOWN)
    text.text = f"UNKNOWN: {reason}"
    text.scale.z = _TEXT_HEIGHT_M
    return MarkerArray(markers=[_delete_all(header), text])


def _delete_all(header: Header) -> Marker:
    return Marker(header=header, action=Marker.DELETEALL)


def _marker(header: Header, namespace: str, number: int, kind: int, status: DepthStatus, alpha: float = 1.0) -> Marker:
    red, green, blue = (channel / 255.0 for channel in STATUS_COLOURS[status])
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.pose.orientation.w = 1.0
    return marker


def _box(zone: HazardZone, R_zone_level: DoubleArray, header: Header) -> Marker:
    marker = _marker(header, "zones", zone.id, Marker.CUBE, zone.status, alpha=0.5)
    marker.pose = zone_pose(zone, R_zone_level)
    length, width, height = (max(float(side), 0.01) for side in zone.size_m)  # RViz refuses a side of 0
    marker.scale = Vector3(x=length, y=width, z=height)
    return marker


def _outline(zone: HazardZone, R: DoubleArray, header: Header, z_m: float, namespace: str) -> Marker:
    marker = _marker(header, namespace, zone.id, Marker.LINE_STRIP, zone.status)
    marker.scale.x = _LINE_WIDTH_M
    ring = np.vstack([zone.footprint_m, zone.footprint_m[:1]])
    marker.points = _points(ring, z_m, R)
    return marker


def _wedge(zone: HazardZone, R: DoubleArray, header: Header) -> list[Marker]:
    """The polygon of a bearing wedge, outlined and lightly filled: the object is anywhere in it."""
    z_m = zone.z_range_m[0]
    fill = _marker(header, "unknown_fill", zone.id, Marker.TRIANGLE_LIST, zone.status, alpha=0.25)
    fill.scale = Vector3(x=1.0, y=1.0, z=1.0)
    corners = zone.footprint_m
    fan = [corners[[0, i, i + 1]] for i in range(1, len(corners) - 1)]
    fill.points = _points(np.concatenate(fan) if fan else corners[:0], z_m, R)
    return [fill, _outline(zone, R, header, z_m, "unknown")]


def _label(zone: HazardZone, name: str, R: DoubleArray, header: Header) -> Marker:
    marker = _marker(header, "labels", zone.id, Marker.TEXT_VIEW_FACING, zone.status)
    x, y, _ = zone.center_m
    top = R @ np.array([x, y, zone.z_range_m[1] + _TEXT_HEIGHT_M])
    marker.pose = Pose(position=_point(top), orientation=quaternion(R))
    marker.scale.z = _TEXT_HEIGHT_M
    marker.text = f"{name or 'unnamed'} {zone_text(zone)}"
    return marker


def _points(polygon_m: DoubleArray, z_m: float, R: DoubleArray) -> list[Point]:
    """Points of an (n, 2) polygon at one height in level axes, in the frame of the zones."""
    return [_point(p) for p in np.column_stack([polygon_m, np.full(len(polygon_m), z_m)]) @ R.T]


def _point(xyz: DoubleArray) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))
