# SPDX-License-Identifier: Apache-2.0
"""The other process of test_overlay_tf.py: a vehicle that sends transforms and small images until it is stopped."""

from __future__ import annotations

import array
import contextlib

import rclpy
import tf2_ros
from geometry_msgs.msg import TransformStamped
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

OFFSET_NS = 5_000_000  # of the camera info behind its image


def transform(parent: str, child: str, x: float = 0.0, z: float = 0.0) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x = x
    message.transform.translation.z = z
    return message


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("overlay_sender")
    static = tf2_ros.StaticTransformBroadcaster(node)
    static.sendTransform(transform("base", "camera", x=2.0, z=1.5))
    static.sendTransform([transform("base", "lidar", z=2.0)])  # a second call must not take the first one back
    moving = tf2_ros.TransformBroadcaster(node)
    images = node.create_publisher(Image, "image", qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        pose = transform("map", "base", x=count * 0.1)
        pose.header.stamp = node.get_clock().now().to_msg()
        moving.sendTransform(pose)
        image = Image(height=2, width=2, step=6, encoding="rgb8", data=array.array("B", bytes(12)))
        info = CameraInfo(height=2, width=2)
        for message, offset_ns in ((image, 0), (info, OFFSET_NS)):
            message.header.stamp.sec = 1000 + count // 10
            message.header.stamp.nanosec = (count % 10) * 100_000_000 + offset_ns
        images.publish(image)
        infos.publish(info)

    node.create_timer(0.05, tick)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
