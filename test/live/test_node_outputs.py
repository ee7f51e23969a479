# SPDX-License-Identifier: Apache-2.0
"""The real node over DDS: sensor messages in, all outputs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_bundle import BLUE, GREY, POISON_RGB

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from node_rig import HEIGHT, OUTPUTS, WIDTH, NodeRig, pixels_of, png, scene_image

pytestmark = pytest.mark.live

Start = Callable[..., NodeRig]


def test_image_info_points_and_tf_give_all_outputs(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    rig.send_tf()
    rig.send(7)
    answer = rig.answer(7)

    assert set(answer) == set(OUTPUTS)
    for name in ("score", "mask", "instances", "segmentation", "overlay", "anomalies"):
        assert answer[name].header.frame_id == "camera_optical", name
    for name in ("hazard_zones", "obstacle_points"):
        assert answer[name].header.frame_id == "base_link", name
    anomalies = answer["anomalies"]
    assert (anomalies.status, anomalies.reason, anomalies.camera) == (0, "", "camera")
    assert anomalies.engine == "onnxruntime-cpu/tiny"
    (label,) = anomalies.labels
    assert label.name == "dog"
    assert (label.roi.x_offset, label.roi.y_offset, label.roi.width, label.roi.height) == pytest.approx(
        (144, 80, 32, 24), abs=8
    )
    zones = answer["hazard_zones"]
    assert (zones.status, zones.points_used, zones.tf_used, zones.points_age_s) == (0, True, True, 0.0)
    (zone,) = zones.zones
    assert zone.depth_status == zone.DEPTH_MEASURED, zone.depth_reason
    assert zone.distance_m == pytest.approx(10.0, abs=0.1)
    assert zone.pose.position.x == pytest.approx(10.0, abs=0.2)
    assert np.isnan(zone.closing_speed_mps)
    assert zone.track_id == 0
    _check_pixels(answer, label)
    assert answer["obstacle_points"].width == zone.num_points
    xyz = np.frombuffer(answer["obstacle_points"].data, np.float32).reshape(-1, 4)[:, :3]
    assert np.allclose(xyz[:, 0], 10.0, atol=0.05)
    assert np.abs(xyz[:, 1]).max() < 1.0
    assert answer["markers"].markers[0].action == 3  # DELETEALL
    assert any("dog" in marker.text for marker in answer["markers"].markers)


def _check_pixels(answer: dict[str, Any], label: Any) -> None:
    mask, instances = pixels_of(answer["mask"], "u1"), pixels_of(answer["instances"], "u2")
    assert (answer["score"].encoding, answer["mask"].encoding) == ("32FC1", "mono8")
    assert (answer["instances"].encoding, answer["segmentation"].encoding) == ("16UC1", "8UC1")
    assert mask[92, 160] == 255
    assert mask[20, 20] == 0
    assert np.array_equal(instances > 0, mask > 0)
    assert (instances == label.instance_id).sum() == label.area_px
    score = pixels_of(answer["score"], "f4")
    assert score[92, 160] > 0.5 > score[20, 20]
    names = answer["anomalies"].class_names
    assert names[pixels_of(answer["segmentation"], "u1")[92, 160]] == "dog"
    overlay = np.frombuffer(answer["overlay"].data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert not np.array_equal(overlay, scene_image())


def test_without_tf_the_zone_is_unknown(start_node: Start) -> None:
    rig = start_node(sync__wait_s="0.2")
    rig.start()
    rig.send(1)
    answer = rig.answer(1)
    (zone,) = answer["hazard_zones"].zones
    assert zone.depth_status == zone.DEPTH_UNKNOWN
    assert answer["hazard_zones"].tf_used is False
    assert zone.depth_reason
    assert len(zone.footprint.points) >= 3


def test_without_lidar_the_zone_is_unknown(start_node: Start) -> None:
    rig = start_node(node__points="false")
    rig.transition("configure")
    rig.transition("activate")
    rig.send_tf()
    rig.until(lambda: rig.publishers["/image"].get_subscription_count() > 0, "image subscription")
    rig.send(1, points=False)
    (zone,) = rig.answer(1)["hazard_zones"].zones
    assert zone.depth_status == zone.DEPTH_UNKNOWN
    assert zone.num_points == 0


def test_an_empty_road_has_no_anomaly_and_says_so(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    rig.send_tf()
    image = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    image[:64] = BLUE
    rig.send(1, image=image)
    answer = rig.answer(1)
    assert (answer["anomalies"].status, list(answer["anomalies"].labels)) == (0, [])
    assert (answer["hazard_zones"].status, list(answer["hazard_zones"].zones)) == (0, [])


def test_a_failed_engine_gives_unknown_and_the_next_frame_is_fine(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    rig.send_tf()
    rig.send(1, image=np.full((HEIGHT, WIDTH, 3), POISON_RGB, np.uint8))
    answer = rig.answer(1)
    for name in ("anomalies", "hazard_zones"):
        assert answer[name].status == 1
        assert "finite" in answer[name].reason
    assert "score" not in answer
    rig.send(2)
    assert [label.name for label in rig.answer(2)["anomalies"].labels] == ["dog"]


def test_a_corrupt_compressed_image_gives_unknown_and_the_next_frame_is_fine(start_node: Start) -> None:
    rig = start_node(node__image_transport="compressed")
    rig.transition("configure")
    rig.transition("activate")
    rig.connected(compressed=True)
    rig.send_tf()
    rig.send(1, compressed=b"\x89PNG but no picture")
    answer = rig.answer(1)
    for name in ("anomalies", "hazard_zones"):
        assert answer[name].status == 1
        assert "compressed image" in answer[name].reason
    rig.send(2, compressed=png(scene_image()))
    answer = rig.answer(2)
    assert (answer["anomalies"].status, answer["anomalies"].labels[0].name) == (0, "dog")


def test_camera_info_of_another_size_is_named(start_node: Start) -> None:
    rig = start_node(sync__wait_s="0.2")
    rig.start()
    rig.send_tf()
    rig.send(1, info_size=(640, 320))
    answer = rig.answer(1)
    (zone,) = answer["hazard_zones"].zones
    assert zone.depth_status == zone.DEPTH_UNKNOWN
    assert "640x320" in zone.depth_reason
