# SPDX-License-Identifier: Apache-2.0
"""TF as matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("tf2_ros", reason="tf2_ros is not built: ./run builds it")

from geometry_msgs.msg import Quaternion, Transform, Vector3

from vl_anomaly_ros.node.transforms import matrix


def test_a_quarter_turn_about_z() -> None:
    half = math.sqrt(0.5)
    T = matrix(Transform(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(z=half, w=half)))
    assert np.allclose(T @ [1, 0, 0, 1], [1, 3, 3, 1])


def test_a_quaternion_that_is_not_quite_of_unit_length_still_gives_a_rotation() -> None:
    T = matrix(Transform(rotation=Quaternion(x=0.505, y=0.505, z=0.505, w=0.505)))
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3))
