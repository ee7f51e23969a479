# SPDX-License-Identifier: Apache-2.0
"""How the inputs of an image are brought together. The callbacks are called by hand: no waiting for discovery."""

from __future__ import annotations

import array
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from node_rig import cloud_message
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.node.inputs import Arrived, Inputs
from vl_anomaly_ros.node.transforms import TransformBuffer

MS = 1_000_000
Make = Callable[..., "Bench"]


def stamped(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)


def image(stamp_ns: int, encoding: str = "rgb8") -> Image:
    message = Image(header=stamped(stamp_ns, "optical"), height=2, width=4, step=12, encoding=encoding)
    message.data = array.array("B", bytes(24))
    return message


def info(stamp_ns: int, width: int = 4, focal: float = 5.0) -> CameraInfo:
    message = CameraInfo(header=stamped(stamp_ns, "optical"), width=width, height=2)
    message.k = [focal, 0.0, 2.0, 0.0, focal, 1.0, 0.0, 0.0, 1.0]
    return message


def cloud(stamp_ns: int, x: float = 1.0) -> PointCloud2:
    return cloud_message(np.array([[x, 0, 0]], np.float32), stamped(stamp_ns, "lidar"))


class Bench:
    """Inputs of a node that nobody spins."""

    def __init__(self, node: LifecycleNode, **parameters: Any) -> None:
        self.node = node
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        self.transforms = TransformBuffer(node, 10.0)
        self.inputs = Inputs(node, with_values(Config(), named), self.transforms, lambda _: None)
        # Somebody publishes clouds, so that a frame waits for them.
        self.lidar = node.create_publisher(PointCloud2, "points", 1)

    def transform(self, parent: str, child: str, x: float, stamp_ns: int | None = None) -> None:
        message = TransformStamped(header=stamped(stamp_ns or 0, parent), child_frame_id=child)
        message.transform.translation.x = x
        message.transform.rotation.w = 1.0
        buffer = self.transforms._buffer
        (buffer.set_transform_static if stamp_ns is None else buffer.set_transform)(message, "test")

    def rigid(self) -> None:
        self.transform("base_link", "optical", 1.0)
        self.transform("base_link", "lidar", 3.0)

    def feed(self, *messages: Any) -> None:
        for message in messages:
            kind = {CameraInfo: self.inputs._info_callback, PointCloud2: self.inputs._points_callback}
            kind[type(message)](message)

    def frame(self, stamp_ns: int, **more: Any) -> Any:
        return self.inputs.frame(Arrived(image(stamp_ns, **more), monotonic()))

    def close(self) -> None:
        self.inputs.close()
        self.transforms.close()


@pytest.fixture
def make() -> Iterator[Make]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = LifecycleNode("bench", context=context)
    benches: list[Bench] = []

    def begin(**parameters: Any) -> Bench:
        benches.append(Bench(node, **{"sync__wait_s": 0.0, **parameters}))
        return benches[-1]

    yield begin
    for bench in benches:
        bench.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_everything_at_hand_gives_a_whole_frame(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(1000 * MS))
    frame = bench.frame(1000 * MS)
    assert frame.missing == ()
    assert (frame.stamp_ns, frame.frame_id, frame.camera) == (1000 * MS, "optical", "camera")
    assert frame.T_camera_points[0, 3] == 2.0
    assert frame.T_output_camera[0, 3] == 1.0
    assert frame.tf_age_s == 0.0
    assert frame.calibration.K[0, 0] == 5.0


def test_what_is_absent_is_named(make: Make) -> None:
    frame = make().frame(1000 * MS)
    assert frame.points is frame.calibration is frame.T_output_camera is None
    text = "; ".join(frame.missing)
    for word in ("CameraInfo", "point cloud", "base_link"):
        assert word in text
    assert np.isnan(frame.tf_age_s)


