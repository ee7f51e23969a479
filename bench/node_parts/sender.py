# SPDX-License-Identifier: Apache-2.0
"""The sensors of the bench, in a process of their own: cameras, LiDAR and TF, until SIGTERM.

One thread works through a timetable. For each moment P at which the images are published:

    P - 30 ms  stamp of the cloud (end of its sweep; at 10 Hz, so not at each image)
    P - 25 ms  stamp of the images: exposure, then readout and transfer as of a camera at 30 Hz
    P - 10 ms  the cloud is published
    P          CameraInfo and image of each camera, one camera after another

odom -> base_link is published at 50 Hz at its stamp, so that TF is known at the image's stamp when the image comes.
"""

from __future__ import annotations

import argparse
import array
import heapq
import math
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns, sleep, time_ns
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from bench.node_parts.records import Log
from bench.node_parts.scene import HEIGHT, POINT, WIDTH, Rig, packed_points
from bench.node_parts.stopping import until_stopped
from bench.street import street_frame
from vl_anomaly_ros.types import CameraCalibration, DoubleArray

MS = 1_000_000
TRANSFER_NS = 25 * MS
CLOUD_LEAD_NS = 10 * MS
CLOUD_STAMP_NS = 30 * MS
CLOUD_PERIOD_NS = 100 * MS
TF_PERIOD_NS = 20 * MS
SPEED_MPS, YAW_RATE_RADPS = 8.0, 0.1
FIELD_TYPES = {"f4": PointField.FLOAT32, "u2": PointField.UINT16}
WAIT_S = 60.0


