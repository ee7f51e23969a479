# SPDX-License-Identifier: Apache-2.0
"""TF as matrices, and a tree that bad transforms do not spoil. The buffer is filled by hand, as its listener does."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("tf2_ros", reason="tf2_ros is not built: ./run builds it")

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.node.transforms import TransformBuffer, matrix

S = 1_000_000_000


@pytest.fixture
def tf() -> Iterator[TransformBuffer]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = LifecycleNode("bench", context=context)
    buffer = TransformBuffer(node, 10.0)
    yield buffer
    buffer.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def send(
    tf: TransformBuffer,
    parent: str,
    child: str,
    stamp_s: float = 0.0,
    x: float = 0.0,
    q: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
    static: bool = False,
) -> None:
    sec = math.floor(stamp_s)
    stamp = Time(sec=sec, nanosec=round((stamp_s - sec) * 1e9))
    message = TransformStamped(header=Header(frame_id=parent, stamp=stamp), child_frame_id=child)
    message.transform.translation.x = x
    turn = message.transform.rotation
    turn.x, turn.y, turn.z, turn.w = q
    (tf._buffer.set_transform_static if static else tf._buffer.set_transform)(message, "test")


def x_of(tf: TransformBuffer, target: str, source: str, stamp_s: float) -> float:
    return float(tf.lookup(target, source, int(stamp_s * S))[0, 3])


def test_a_quarter_turn_about_z() -> None:
    half = math.sqrt(0.5)
    T = matrix(Transform(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(z=half, w=half)))
    assert np.allclose(T @ [1, 0, 0, 1], [1, 3, 3, 1])


def test_a_quaternion_that_is_not_quite_of_unit_length_still_gives_a_rotation() -> None:
    T = matrix(Transform(rotation=Quaternion(x=0.505, y=0.505, z=0.505, w=0.505)))
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3))


@pytest.mark.parametrize(
    "transform",
    [
        Transform(rotation=Quaternion(w=0.0)),
        Transform(rotation=Quaternion(w=math.nan)),
        Transform(translation=Vector3(y=math.inf)),
    ],
    ids=["zero quaternion", "NaN", "infinite"],
)
def test_no_matrix_is_made_of_nonsense(transform: Transform) -> None:
    with pytest.raises(GeometryError, match="check its publisher"):
        matrix(transform)


def test_moments_between_are_interpolated_and_none_is_extrapolated(tf: TransformBuffer) -> None:
    send(tf, "odom", "base_link", 10, x=0.0)
    send(tf, "odom", "base_link", 11, x=8.0)
    assert x_of(tf, "odom", "base_link", 10.25) == pytest.approx(2.0)
    with pytest.raises(GeometryError, match=r"no transform base_link -> odom at 11\.500 s"):
        tf.lookup("odom", "base_link", 11_500_000_000)
    with pytest.raises(GeometryError, match="expected a stamp above 0"):
        tf.lookup("odom", "base_link", 0)


def test_the_slash_of_ros_1_does_not_matter(tf: TransformBuffer) -> None:
    send(tf, "/base_link", "/camera", static=True, x=2.0)
    assert x_of(tf, "/base_link", "camera", 5) == 2.0
    assert tf.has_frame("/camera")


def test_unknown_empty_and_unconnected_frames(tf: TransformBuffer) -> None:
    send(tf, "base_link", "camera", static=True)
    send(tf, "map", "tree", static=True)
    for source in ("nowhere", "", "tree"):
        with pytest.raises(GeometryError):
            tf.lookup("base_link", source, S)
    assert [tf.has_frame(name) for name in ("camera", "base_link", "nowhere", "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"parent": "base_link", "child": "base_link"}, "two different frame names"),
        ({"parent": "", "child": "camera"}, "two different frame names"),
        ({"parent": "base_link", "child": "/"}, "two different frame names"),
        ({"x": math.nan}, "not finite"),
        ({"x": -math.inf}, "not finite"),
        ({"q": (0.0, 0.0, math.nan, 1.0)}, "length 1"),
        ({"x": 1e9}, "beyond 1e+09 m"),
        ({"child": "c" * 257}, "at most 256 characters"),
        ({"q": (0.0, 0.0, 0.0, 0.0)}, "length 1"),
        ({"q": (0.0, 0.0, 0.0, 2.0)}, "length 1"),
        ({"stamp_s": -3.0}, "negative"),
        ({"parent": "camera", "child": "odom"}, "close a loop"),
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_what_would_spoil_the_tree_is_refused_counted_and_changes_nothing(
    tf: TransformBuffer, arguments: dict[str, object], fault: str, static: bool
) -> None:
    send(tf, "odom", "base_link", static=True)
    send(tf, "base_link", "camera", static=True, x=2.0)
    send(tf, **{"parent": "base_link", "child": "camera", **arguments}, static=static)  # type: ignore[arg-type]
    (reason,) = tf.counts()
    assert fault in reason
    assert tf.counts()[reason] == 1
    assert x_of(tf, "odom", "camera", 5) == 2.0


def test_a_transform_sent_twice_and_one_with_two_parents(tf: TransformBuffer) -> None:
    for _ in range(2):
        send(tf, "odom", "base_link", 10, x=1.0)
    assert tf.counts() == {}
    assert x_of(tf, "odom", "base_link", 10) == 1.0
    send(tf, "map", "base_link", 11)
    assert tf.counts() == {"transform: another parent of the same frame": 1}


def test_a_frame_may_move_below_another_one(tf: TransformBuffer) -> None:
    """The tree is turned round after the clock started again: what held before is no loop now."""
    send(tf, "odom", "base_link", 10)
    tf.clear()
    send(tf, "base_link", "odom", 11, x=3.0)
    assert x_of(tf, "base_link", "odom", 11) == 3.0


def test_time_that_starts_again_is_followed(tf: TransformBuffer) -> None:
    """tf2 alone would refuse all that is older than its cache, until the old recording's end is reached again."""
    send(tf, "base_link", "camera", static=True, x=2.0)
    for stamp_s in (50.0, 50.1, 50.2):
        send(tf, "odom", "base_link", stamp_s, x=stamp_s)
    for stamp_s in (10.0, 10.1, 10.2, 10.3):
        send(tf, "odom", "base_link", stamp_s, x=stamp_s)
    assert x_of(tf, "odom", "camera", 10.25) == pytest.approx(12.25)
    with pytest.raises(GeometryError):
        tf.lookup("odom", "base_link", 50 * S)
    assert tf.counts() == {"transform refused: its stamp jumped": 2, "transforms forgotten: time started again": 1}


