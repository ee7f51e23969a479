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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.node.inputs import Arrived, CameraInputs
from vl_anomaly_ros.node.points_input import PointsInput
from vl_anomaly_ros.node.topics import subscriptions
from vl_anomaly_ros.node.transforms import TransformBuffer

MS = 1_000_000
Make = Callable[..., "Bench"]


def stamped(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)


def image(stamp_ns: int, encoding: str = "rgb8", frame_id: str = "optical") -> Image:
    message = Image(header=stamped(stamp_ns, frame_id), height=2, width=4, step=12, encoding=encoding)
    message.data = array.array("B", bytes(24))
    return message


def info(stamp_ns: int, width: int = 4, focal: float = 5.0) -> CameraInfo:
    message = CameraInfo(header=stamped(stamp_ns, "optical"), width=width, height=2)
    message.k = [focal, 0.0, 2.0, 0.0, focal, 1.0, 0.0, 0.0, 1.0]
    return message


def cloud(stamp_ns: int, x: float = 1.0, frame_id: str = "lidar") -> PointCloud2:
    return cloud_message(np.array([[x, 0, 0]], np.float32), stamped(stamp_ns, frame_id))


def sweep(stamp_ns: int, times_s: list[float]) -> PointCloud2:
    """Points 1 m ahead, each with its time after the stamp."""
    rows = np.zeros(len(times_s), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("time", "<f4")])
    rows["x"], rows["time"] = 1.0, times_s
    message = PointCloud2(header=stamped(stamp_ns, "lidar"), height=1, width=len(rows), point_step=16)
    message.row_step = 16 * len(rows)
    names = ("x", "y", "z", "time")
    message.fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)]
    message.data = array.array("B", rows.tobytes())
    return message


class Bench:
    """Inputs of a node that nobody spins."""

    def __init__(self, node: LifecycleNode, **parameters: Any) -> None:
        self.node = node
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        config = with_values(Config(), named)
        self.transforms = TransformBuffer(node, 10.0)
        self.points = PointsInput(node, config, self.transforms)
        self.images: list[Arrived] = []
        self.cameras = [
            CameraInputs(node, camera, config, self.transforms, self.points, self.images.append)
            for camera in config.node.cameras
        ]
        self.inputs = self.cameras[0]
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
            history = self.inputs._infos if isinstance(message, CameraInfo) else self.points._clouds
            assert history is not None
            history.take(message)

    def frame(self, stamp_ns: int, camera: int = 0, **more: Any) -> Any:
        arrived = Arrived(image(stamp_ns, **more), monotonic())
        inputs = self.cameras[camera]
        return inputs.complete(arrived, inputs.frame(arrived))

    def close(self) -> None:
        for inputs in self.cameras:
            inputs.close()
        self.points.close()
        self.transforms.close()


@pytest.fixture
def make() -> Iterator[Make]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = LifecycleNode("bench", context=context)
    benches: list[Bench] = []

    def begin(**parameters: Any) -> Bench:
        benches.append(Bench(node, **{"sync__wait_s": 0.0, "sync__policy": "nearest", **parameters}))
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


def test_after_a_jump_of_the_clock_no_old_cloud_is_used_but_the_last_calibration(make: Make) -> None:
    bench = make()
    bench.rigid()
    bench.feed(info(900 * MS, focal=4.0), info(1000 * MS), cloud(1000 * MS))
    bench.inputs.clear()
    bench.points.clear()
    frame = bench.frame(1000 * MS)
    assert frame.points is None
    assert frame.calibration.K[0, 0] == 5.0


def test_without_lidar_nothing_is_awaited(make: Make) -> None:
    bench = make(sync__wait_s=30.0, node__points=False)
    bench.rigid()
    bench.feed(info(1000 * MS))
    assert bench.frame(1000 * MS).missing == ("no LiDAR is configured (node.points is false)",)


def test_the_image_alone_waits_for_nothing(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    frame = bench.inputs.frame(Arrived(image(1000 * MS), monotonic()))
    assert (frame.stamp_ns, frame.camera, frame.frame_id, frame.missing) == (1000 * MS, "camera", "optical", ())
    assert (frame.calibration, frame.points, frame.T_output_camera) == (None, None, None)


def test_the_newest_cloud_at_hand_is_not_waited_for(make: Make) -> None:
    bench = make(sync__wait_s=30.0, sync__policy="newest", frames__fixed_frame="")
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(850 * MS), cloud(900 * MS), cloud(1001 * MS))
    assert bench.frame(1000 * MS).points.stamp_ns == 900 * MS


def test_exactly_the_same_stamp_is_waited_for(make: Make) -> None:
    bench = make(sync__wait_s=30.0, sync__policy="exact")
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(999 * MS))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    bench.feed(cloud(1000 * MS))
    thread.join(20)
    assert frames[0].points.stamp_ns == 1000 * MS
    bench.feed(info(1050 * MS), cloud(1100 * MS))
    assert "sync.policy asks for the same stamp" in "; ".join(bench.frame(1050 * MS).missing)


