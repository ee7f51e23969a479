# SPDX-License-Identifier: Apache-2.0
"""Rotations as quaternions."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("geometry_msgs.msg", reason="ROS messages are not installed: ./run installs them")

from geometry_msgs.msg import Quaternion, Transform

from vl_anomaly_ros.node.rotations import quaternion, quaternion_record, yawed
from vl_anomaly_ros.node.transforms import matrix
from vl_anomaly_ros.types import DoubleArray


def turns() -> list[DoubleArray]:
    rng = np.random.default_rng(0)
    made = [np.diag(d).astype(float) for d in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    for _ in range(50):
        Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        made.append(Q * np.sign(np.linalg.det(Q)))
    return made


def back(x: float, y: float, z: float, w: float) -> DoubleArray:
    return matrix(Transform(rotation=Quaternion(x=x, y=y, z=z, w=w)))[:3, :3]


def test_quaternions_of_all_turns() -> None:
    for R in turns():
        q = quaternion(R)
        assert q[3] >= 0
        assert np.allclose(back(*q), R, atol=1e-9)
        record = quaternion_record(q)
        assert (record.x, record.y, record.z, record.w) == q


@pytest.mark.parametrize("yaw", [0.0, 0.3, -1.5, math.pi / 2, 3.0, -3.0])
def test_a_yaw_comes_before_the_turn(yaw: float) -> None:
    cos, sin = math.cos(yaw), math.sin(yaw)
    R_yaw = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    for R in turns():
        q = yawed(quaternion(R), yaw)
        assert q[3] >= 0
        assert np.allclose(back(*q), R @ R_yaw, atol=1e-9)
