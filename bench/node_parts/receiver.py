# SPDX-License-Identifier: Apache-2.0
"""Writes down when each output arrives: `python -m bench.node_parts.receiver OUT TOPIC=KIND...`.

Messages are taken as bytes: what it costs a subscriber to read them is neither the node's time nor the transport's.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray
from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray

from bench.node_parts.records import Log
from bench.node_parts.stopping import until_stopped

KINDS: dict[str, type[Any]] = {
    "score": Image,
    "mask": Image,
    "instances": Image,
    "segmentation": Image,
    "obstacle_points": PointCloud2,
    "markers": MarkerArray,
    "hazard_zones": HazardZoneArray,
    "anomalies": AnomalyArray,
    "floor": Header,
    "floor_image": Image,
}


def stamp_in(message: bytes, kind: str) -> int:
    """Nanoseconds of the header's stamp in a serialised message; 0 in an array of no markers.

    CDR: four bytes that tell the byte order, then the fields; the markers come after their number.
    """
    at = 4
    if kind == "markers":
        if struct.unpack_from("<I", message, 4)[0] == 0:
            return 0
        at = 8
    seconds, nanoseconds = struct.unpack_from("<iI", message, at)
    return int(seconds * 1_000_000_000 + nanoseconds)


def main() -> None:
    """Subscribe and write until SIGTERM."""
    out, topics = Path(sys.argv[1]), dict(argument.split("=") for argument in sys.argv[2:])
    stopped = until_stopped()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bench_receiver")
    with Log(out) as log:

        def keep_diagnostics(message: DiagnosticArray) -> None:
            """Keep the newest statuses as JSON: {name: {"message": ..., key: value}}."""
            statuses = {s.name: {"message": s.message, **{v.key: v.value for v in s.values}} for s in message.status}
            out.with_suffix(".diagnostics.json").write_text(json.dumps(statuses, indent=1))

        def recorder(topic: str, kind: str) -> Callable[[bytes], None]:
            def record(message: bytes) -> None:
                at_ns = monotonic_ns()
                log.write(topic, stamp_in(message, kind), at_ns, len(message))

            return record

        for topic, kind in topics.items():
            if kind == "diagnostics":
                node.create_subscription(DiagnosticArray, topic, keep_diagnostics, 10)
            else:
                node.create_subscription(KINDS[kind], topic, recorder(topic, kind), QoSProfile(depth=10), raw=True)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stopped():
            executor.spin_once(timeout_sec=0.2)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