def test_settings_hold_from_the_next_image_on(make: Make) -> None:
    bench = make(frames__fixed_frame="")
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(900 * MS))
    arrived = Arrived(image(1000 * MS), monotonic())
    frame = bench.inputs.frame(arrived)
    bench.inputs.next_config = with_values(bench.inputs.next_config, {"sync.slop_s": 0.01})
    assert bench.inputs.complete(arrived, frame).points is not None
    assert bench.frame(1000 * MS).points is None


def test_clouds_are_decoded_before_anybody_asks(make: Make) -> None:
    bench = make()
    broken = cloud(900 * MS)
    broken.fields = []
    bench.feed(broken)
    end_s = monotonic() + 20.0
    while "cloud: cannot be decoded" not in bench.inputs.counts():
        assert monotonic() < end_s, bench.inputs.counts()


def test_the_motion_within_a_sweep_is_taken_out_once_for_all_cameras(make: Make) -> None:
    """The vehicle drives at 10 m/s: what was 1 m ahead after 0.1 s lies 2 m ahead of where the sweep began."""
    bench = make(sync__wait_s=30.0, node__cameras=["left", "right"])
    bench.rigid()
    for stamp_ns, x in ((900 * MS, 0.0), (1200 * MS, 3.0)):
        bench.transform("odom", "base_link", x, stamp_ns)
    for camera in bench.cameras:
        camera._infos.take(info(1000 * MS))
    bench.feed(sweep(1000 * MS, [0.0, 0.05, 0.1]))
    left, right = bench.frame(1000 * MS), bench.frame(1000 * MS, camera=1)
    assert left.missing == ()
    assert left.points.xyz[:, 0].tolist() == pytest.approx([1.0, 1.5, 2.0], abs=1e-3)
    assert left.points.offsets_ns is None
    assert right.points is left.points


def test_a_sweep_that_tf_does_not_cover_is_used_as_it_is_and_said(make: Make) -> None:
    bench = make(sync__wait_s=0.2)
    bench.rigid()
    bench.transform("odom", "base_link", 0.0, 900 * MS)
    bench.transform("odom", "base_link", 2.0, 1050 * MS)
    bench.feed(info(1000 * MS), sweep(1000 * MS, [0.0, 0.1]))
    frame = bench.frame(1000 * MS)
    assert frame.points.xyz[:, 0].tolist() == [1.0, 1.0]
    assert frame.T_camera_points is not None
    (clause,) = frame.missing
    assert clause.startswith("motion within the sweep is not taken out: no transform lidar -> odom at 1.0")


def test_the_end_of_a_sweep_is_waited_for(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    bench.transform("odom", "base_link", 0.0, 900 * MS)
    bench.transform("odom", "base_link", 1.5, 1050 * MS)
    bench.feed(info(1000 * MS), sweep(1000 * MS, [0.0, 0.1]))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    bench.transform("odom", "base_link", 2.5, 1150 * MS)
    thread.join(20)
    assert frames[0].points.xyz[:, 0].tolist() == pytest.approx([1.0, 2.0], abs=1e-3)


def test_times_that_cannot_be_are_said_and_not_waited_for(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    for stamp_ns in (900 * MS, 9000 * MS):
        bench.transform("odom", "base_link", 0.0, stamp_ns)
    bench.feed(info(1000 * MS), sweep(1000 * MS, [0.0, 5.0]))
    frame = bench.frame(1000 * MS)
    assert len(frame.points.xyz) == 2
    assert frame.points.offsets_ns is None or "motion within the sweep" in frame.missing[0]
    assert len(frame.missing) == 1


@pytest.mark.parametrize("stamp_ns", [0, -5_000_000_000])
def test_an_image_without_a_stamp_is_judged_but_placed_nowhere(make: Make, stamp_ns: int) -> None:
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(0), cloud(1000 * MS))
    message = image(stamp_ns)
    bench.inputs._take_image(message)
    frame = bench.inputs.complete(bench.images[0], bench.inputs.frame(bench.images[0]))
    assert (frame.points, frame.T_output_camera) == (None, None)
    assert frame.calibration is not None
    assert any("the image is not stamped" in clause for clause in frame.missing)
    assert bench.inputs.counts()["image: not stamped"] == 1


@pytest.mark.parametrize(("frame_id", "placed"), [("", False), ("/optical", True), ("nowhere", False)])
def test_frames_of_images(make: Make, frame_id: str, placed: bool) -> None:
    bench = make()
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(1000 * MS))
    frame = bench.frame(1000 * MS, frame_id=frame_id)
    assert (frame.T_output_camera is not None) == (frame.T_camera_points is not None) == placed
    words = {"": "header.frame_id is empty", "nowhere": "nowhere", "/optical": ""}[frame_id]
    assert words in "; ".join(frame.missing)
    assert (frame.missing == ()) == placed


def test_a_cloud_without_a_frame_is_not_placed(make: Make) -> None:
    bench = make()
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(1000 * MS, frame_id=""))
    frame = bench.frame(1000 * MS)
    assert frame.T_camera_points is None
    assert frame.T_output_camera is not None
    assert "header.frame_id is empty" in frame.missing[0]


