# SPDX-License-Identifier: Apache-2.0
"""The transform buffer without DDS; holds for the standard package too."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: start the tests by ./run test")

import tf2_ros
from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

START_S = 1000.0
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def about(axis: str, degrees: float) -> tuple[float, float, float, float]:
    """Return the quaternion (x, y, z, w) of a turn about one axis."""
    half = math.radians(degrees) / 2
    parts = {name: math.sin(half) if name == axis else 0.0 for name in "xyz"}
    return (parts["x"], parts["y"], parts["z"], math.cos(half))


def transform(
    parent: str,
    child: str,
    at_s: float = START_S,
    move: tuple[float, float, float] = (0.0, 0.0, 0.0),
    turn: tuple[float, float, float, float] = IDENTITY,
) -> Any:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = TimeMessage(sec=int(at_s), nanosec=round((at_s % 1) * 1e9))
    vector, rotation = message.transform.translation, message.transform.rotation
    vector.x, vector.y, vector.z = move
    rotation.x, rotation.y, rotation.z, rotation.w = turn
    return message


def moment(at_s: float) -> Any:
    return Time(nanoseconds=round(at_s * 1e9))


LATEST = moment(0.0)


def move_of(message: Any) -> list[float]:
    vector = message.transform.translation
    return [vector.x, vector.y, vector.z]


def turn_of(message: Any) -> list[float]:
    q = message.transform.rotation
    sign = -1.0 if q.w < 0 else 1.0
    return [sign * q.x, sign * q.y, sign * q.z, sign * q.w]


def matrix_of(message: Any) -> np.ndarray[Any, Any]:
    """Return the (4, 4) matrix, by the textbook formula."""
    x, y, z, w = turn_of(message)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = move_of(message)
    return matrix


@pytest.fixture
def buffer() -> Any:
    return tf2_ros.Buffer()


def test_a_point_of_the_source_lands_in_the_target(buffer: Any) -> None:
    """Camera 2 m before the base, turned 90° left: what lies 1 m along its x is 1 m to the left of it."""
    buffer.set_transform_static(transform("base", "camera", move=(2.0, 0.0, 0.5), turn=about("z", 90)), "test")
    found = buffer.lookup_transform("base", "camera", LATEST)
    assert (found.header.frame_id, found.child_frame_id) == ("base", "camera")
    np.testing.assert_allclose(matrix_of(found) @ [1, 0, 0, 1], [2, 1, 0.5, 1], atol=1e-12)
    back = buffer.lookup_transform("camera", "base", LATEST)
    np.testing.assert_allclose(matrix_of(back) @ matrix_of(found), np.eye(4), atol=1e-12)


def test_chains_multiply_across_the_common_ancestor(buffer: Any) -> None:
    rng = np.random.default_rng(3)
    edges = [("map", "base"), ("base", "mast"), ("mast", "camera"), ("base", "lidar")]
    matrices = {}
    for parent, child in edges:
        q = rng.normal(size=4)
        q /= np.linalg.norm(q)
        edge = transform(parent, child, move=tuple(rng.normal(size=3)), turn=tuple(q))
        buffer.set_transform(edge, "test")
        matrices[child] = matrix_of(edge)
    expected = np.linalg.inv(matrices["mast"] @ matrices["camera"]) @ matrices["lidar"]
    found = buffer.lookup_transform("camera", "lidar", moment(START_S))
    np.testing.assert_allclose(matrix_of(found), expected, atol=1e-12)
    world = matrices["base"] @ matrices["lidar"]
    np.testing.assert_allclose(matrix_of(buffer.lookup_transform("map", "lidar", LATEST)), world, atol=1e-12)


def test_movement_is_interpolated_at_constant_speed(buffer: Any) -> None:
    buffer.set_transform(transform("map", "base", 1000.0, (0.0, 0.0, 0.0), about("z", 10)), "test")
    buffer.set_transform(transform("map", "base", 1001.0, (8.0, -4.0, 0.0), about("z", 130)), "test")
    found = buffer.lookup_transform("map", "base", moment(1000.25))
    np.testing.assert_allclose(move_of(found), [2.0, -1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(turn_of(found), about("z", 40), atol=1e-9)
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (1000, 250_000_000)


def test_interpolation_takes_the_shorter_way(buffer: Any) -> None:
    """The quaternion q and its negative are one rotation."""
    x, y, z, w = about("z", 20)
    buffer.set_transform(transform("map", "base", 1000.0, turn=about("z", 0)), "test")
    buffer.set_transform(transform("map", "base", 1001.0, turn=(-x, -y, -z, -w)), "test")
    found = buffer.lookup_transform("map", "base", moment(1000.5))
    np.testing.assert_allclose(turn_of(found), about("z", 10), atol=1e-9)


def test_samples_may_arrive_out_of_order(buffer: Any) -> None:
    for at_s in (1002.0, 1000.0, 1001.0):
        buffer.set_transform(transform("map", "base", at_s, (at_s - 1000.0, 0.0, 0.0)), "test")
    for at_s in (1000.0, 1000.5, 1001.0, 1001.75, 1002.0):
        assert move_of(buffer.lookup_transform("map", "base", moment(at_s)))[0] == pytest.approx(at_s - 1000.0)


@pytest.mark.parametrize("at_s", [999.999, 1001.001])
def test_nothing_is_extrapolated(buffer: Any, at_s: float) -> None:
    for stamp_s in (1000.0, 1001.0):
        buffer.set_transform(transform("map", "base", stamp_s), "test")
    assert not buffer.can_transform("map", "base", moment(at_s))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", moment(at_s))


def test_a_single_sample_holds_at_its_stamp_alone(buffer: Any) -> None:
    buffer.set_transform(transform("map", "base", 1000.0), "test")
    assert buffer.can_transform("map", "base", moment(1000.0))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", moment(1000.01))


def test_static_transforms_hold_at_all_times(buffer: Any) -> None:
    buffer.set_transform_static(transform("base", "camera", 1000.0, (1.0, 2.0, 3.0)), "test")
    for at_s in (1.0, 1000.0, 5000.0):
        assert move_of(buffer.lookup_transform("base", "camera", moment(at_s))) == [1.0, 2.0, 3.0]
    buffer.set_transform_static(transform("base", "camera", 1000.0, (4.0, 5.0, 6.0)), "test")
    assert move_of(buffer.lookup_transform("base", "camera", LATEST)) == [4.0, 5.0, 6.0]


def test_latest_is_the_newest_time_all_links_share(buffer: Any) -> None:
    for at_s in (1000.0, 1001.0, 1002.0):
        buffer.set_transform(transform("map", "odom", at_s, (at_s - 1000.0, 0.0, 0.0)), "test")
    for at_s in (1000.0, 1001.0):
        buffer.set_transform(transform("odom", "base", at_s, (0.0, at_s - 1000.0, 0.0)), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0, (0.0, 0.0, 1.0)), "test")
    found = buffer.lookup_transform("map", "camera", LATEST)
    assert found.header.stamp.sec == 1001
    assert move_of(found) == pytest.approx([1.0, 1.0, 1.0])


def test_links_above_the_common_ancestor_do_not_matter(buffer: Any) -> None:
    """Camera and LiDAR hang on the base; a stale map must not keep them apart."""
    buffer.set_transform(transform("map", "base", 900.0), "test")
    for child in ("camera", "lidar"):
        for at_s in (1000.0, 1001.0):
            buffer.set_transform(transform("base", child, at_s), "test")
    assert buffer.can_transform("camera", "lidar", moment(1000.5))
    assert buffer.lookup_transform("camera", "lidar", LATEST).header.stamp.sec == 1001


def test_old_samples_leave_the_cache() -> None:
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=2.0))
    for at_s in range(1000, 1006):
        buffer.set_transform(transform("map", "base", float(at_s)), "test")
    assert buffer.can_transform("map", "base", moment(1003.5))
    assert not buffer.can_transform("map", "base", moment(1002.0))
    buffer.set_transform(transform("map", "base", 1001.0), "test")  # older than the cache: not taken
    assert not buffer.can_transform("map", "base", moment(1002.0))


def test_reparenting_holds_from_its_stamp_on(buffer: Any) -> None:
    buffer.set_transform(transform("map", "box", 1000.0, (1.0, 0.0, 0.0)), "test")
    buffer.set_transform(transform("truck", "box", 1001.0, (0.0, 1.0, 0.0)), "test")
    assert move_of(buffer.lookup_transform("truck", "box", LATEST)) == [0.0, 1.0, 0.0]
    assert move_of(buffer.lookup_transform("map", "box", moment(1000.0))) == [1.0, 0.0, 0.0]
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform("map", "box", moment(1001.0))


def test_unknown_frames_and_split_trees_have_their_own_errors(buffer: Any) -> None:
    buffer.set_transform_static(transform("base", "camera"), "test")
    buffer.set_transform_static(transform("map", "tree"), "test")
    with pytest.raises(tf2_ros.LookupException):
        buffer.lookup_transform("base", "nowhere", LATEST)
    with pytest.raises(tf2_ros.LookupException):
        buffer.lookup_transform("nowhere", "base", LATEST)
    with pytest.raises(tf2_ros.ConnectivityException):
        buffer.lookup_transform("base", "tree", LATEST)
    assert not buffer.can_transform("base", "tree", LATEST)
    for name in ("LookupException", "ConnectivityException", "ExtrapolationException", "InvalidArgumentException"):
        assert issubclass(getattr(tf2_ros, name), tf2_ros.TransformException)


def test_malformed_frame_names_are_refused(buffer: Any) -> None:
    buffer.set_transform_static(transform("base", "camera"), "test")
    for name in ("", "/camera"):
        with pytest.raises(tf2_ros.TransformException):
            buffer.lookup_transform("base", name, LATEST)


def test_a_frame_is_identical_to_itself(buffer: Any) -> None:
    buffer.set_transform_static(transform("base", "camera", move=(1.0, 0.0, 0.0)), "test")
    found = buffer.lookup_transform("camera", "camera", moment(1000.0))
    assert move_of(found) == [0.0, 0.0, 0.0]
    assert turn_of(found) == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "bad",
    [
        transform("base", "base"),
        transform("base", ""),
        transform("", "camera"),
        transform("base", "camera", move=(math.nan, 0.0, 0.0)),
        transform("base", "camera", turn=(0.0, 0.0, 0.0, 0.0)),
        transform("base", "camera", turn=(0.0, 0.0, 0.0, 2.0)),
        transform("base", "camera", turn=(0.0, 0.0, 0.0, 1.006)),
    ],
)
def test_malformed_transforms_are_left_out(buffer: Any, bad: Any) -> None:
    buffer.set_transform(bad, "test")
    assert not buffer.can_transform("base", "camera", LATEST)


def test_two_times_are_joined_by_a_fixed_frame(buffer: Any) -> None:
    """Where was at 1001 s what the base saw 1 m ahead at 1000 s? The base drove 3 m, so 2 m behind."""
    buffer.set_transform(transform("map", "base", 1000.0), "test")
    buffer.set_transform(transform("map", "base", 1001.0, (3.0, 0.0, 0.0)), "test")
    found = buffer.lookup_transform_full("base", moment(1001.0), "base", moment(1000.0), "map")
    np.testing.assert_allclose(matrix_of(found) @ [1, 0, 0, 1], [-2, 0, 0, 1], atol=1e-12)
    assert not buffer.can_transform_full("base", moment(1002.0), "base", moment(1000.0), "map")


def test_a_lookup_waits_for_data_of_another_thread(buffer: Any) -> None:
    def fill() -> None:
        time.sleep(0.1)
        buffer.set_transform_static(transform("base", "camera", move=(1.0, 0.0, 0.0)), "test")

    filler = threading.Thread(target=fill)
    filler.start()
    found = buffer.lookup_transform("base", "camera", LATEST, Duration(seconds=20.0))
    filler.join()
    assert move_of(found) == [1.0, 0.0, 0.0]


def test_a_wait_ends_with_the_reason(buffer: Any) -> None:
    with pytest.raises(tf2_ros.LookupException):
        buffer.lookup_transform("base", "camera", LATEST, Duration(seconds=0.05))
    possible, reason = buffer.can_transform("base", "camera", LATEST, Duration(), True)
    assert not possible
    assert "base" in reason


def test_clearing_forgets_what_moves(buffer: Any) -> None:
    buffer.set_transform(transform("map", "base"), "test")
    buffer.clear()
    assert not buffer.can_transform("map", "base", LATEST)


def test_a_negative_stamp_does_not_raise_in_the_listener(buffer: Any) -> None:
    buffer.set_transform(transform("base", "camera", -5.0), "test")
    buffer.set_transform(transform("base", "camera", 1000.0, (1.0, 0.0, 0.0)), "test")
    assert move_of(buffer.lookup_transform("base", "camera", LATEST)) == [1.0, 0.0, 0.0]


def test_a_loop_is_an_error_and_no_hang(buffer: Any) -> None:
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.set_transform(transform(parent, child), "test")
    buffer.set_transform_static(transform("base", "camera"), "test")
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform("base", "c", moment(START_S))
    assert buffer.can_transform("base", "camera", moment(START_S))


def test_a_stamp_far_ahead_makes_the_buffer_forget(buffer: Any) -> None:
    """Which is why the node lets a single one not come so far."""
    for at_s in (1000.0, 1001.0, 5000.0, 1002.0):
        buffer.set_transform(transform("map", "base", at_s), "test")
    assert not buffer.can_transform("map", "base", moment(1000.5))
    assert buffer.can_transform("map", "base", moment(5000.0))
