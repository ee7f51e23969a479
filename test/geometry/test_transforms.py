# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.transforms import TransformBuffer, apply, inverse, matrix_from, quaternion_from, slerp

STILL = np.array([0.0, 0.0, 0.0, 1.0])
SECOND = 1_000_000_000


def about_z(angle: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)])


def at(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([x, y, z])


@pytest.fixture
def drive() -> TransformBuffer:
    """base_link moves 10 m along x of odom and turns left by 90 degrees from 1 s to 2 s; LiDAR and camera are fixed."""
    buffer = TransformBuffer()
    buffer.set("base_link", "lidar", 0, at(1, 0, 2), STILL, static=True)
    buffer.set("lidar", "camera", 0, at(0.5), STILL, static=True)
    buffer.set("odom", "base_link", 1 * SECOND, at(0), STILL)
    buffer.set("odom", "base_link", 2 * SECOND, at(10), about_z(math.pi / 2))
    return buffer


def test_quarter_turn_by_hand() -> None:
    T = matrix_from(at(1, 2, 3), about_z(math.pi / 2))
    assert np.allclose(apply(T, np.array([[1.0, 0, 0]])), [[1, 3, 3]])
    assert np.allclose(inverse(T) @ T, np.eye(4))


def test_quaternions_round_trip() -> None:
    rng = np.random.default_rng(0)
    for q in [*rng.normal(size=(50, 4)), [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]]:
        R = matrix_from(at(0), np.array(q))[:3, :3]
        assert np.allclose(matrix_from(at(0), quaternion_from(R))[:3, :3], R, atol=1e-12)


def test_slerp_takes_the_shorter_arc() -> None:
    halfway = slerp(about_z(0.2), -about_z(0.6), 0.5)
    assert np.allclose(np.abs(halfway), np.abs(about_z(0.4)))


@pytest.mark.parametrize("bad", [np.array([0.0, 0, 0, 0]), np.array([np.nan, 0, 0, 1])])
def test_a_quaternion_that_is_no_rotation_is_refused(bad: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    with pytest.raises(GeometryError, match="unit quaternion"):
        TransformBuffer().set("a", "b", 0, at(0), bad)


def test_static_chain_holds_at_any_time(drive: TransformBuffer) -> None:
    assert drive.lookup("base_link", "camera", 99 * SECOND)[:3, 3].tolist() == [1.5, 0.0, 2.0]
    assert drive.lookup("camera", "base_link", 0)[:3, 3].tolist() == [-1.5, 0.0, -2.0]


def test_interpolates_place_and_heading(drive: TransformBuffer) -> None:
    T = drive.lookup("odom", "lidar", 1_500_000_000)
    # Halfway: at x = 5, turned by 45 degrees; the LiDAR sits 1 m ahead.
    assert np.allclose(T[:3, 3], [5 + math.sqrt(0.5), math.sqrt(0.5), 2])
    assert math.atan2(T[1, 0], T[0, 0]) == pytest.approx(math.pi / 4)


def test_exact_stamps_need_no_neighbour(drive: TransformBuffer) -> None:
    assert drive.lookup("odom", "base_link", 1 * SECOND)[0, 3] == 0
    assert drive.lookup("odom", "base_link", 2 * SECOND)[0, 3] == pytest.approx(10)


@pytest.mark.parametrize(("stamp_ns", "where"), [(SECOND - 1, "past"), (2 * SECOND + 1, "future")])
def test_never_extrapolates(drive: TransformBuffer, stamp_ns: int, where: str) -> None:
    with pytest.raises(GeometryError, match=rf"base_link -> odom.*1\.000000 to 2\.000000 s.*{where}"):
        drive.lookup("odom", "lidar", stamp_ns)


def test_through_time_by_the_fixed_frame(drive: TransformBuffer) -> None:
    # A point 20 m ahead at 1 s lies, after 10 m and a left turn, 10 m to the right.
    T = drive.lookup_full("base_link", 2 * SECOND, "base_link", 1 * SECOND, "odom")
    assert np.allclose(apply(T, np.array([[20.0, 0, 0]])), [[0, -10, 0]], atol=1e-9)


def test_unknown_frames_are_named(drive: TransformBuffer) -> None:
    with pytest.raises(GeometryError, match=r"radar -> odom.*'radar' is unknown.*base_link, camera, lidar, odom"):
        drive.lookup("odom", "radar", SECOND)


def test_separate_trees_are_told(drive: TransformBuffer) -> None:
    drive.set("map2", "robot2", 0, at(0), STILL)
    with pytest.raises(GeometryError, match="two trees, under map2 and odom"):
        drive.lookup("odom", "robot2", SECOND)


def test_loops_are_refused(drive: TransformBuffer) -> None:
    with pytest.raises(GeometryError, match="loop"):
        drive.set("camera", "odom", 0, at(0), STILL)
    with pytest.raises(GeometryError, match="two different frames"):
        drive.set("camera", "camera", 0, at(0), STILL)


def test_late_messages_are_sorted_in_and_of_repeats_the_first_counts() -> None:
    buffer = TransformBuffer()
    for stamp, x in ((3, 30.0), (1, 10.0), (2, 20.0), (2, 99.0)):
        buffer.set("odom", "base_link", stamp * SECOND, at(x), STILL)
    assert buffer.lookup("odom", "base_link", 2 * SECOND)[0, 3] == 20
    assert buffer.lookup("odom", "base_link", 2_500_000_000)[0, 3] == 25


def test_the_cache_forgets_what_is_too_old() -> None:
    buffer = TransformBuffer(cache_s=1.0)
    for stamp in range(5):
        buffer.set("odom", "base_link", stamp * SECOND, at(stamp), STILL)
    assert buffer.lookup("odom", "base_link", 3 * SECOND)[0, 3] == 3
    with pytest.raises(GeometryError, match="past"):
        buffer.lookup("odom", "base_link", 2 * SECOND)


def test_a_frame_to_itself_is_the_identity() -> None:
    assert np.array_equal(TransformBuffer().lookup("any", "any", 5), np.eye(4))


def test_newest_stamp_is_the_oldest_of_the_chain(drive: TransformBuffer) -> None:
    drive.set("map", "odom", 1 * SECOND, at(0), STILL)
    assert drive.newest_ns("map", "camera") == 1 * SECOND
    assert drive.newest_ns("odom", "camera") == 2 * SECOND
    assert drive.newest_ns("base_link", "camera") is None
