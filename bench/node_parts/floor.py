# SPDX-License-Identifier: Apache-2.0
"""The transport floor: subscribes as the node does and answers each image at once, without looking at it.

`python -m bench.node_parts.floor CAMERAS [SIZE...]`: with sizes, in bytes, the answer is an image of each size as well,
prepared beforehand.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from bench.node_parts.scene import Rig
from bench.node_parts.stopping import until_stopped


def topics(rig: Rig, sizes: list[int]) -> dict[str, str]:
    """Topic -> kind of all answers."""
    small = {f"/floor/{camera}/answer": "floor" for camera in rig.cameras}
    return small | {f"/floor/{c}/output_{i}": "floor_image" for c in rig.cameras for i in range(len(sizes))}


def _ignore(message: Any) -> None:
    del message


def main() -> None:
    """Answer until SIGTERM."""
    rig, sizes = Rig(int(sys.argv[1])), [int(size) for size in sys.argv[2:]]
    stopped = until_stopped()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("floor")
    sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

    def answerer(camera: str) -> Callable[[Any], None]:
        small = node.create_publisher(Header, f"/floor/{camera}/answer", 10)
        prepared = [
            (node.create_publisher(Image, f"/floor/{camera}/output_{i}", 10), Image(data=array.array("B", bytes(size))))
            for i, size in enumerate(sizes)
        ]

        def answer(message: Image) -> None:
            small.publish(message.header)
            for publisher, output in prepared:
                output.header = message.header
                publisher.publish(output)

        return answer

    for camera in rig.cameras:
        node.create_subscription(Image, rig.image(camera), answerer(camera), sensor)
        node.create_subscription(CameraInfo, rig.info(camera), _ignore, sensor)
    node.create_subscription(PointCloud2, "/points", _ignore, sensor)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopped():
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