def test_a_late_transform_of_before_does_not_keep_the_new_ones_out(tf: TransformBuffer) -> None:
    send(tf, "odom", "base_link", 50.0)
    tf.clear()
    for stamp_s in (50.1, 10.0, 10.1, 10.2, 10.3):
        send(tf, "odom", "base_link", stamp_s, x=stamp_s)
    assert x_of(tf, "odom", "base_link", 10.25) == pytest.approx(10.25)


def test_one_wrong_stamp_forgets_nothing(tf: TransformBuffer) -> None:
    for stamp_s in (50.0, 3650.0, 50.1, 10.0, 50.2):
        send(tf, "odom", "base_link", stamp_s, x=stamp_s)
    assert x_of(tf, "odom", "base_link", 50.05) == pytest.approx(50.05)
    assert x_of(tf, "odom", "base_link", 50.15) == pytest.approx(50.15)
    assert tf.counts() == {"transform refused: its stamp jumped": 2}


def test_an_hour_forward_goes_on_there(tf: TransformBuffer) -> None:
    for stamp_s in (50.0, 50.1, 3650.0, 3650.1, 3650.2):
        send(tf, "odom", "base_link", stamp_s, x=stamp_s)
    assert x_of(tf, "odom", "base_link", 3650.15) == pytest.approx(3650.15)


def test_all_cameras_notice_a_restart_and_tf_is_forgotten_once(tf: TransformBuffer) -> None:
    tf.restart("the stamps of camera left")
    send(tf, "odom", "base_link", 10, x=1.0)
    tf.restart("the stamps of camera right")
    assert x_of(tf, "odom", "base_link", 10) == 1.0


def test_whoever_listens_is_told_of_each_transform_that_was_taken(tf: TransformBuffer) -> None:
    heard: list[int] = []

    def listener() -> None:
        heard.append(1)

    tf.listen(listener)
    send(tf, "odom", "base_link", 10)
    send(tf, "base_link", "camera", static=True)
    send(tf, "base_link", "camera", x=math.nan)
    tf.unlisten(listener)
    send(tf, "odom", "base_link", 11)
    assert len(heard) == 2
