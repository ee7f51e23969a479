# SPDX-License-Identifier: Apache-2.0
"""Other processes on the same topics: `send FIRST_STAMP_S` drives the scene at 10 Hz, `stall` hears and stops reading.

`stall` subscribes to every output, reliably, waits for one answer and stops itself, as a viewer on a stuck machine.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from time import sleep

import rclpy
from node_rig import OUTPUTS, cloud_message, image_message, info_message, scene_image, scene_points, time_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header


def send(first_stamp_s: int) -> None:
    """Publish until killed. Transforms are somebody else's."""
    node = rclpy.create_node("vehicle")
    images = node.create_publisher(Image, "/image", 10)
    infos = node.create_publisher(CameraInfo, "/camera_info", 10)
    clouds = node.create_publisher(PointCloud2, "/points", 10)
    for stamp_s in count(first_stamp_s):
        optical = Header(stamp=time_of(stamp_s * 10**9), frame_id="camera_optical")
        infos.publish(info_message(optical))
        clouds.publish(cloud_message(scene_points(), Header(stamp=optical.stamp, frame_id="lidar")))
        images.publish(image_message(scene_image(), optical))
        sleep(0.1)


def stall() -> None:
    """Hear one answer, then stop this process."""
    node = rclpy.create_node("viewer")
    heard: list[object] = []
    for name, kind in OUTPUTS.items():
        node.create_subscription(kind, f"/vl_anomaly/{name}", heard.append, 10)
    while not heard:
        rclpy.spin_once(node, timeout_sec=0.1)
    print("stalls", flush=True)  # noqa: T201 - tells the test
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    rclpy.init()
    if sys.argv[1] == "send":
        send(int(sys.argv[2]))
    else:
        stall()
