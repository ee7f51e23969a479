# SPDX-License-Identifier: Apache-2.0
"""Takes the motion of the sensor within one sweep out of a cloud whose points tell their times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from numba import float32, float64, int64

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.transforms import inverse, quaternion_from
from vl_anomaly_ros.types import DoubleArray, FloatArray, PointCloud

KNOT_NS = 10_000_000
"""Poses are looked up at most this far apart. A straight line between them is off by a h^2 / 8: 0.4 mm at 30 m/s and
60 deg/s, where a is 31 m/s^2."""
BLOCK_NS = 500_000
"""Over this time the entries of the matrices are interpolated in a straight line: off by less than 0.01 mm at 100 m and
60 deg/s, and far cheaper than a rotation made for each slice."""
SLICES = 64
"""Of a block. Points of one slice (at most 7.8 us) move alike: off by at most 0.12 mm at 30 m/s, and 0.41 mm at 100 m
and 60 deg/s."""
MAX_SWEEP_NS = 1_000_000_000
"""Longer is no sweep but a clock gone wrong, and would cost a look-up each 10 ms."""


def deskewed(points: PointCloud, T_fixed_at: Callable[[int], DoubleArray]) -> PointCloud:
    """The cloud as the sensor would have seen a scene at rest, all at once, at `points.stamp_ns`.

    Between the poses looked up, translation is interpolated in a straight line and rotation by the normalised mean of
    quaternions (off the great arc by less than 1e-5 rad where the sensor turns less than 0.2 rad in 10 ms). Below
    30 m/s and 60 deg/s all approximations together stay below 1 mm within 100 m.

    Args:
        points: `offsets_ns` gives the time of each point; without it the cloud comes back as it is.
        T_fixed_at: (4, 4) float64 transform of `points.frame_id` into a frame at rest, at a time in nanoseconds. It is
            called for `points.stamp_ns`, the first and the last point, and each 10 ms between.

    Returns:
        A cloud with the same stamp, frame and number of points, and `offsets_ns` None.

    Raises:
        GeometryError: the points span more than a second, a look-up fails, or gives no finite transform.

    >>> cloud = PointCloud(np.ones((2, 3), np.float32), 0, "lidar", np.array([0, 100_000_000]))
    >>> def forward_at_10_mps(stamp_ns: int) -> DoubleArray:
    ...     return np.array([[1.0, 0, 0, stamp_ns * 1e-8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> deskewed(cloud, forward_at_10_mps).xyz.round(3).tolist()
    [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]
    """
    offsets = points.offsets_ns
    if offsets is None:
        return points
    offsets = np.ascontiguousarray(offsets)
    if not offsets.any():
        return replace(points, offsets_ns=None)
    first, last = int(offsets.min()), int(offsets.max())
    if last - first > MAX_SWEEP_NS:
        raise GeometryError(
            f"times of the points: expected a sweep of at most {MAX_SWEEP_NS * 1e-9:g} s, they span "
            f"{(last - first) * 1e-9:.3f} s; check the unit of the time field of {points.frame_id}'s cloud"
        )
    knots = np.linspace(first, last, -(-(last - first) // KNOT_NS) + 1).round().astype(np.int64)
    T_stamp_fixed = inverse(_checked(T_fixed_at(points.stamp_ns), points.stamp_ns))
    poses = [T_stamp_fixed @ _checked(T_fixed_at(t), t) for t in (points.stamp_ns + int(knot) for knot in knots)]
    motion, xyz = _motion(poses, knots), np.ascontiguousarray(points.xyz)
    slices_a_ns = len(motion) / max(last - first, 1)
    return replace(points, xyz=_moved(xyz, offsets, first, slices_a_ns, motion), offsets_ns=None)


def _checked(T: DoubleArray, stamp_ns: int) -> DoubleArray:
    if T.shape != (4, 4) or not np.all(np.isfinite(T)):
        raise GeometryError(
            f"pose of the sensor at {stamp_ns * 1e-9:.6f} s: expected a finite 4x4 transform, got {T.tolist()}; "
            "check the transforms to the fixed frame"
        )
    return T


def _motion(poses: list[DoubleArray], knots: npt.NDArray[np.int64]) -> FloatArray:
    """(n, 12) float32: the rows of [R | t] in the middle of n slices of the time from the first knot to the last."""
    times = np.linspace(knots[0], knots[-1], max(1, -(-int(knots[-1] - knots[0]) // BLOCK_NS)) + 1)
    quaternions = np.array([quaternion_from(T[:3, :3]) for T in poses])
    # Of the two signs of the same rotation, the one nearer to the rotation before.
    turns = np.where(np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0, -1, 1)
    quaternions[1:] *= np.cumprod(turns)[:, None]
    x, y, z, w = (np.interp(times, knots, q) for q in quaternions.T)
    t0, t1, t2 = (np.interp(times, knots, shift) for shift in np.array([T[:3, 3] for T in poses]).T)
    # 2 / |q|^2 normalises the quaternion within the formula.
    s = 2 / (x * x + y * y + z * z + w * w)
    # fmt: off
    rows = np.array([
        1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w), t0,
        s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w), t1,
        s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y), t2,
    ])
    # fmt: on
    share = ((np.arange(SLICES) + 0.5) / SLICES).astype(np.float32)
    start, step = rows[:, :-1].astype(np.float32), np.diff(rows).astype(np.float32)
    of_slices = start.T[:, None] + step.T[:, None] * share[:, None]
    return np.asarray(of_slices.reshape(-1, 12), np.float32)


@kernel(array(float32, 2)(view(float32, 2), view(int64, 1), int64, float64, view(float32, 2)), long=True)
def _moved(
    xyz: FloatArray, offsets_ns: npt.NDArray[np.int64], first_ns: int, slices_a_ns: float, motion: FloatArray
) -> FloatArray:
    """(N, 3) float32 points, each moved by the row of `motion` for its time; none is before the first."""
    moved = np.empty((len(xyz), 3), np.float32)
    for n in range(len(xyz)):
        row = motion[min(int((offsets_ns[n] - first_ns) * slices_a_ns), len(motion) - 1)]
        for axis in range(3):
            k = 4 * axis
            moved[n, axis] = row[k + 3] + row[k] * xyz[n, 0] + row[k + 1] * xyz[n, 1] + row[k + 2] * xyz[n, 2]
    return moved