def test_clouds_of_another_clock_are_not_used(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.rigid()
    bench.feed(info(10_000 * MS), cloud(3_610_000 * MS))
    assert "3600.000 s younger" in "; ".join(bench.frame(10_000 * MS).missing)


def test_stamps_that_go_back_are_counted_and_the_images_still_come(make: Make) -> None:
    bench = make()
    for stamp_ns in (1000, 1100, 1050, 1200):
        bench.inputs._take_image(image(stamp_ns * MS))
    assert len(bench.images) == 4
    assert bench.inputs.counts() == {"image: stamp went back": 1}


def test_a_recording_that_starts_again_is_matched_anew(make: Make) -> None:
    """All topics start again, the camera's first; nothing of the first pass is used in the second."""
    bench = make()
    bench.rigid()
    for second in (50, 51, 52, 10, 11, 12, 13):
        stamp_ns = second * 1000 * MS
        bench.inputs._take_image(image(stamp_ns))
        bench.transform("odom", "base_link", second * 1.0, stamp_ns)
        bench.feed(info(stamp_ns, focal=float(second)), cloud(stamp_ns - 10 * MS))
        bench.transform("odom", "base_link", second * 1.0, stamp_ns - 10 * MS)
    frame = bench.frame(13_000 * MS)
    assert (frame.calibration.K[0, 0], frame.points.stamp_ns, frame.missing) == (13.0, 12_990 * MS, ())
    counts = bench.inputs.counts()
    for name in ("image", "cloud"):
        assert counts[f"{name}: time started again"] == 1
    assert counts["transforms forgotten: time started again"] == 1


def test_lidar_that_stops_is_waited_for_once_and_used_when_it_is_back(make: Make) -> None:
    bench = make(sync__wait_s=0.3, frames__fixed_frame="")
    bench.rigid()
    bench.feed(info(1000 * MS), cloud(1000 * MS))
    assert bench.frame(1000 * MS).points is not None
    bench.feed(info(2000 * MS), info(2100 * MS), info(2200 * MS))
    assert bench.frame(2000 * MS).points is None
    bench.inputs.next_config = with_values(bench.inputs.next_config, {"sync.wait_s": 1.0})
    started_s = monotonic()
    for stamp_ns in (2100 * MS, 2200 * MS) * 20:  # forty waits would last 40 s
        assert bench.frame(stamp_ns).points is None
    assert monotonic() - started_s < 30.0
    bench.feed(cloud(2200 * MS))
    assert bench.frame(2200 * MS).missing == ()


def test_what_was_absent_is_counted(make: Make) -> None:
    bench = make()
    bench.frame(1000 * MS)
    assert bench.inputs.counts() == {
        "images without a point cloud": 1,
        "images without a CameraInfo": 1,
        "images without a transform": 1,
    }


def test_zones_of_several_cameras_need_the_ego_motion_so_that_it_is_waited_for(make: Make) -> None:
    bench = make(sync__wait_s=30.0, node__cameras=["left", "right"], node__points=False)
    bench.rigid()
    bench.transform("odom", "base_link", 0.0, 900 * MS)
    bench.cameras[0]._infos.take(info(1000 * MS))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.append(bench.frame(1000 * MS)))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    bench.transform("odom", "base_link", 2.0, 1100 * MS)
    thread.join(20)
    assert len(frames) == 1


def test_every_topic_that_is_heard_is_in_the_table(make: Make) -> None:
    tf = {"/tf": TFMessage, "/tf_static": TFMessage}
    one = {"image": Image, "camera_info": CameraInfo, "points": PointCloud2, **tf}
    assert subscriptions(Config()) == one
    settings = {"node.cameras": ["left", "right"], "node.points": False, "node.image_transport": "compressed"}
    two = {
        f"{camera}/{name}": kind
        for camera in ("left", "right")
        for name, kind in (("image/compressed", CompressedImage), ("camera_info", CameraInfo))
    }
    config = with_values(Config(), settings)
    assert subscriptions(config) == {**two, **tf}
    before = make(node__points=False).node  # which makes its own service and parameter topics known
    heard = {s.topic_name for s in before.subscriptions}
    bench = make(node__cameras=["left", "right"])
    new = {s.topic_name for s in bench.node.subscriptions} - heard
    assert new == {"/left/image", "/left/camera_info", "/right/image", "/right/camera_info", "/points"}


def test_after_close_nothing_is_heard_and_a_frame_still_comes(make: Make) -> None:
    bench = make(sync__wait_s=30.0)
    bench.inputs.close()
    bench.inputs.stop_waiting()
    assert bench.frame(1000 * MS).missing
    bench.cameras.clear()
    assert bench.points.listeners == []


def test_with_fusion_switched_off_no_cloud_is_decoded(make: Make) -> None:
    bench = make(sync__wait_s=30.0, fusion__enabled=False)
    bench.rigid()
    broken = cloud(1000 * MS)
    broken.fields = []
    bench.feed(info(1000 * MS), broken)
    assert bench.frame(1000 * MS).missing == ("LiDAR fusion is switched off (fusion.enabled is false)",)
    bench.points.close()  # after all that its thread had to do
    assert "cloud: cannot be decoded" not in bench.inputs.counts()
    bench.points._thread = None