def stamp(at_ns: int) -> Time:
    """Nanoseconds as a message."""
    return Time(sec=at_ns // 1_000_000_000, nanosec=at_ns % 1_000_000_000)


def transform(parent: str, child: str, T: DoubleArray, at_ns: int = 0) -> TransformStamped:
    """A (4, 4) rigid transform, `child` in `parent`, as a message."""
    message = TransformStamped(header=Header(stamp=stamp(at_ns), frame_id=parent), child_frame_id=child)
    move, turn = message.transform.translation, message.transform.rotation
    move.x, move.y, move.z = (float(v) for v in T[:3, 3])
    # The eigenvector of eigenvalue 1 of the quaternion's own outer product, 4 q q^T = I + K.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = T[:3, :3]
    outer = np.array(
        [
            [1 + xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy],
            [zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz],
        ]
    )
    row = outer[int(np.argmax(np.diag(outer)))]
    turn.x, turn.y, turn.z, turn.w = (float(v) for v in row / np.linalg.norm(row))
    return message


def image_message(camera: str) -> Image:
    """A 1920x1080 bgr8 image of noise, of the optical frame of the camera."""
    message = Image(header=Header(frame_id=f"{camera}_optical"), height=HEIGHT, width=WIDTH, encoding="bgr8")
    message.step = 3 * WIDTH
    message.data = array.array("B", np.random.default_rng(1).integers(0, 255, HEIGHT * WIDTH * 3, np.uint8).tobytes())
    return message


def info_message(camera: str, calibration: CameraCalibration) -> CameraInfo:
    """The CameraInfo of the images."""
    message = CameraInfo(header=Header(frame_id=f"{camera}_optical"), height=HEIGHT, width=WIDTH)
    message.distortion_model = "plumb_bob"
    message.k = calibration.K.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    return message


def cloud_message(xyz: Any) -> PointCloud2:
    """The cloud, of frame `lidar`."""
    packed = packed_points(xyz)
    message = PointCloud2(header=Header(frame_id="lidar"), height=1, width=len(packed), is_dense=True)
    message.point_step, message.row_step = POINT.itemsize, packed.nbytes
    for name in POINT.names or ():
        kind, offset = POINT.fields[name][:2]  # type: ignore[index]
        message.fields.append(PointField(name=name, offset=offset, datatype=FIELD_TYPES[kind.str[1:]], count=1))
    message.data = array.array("B", packed.tobytes())
    return message


class Sender:
    """All publishers and the timetable. Moments are of the monotonic clock, stamps of the system's."""

    def __init__(self, rig: Rig, rate_hz: float, log: Log, reliability: ReliabilityPolicy) -> None:
        self.rig, self.log, self.sent = rig, log, 0
        self.period_ns = round(1e9 / rate_hz)
        self.offset_ns = time_ns() - monotonic_ns()
        self.node = rclpy.create_node("bench_sensors")
        qos = QoSProfile(depth=5, reliability=reliability)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        frame, _, _ = street_frame()
        if frame.calibration is None or frame.points is None or frame.T_output_camera is None:
            raise RuntimeError("the street lacks a calibration, a cloud or a transform")
        publisher = self.node.create_publisher
        self.images = {c: (publisher(Image, rig.image(c), qos), image_message(c)) for c in rig.cameras}
        self.infos = {
            c: (publisher(CameraInfo, rig.info(c), qos), info_message(c, frame.calibration)) for c in rig.cameras
        }
        self.cloud = publisher(PointCloud2, "/points", qos), cloud_message(frame.points.xyz)
        self.tf = publisher(TFMessage, "/tf", 100)
        self.tf_static = publisher(TFMessage, "/tf_static", latched)
        fixed = [transform("base_link", f"{c}_optical", rig.place_of(c, frame.T_output_camera)) for c in rig.cameras]
        if frame.T_camera_points is None:
            raise RuntimeError("the street lacks a transform")
        fixed.append(transform("base_link", "lidar", frame.T_output_camera @ frame.T_camera_points))
        self.tf_static.publish(TFMessage(transforms=fixed))

    def heard(self) -> bool:
        """Whether somebody subscribes to the images of each camera."""
        return all(publisher.get_subscription_count() > 0 for publisher, _ in self.images.values())

    def run(self, stopped: Callable[[], bool]) -> None:
        """Send until `stopped()`."""
        start_ns = monotonic_ns() + 100 * MS
        # (moment, order among equal moments, what, period)
        timetable: list[tuple[int, int, Callable[[int], None], int]] = [
            (start_ns - 50 * MS, 0, self.send_tf, TF_PERIOD_NS),
            (start_ns - CLOUD_LEAD_NS, 1, self.send_cloud, CLOUD_PERIOD_NS),
            (start_ns, 2, self.send_images, self.period_ns),
        ]
        heapq.heapify(timetable)
        while not stopped():
            at_ns, order, send, period_ns = heapq.heappop(timetable)
            if (wait_ns := at_ns - monotonic_ns()) > 0:
                sleep(wait_ns * 1e-9)
            send(at_ns)
            heapq.heappush(timetable, (at_ns + period_ns, order, send, period_ns))

    def send_tf(self, at_ns: int) -> None:
        """Publish odom -> base_link of a vehicle in a bend."""
        del at_ns
        now_ns = monotonic_ns()
        yaw = YAW_RATE_RADPS * now_ns * 1e-9 % math.tau
        radius = SPEED_MPS / YAW_RATE_RADPS
        T = np.eye(4)
        T[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
        T[:2, 3] = radius * math.sin(yaw), -radius * math.cos(yaw)
        self.tf.publish(TFMessage(transforms=[transform("odom", "base_link", T, now_ns + self.offset_ns)]))

    def send_cloud(self, at_ns: int) -> None:
        """The cloud of the sweep that has just ended."""
        publisher, message = self.cloud
        message.header.stamp = stamp(at_ns + CLOUD_LEAD_NS - CLOUD_STAMP_NS + self.offset_ns)
        publisher.publish(message)

    def send_images(self, at_ns: int) -> None:
        """CameraInfo and image of each camera; cameras differ by 1 ns, so that each stamp belongs to one image."""
        for index, camera in enumerate(self.rig.cameras):
            exposed_ns = at_ns - TRANSFER_NS + index
            info_publisher, info = self.infos[camera]
            publisher, message = self.images[camera]
            info.header.stamp = message.header.stamp = stamp(exposed_ns + self.offset_ns)
            info_publisher.publish(info)
            before_ns = monotonic_ns()
            publisher.publish(message)
            self.log.write(camera, exposed_ns + self.offset_ns, before_ns, monotonic_ns(), exposed_ns)
            self.sent += 1


def main() -> None:
    """Wait until the images are heard, then send."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--reliability", choices=("best_effort", "reliable"), default="reliable")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    stopped = until_stopped()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with Log(args.out) as log:
        sender = Sender(Rig(args.cameras), args.rate, log, ReliabilityPolicy[args.reliability.upper()])
        end_ns = monotonic_ns() + int(WAIT_S * 1e9)
        while not sender.heard() and not stopped():
            if monotonic_ns() > end_ns:
                raise SystemExit(f"nobody has subscribed to the images for {WAIT_S:g} s")
            sleep(0.05)
        sleep(1.0)  # discovery of the other topics
        sender.run(stopped)
    sender.node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
