# SPDX-License-Identifier: Apache-2.0
"""What RViz is given."""

from __future__ import annotations

import numpy as np
import pytest
from results import T_OPTICAL_LEVEL, make_result, make_zone, sight_of

pytest.importorskip("visualization_msgs.msg", reason="ROS messages are not installed: ./run installs them")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from vl_anomaly_ros.node.conversions import header_message
from vl_anomaly_ros.node.markers import marker_array
from vl_anomaly_ros.node.panorama import Sight
from vl_anomaly_ros.types import DepthStatus

HEADER = header_message(5, "optical")


def markers_of(sight: Sight, header: Header) -> list[Marker]:
    return list(deserialize_message(marker_array(sight, header), MarkerArray).markers)


def test_the_markers_of_the_frame_before_are_deleted_first() -> None:
    for result in (make_result(), make_result(make_zone()), make_result(ok=False, reason="x", zone_frame="base_link")):
        markers = markers_of(sight_of(result), HEADER)
        assert markers[0].action == Marker.DELETEALL
        assert all(marker.action == Marker.ADD for marker in markers[1:])


def test_a_measured_zone_is_a_box_with_a_name_and_a_distance() -> None:
    markers = markers_of(sight_of(make_result(make_zone())), HEADER)
    (box,) = [marker for marker in markers if marker.type == Marker.CUBE]
    assert (box.scale.x, box.scale.y, box.scale.z) == (2.0, 1.0, 1.0)
    assert box.pose.position.x == 10.0
    (text,) = [marker for marker in markers if marker.type == Marker.TEXT_VIEW_FACING]
    assert text.text == "dog 9.0 m"
    assert text.pose.position.z > 2.0


def test_unknown_depth_is_a_wedge_and_no_box() -> None:
    wedge = np.array([[2.0, -0.2], [80.0, -8.0], [80.0, 8.0], [2.0, 0.2]])
    zone = make_zone(DepthStatus.UNKNOWN, footprint_m=wedge, z_range_m=(0.0, 3.0))
    markers = markers_of(sight_of(make_result(zone)), HEADER)
    assert not [marker for marker in markers if marker.type == Marker.CUBE]
    (fill,) = [marker for marker in markers if marker.type == Marker.TRIANGLE_LIST]
    assert len(fill.points) == 6
    (line,) = [marker for marker in markers if marker.type == Marker.LINE_STRIP]
    assert [(p.x, p.y) for p in line.points] == [tuple(corner) for corner in [*wedge, wedge[0]]]
    assert any("depth unknown" in marker.text for marker in markers)


def test_in_the_optical_frame_up_is_minus_y() -> None:
    result = make_result(make_zone(), zone_frame="optical", R_zone_level=T_OPTICAL_LEVEL)
    markers = markers_of(sight_of(result), HEADER)
    (text,) = [marker for marker in markers if marker.type == Marker.TEXT_VIEW_FACING]
    assert text.pose.position.y < -2.0
    assert text.pose.position.z == pytest.approx(10.0)


def test_a_frame_that_was_not_judged_says_so() -> None:
    result = make_result(ok=False, reason="engine failed", regions=(), zone_frame="base_link")
    assert [marker.text for marker in markers_of(sight_of(result), HEADER)[1:]] == ["UNKNOWN: engine failed"]


def test_every_marker_is_identified_once() -> None:
    zones = [make_zone(id=1), make_zone(DepthStatus.UNKNOWN, id=2), make_zone(DepthStatus.STALE, id=3)]
    names = [(marker.ns, marker.id) for marker in markers_of(sight_of(make_result(*zones)), HEADER)[1:]]
    assert len(names) == len(set(names))
