# SPDX-License-Identifier: Apache-2.0
"""Rotations as messages hold them: x, y, z, w of a unit quaternion."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from vl_anomaly_ros.types import DoubleArray

Quaternion = tuple[float, float, float, float]


def quaternion(R: DoubleArray) -> Quaternion:
    """The unit quaternion of a (3, 3) rotation, w >= 0.

    By Bar-Itzhack's symmetric matrix (J. Guidance 23(6), 2000), whose leading eigenvector it is: no case by case.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R
    K = np.array(
        [
            [xx - yy - zz, 0.0, 0.0, 0.0],
            [yx + xy, yy - xx - zz, 0.0, 0.0],
            [zx + xz, zy + yz, zz - xx - yy, 0.0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    q = np.linalg.eigh(K / 3.0, UPLO="L").eigenvectors[:, -1]
    x, y, z, w = (q if q[3] >= 0 else -q).tolist()
    return x, y, z, w


def yawed(turn: Quaternion, yaw_rad: float) -> Quaternion:
    """First a rotation about z, then `turn`; w >= 0.

    >>> yawed((0.0, 0.0, 0.0, 1.0), math.pi)[2]
    1.0
    """
    x, y, z, w = turn
    sin, cos = math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)
    sign = 1.0 if w * cos - z * sin >= 0 else -1.0
    sin, cos = sign * sin, sign * cos
    return x * cos + y * sin, y * cos - x * sin, z * cos + w * sin, w * cos - z * sin


def quaternion_record(q: Quaternion) -> SimpleNamespace:
    """With the attributes of geometry_msgs/Quaternion."""
    x, y, z, w = q
    return SimpleNamespace(x=x, y=y, z=z, w=w)