def test_the_nearest_cloud_is_taken_whatever_the_order_of_arrival(make: Make) -> None:
    clouds = [cloud(950 * MS, 1.0), cloud(1050 * MS, 2.0), cloud(850 * MS, 3.0)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        bench = make(frames__fixed_frame="")
        bench.rigid()
        bench.feed(info(1000 * MS), *[clouds[i] for i in order])
        assert bench.frame(1000 * MS).points.stamp_ns == 950 * MS


def test_a_frame_waits_for_a_cloud_that_is_not_older_than_itself(make: Make) -> None:
    bench = make(sync__wait_s=30.0, frames__fixed_frame="")
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(900 * MS))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    bench.feed(cloud(980 * MS))
    assert thread.is_alive()
    bench.feed(cloud(1080 * MS))
    thread.join(20)
    assert frames[0].points.stamp_ns == 980 * MS


def test_a_frame_waits_for_its_transform(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.feed(info(1000 * MS), cloud(1000 * MS))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    bench.rigid()
    thread.join(20)
    assert frames[0].missing == ()


def test_stop_waiting_ends_the_wait(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    bench.inputs.stop_waiting()
    thread.join(20)
    assert frames[0].missing


def test_the_cloud_is_carried_through_the_fixed_frame(make: Make) -> None:
    """The vehicle drives 2 m between cloud and image: the point comes nearer by as much."""
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    for stamp_ns, x in ((900 * MS, 0.0), (1100 * MS, 4.0)):
        bench.transform("odom", "base_link", x, stamp_ns)
    bench.feed(info(1000 * MS), cloud(900 * MS), cloud(1200 * MS))
    frame = bench.frame(1000 * MS)
    assert frame.points.stamp_ns == 900 * MS
    assert frame.T_camera_points[0, 3] == pytest.approx(2.0 - 2.0)


def test_a_fixed_frame_without_an_answer_gives_no_transform(make: Make) -> None:
    bench = make()
    bench.rigid()
    bench.transform("odom", "base_link", 0.0, 5000 * MS)
    bench.feed(info(1000 * MS), cloud(900 * MS))
    frame = bench.frame(1000 * MS)
    assert frame.T_camera_points is None
    assert any("odom" in clause for clause in frame.missing)


def test_without_the_fixed_frame_in_tf_only_the_first_frame_waits(make: Make) -> None:
    bench = make(sync__wait_s=0.3)
    bench.rigid()
    bench.feed(info(1000 * MS), info(2000 * MS), cloud(900 * MS), cloud(1900 * MS), cloud(2200 * MS))
    frame = bench.frame(1000 * MS)
    assert frame.T_camera_points[0, 3] == 2.0
    bench.inputs.next_config = with_values(bench.inputs.next_config, {"sync.wait_s": 30.0})
    frame = bench.frame(2000 * MS)  # would wait half a minute
    assert frame.T_camera_points[0, 3] == 2.0


def test_camera_info_sent_once_is_enough_and_only_the_first_frame_waits(make: Make) -> None:
    bench = make(sync__wait_s=0.3)
    bench.rigid()
    bench.feed(info(1 * MS), cloud(1000 * MS), cloud(2000 * MS))
    assert bench.frame(1000 * MS).calibration is not None
    bench.inputs.next_config = with_values(bench.inputs.next_config, {"sync.wait_s": 30.0})
    assert bench.frame(2000 * MS).calibration is not None


def test_bad_messages_are_named_and_the_image_is_still_judged(make: Make) -> None:
    bench = make()
    bench.rigid()
    empty = cloud(1000 * MS)
    empty.fields = []
    bench.feed(info(1000 * MS, focal=0.0), empty)
    text = "; ".join(bench.frame(1000 * MS).missing)
    assert "focal" in text
    assert "x, y and z" in text


def test_an_image_that_cannot_be_decoded_is_refused(make: Make) -> None:
    with pytest.raises(DataError, match="encoding"):
        make().frame(1000 * MS, encoding="nv21_of_nobody")


def test_after_a_jump_back_in_time_nothing_old_is_used(make: Make) -> None:
    bench = make()
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(1000 * MS))
    bench.inputs.clear()
    frame = bench.frame(1000 * MS)
    assert frame.points is None
    assert frame.calibration is None


def test_without_lidar_nothing_is_awaited(make: Make) -> None:
    bench = make(sync__wait_s=30.0, node__points=False)
    bench.rigid()
    bench.feed(info(1000 * MS))
    assert bench.frame(1000 * MS).missing == ("no LiDAR is configured (node.points is false)",)
