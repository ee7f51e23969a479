# SPDX-License-Identifier: Apache-2.0
"""The cloud of a moving sensor against the truth of a scene at rest."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.deskew import KNOT_NS, deskewed
from vl_anomaly_ros.geometry.transforms import TransformBuffer, apply, inverse, matrix_from
from vl_anomaly_ros.types import DoubleArray, PointCloud

STAMP_NS = 1_700_000_000_123_456_789
"""A time of today: as a float of seconds it has no nanoseconds."""
SWEEP_NS = 100_000_000


def circle(speed_mps: float, yaw_rate: float, tilt_rad: float = 0.0) -> Callable[[int], DoubleArray]:
    """Pose of a sensor on a circle in a plane that is tilted about x, by formula."""
    tilt = matrix_from(np.array([3.0, -2.0, 1.0]), np.array([math.sin(tilt_rad / 2), 0, 0, math.cos(tilt_rad / 2)]))

    def pose(stamp_ns: int) -> DoubleArray:
        angle = yaw_rate * (stamp_ns - STAMP_NS) * 1e-9
        radius = speed_mps / yaw_rate
        place = np.array([radius * math.sin(angle), radius * (1 - math.cos(angle)), 0.0])
        return np.asarray(
            tilt @ matrix_from(place, np.array([0, 0, math.sin(angle / 2), math.cos(angle / 2)])), np.float64
        )

    return pose


def seen_while_moving(
    pose: Callable[[int], DoubleArray], offsets_ns: np.ndarray, reach_m: float = 60.0
) -> tuple[PointCloud, DoubleArray]:
    """A cloud of points at rest, each as the sensor sees it at its time; and as it sees them all at the stamp."""
    world = np.random.default_rng(3).uniform(-reach_m, reach_m, (len(offsets_ns), 3))
    seen = np.array([apply(inverse(pose(STAMP_NS + int(t))), p[None])[0] for t, p in zip(offsets_ns, world)])
    truth = apply(inverse(pose(STAMP_NS)), world)
    return PointCloud(seen.astype(np.float32), STAMP_NS, "lidar_top", offsets_ns.astype(np.int64)), truth


def worst_m(cloud: PointCloud, truth: DoubleArray) -> float:
    return float(np.linalg.norm(cloud.xyz - truth, axis=1).max())


@pytest.mark.parametrize("first_ns", [0, -SWEEP_NS // 2, -SWEEP_NS], ids=["at first", "at middle", "at last"])
@pytest.mark.parametrize("yaw_rate", [math.radians(60), -math.radians(25), 1e-6])
def test_points_of_a_turning_sensor_come_to_within_a_millimetre(first_ns: int, yaw_rate: float) -> None:
    offsets = first_ns + np.linspace(0, SWEEP_NS, 2000).astype(np.int64)
    cloud, truth = seen_while_moving(circle(30.0, yaw_rate, tilt_rad=0.1), offsets)
    assert worst_m(cloud, truth) > 1.0
    straight = deskewed(cloud, circle(30.0, yaw_rate, tilt_rad=0.1))
    assert worst_m(straight, truth) < 1e-3
    assert (straight.stamp_ns, straight.frame_id, straight.offsets_ns) == (STAMP_NS, "lidar_top", None)
    assert straight.xyz.dtype == np.float32


def test_order_of_the_points_does_not_matter() -> None:
    offsets = np.linspace(0, SWEEP_NS, 500).astype(np.int64)
    cloud, truth = seen_while_moving(circle(15.0, 0.4), offsets)
    order = np.random.default_rng(0).permutation(500)
    mixed = PointCloud(cloud.xyz[order], STAMP_NS, "lidar_top", offsets[order])
    assert np.array_equal(deskewed(mixed, circle(15.0, 0.4)).xyz, deskewed(cloud, circle(15.0, 0.4)).xyz[order])
    assert worst_m(deskewed(mixed, circle(15.0, 0.4)), truth[order]) < 1e-3


def test_a_sensor_that_spins_more_than_half_a_turn_in_a_sweep() -> None:
    cloud, truth = seen_while_moving(circle(1.0, 45.0), np.linspace(0, SWEEP_NS, 300).astype(np.int64), 10.0)
    assert worst_m(deskewed(cloud, circle(1.0, 45.0)), truth) < 0.02


def test_through_a_transform_buffer_at_50_hz() -> None:
    """Poses known each 20 ms, as odometry has them: between them the buffer itself cuts the corner."""
    pose, buffer = circle(12.0, math.radians(25)), TransformBuffer()
    for k in range(-2, 9):
        angle = math.radians(25) * k * 0.02
        turn = np.array([0, 0, math.sin(angle / 2), math.cos(angle / 2)])
        buffer.set("odom", "lidar_top", STAMP_NS + k * 20_000_000, pose(STAMP_NS + k * 20_000_000)[:3, 3], turn)
    cloud, truth = seen_while_moving(pose, np.linspace(0, SWEEP_NS, 1000).astype(np.int64))
    straight = deskewed(cloud, lambda stamp_ns: buffer.lookup("odom", "lidar_top", stamp_ns))
    assert worst_m(cloud, truth) > 0.5
    assert worst_m(straight, truth) < 1e-3


def test_looks_up_the_stamp_both_ends_and_each_10_ms() -> None:
    asked: list[int] = []

    def pose(stamp_ns: int) -> DoubleArray:
        asked.append(stamp_ns)
        return np.eye(4)

    offsets = np.array([-7, 95_000_003, 40_000_000], np.int64)
    cloud = PointCloud(np.ones((3, 3), np.float32), STAMP_NS, "lidar_top", offsets)
    assert np.array_equal(deskewed(cloud, pose).xyz, cloud.xyz)
    assert STAMP_NS in asked
    knots = sorted(set(asked) - {STAMP_NS})
    assert (knots[0], knots[-1]) == (STAMP_NS - 7, STAMP_NS + 95_000_003)
    assert int(np.diff(knots).max()) <= KNOT_NS
    assert len(asked) <= 12


def refuses(_stamp_ns: int) -> DoubleArray:
    raise GeometryError("no transform lidar_top -> odom")


@pytest.mark.parametrize("offsets", [None, np.zeros(4, np.int64)], ids=["no times", "all at the stamp"])
def test_without_times_nothing_is_moved_and_nothing_looked_up(offsets: np.ndarray | None) -> None:
    xyz = np.arange(12, dtype=np.float32).reshape(4, 3)
    same = deskewed(PointCloud(xyz, STAMP_NS, "lidar_top", offsets), refuses)
    assert same.xyz is xyz
    assert same.offsets_ns is None


def test_empty_cloud() -> None:
    cloud = PointCloud(np.zeros((0, 3), np.float32), STAMP_NS, "lidar_top", np.zeros(0, np.int64))
    assert len(deskewed(cloud, refuses).xyz) == 0


def test_all_points_of_one_other_time() -> None:
    pose = circle(10.0, 0.5)
    cloud, truth = seen_while_moving(pose, np.full(50, 80_000_000, np.int64))
    assert worst_m(deskewed(cloud, pose), truth) < 1e-4


def test_a_lookup_that_fails_is_told() -> None:
    cloud = PointCloud(np.ones((2, 3), np.float32), STAMP_NS, "lidar_top", np.array([0, SWEEP_NS]))
    with pytest.raises(GeometryError, match="no transform lidar_top"):
        deskewed(cloud, refuses)


@pytest.mark.parametrize("T", [np.full((4, 4), np.nan), np.eye(3)], ids=["NaN", "3x3"])
def test_a_pose_that_is_none_is_refused(T: DoubleArray) -> None:
    cloud = PointCloud(np.ones((2, 3), np.float32), STAMP_NS, "lidar_top", np.array([0, SWEEP_NS]))
    with pytest.raises(GeometryError, match="finite 4x4"):
        deskewed(cloud, lambda _stamp_ns: T)


@pytest.mark.parametrize("last_ns", [1_000_000_001, np.iinfo(np.int64).max])
def test_times_that_span_more_than_a_sweep_are_refused(last_ns: int) -> None:
    offsets = np.array([-1, last_ns], np.int64)
    with pytest.raises(GeometryError, match=r"at most 1 s.*unit of the time field"):
        deskewed(PointCloud(np.ones((2, 3), np.float32), STAMP_NS, "lidar_top", offsets), refuses)


def test_a_cloud_that_does_not_lie_in_one_piece_is_moved_alike() -> None:
    def turning(stamp_ns: int) -> DoubleArray:
        angle = stamp_ns * 1e-9
        return matrix_from(np.array([5 * angle, 0, 0]), np.array([0, 0, math.sin(angle / 2), math.cos(angle / 2)]))

    rng = np.random.default_rng(0)
    xyz, offsets = rng.normal(0, 20, (600, 4)).astype(np.float32), rng.integers(-50_000_000, 50_000_001, 1200)
    apart = deskewed(PointCloud(xyz[:, :3], 0, "lidar", offsets[::2]), turning)
    whole = deskewed(PointCloud(xyz[:, :3].copy(), 0, "lidar", offsets[::2].copy()), turning)
    assert np.array_equal(apart.xyz, whole.xyz)
    assert not np.allclose(apart.xyz, xyz[:, :3], atol=0.01)
