# SPDX-License-Identifier: Apache-2.0
"""2 000 hostile messages through the live node: each image is answered, with a reason where it cannot be judged.

Good frames in between are judged and placed rightly.
"""

from __future__ import annotations

import array
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

import hostile_messages
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from node_rig import NodeRig, png, scene_image
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vl_anomaly_ros.msg import HazardZone

pytestmark = pytest.mark.live
ROUNDS = 500  # of an image, a calibration, a cloud and transforms
FILES = 200
FIRST_S = 1000
GOOD_EVERY = 10


def header(made: Any) -> Header:
    return Header(stamp=Time(sec=made.stamp.sec, nanosec=made.stamp.nanosec), frame_id=made.frame_id)


def image_of(made: Any) -> Image:
    message = Image(header=header(made.header), encoding=made.encoding, is_bigendian=made.is_bigendian)
    message.height, message.width, message.step = made.height, made.width, made.step
    message.data = array.array("B", bytes(made.data))
    return message


def compressed_of(made: Any) -> CompressedImage:
    message = CompressedImage(header=header(made.header), format=made.format)
    message.data = array.array("B", bytes(made.data))
    return message


def fitted(values: Any, count: int) -> list[float]:
    """Arrays of fixed length have it in every message."""
    return [*map(float, values), *[0.0] * count][:count]


def info_of(made: Any) -> CameraInfo:
    message = CameraInfo(header=header(made.header), width=made.width, height=made.height)
    message.distortion_model, message.d = made.distortion_model, array.array("d", made.d)
    message.k, message.r, message.p = fitted(made.k, 9), fitted(made.r, 9), fitted(made.p, 12)
    message.binning_x, message.binning_y = made.binning_x, made.binning_y
    message.roi = RegionOfInterest(**vars(made.roi))
    return message


def cloud_of(made: Any) -> PointCloud2:
    message = PointCloud2(header=header(made.header), is_bigendian=made.is_bigendian, is_dense=made.is_dense)
    message.width, message.height = made.width, made.height
    message.point_step, message.row_step = made.point_step, made.row_step
    message.fields = [PointField(**vars(field)) for field in made.fields]
    message.data = array.array("B", bytes(made.data))
    return message


def transforms_of(made: list[Any]) -> TFMessage:
    """Between frames of their own: what names the scene's frames wrongly would keep the truth out for good."""
    found = []
    for item in made:
        parts = item.transform
        turn, move = Quaternion(**vars(parts.rotation)), Vector3(**vars(parts.translation))
        one = TransformStamped(header=header(item.header), transform=Transform(translation=move, rotation=turn))
        one.header.frame_id, one.child_frame_id = (f"{name}_x" for name in (item.header.frame_id, item.child_frame_id))
        found.append(one)
    return TFMessage(transforms=found)


def test_nothing_that_is_sent_brings_the_node_down(start_node: Callable[..., NodeRig]) -> None:
    rig = start_node(sync__wait_s="0.0", sync__slop_s="2.0")
    rig.start()
    rig.send_tf()
    dynamic = rig.node.create_publisher(TFMessage, "/tf", 10)
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        rng, stamp_s = random.Random(number), FIRST_S + 2 * number  # noqa: S311
        rig.publishers["/camera_info"].publish(info_of(hostile_messages.info(rng)))
        rig.publishers["/points"].publish(cloud_of(hostile_messages.cloud(rng)))
        dynamic.publish(transforms_of(hostile_messages.transforms(rng)))
        if number % 4 == 0:  # with a stamp of its own; no answer is waited for
            rig.publishers["/image"].publish(image_of(hostile_messages.image(rng)))
        sent = image_of(hostile_messages.image(rng))
        sent.header.stamp = Time(sec=stamp_s)
        rig.publishers["/image"].publish(sent)
        outcomes[outcome(rig, stamp_s, (sent.height, sent.width))] += 1
        if number % GOOD_EVERY == 0:
            rig.send(stamp_s + 1)
            good = rig.answer(stamp_s + 1)
            assert [label.name for label in good["anomalies"].labels] == ["dog"], good["anomalies"].reason
            zones = [(zone.depth_status, round(zone.distance_m)) for zone in good["hazard_zones"].zones]
            assert zones == [(HazardZone.DEPTH_MEASURED, 10)], good["hazard_zones"]
    assert min(outcomes["judged"], outcomes["refused"]) > ROUNDS // 10, outcomes
    assert rig.process.poll() is None
    assert rig.stop() == 0
    assert "Traceback" not in rig.log.read_text()


def test_no_file_brings_the_node_down(start_node: Callable[..., NodeRig]) -> None:
    rig = start_node(sync__wait_s="0.0", node__image_transport="compressed")
    assert rig.transition("configure")
    assert rig.transition("activate")
    rig.connected(compressed=True)
    outcomes: Counter[str] = Counter()
    for number in range(FILES):
        sent = compressed_of(hostile_messages.compressed(random.Random(number)))  # noqa: S311
        sent.header.stamp = Time(sec=FIRST_S + number)
        rig.publishers["/image/compressed"].publish(sent)
        outcomes[outcome(rig, FIRST_S + number)] += 1
    assert min(outcomes["judged"], outcomes["refused"]) > FILES // 10, outcomes
    rig.send(FIRST_S + FILES, compressed=png(scene_image()))
    assert len(rig.answer(FIRST_S + FILES)["anomalies"].labels) == 1
    assert rig.stop() == 0
    assert "Traceback" not in rig.log.read_text()


def outcome(rig: NodeRig, stamp_s: int, size: tuple[int, int] | None = None) -> str:
    """Whether the image of this stamp was judged; what was published of it fits its size, or there is a reason."""

    def of(name: str) -> list[Any]:
        return [message for message in rig.received[name] if message.header.stamp.sec == stamp_s]

    rig.until(lambda: of("anomalies"), f"the answer to the image at {stamp_s} s")
    answer = of("anomalies")[-1]
    for picture in [*of("mask"), *of("score"), *of("instances")]:
        assert size in (None, (picture.height, picture.width))
        assert answer.status == 0
    assert answer.status == 0 or answer.reason
    for received in rig.received.values():
        received.clear()
    return "judged" if answer.status == 0 else "refused"
