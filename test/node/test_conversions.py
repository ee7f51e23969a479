# SPDX-License-Identifier: Apache-2.0
"""Results to messages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from results import T_OPTICAL_LEVEL, make_frame, make_result, make_zone, sight_of

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from geometry_msgs.msg import Transform
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from vl_anomaly_ros.msg import AnomalyArray, AnomalyLabel, HazardZone, HazardZoneArray

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.node import conversions as convert
from vl_anomaly_ros.node.panorama import Panorama, Sight
from vl_anomaly_ros.node.transforms import matrix
from vl_anomaly_ros.types import DepthStatus, FrameResult

HEADER = convert.header_message(2_000_000_003, "optical")


def anomalies(result: FrameResult, header: Header) -> AnomalyArray:
    return deserialize_message(convert.anomalies_message(result, header), AnomalyArray)


def unknown_anomalies(header: Header, camera: str, reason: str) -> AnomalyArray:
    return deserialize_message(convert.unknown_anomalies(header, camera, reason), AnomalyArray)


def zones_of(sight: Sight, header: Header, ego_frame: str) -> HazardZoneArray:
    return deserialize_message(convert.zones_message(sight, header, ego_frame), HazardZoneArray)


@pytest.mark.parametrize(
    ("dtype", "encoding", "bytes_per_pixel"), [("float32", "32FC1", 4), ("uint8", "8UC1", 1), ("uint16", "16UC1", 2)]
)
def test_images_keep_every_pixel(dtype: str, encoding: str, bytes_per_pixel: int) -> None:
    pixels = np.arange(6, dtype=dtype).reshape(2, 3)
    message = convert.image_message(pixels, HEADER)
    assert (message.encoding, message.height, message.width) == (encoding, 2, 3)
    assert message.step == 3 * bytes_per_pixel
    assert message.header == HEADER
    assert np.array_equal(np.frombuffer(message.data, dtype).reshape(2, 3), pixels)


def test_the_data_is_an_array_that_every_distribution_takes_as_it_is() -> None:
    message = convert.image_message(np.zeros((2, 3), np.float32), HEADER)
    assert (type(message.data).__name__, message.data.typecode) == ("array", "B")


def test_a_cut_out_image_is_packed() -> None:
    pixels = np.arange(100, dtype=np.uint8).reshape(10, 10)[2:5, 3:7]
    message = convert.image_message(pixels, HEADER, "mono8")
    assert (message.encoding, message.step) == ("mono8", 4)
    assert np.array_equal(np.frombuffer(message.data, np.uint8).reshape(3, 4), pixels)


def test_anomalies_hold_the_whole_label() -> None:
    message = anomalies(make_result(make_zone()), HEADER)
    assert message.header == HEADER
    assert (message.status, message.reason, message.camera, message.method) == (0, "", "front", "vl4ad")
    assert (message.engine, message.vocabulary_revision, message.engine_time_ms) == ("fake/none", 4, 12.5)
    assert list(message.class_names) == ["road", "dog"]
    (label,) = message.labels
    assert (label.instance_id, label.track_id, label.name) == (1, 0, "dog")
    assert label.name_source == AnomalyLabel.SOURCE_DICTIONARY
    assert label.confidence == pytest.approx(0.75)
    assert [candidate.name for candidate in label.runners_up] == ["sofa", "cone"]
    scores = (label.probability, label.score_detector, label.score_text, label.score_clip)
    assert scores == pytest.approx((0.9, 0.8, 0.7, 0.6))
    assert (label.roi.x_offset, label.roi.y_offset, label.roi.width, label.roi.height) == (2, 1, 3, 2)
    assert (label.area_px, label.centroid_x_px, label.centroid_y_px) == (6, 3.0, 1.5)


def test_a_frame_that_was_not_judged_is_unknown_and_never_empty_ok() -> None:
    failed = make_result(ok=False, reason="NaN", regions=(), zones=(), zone_frame="base_link")
    said = anomalies(failed, HEADER)
    zones = zones_of(sight_of(failed), HEADER, "base_link")
    assert (said.status, said.reason) == (AnomalyArray.STATUS_UNKNOWN, "NaN")
    assert (zones.status, zones.reason) == (HazardZoneArray.STATUS_UNKNOWN, "NaN")
    assert unknown_anomalies(HEADER, "front", "").reason == "unknown"


def test_of_an_image_that_could_not_be_decoded_all_is_unknown() -> None:
    no_transforms: Any = None
    sight = Panorama(["front"], Config(), no_transforms).without_result("front", 5, "broken")
    unknown = zones_of(sight, HEADER, "base_link")
    assert (unknown.status, unknown.reason) == (HazardZoneArray.STATUS_UNKNOWN, "broken")
    assert math.isnan(unknown.points_age_s)
    assert math.isnan(unknown.tf_age_s)


def test_zones_say_which_inputs_were_used() -> None:
    message = zones_of(sight_of(make_result(make_zone())), HEADER, "base_link")
    assert message.header == HEADER
    assert (message.points_used, message.tf_used, message.ego_frame) == (True, True, "base_link")
    assert message.points_age_s == pytest.approx(0.1)
    assert (message.points_stamp.sec, message.points_stamp.nanosec) == (1, 900_000_003)
    bare = make_result(frame=make_frame(points=None, T_camera_points=None, T_output_camera=None))
    message = zones_of(sight_of(bare), HEADER, "base_link")
    assert (message.points_used, message.tf_used) == (False, False)
    assert math.isnan(message.points_age_s)


def test_a_zone_in_level_axes() -> None:
    (zone,) = zones_of(sight_of(make_result(make_zone())), HEADER, "base_link").zones
    assert (zone.id, zone.track_id, zone.label.name) == (7, 0, "dog")
    assert (zone.depth_status, zone.depth_reason) == (HazardZone.DEPTH_MEASURED, "")
    assert (zone.pose.position.x, zone.pose.position.y, zone.pose.position.z) == (10.0, 0.5, 1.5)
    assert zone.pose.orientation.z == pytest.approx(math.sin(math.radians(15)))
    assert zone.pose.orientation.w == pytest.approx(math.cos(math.radians(15)))
    assert (zone.size.x, zone.size.y, zone.size.z) == (2.0, 1.0, 1.0)
    assert np.allclose(np.asarray(zone.position_covariance).reshape(3, 3), np.diag([0.04, 0.01, 0.09]))
    assert [(p.x, p.y, p.z) for p in zone.footprint.points][1] == (11.0, 0.0, 1.0)
    assert (zone.z_min_m, zone.z_max_m, zone.distance_m, zone.num_points) == (1.0, 2.0, 9.0, 3)
    assert math.isnan(zone.closing_speed_mps)
    assert math.isnan(zone.closing_speed_sigma_mps)
    assert zone.first_seen == zone.last_seen == HEADER.stamp


def test_a_zone_in_the_optical_frame_is_turned_there() -> None:
    """Level (x forward, y left, z up) = (10, 0.5, 1.5) is optical (x right, y down, z forward) = (-0.5, -1.5, 10)."""
    result = make_result(make_zone(), zone_frame="optical", R_zone_level=T_OPTICAL_LEVEL)
    (zone,) = zones_of(sight_of(result), HEADER, "base_link").zones
    assert (zone.pose.position.x, zone.pose.position.y, zone.pose.position.z) == pytest.approx((-0.5, -1.5, 10.0))
    corner = zone.footprint.points[1]
    assert (corner.x, corner.y, corner.z) == pytest.approx((0.0, -1.0, 11.0))
    covariance = np.asarray(zone.position_covariance).reshape(3, 3)
    assert np.allclose(covariance, np.diag([0.01, 0.09, 0.04]))
    turned = matrix(Transform(rotation=zone.pose.orientation))[:3, :3] @ [1.0, 0.0, 0.0]
    assert np.allclose(turned, T_OPTICAL_LEVEL @ [math.cos(math.radians(30)), math.sin(math.radians(30)), 0.0])


def test_obstacle_points_are_those_of_the_zones_in_their_frame() -> None:
    message = convert.obstacle_points_message(sight_of(make_result(make_zone())).zones, HEADER)
    assert [field.name for field in message.fields] == ["x", "y", "z", "zone"]
    records = np.frombuffer(message.data, [("xyz", "<f4", 3), ("zone", "<u4")])
    assert len(records) == message.width == 3
    assert np.allclose(records["xyz"], [[10, 0, 1], [10, 1, 1], [10, 0, 2]], atol=1e-5)  # lidar is 1 m up
    assert set(records["zone"]) == {7}


def test_obstacle_points_in_the_optical_frame() -> None:
    result = make_result(
        make_zone(), frame=make_frame(T_output_camera=None), zone_frame="optical", R_zone_level=T_OPTICAL_LEVEL
    )
    message = convert.obstacle_points_message(sight_of(result).zones, HEADER)
    records = np.frombuffer(message.data, [("xyz", "<f4", 3), ("zone", "<u4")])
    assert np.allclose(records["xyz"][0], [0, 1, 10], atol=1e-5)  # the camera is 1 m above the lidar


def test_no_zone_gives_an_empty_but_whole_cloud() -> None:
    for zones in ((), (make_zone(DepthStatus.UNKNOWN),)):
        message = convert.obstacle_points_message(sight_of(make_result(*zones)).zones, HEADER)
        assert (message.width, len(message.data), message.point_step) == (0, 0, 16)
