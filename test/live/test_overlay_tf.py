# SPDX-License-Identifier: Apache-2.0
"""Transforms and synchronised images between two processes over DDS; holds for the standard packages too."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: start the tests by ./run test")
pytest.importorskip("tf2_ros")

import tf2_ros  # noqa: E402
from message_filters import ApproximateTimeSynchronizer, Subscriber  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

pytestmark = pytest.mark.live
DEADLINE_S = 60.0

SENDER = Path(__file__).with_name("overlay_sender.py")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A node of this process, in a DDS domain where the sender of the other process is started too."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))  # noqa: S311
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    sender = subprocess.Popen([sys.executable, str(SENDER)], env=os.environ.copy())
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("overlay_receiver", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)
    sender.terminate()
    sender.wait(timeout=20)


def spin_until(node: Any, done: Callable[[], object]) -> None:
    """Spin `node` until `done`; fail at the deadline, which only a hang reaches."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end_s = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end_s, "nothing came over DDS"
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)


def test_a_late_listener_gets_static_and_moving_transforms(node: Any) -> None:
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)
    spin_until(
        node, lambda: buffer.can_transform("map", "camera", Time()) and buffer.can_transform("map", "lidar", Time())
    )
    found = buffer.lookup_transform("base", "camera", Time())
    assert (found.transform.translation.x, found.transform.translation.z) == (2.0, 1.5)
    moving = buffer.lookup_transform("map", "camera", Time())
    assert moving.header.stamp.sec > 0
    listener.unregister()


def test_image_and_info_of_one_moment_come_together(node: Any) -> None:
    pairs: list[tuple[int, int]] = []
    image = Subscriber(node, Image, "image", qos_profile=qos_profile_sensor_data)
    info = Subscriber(node, CameraInfo, "camera_info", qos_profile=qos_profile_sensor_data)
    synchroniser = ApproximateTimeSynchronizer([image, info], 10, 0.02)
    synchroniser.registerCallback(lambda *both: pairs.append(tuple(m.header.stamp.nanosec for m in both)))
    assert image.getTopic() == "image"
    spin_until(node, lambda: len(pairs) >= 3)
    assert all(second - first == 5_000_000 for first, second in pairs)
