# SPDX-License-Identifier: Apache-2.0
"""Hazard zones as RViz markers: boxes for what was measured, wedges for unknown depth, and a line of text for each."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from vl_anomaly_ros.msg import HazardZoneArray
from vl_anomaly_ros.node.cdr import plain, serialized
from vl_anomaly_ros.node.conversions import Record, at_height, pose_records
from vl_anomaly_ros.node.rotations import quaternion, quaternion_record
from vl_anomaly_ros.overlay import STATUS_COLOURS, zone_name, zone_text
from vl_anomaly_ros.types import DepthStatus, DoubleArray, HazardZone

if TYPE_CHECKING:
    from vl_anomaly_ros.geometry.merging import SeenZone
    from vl_anomaly_ros.node.panorama import Sight

_TEXT_HEIGHT_M = 0.5
_LINE_WIDTH_M = 0.06
_BLANK = vars(plain(Marker(action=Marker.ADD)))
_UNIT = Record(x=1.0, y=1.0, z=1.0)
_HERE = Record(position=Record(x=0.0, y=0.0, z=0.0), orientation=quaternion_record((0.0, 0.0, 0.0, 1.0)))


def marker_array(sight: Sight, header: Header) -> bytes:
    """visualization_msgs/MarkerArray of a moment; the first marker deletes those of the moment before.

    Where an image could not be judged, a red line of text at the origin of the frame says so.
    """
    made = _Made(plain(header), sight.R_zone_level)
    for seen, pose in zip(sight.zones, pose_records([seen.zone for seen in sight.zones], sight.R_zone_level)):
        zone = seen.zone
        if zone.status is DepthStatus.UNKNOWN:
            made.wedge(zone)
        else:
            made.box(zone, pose)
            made.outline(zone, "footprint")
        made.label(seen)
    if sight.status != HazardZoneArray.STATUS_OK:
        made.text("status", 0, DepthStatus.UNKNOWN, _HERE, f"UNKNOWN: {sight.reason}")
    return serialized(MarkerArray, SimpleNamespace(markers=made.markers))


class _Made:
    """The markers of one array so far."""

    def __init__(self, header: Record, R_zone_level: DoubleArray) -> None:
        self._header = header
        self._R = R_zone_level
        self._upright = quaternion_record(quaternion(R_zone_level))
        self.markers = [Record(**{**_BLANK, "header": header, "action": Marker.DELETEALL})]

    def box(self, zone: HazardZone, pose: Record) -> None:
        length, width, height = (max(float(side), 0.01) for side in zone.size_m)  # RViz refuses a side of 0
        scale = Record(x=length, y=width, z=height)
        self._add("zones", zone.id, Marker.CUBE, zone.status, alpha=0.5, pose=pose, scale=scale)

    def outline(self, zone: HazardZone, namespace: str) -> None:
        ring = at_height(zone.footprint_m[_ring(len(zone.footprint_m))], zone.z_range_m[0], self._R)
        scale = Record(x=_LINE_WIDTH_M, y=0.0, z=0.0)
        self._add(namespace, zone.id, Marker.LINE_STRIP, zone.status, scale=scale, points=ring)

    def wedge(self, zone: HazardZone) -> None:
        """The polygon of a bearing wedge, outlined and lightly filled: the object is anywhere in it."""
        fan = at_height(zone.footprint_m[_fan(len(zone.footprint_m))], zone.z_range_m[0], self._R)
        self._add("unknown_fill", zone.id, Marker.TRIANGLE_LIST, zone.status, alpha=0.25, scale=_UNIT, points=fan)
        self.outline(zone, "unknown")

    def label(self, seen: SeenZone) -> None:
        zone = seen.zone
        top = np.array([zone.center_m[0], zone.center_m[1], zone.z_range_m[1] + _TEXT_HEIGHT_M])
        x, y, z = (self._R @ top).tolist()
        pose = Record(position=Record(x=x, y=y, z=z), orientation=self._upright)
        self.text("labels", zone.id, zone.status, pose, f"{zone_name(seen.region)} {zone_text(zone)}")

    def text(self, namespace: str, number: int, status: DepthStatus, pose: Record, words: str) -> None:
        scale = Record(x=0.0, y=0.0, z=_TEXT_HEIGHT_M)
        self._add(namespace, number, Marker.TEXT_VIEW_FACING, status, pose=pose, scale=scale, text=words)

    def _add(
        self, namespace: str, number: int, kind: int, status: DepthStatus, alpha: float = 1.0, **more: Any
    ) -> None:
        red, green, blue = (channel / 255.0 for channel in STATUS_COLOURS[status])
        values = {
            **_BLANK,
            "header": self._header,
            "ns": namespace,
            "id": number,
            "type": kind,
            "color": Record(r=red, g=green, b=blue, a=alpha),
            "pose": _HERE,
            **more,
        }
        self.markers.append(Record(**values))


@lru_cache(maxsize=256)
def _ring(corners: int) -> npt.NDArray[np.int64]:
    """Corners of a polygon in turn, the first again at the end."""
    return np.append(np.arange(corners), 0) if corners else np.zeros(0, np.int64)


@lru_cache(maxsize=256)
def _fan(corners: int) -> npt.NDArray[np.int64]:
    """Corners of the triangles that fill a convex polygon.

    >>> _fan(4).tolist()
    [0, 1, 2, 0, 2, 3]
    """
    second = np.arange(1, max(corners - 1, 1))
    return np.column_stack([np.zeros_like(second), second, second + 1]).reshape(-1)
