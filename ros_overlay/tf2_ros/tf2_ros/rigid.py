# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as plain numbers: composition, inversion, interpolation."""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w; unit length


class Rigid(NamedTuple):
    """Maps points of a child frame into its parent: rotate, then translate (metres)."""

    translation: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)

    def __matmul__(self, other: Rigid) -> Rigid:
        """Return the transform that applies `other` first, then this one."""
        x, y, z = rotate(self.rotation, other.translation)
        tx, ty, tz = self.translation
        return Rigid((tx + x, ty + y, tz + z), multiply(self.rotation, other.rotation))

    def inverse(self) -> Rigid:
        """Return the transform from the parent into the child."""
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        tx, ty, tz = rotate(back, self.translation)
        return Rigid((-tx, -ty, -tz), back)


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the unit quaternion of the rotation `b` followed by `a`."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    product = (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
    return normalised(product)


def normalised(q: Quaternion) -> Quaternion:
    """Return `q` scaled to unit length."""
    x, y, z, w = q
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return (x / length, y / length, z / length, w / length)


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Return the vector `v` turned by the unit quaternion `q`."""
    qx, qy, qz, qw = q
    vx, vy, vz = v
    tx, ty, tz = 2 * (qy * vz - qz * vy), 2 * (qz * vx - qx * vz), 2 * (qx * vy - qy * vx)
    return (
        vx + qw * tx + qy * tz - qz * ty,
        vy + qw * ty + qz * tx - qx * tz,
        vz + qw * tz + qx * ty - qy * tx,
    )


def slerp(a: Quaternion, b: Quaternion, ratio: float) -> Quaternion:
    """Return the rotation at `ratio` of the shorter way from `a` to `b`, at constant angular speed."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    cosine = ax * bx + ay * by + az * bz + aw * bw
    sign = -1.0 if cosine < 0.0 else 1.0
    angle = math.acos(min(1.0, abs(cosine)))
    if angle < 1e-6:  # sin(angle) would divide almost zero by almost zero; the chord is the arc here
        weight_a, weight_b = 1.0 - ratio, sign * ratio
    else:
        weight_a = math.sin((1.0 - ratio) * angle) / math.sin(angle)
        weight_b = sign * math.sin(ratio * angle) / math.sin(angle)
    return normalised(
        (
            weight_a * ax + weight_b * bx,
            weight_a * ay + weight_b * by,
            weight_a * az + weight_b * bz,
            weight_a * aw + weight_b * bw,
        )
    )


def interpolate(a: Rigid, b: Rigid, ratio: float) -> Rigid:
    """Return the transform at `ratio` between `a` (0) and `b` (1)."""
    ax, ay, az = a.translation
    bx, by, bz = b.translation
    translation = (ax + ratio * (bx - ax), ay + ratio * (by - ay), az + ratio * (bz - az))
    return Rigid(translation, slerp(a.rotation, b.rotation, ratio))
